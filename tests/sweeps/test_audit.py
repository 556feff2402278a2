"""`audit` names the lines that today's code would not make again."""

import json
from pathlib import Path

import pytest

from arch.report.lines import read_lines, write_lines
from arch.report.seals import sealed
from arch.sweeps.audit import audit, compared
from tests import cli

FOLDER = Path("results/x")


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    folder = cli.write_small(tmp_path_factory.mktemp("swept"))
    done = cli.run("sweep", "--config=small.py", "--name=x", "--seeds=1", cwd=folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def folder(swept, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(cli.copy(swept, tmp_path))
    return tmp_path


def change(**fields) -> None:
    """Change a field of the first line, as other code would have written it."""
    first, *rest = read_lines(FOLDER)
    write_lines(FOLDER, [sealed(first | fields), *rest])


def test_what_today_s_code_made_is_not_named_and_comes_again(folder):
    assert audit(FOLDER) == []
    before = cli.files(folder / "results", folder / "runs")
    told = cli.run("audit", "--rerun")
    assert told.code == 0, told.err
    assert "1 of 1 folders: the present code would make every line again" in told.out
    assert "x: sf seed 0: every figure is the same\n" in told.out
    assert cli.files(folder / "results", folder / "runs") == before


def test_a_hash_a_cell_and_numerics_of_other_days_are_named(folder):
    file = folder / "small.py"
    text = file.read_text()
    file.write_text(text.replace('"steps": 80', '"steps": 90'))
    (one,) = audit(FOLDER)
    assert (one.lines, one.cells) == (2, ("sf", "fs")) and "another hash now" in one.what
    file.write_text(text.replace('Cell("fs"', 'Cell("ffs"'))
    (one,) = audit(FOLDER)
    assert one.cells == ("fs",) and "no such cell now" in one.what
    file.write_text(text)
    change(numerics=1)
    (one,) = audit(FOLDER)
    assert one.what == "made by NUMERICS 1, and 2 touches it"
    told = cli.run("audit", "--name=x")
    assert told.code == 0 and "0 of 1 folders" in told.out and "made by NUMERICS" in told.out
    file.unlink()
    (one,) = audit(FOLDER)
    assert "cannot be made" in one.what


def test_a_figure_that_does_not_come_again_is_named(folder):
    line = read_lines(FOLDER)[0]
    figures = json.loads(json.dumps(line["evaluations"]))
    figures["valid"]["loss"] *= 1.5
    change(evaluations=figures)
    told = cli.run("audit", "--rerun", "--name=x")
    assert "x: sf seed 0: 1 of " in told.out
    assert "figures differ, valid.loss most, by 0.33" in told.out


def test_figures_are_compared_by_their_relative_change():
    assert compared({"a": {"x": 2.0, "unit": "byte"}}, {"a": {"x": 2.0, "unit": "byte"}}) == (
        "every figure is the same"
    )
    assert compared({"a": {"x": 2.0, "y": 1.0}}, {"a": {"x": 3.0, "y": 1.0}}) == (
        "1 of 2 figures differ, a.x most, by 0.5"
    )
    assert compared({"a": {"x": 2.0}}, {"b": {}}) == "figures are gone: a.x"


def test_cells_of_one_run_are_named_together(folder):
    write_lines("results/y", [sealed(x | {"cell": "other"}) for x in read_lines(FOLDER)[:1]])
    told = cli.run("audit", "--name=x")
    assert "one and the same run: x/sf = y/other\n" in told.out


def test_what_is_counted_and_not_trained_is_of_no_numerics(monkeypatch):
    """albert_sizes counts the parameters of models with dropout, whose bits have changed since."""
    monkeypatch.chdir(cli.REPOSITORY)
    folder = Path("results/albert_sizes")
    assert {line["numerics"] for line in read_lines(folder)} == {1}
    assert audit(folder) == []
