"""Crossed seeds: where the spread comes from, and a mean's error, worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from arch.report import tables
from arch.report.claims import as_json, claims_of
from arch.report.crossed import complete_grid, decompose, mean_error
from arch.report.seeds import Apart, seed_fields, seed_of
from arch.report.statistics import over_seeds, paired_difference, summary
from arch.report.verdicts import Claim, contrasted
from tests.report.test_report import columns, folder, line  # noqa: F401  folder is a fixture

# rows 3 and 5, columns 2, 4 and 6, mean 4: sums of squares 6 (1 freedom), 16 (2) and 4 (2), so
# mean squares 6, 8 and 2
TABLE = np.array([[1.0, 2.0, 6.0], [3.0, 6.0, 6.0]])


def by_seed(table):
    return {
        seed_of(i, j): float(table[i, j]) for i in range(len(table)) for j in range(len(table.T))
    }


def crossed_lines(cell, table):
    return [line(cell, value=value, **seed_fields(seed)) for seed, value in by_seed(table).items()]


def test_the_decomposition_is_the_one_worked_out_by_hand():
    # A = (6 − 2) / 3, B = (8 − 2) / 2, E = 2; F(1, 2) = 3 and F(2, 2) = 4, whose p is 1 / (1 + 4)
    found = decompose(TABLE)
    assert found[:3] == pytest.approx((math.sqrt(4 / 3), math.sqrt(3), math.sqrt(2)))
    assert found.p_init == pytest.approx(stats.f.sf(3, 1, 2)) and found.p_data == pytest.approx(0.2)
    assert found.shares == pytest.approx((4 / 19, 9 / 19, 6 / 19))


def test_an_estimate_below_zero_is_zero_and_what_never_varies_has_no_share():
    alike = np.array([[1.0, 2.0], [2.0, 1.0]])  # both means equal: all is the rest
    assert decompose(alike)[:2] == (0.0, 0.0) and decompose(alike).rest == pytest.approx(1.0)
    still = decompose(np.ones((2, 2)))
    assert still.p_init == still.p_data == 1.0 and math.isnan(still.shares[0])


def test_variances_are_found_again_in_what_they_made():
    source = np.random.default_rng(0)
    made = source.normal(0, 2, (400, 1)) + source.normal(0, 1, (1, 400))
    found = decompose(made + source.normal(0, 0.5, (400, 400)))
    assert found[:3] == pytest.approx((2, 1, 0.5), rel=0.1)


def test_the_error_of_a_mean_is_of_both_seeds_drawn_anew():
    # (6 + 8 − 2) / 6 = 2; freedoms 12² / (6² / 1 + 8² / 2 + 2² / 2) = 144 / 70
    assert mean_error(TABLE) == pytest.approx((math.sqrt(2), 144 / 70))
    found = over_seeds(by_seed(TABLE))
    assert (
        found.n == 3 and found.mean == 4 and found.sd / math.sqrt(3) == pytest.approx(math.sqrt(2))
    )
    assert found.high - 4 == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt(2))
    # as six independent runs it would be 0.89, and the interval half as wide as it has to be
    assert summary(TABLE.ravel()).high - 4 < 0.5 * (found.high - 4)


def test_the_interval_of_crossed_seeds_holds_the_truth_as_often_as_it_says():
    source, hits = np.random.default_rng(1), 0
    for _ in range(400):
        rows, columns_ = source.normal(size=(3, 1)), source.normal(size=(1, 3))
        found = over_seeds(by_seed(rows + columns_ + 0.1 * source.normal(size=(3, 3))))
        hits += found.low <= 0 <= found.high
    assert hits >= 0.93 * 400  # independent ones would hold it in some 70 %


def test_plain_seeds_are_as_they_were():
    values = {0: 1.0, 3: 2.5, 1: 4.0}
    assert over_seeds(values) == summary([1.0, 4.0, 2.5])
    # data apart but never shared is as independent
    assert over_seeds({Apart(0, 5): 1.0, 1: 2.0, Apart(2, 7): 4.0}) == summary([1.0, 2.0, 4.0])
    # one seed of data for all: only initialisation varies
    assert over_seeds({Apart(0, 5): 1.0, Apart(1, 5): 3.0}) == summary([1.0, 3.0])


def test_the_largest_complete_crossing_counts():
    values = {**by_seed(TABLE), 7: 9.0, 8: 9.0}  # two more plain seeds
    assert complete_grid(values).values.tolist() == TABLE.tolist()
    assert over_seeds(values) == over_seeds(by_seed(TABLE))
    lost = {seed: x for seed, x in by_seed(np.ones((3, 3))).items() if seed != Apart(1, 2)}
    assert complete_grid(lost).values.shape in {(2, 3), (3, 2)}


def test_runs_are_paired_by_both_seeds(folder):  # noqa: F811
    ours, base = by_seed(TABLE + 1), by_seed(TABLE)
    assert paired_difference(ours, base).mean == 1
    assert paired_difference({Apart(0, 1): 1.0}, {0: 1.0, 1: 1.0}).n == 0
    shown = tables.tabulate(
        folder(crossed_lines("a", TABLE) + crossed_lines("b", 2 * TABLE), {"baseline": "a"})
    )
    b = columns(shown)["b"]
    assert b["n"] == "6" and b["difference to a"] == "+4.000 [−2.085, +10.085]"  # see above
    assert any("paired by both" in note for note in shown.notes)
    assert "Seeds: 0, 0x1, 0x2, 1x0, 1, 1x2" in shown.notes
    (spread,) = shown.sections
    assert spread.title == "Where the spread comes from"
    assert spread.rows[0] == (
        "a", "2 × 3", "1.155 (21 %)", "0.225", "1.732 (47 %)", "0.200", "1.414 (32 %)",
    )  # fmt: skip


def test_claims_are_judged_over_crossed_seeds_and_go_through_json():
    lines = crossed_lines("a", TABLE) + crossed_lines("b", 2 * TABLE)
    claim = Claim("id", "b is larger", "none", "higher", {"b": 1, "a": -1}, scale="absolute")
    assert contrasted(claim, lines, "perplexity", "valid") == over_seeds(by_seed(TABLE))
    held = Claim("id", "so", "none", "higher", values=by_seed(TABLE))
    assert claims_of({"claims": as_json([held])})[0].values == by_seed(TABLE)


def test_plain_seeds_have_no_such_section(folder):  # noqa: F811
    assert tables.tabulate(folder([line("a", 0), line("a", 1)])).sections == ()
