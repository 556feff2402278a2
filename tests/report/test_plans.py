"""results/plan/: lines, and the tables that are made of them."""

import csv
import io

import pytest

from arch.report import plans


def plan(peak: float, **fields) -> dict:
    """A plan as `plan --json` prints it, of a chip of 16 GiB."""
    return {
        "mesh": {"data": 16}, "changes": {}, "devices": 16, "weights": 247_000_000,
        "fits": peak <= 16, "memory": 16 * 2**30, "peak": peak * 2**30, "parameters": 1,
        "state": 1, "temporary": 1, "flops": 2e12, "bytes": 1e9, "attention": {"s": ["plain"]},
        "step_seconds": 0.25, "tokens_per_second": 4e5, "tokens": 1e9, "hours": 12.5,
        "chip_hours": 200.0, "compile_seconds": 60.0, **fields,
    }  # fmt: skip


def line(experiment: str, *tried: dict, error: str = "", topology: str = "v5e:4x4") -> dict:
    fitting = [one for one in tried if one["fits"]]
    return {
        "experiment": experiment, "cell": "k0", "topology": topology, "command": "python …",
        "error": error, "optimizer": "adamw", "cheapest": fitting[0] if fitting else None,
        "tried": list(tried),
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "plan"
    over = plan(24.0, changes={"model.stack.remat": "full"})
    plans.add(folder, line("b.py", plan(12.0)))
    plans.add(folder, line("a.py", plan(32.0), over))
    plans.add(folder, line("c.py", error="not compiled in 10 minutes"))
    return folder


def rows(folder) -> dict[str, dict[str, str]]:
    made = plans.grid("v5e:4x4", plans.read(folder))
    return {row[0]: dict(zip(made.columns, row, strict=True)) for row in made.rows}


def test_a_row_says_what_fits_and_what_it_takes(folder):
    found = rows(folder)["b.py"]
    assert (found["mesh"], found["to fit"]) == ("data=16", "")
    assert (found["GiB a device"], found["of the chip"]) == ("12.00", "75%")
    assert (found["TFLOP a step"], found["hours"], found["chip-hours"]) == ("32.00", "12.5", "200")
    assert (found["parameters"], found["attention"]) == ("247.0M", "s plain")


def test_what_does_not_fit_says_by_how_much_and_with_what(folder):
    assert rows(folder)["a.py"]["to fit"] == "model.stack.remat=full (50% over)"


def test_what_was_not_compiled_says_why(folder):
    found = rows(folder)["c.py"]
    assert found["mesh"] == "not compiled in 10 minutes" and found["hours"] == "—"


def test_a_line_takes_the_place_of_the_one_before_it(folder):
    plans.add(folder, line("b.py", plan(8.0)))
    plans.add(folder, line("b.py", plan(8.0), topology="h100:1x1x8"))
    topologies = [plans.key(one) for one in plans.read(folder)]
    assert topologies == [("h100:1x1x8", "b.py"), *(("v5e:4x4", f"{n}.py") for n in "abc")]
    assert rows(folder)["b.py"]["GiB a device"] == "8.00"


def test_both_tables_are_of_the_lines_alone(folder):
    page, lines = (folder / "table.md").read_text(), plans.read(folder)
    assert page == plans.to_page(lines) and "A chip has 16.00 GiB." in page
    table = list(csv.DictReader(io.StringIO((folder / "table.csv").read_text())))
    assert [row["experiment"] for row in table] == ["a.py", "b.py", "c.py"]
    assert table[1]["peak"] == str(12.0 * 2**30) and table[2]["error"].startswith("not compiled")
