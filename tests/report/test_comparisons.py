"""The differences of a table: corrected for their number, with what they could have shown."""

import csv
import io

import pytest
from scipy import stats

from arch.report import renderers, tables
from arch.report.inference import detectable_difference
from tests.report.test_report import columns, folder, line  # noqa: F401  folder is a fixture

BASE = {0: 4.0, 1: 5.0, 2: 6.0}
# differences -1, -0.9, -1.1 (p 0.0033) and -0.5, -0.2, -0.35 (p 0.058) and -0.4, -0.2, -0.35
SHIFTS = {"far": (-1.0, -0.9, -1.1), "near": (-0.4, -0.2, -0.35), "none": (0.1, -0.1, 0.05)}


def arms(*names):
    return [line("k0", s, v) for s, v in BASE.items()] + [
        line(name, s, BASE[s] + shift) for name in names for s, shift in enumerate(SHIFTS[name])
    ]


def test_several_comparisons_are_corrected_and_one_is_not(folder):  # noqa: F811
    alone = columns(tables.tabulate(folder(arms("near"), {"baseline": "k0"})))["near"]
    assert alone["difference to k0"].endswith("] *") and "p (Holm)" not in alone
    table = tables.tabulate(folder(arms("far", "near", "none"), {"baseline": "k0"}))
    found = columns(table)
    p = {name: stats.ttest_1samp(shifts, 0).pvalue for name, shifts in SHIFTS.items()}
    assert found["far"]["p (Holm)"] == f"{3 * p['far']:.3f}"
    assert found["near"]["p (Holm)"] == f"{2 * p['near']:.3f}"
    assert found["far"]["difference to k0"].endswith("] *")
    assert found["near"]["difference to k0"].endswith("] (*)")
    assert found["none"]["difference to k0"].endswith("]")
    assert found["k0"]["p (Holm)"] == "—"
    assert any("Holm's correction for 3 comparisons" in note for note in table.notes)


def test_a_difference_says_what_it_could_have_shown(folder):  # noqa: F811
    found = columns(tables.tabulate(folder(arms("far"), {"baseline": "k0"})))["far"]
    assert float(found["detectable"]) == pytest.approx(detectable_difference(0.1, 3), abs=1e-3)


def test_a_cell_at_the_frequencies_of_tokens_is_untrained_and_not_compared(folder):  # noqa: F811
    lines = arms("far", "near")
    for found in lines:
        found["evaluations"]["valid"]["loss"] = 3.5 if found["cell"] == "far" else 2.0
    trivial = {cell: {"valid": 3.4} for cell in ("k0", "far", "near")}
    table = tables.tabulate(folder(lines, {"baseline": "k0"}, trivial=trivial))
    assert columns(table)["far"]["difference to k0"] == "untrained"
    assert columns(table)["near"]["difference to k0"].endswith("] *")
    assert any(note.startswith("Untrained, and not compared") for note in table.notes)
    trivial["k0"]["valid"] = 1.0
    nothing = tables.tabulate(folder(lines, {"baseline": "k0"}, name="b", trivial=trivial))
    assert columns(nothing)["near"]["difference to k0"] == "—"
    assert columns(nothing)["k0"]["difference to k0"] == "untrained"


def test_csv_has_what_the_paper_measured_and_no_count_it_does_not_give(folder):  # noqa: F811
    table = {"baseline": "k0", "paper": {"k0": 79.8, "far": {"value": 80.1, "sd": 0.2, "n": 5}}}
    table |= {"paper_metric": "average of tasks", "paper_unit": "%"}
    text = renderers.to_csv(tables.tabulate(folder(arms("far"), table)))
    base, far = csv.DictReader(io.StringIO(text))
    assert base["paper_metric"] == far["paper_metric"] == "average of tasks"
    assert (base["paper"], base["paper_n"], far["paper_n"]) == ("79.8", "", "5")
    assert base["p_holm"] == "" and float(far["p_holm"]) < 0.05 and float(far["detectable"]) > 0
