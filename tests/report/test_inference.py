"""Correction, power, equivalence and sampling error, against SciPy and cases worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from arch.report.inference import (
    ALPHA,
    detectable_difference,
    equivalence,
    holm,
    holm_alphas,
    interval,
    p_value,
    power,
    seeds_needed,
    share_variance,
    with_sampling,
)
from arch.report.statistics import summary

VALUES = [0.3, -0.1, 0.5, 0.2, 0.4]
probabilities = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=8)


def test_p_and_interval_are_those_of_scipy():
    test = stats.ttest_1samp(VALUES, 0.0)
    low, high = test.confidence_interval(0.99)
    assert p_value(summary(VALUES)) == pytest.approx(test.pvalue)
    assert interval(summary(VALUES), 0.01)[:2] == pytest.approx((low, high))


def test_a_single_seed_decides_nothing():
    one = summary([0.3])
    assert p_value(one) == 1 and interval(one)[:2] == (-math.inf, math.inf)
    assert equivalence(one, 1.0) == 1
    assert detectable_difference(math.nan, 1) == math.inf


def test_holm_is_the_case_worked_by_hand():
    # m = 4: 0.01 · 4, then max(0.04, 0.02 · 3) = 0.06, 0.03 · 2 = 0.06, and 0.2 · 1
    assert holm([0.03, 0.01, 0.2, 0.02]) == pytest.approx([0.06, 0.04, 0.2, 0.06])


@given(probabilities)
def test_an_interval_at_its_level_agrees_with_holms_decision(p):
    for adjusted, level, own in zip(holm(p), holm_alphas(p), p, strict=True):
        assert (adjusted <= ALPHA) == (own <= level) or math.isclose(adjusted, ALPHA)


@given(probabilities)
def test_holm_lies_between_plain_and_bonferroni(p):
    assert all(
        x <= y <= min(1, len(p) * x) or math.isclose(x, y) for x, y in zip(p, holm(p), strict=True)
    )


def test_power_is_that_of_simulated_experiments():
    draws = np.random.default_rng(0).normal(0.7, 1.0, (20_000, 12))
    seen = stats.ttest_1samp(draws, 0.0, axis=1).pvalue < ALPHA
    assert power(0.7, 1.0, 12) == pytest.approx(seen.mean(), abs=0.01)


@pytest.mark.parametrize(("n", "effect"), [(10, 0.9962), (20, 0.6605), (30, 0.5292)])
def test_the_detectable_difference_is_the_published_one(n, effect):
    # Cohen's d of the one-sample t test at 80 % power and alpha 0.05 two-sided, as G*Power gives it
    assert detectable_difference(1.0, n) == pytest.approx(effect, abs=5e-4)


@given(st.floats(0.01, 10.0), st.integers(2, 60))
@settings(deadline=None, max_examples=50)
def test_the_detectable_difference_is_seen_with_80_percent(sd, n):
    assert power(detectable_difference(sd, n), sd, n) == pytest.approx(0.8, abs=1e-6)


@given(st.floats(0.3, 3.0))
@settings(deadline=None, max_examples=30)
def test_seeds_needed_are_the_fewest_that_see_it(effect):
    n = seeds_needed(effect, 1.0)
    assert power(effect, 1.0, n) >= 0.8 > power(effect, 1.0, n - 1)


def test_no_number_of_seeds_is_named_for_no_effect_or_a_tiny_one():
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(1e-3, 1.0) is None
    assert seeds_needed(0.1, 1.0) == 787  # G*Power: 787


@pytest.mark.parametrize("margin", [0.3, 0.5, 1.0])
def test_equivalence_is_two_one_sided_tests_of_scipy(margin):
    below = stats.ttest_1samp(VALUES, -margin, alternative="greater").pvalue
    above = stats.ttest_1samp(VALUES, margin, alternative="less").pvalue
    assert equivalence(summary(VALUES), margin) == pytest.approx(max(below, above))
    inside = interval(summary(VALUES), 2 * ALPHA).inside(-margin, margin)
    assert (equivalence(summary(VALUES), margin) <= ALPHA) == inside


def test_equivalence_needs_a_margin():
    with pytest.raises(ValueError, match="margin=0: expected a number above 0"):
        equivalence(summary(VALUES), 0)


def test_sampling_error_is_not_averaged_away_by_seeds():
    variance = share_variance(0.8, 200) + share_variance(0.7, 200)
    joined = with_sampling(summary(VALUES), variance)
    expected = math.sqrt(np.var(VALUES, ddof=1) / 5 + variance)
    assert joined.sd / math.sqrt(5) == pytest.approx(expected)
    half = stats.t.ppf(0.975, 4) * expected
    assert (joined.low, joined.high) == pytest.approx((joined.mean - half, joined.mean + half))
    assert with_sampling(summary(VALUES), 0.0) == summary(VALUES)


def test_two_pairs_at_the_level_of_a_first_look_have_a_detectable_difference():
    """Of which the critical value is in the tens of thousands; warnings are errors here."""
    found = detectable_difference(1.0, 2, 1e-6)
    assert found > detectable_difference(1.0, 2, 1e-2) > 1.0
