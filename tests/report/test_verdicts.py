"""Verdicts on claims, by cases worked by hand: what confirms, refutes and leaves open."""

import pytest

from arch.registry import ConfigurationError
from arch.report.verdicts import Claim, contrasted, judge


def lines(**cells):
    """Finished lines with these perplexities, seeds from 0 on."""
    return [
        {
            "cell": cell,
            "seed": seed,
            "status": "finished",
            "evaluations": {"valid": {"perplexity": value}},
        }
        for cell, values in cells.items()
        for seed, value in enumerate(values)
    ]


def claim(direction="lower", **changes):
    given = {"id": "c", "statement": "a beats b", "source": "somebody 2020, Table 1"}
    given |= {"contrast": {"a": 1, "b": -1}, "direction": direction, "scale": "absolute"}
    return Claim(**given | changes)


def verdict(claims, found):
    return [v.verdict for v in judge(claims, found, "perplexity", "valid")]


BASE = [10.0, 11.0, 12.0, 13.0]


@pytest.mark.parametrize(
    ("differences", "direction", "margin", "expected"),
    [
        ([-1.0, -1.1, -0.9, -1.0], "lower", 0.0, "confirmed"),
        ([-1.0, -1.1, -0.9, -1.0], "higher", 0.0, "refuted"),
        ([1.0, 1.1, 0.9, 1.0], "higher", 0.0, "confirmed"),
        ([1.0, 1.1, 0.9, 1.0], "lower", 0.0, "refuted"),
        ([-1.0, 1.1, -0.9, 0.5], "lower", 0.0, "inconclusive"),
        (
            [-0.01, -0.012, -0.009, -0.011],
            "lower",
            0.1,
            "refuted",
        ),  # there, but too small to matter
        ([0.01, -0.012, 0.009, -0.011], "lower", 0.1, "refuted"),
        ([0.01, -0.012, 0.009, -0.011], "equal", 0.1, "confirmed"),
        ([1.0, 1.1, 0.9, 1.0], "equal", 0.1, "refuted"),
        ([-1.0, 1.1, -0.9, 0.5], "equal", 0.1, "inconclusive"),
    ],
)
def test_the_rule(differences, direction, margin, expected):
    ours = [b + d for b, d in zip(BASE, differences, strict=True)]
    assert verdict([claim(direction, margin=margin)], lines(a=ours, b=BASE)) == [expected]


def test_pairs_are_by_seed_and_not_by_rank():
    ours = list(reversed([b - 1 for b in BASE]))
    found = contrasted(claim(), lines(a=ours, b=BASE), "perplexity", "valid")
    assert found.mean == pytest.approx(-1) and found.sd == pytest.approx(2 * 1.2909944 * 2 / 2)


def test_a_relative_contrast_divides_by_the_baseline_of_its_seed():
    found = contrasted(
        claim(scale="relative"), lines(a=[9.0, 22.0], b=[10.0, 20.0]), "perplexity", "valid"
    )
    assert found.mean == pytest.approx((-0.1 + 0.1) / 2)


def test_a_contrast_of_contrasts():
    weights = {"a": 1, "b": -1, "c": -1, "d": 1}
    found = contrasted(
        claim(contrast=weights), lines(a=[5.0], b=[3.0], c=[1.0], d=[2.0]), "perplexity", "valid"
    )
    assert found.mean == 3.0


def test_many_claims_are_corrected_for_their_number():
    near = [b + d for b, d in zip(BASE, [-1.0, -0.4, -0.9, -0.5], strict=True)]
    none = [b + d for b, d in zip(BASE, [0.3, -0.3, 0.2, -0.1], strict=True)]
    found = lines(a=near, b=BASE, n=none)
    others = [claim(id=str(i), contrast={"n": 1, "b": -1}) for i in range(9)]
    assert verdict([claim()], found) == ["confirmed"]
    assert verdict([claim(), *others], found)[0] == "inconclusive"


def test_what_is_not_run_or_has_one_seed_decides_nothing():
    assert verdict([claim()], []) == ["not run"]
    assert verdict([claim()], lines(a=[9.0], b=[10.0])) == ["inconclusive"]


def test_an_inconclusive_claim_says_how_many_seeds_would_decide_it():
    ours = [b + d for b, d in zip(BASE, [-1.0, 1.1, -0.9, 0.5], strict=True)]
    (found,) = judge([claim(effect=-1.0)], lines(a=ours, b=BASE), "perplexity", "valid")
    assert found.seeds == 11  # SD 1.04, effect 1: 11 pairs have 82 %, 10 have 78 %
    assert found.detectable > 1.0


def test_as_many_seeds_as_there_are_do_not_decide_what_they_have_left_open():
    ours = [b + d for b, d in zip(BASE, [-1.0, 1.1, -0.9, 0.5], strict=True)]
    (found,) = judge([claim(effect=-9.0)], lines(a=ours, b=BASE), "perplexity", "valid")
    assert found.verdict == "inconclusive" and found.seeds == len(BASE) + 1


def test_a_run_that_is_lost_counts_for_nothing():
    found = lines(a=[b - 1 for b in BASE], b=BASE)
    found[0]["status"] = "nan"
    found[1]["evaluations"]["valid"]["perplexity"] = float("inf")
    assert contrasted(claim(), found, "perplexity", "valid").n == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"direction": "down"}, "direction='down': allowed are lower, higher, equal"),
        ({"contrast": {"a": 1, "b": 1}}, "expected weights that add up to 0"),
        ({"direction": "equal"}, "margin=0.0: expected a number from 0 on, and above 0"),
        ({"scale": "percent"}, "scale='percent': allowed are relative, absolute"),
    ],
)
def test_a_claim_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        claim(**changes)


@pytest.mark.parametrize(
    ("ours", "direction", "margin", "expected"),
    [
        (10.2, "equal", 0.5, "confirmed"),
        (11.0, "equal", 0.5, "refuted"),
        (9.0, "lower", 0.0, "confirmed"),
        (11.0, "lower", 0.0, "refuted"),
        (10.0, "lower", 0.0, "refuted"),  # no difference at all
        (9.9, "lower", 0.5, "refuted"),  # there, but too small to matter
    ],
)
def test_an_exact_figure_decides_by_itself(ours, direction, margin, expected):
    claims, found = [claim(direction, margin=margin)], lines(a=[ours], b=[10.0])
    (exact,) = judge(claims, found, "perplexity", "valid", exact=True)
    assert (exact.verdict, exact.interval.low) == (expected, pytest.approx(ours - 10))
    assert verdict(claims, found) == ["inconclusive"]


def test_an_exact_figure_that_is_missing_decides_nothing():
    (found,) = judge([claim()], [], "perplexity", "valid", exact=True)
    assert found.verdict == "not run"
