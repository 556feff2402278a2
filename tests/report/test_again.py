"""The way back to a table: the cells and seeds that sweeps were asked for."""

import pytest

from arch.report import again
from arch.report.lines import write_experiment, write_lines
from arch.report.seeds import Apart
from arch.report.tables import tabulate

SWEEP = "python launch.py sweep --config=e.py"


@pytest.mark.parametrize(
    ("cells", "seeds", "choice"),
    [
        ("*", (), {}),
        ("k[03]", (), {"cells": "k[03]"}),
        ("*", (0, 1, 2), {"seeds": "3"}),
        ("*", (5,), {"seeds": "5-5"}),
        ("k0", (100, 101), {"cells": "k0", "seeds": "100-101"}),
        ("*", (1, 3), {"seeds": "1,3"}),
        ("*", (0, Apart(0, 1)), {"seeds": "0,0x1"}),
    ],
)
def test_a_choice_is_what_was_typed(cells, seeds, choice):
    assert again.choice(cells, seeds) == choice


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        (None, [SWEEP]),
        ([{"cells": "k[03]"}], [f"{SWEEP} '--cells=k[03]'"]),
        ([{"cells": "k0"}, {"cells": "k3", "seeds": "5"}],
         [f"{SWEEP} --cells=k0", f"{SWEEP} --cells=k3 --seeds=5"]),
        ([{"cells": "k0"}, {}, {"seeds": "5"}], [SWEEP, f"{SWEEP} --seeds=5"]),
    ],
)  # fmt: skip
def test_every_choice_is_a_line_and_what_another_contains_is_none(asked, lines):
    held = {"config": "e.py"} | ({"asked": asked} if asked else {})
    assert again.again(held).splitlines() == lines


def test_workers_of_a_core_each_are_part_of_the_way_back():
    held = {"config": "e.py", "name": "x", "executor": "processes"}
    assert again.again(held) == f"{SWEEP} --name=x --executor=processes"


@pytest.mark.parametrize(
    "globs, named",
    [("*", "abc"), ("a", "a"), ("a,c", "ac"), ("[ab]", "ab"), ("[a,b]", "ab"), ("d", "")],
)
def test_globs_with_commas_between_name_what_any_of_them_does(globs, named):
    assert "".join(cell for cell in "abc" if again.named_by(cell, globs)) == named


def test_cells_that_no_sweep_asked_for_are_no_rows_unless_they_have_lines(tmp_path):
    line = {"seed": 0, "device": "cpu", "hash": "h", "status": "finished",
            "evaluations": {"valid": {"loss": 1.0}}}  # fmt: skip
    write_lines(tmp_path, [line | {"cell": cell} for cell in ("a", "c")])
    held = {"cells": ["a", "b", "c", "d"], "table": {"metric": "loss"}, "config": "e.py"}
    for asked, rows in (([{"cells": "[ab]"}], ["a", "b", "c"]), ([{}], ["a", "b", "c", "d"])):
        write_experiment(tmp_path, held | {"asked": asked})
        assert [row.cell for row in tabulate(tmp_path).rows] == rows
