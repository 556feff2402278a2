"""Looks: O'Brien and Fleming's boundaries as published, the error that they keep, the verdicts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from scipy.stats import norm

from arch.registry import ConfigurationError
from arch.report.looks import check, levels
from arch.report.verdicts import Claim, judge, seeds_called_for

# Equally spaced looks, two-sided 5 %: Lan and DeMets' function of O'Brien-Fleming type as ldbounds,
# gsDesign and PASS print it.
PUBLISHED = {
    2: [2.9626, 1.9686],
    3: [3.7103, 2.5114, 1.9930],
    4: [4.3326, 2.9631, 2.3590, 2.0141],
    5: [4.8769, 3.3569, 2.6803, 2.2898, 2.0310],
}


@pytest.mark.parametrize("count", PUBLISHED)
def test_boundaries_are_the_published_ones(count):
    found = norm.isf(np.array(levels(tuple(range(1, count + 1)), 0.05)) / 2)
    np.testing.assert_allclose(found, PUBLISHED[count], atol=2e-4)


def test_one_look_is_the_plain_test():
    assert levels((5,), 0.05) == pytest.approx((0.05,), rel=1e-6)


@pytest.mark.parametrize("looks", [(3, 5, 8), (3, 5, 8, 12)])
def test_looking_several_times_errs_no_more_often_than_is_said(looks):
    draws = np.random.default_rng(0).standard_normal((200_000, looks[-1]))
    wrong, naive = np.zeros(len(draws), bool), np.zeros(len(draws), bool)
    for n, level in zip(looks, levels(looks, 0.05), strict=True):
        seen = draws[:, :n]
        t = np.abs(seen.mean(1)) / (seen.std(1, ddof=1) / np.sqrt(n))
        p = 2 * special.stdtr(n - 1, -t)
        wrong |= p <= level
        naive |= p <= 0.05
    assert wrong.mean() < 0.055 and naive.mean() > 0.09


@settings(max_examples=20)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=5, unique=True).map(sorted),
       st.sampled_from([0.05, 0.01, 0.05 / 7]))  # fmt: skip
def test_every_level_is_below_alpha_and_all_together_are_no_less(looks, alpha):
    found = levels(tuple(looks), alpha)
    assert min(found) >= 0 and max(found) <= alpha * (1 + 1e-6)
    assert sum(found) >= alpha * (1 - 1e-6)  # Boole: equal where no two can err together


@pytest.mark.parametrize("looks", [(5, 3), (3, 3), (1, 3), (0,), (2.5, 4), (True, 3), ("3",)])
def test_looks_are_rising_numbers_of_seeds(looks):
    with pytest.raises(ConfigurationError, match="LOOKS=.*expected rising numbers"):
        check(looks)


def lines(**cells):
    """Finished lines with these perplexities, seeds from 0 on."""
    return [
        {"cell": cell, "seed": seed, "status": "finished",
         "evaluations": {"valid": {"perplexity": value}}}
        for cell, values in cells.items() for seed, value in enumerate(values)
    ]  # fmt: skip


def claim(name="c", contrast=None, **changes):
    contrast = contrast or {"a": 1, "b": -1}
    given = {"id": name, "statement": "a beats b", "source": "s", "contrast": contrast}
    return Claim(**given | {"direction": "lower", "scale": "absolute"} | changes)


def judged(claims, looks=(3, 5, 8), **cells):
    return judge(claims, lines(**cells), "perplexity", "valid", looks=looks)


CLEAR = [-1.0, -1.001, -0.999, -1.0, -1.0, -1.0, -1.0, -1.0]
FAINT = [-1.0, -0.6, -1.4, -0.9, -1.1, -1.0, -0.8, -1.2]


def test_what_the_first_look_decides_needs_no_more_seeds():
    (found,) = judged([claim()], a=CLEAR[:3], b=[0.0] * 3)
    assert (found.verdict, found.look, found.difference.n) == ("confirmed", 3, 3)
    assert seeds_called_for([found], (3, 5, 8)) == {"a": 3, "b": 3}


def test_what_it_leaves_open_goes_on_to_the_next_look_and_uses_whole_looks_alone():
    for n, look, verdict, called in (
        (2, 0, "inconclusive", 3), (3, 3, "inconclusive", 5), (4, 3, "inconclusive", 5),
        (5, 5, "confirmed", 5), (8, 5, "confirmed", 5),
    ):  # fmt: skip
        (found,) = judged([claim()], a=FAINT[:n], b=[0.0] * n)
        assert (found.look, found.verdict) == (look, verdict), n
        assert found.difference.n == min(n, look or n)
        assert seeds_called_for([found], (3, 5, 8)) == {"a": called, "b": called}


def test_a_decision_stands_whatever_later_seeds_say():
    (found,) = judged([claim()], a=[*CLEAR[:3], 9.0, 9.0, 9.0, 9.0, 9.0], b=[0.0] * 8)
    assert (found.verdict, found.look) == ("confirmed", 3)


def test_after_the_last_look_it_is_open_and_calls_for_no_more():
    (found,) = judged([claim()], a=[-1.0, 1.0] * 4, b=[0.0] * 8)
    assert (found.verdict, found.look) == ("inconclusive", 8)
    assert seeds_called_for([found], (3, 5, 8)) == {"a": 8, "b": 8}


def test_nothing_has_run_before_the_first_look():
    (found,) = judged([claim()], a=[], b=[])
    assert (found.verdict, found.look) == ("not run", 0)
    assert seeds_called_for([found], (3, 5, 8)) == {"a": 3, "b": 3}


def test_the_error_is_shared_with_other_claims_until_they_are_decided():
    """Holm: what one claim's rejection sets free goes to the others, at this look and later."""
    faint = [-1.0, -0.7, -1.3, -0.9, -1.1]
    others = [claim(f"o{i}", {f"x{i}": 1, "b": -1}) for i in range(8)]
    noise = {f"x{i}": [1.0, -1.0, 0.5, -0.5, 0.3] for i in range(8)}
    alone, *_ = judged([claim()], a=faint, b=[0.0] * 5)
    crowded, *_ = judged([claim(), *others], a=faint, b=[0.0] * 5, **noise)
    freed, *_ = judged([claim(), *others], a=faint, b=[0.0] * 5,
                       **{name: CLEAR[:5] for name in noise})  # fmt: skip
    assert (alone.verdict, crowded.verdict, freed.verdict) == (
        "confirmed", "inconclusive", "confirmed",
    )  # fmt: skip
    assert crowded.interval.alpha < freed.interval.alpha
    assert freed.interval.alpha == pytest.approx(alone.interval.alpha)


def test_a_cell_of_several_claims_has_the_seeds_of_the_one_that_needs_most():
    open_one = claim("o", {"x": 1, "b": -1})
    found = judged([claim(), open_one], a=CLEAR[:3], b=[0.0] * 3, x=[1.0, -1.0, 0.4])
    assert seeds_called_for(found, (3, 5, 8)) == {"a": 3, "b": 5, "x": 5}
