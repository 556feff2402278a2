from types import SimpleNamespace

import pytest

from arch.report.sections import Mean, difference_text, mean_text, means_by_cell, number_text

FIGURES = {
    ("k0", "accuracy", "test"): {0: 0.25, 1: 0.75},
    ("k0", "loss", "valid"): {0: 2.0, 1: 4.0, 2: 3.0},
    ("k6", "loss", "valid"): {0: 1.5},
}
RESULTS = SimpleNamespace(
    values=lambda cell, metric="", split="": FIGURES.get(
        (cell, metric or "loss", split or "valid"), {}
    )
)
CELLS = [SimpleNamespace(name=name) for name in ("k0", "k6", "k9")]


def test_a_row_per_cell_has_its_name_n_and_means():
    section = means_by_cell(
        "T", RESULTS, CELLS, [Mean("loss"), Mean("%", "accuracy", "test", 1, 100)]
    )
    assert section == {
        "title": "T",
        "columns": ["cell", "n", "loss", "%"],
        "rows": [
            ["k0", "3", "3.000 ± 1.000", "50.0 ± 35.4"],
            ["k6", "1", "1.500 (single run)", "—"],
            ["k9", "0", "—", "—"],
        ],
    }


def test_labels_published_figures_and_a_note_stand_beside():
    section = means_by_cell(
        "T", RESULTS, CELLS[:2], [Mean("loss", places=1)], first="model", counted=False,
        labels={"k0": "baseline"}, beside={"paper": {"k0": "18.65"}}, note="why",
    )  # fmt: skip
    assert section["columns"] == ["model", "loss", "paper"]
    assert section["rows"] == [
        ["baseline", "3.0 ± 1.0", "18.65"], ["k6", "1.5 (single run)", "—"],
    ]  # fmt: skip
    assert section["note"] == "why"


def test_a_difference_is_paired_by_seed_and_a_dash_without_pairs():
    assert difference_text({0: 1.0, 1: 2.2}, {1: 0.9, 0: 2.1}, 1) == "+0.1 [−15.1, +15.3]"
    assert difference_text({0: 1.0}, {1: 2.0}) == "—"


@pytest.mark.parametrize(
    "value, form, text", [(None, ".2f", "—"), (float("nan"), "g", "—"), (1234.5, ",.1f", "1,234.5")]
)
def test_a_number_that_is_not_there_is_a_dash(value, form, text):
    assert number_text(value, form) == text


def test_a_single_text_is_that_of_the_column():
    assert mean_text(RESULTS, "k0") == "3.000 ± 1.000"
    assert mean_text(RESULTS, "k0", "accuracy", "test", 2) == "0.50 ± 0.35"
