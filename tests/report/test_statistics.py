import math

import numpy as np
import pytest
from scipy import stats

from arch.report import statistics

BASELINE = [18.248, 18.491, 18.537, 18.829, 19.130]  # Press et al. 2020, Figure 6
SANDWICH = [17.839, 17.934, 17.986, 18.062, 18.081]


def test_the_papers_five_baselines_have_mean_18_65_and_sd_0_34():
    s = statistics.summary(BASELINE)
    assert (s.n, round(s.mean, 3), round(s.sd, 3)) == (5, 18.647, 0.340)
    assert statistics.summary(SANDWICH).mean == pytest.approx(17.98, abs=0.001)
    assert statistics.summary(SANDWICH).sd == pytest.approx(0.10, abs=0.005)


def test_welch_on_the_papers_seeds_is_about_4_2_and_agrees_with_scipy():
    ours = statistics.welch(BASELINE, SANDWICH)
    theirs = stats.ttest_ind(BASELINE, SANDWICH, equal_var=False)
    assert ours.t == pytest.approx(4.2117, abs=1e-4)
    assert ours == pytest.approx((theirs.statistic, theirs.df, theirs.pvalue), rel=1e-12)
    assert statistics.welch(SANDWICH, BASELINE).t == -ours.t


def test_interval_of_two_values_is_12_7_half_ranges_wide():
    # SD / √2 of (1, 3) is 1, and t(0.975, 1) = tan(0.475 π) = 12.7062
    s = statistics.summary([1, 3])
    assert s.sd == pytest.approx(math.sqrt(2))
    assert (s.low, s.high) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-4)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_interval_agrees_with_scipy(n):
    x = np.random.default_rng(n).normal(3, 2, n)
    expected = stats.t.interval(0.95, n - 1, loc=x.mean(), scale=stats.sem(x))
    s = statistics.summary(x)
    assert (s.low, s.high) == pytest.approx(expected, rel=1e-12)


def test_one_value_has_a_mean_and_nothing_else():
    s = statistics.summary([4.5])
    assert (s.n, s.mean) == (1, 4.5)
    assert all(map(math.isnan, (s.sd, s.low, s.high)))
    assert not s.excludes_zero


def test_no_values_have_no_mean():
    assert statistics.summary([]).n == 0
    assert math.isnan(statistics.summary([]).mean)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused_by_place(bad):
    with pytest.raises(ValueError, match=r"values\[1\] is"):
        statistics.summary([1.0, bad])


def test_differences_are_paired_by_seed_and_ours_minus_baseline():
    d = statistics.paired_difference({0: 1.0, 1: 2.5, 7: 100.0}, {1: 3.0, 0: 2.0, 9: -100.0})
    # pairs: seed 0: -1.0, seed 1: -0.5; SD / √2 = 0.25
    assert (d.n, d.mean) == (2, -0.75)
    assert (d.low, d.high) == pytest.approx(
        (-0.75 - 0.25 * 12.7062, -0.75 + 0.25 * 12.7062), abs=1e-4
    )
    assert not d.excludes_zero


def test_pairs_share_a_seed_and_not_a_rank():
    # by seed -1.1 and +1.1; the better of each arm paired, and the worse, would give ±0.1
    d = statistics.paired_difference({0: 1.0, 1: 2.0}, {1: 0.9, 0: 2.1})
    assert (d.n, d.mean) == (2, pytest.approx(0))
    assert d.sd == pytest.approx(1.1 * math.sqrt(2))


def test_pairing_removes_the_luck_that_two_arms_share():
    luck = {seed: seed * 10.0 for seed in range(5)}
    ours = {seed: value - 1 + 0.01 * (seed % 2) for seed, value in luck.items()}
    assert statistics.paired_difference(ours, luck).excludes_zero
    assert statistics.welch(list(ours.values()), list(luck.values())).p > 0.9


def test_without_common_seeds_there_is_no_difference():
    assert statistics.paired_difference({0: 1.0}, {1: 2.0}).n == 0


def test_correlations_agree_with_closed_forms():
    assert statistics.pearson([1, 2, 3, 4], [2, 4, 6, 8]).r == pytest.approx(1)
    # monotone but not linear: rank correlation is 1, Pearson's is not
    assert statistics.rank_correlation([1, 2, 3, 4], [1, 8, 27, 1000]).r == pytest.approx(1)
    assert statistics.pearson([1, 2, 3, 4], [1, 8, 27, 1000]).r < 0.9
    # 1 - 6 Σd² / (n (n² - 1)) with d = (1, -1, 0, 0)
    assert statistics.rank_correlation([1, 2, 3, 4], [2, 1, 3, 4]).r == pytest.approx(0.8)


def test_tied_ranks_share_their_mean():
    x, y = [1, 1, 2, 3, 3], [5, 4, 4, 2, 1]
    ours = statistics.rank_correlation(x, y)
    ranks = [1.5, 1.5, 3, 4.5, 4.5], [5, 3.5, 3.5, 2, 1]
    assert ours.r == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert ours.n == 5


@pytest.mark.parametrize(
    "x, y, message",
    [
        ([1, 2], [1, 2], "2 pair"),
        ([1, 2, 3], [1, 2], "3 values and y has 2"),
        ([1, 1, 1], [1, 2, 3], "x does not vary"),
    ],
)
def test_correlations_that_do_not_exist_are_refused(x, y, message):
    for function in (statistics.pearson, statistics.rank_correlation):
        with pytest.raises(ValueError, match=message):
            function(x, y)


def test_welch_needs_two_values_a_side_and_some_spread():
    with pytest.raises(ValueError, match="b has 1"):
        statistics.welch([1, 2], [3])
    with pytest.raises(ValueError, match="neither"):
        statistics.welch([1, 1], [2, 2])


@pytest.mark.parametrize(
    "values, places",
    [([18.65, 17.98], 2), ([0.9752], 4), ([4.12, 4.5, 1e6], 3), ([1234.5], 0), ([], 3), ([0.0], 3)],
)
def test_decimals_give_four_significant_digits_to_the_median(values, places):
    assert statistics.decimals(values) == places


def test_numbers_print_with_a_true_minus_and_one_value_as_a_single_run():
    assert statistics.number(-1234.5, 1) == "−1,234.5"
    assert statistics.number(0.25, 2, sign=True) == "+0.25"
    assert statistics.mean_and_sd(statistics.summary(BASELINE), 2) == "18.65 ± 0.34"
    assert statistics.mean_and_sd(statistics.summary([18.25]), 2) == "18.25 (single run)"
    assert statistics.mean_and_sd(statistics.summary([]), 2) == "—"
    d = statistics.Summary(5, -0.66, 0.3, -1.03, -0.29)
    assert statistics.mean_and_interval(d, 2) == "−0.66 [−1.03, −0.29] *"
