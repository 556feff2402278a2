"""Several values for a field that takes one are a product of cells."""

import json
from pathlib import Path

import pytest

from arch.report.lines import read_experiment, read_lines
from arch.sweeps.experiment import Experiment, Results
from tests import cli

RATE = "train.optimizer.learning_rate"
NONE = Results([], "perplexity", "valid")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with small.py, in which one is."""
    monkeypatch.chdir(cli.write_small(tmp_path))
    return tmp_path


def test_each_cell_is_made_for_each_value_and_says_so_in_its_name(small):
    experiment = Experiment("small.py", {RATE: "5e-4,1e-3", "train.steps": "7"})
    cells = experiment.cells(NONE)
    assert [cell.name for cell in cells] == [
        "sf-learning_rate=5e-4", "fs-learning_rate=5e-4",
        "sf-learning_rate=1e-3", "fs-learning_rate=1e-3",
    ]  # fmt: skip
    configs = [experiment.config(cell) for cell in cells]
    assert [c.train.optimizer.learning_rate for c in configs] == [5e-4, 5e-4, 1e-3, 1e-3]
    assert [(c.model.order, c.train.steps) for c in configs] == [("sf", 7), ("fs", 7)] * 2
    assert experiment.config().train.optimizer.learning_rate == 5e-4
    assert experiment.table(cells, NONE)["baseline"] == cells[0].name


def test_fields_are_crossed_and_kinds_and_orders_count(small):
    experiment = Experiment("small.py", {RATE: "1,2", "model.stack.kind": "sequential,universal"})
    assert len(experiment.cells(NONE)) == 2 * 2 * 2
    assert experiment.cells(NONE)[-1].name == "fs-learning_rate=2-kind=universal"
    # a field that is there by another override alone
    looped = {"model.stack.kind": "universal", "model.stack.steps": "2,3"}
    steps = Experiment("small.py", looped)
    assert [steps.config(c).model.stack.steps for c in steps.cells(NONE)] == [2, 2, 3, 3]


def test_a_list_takes_several_values_and_a_text_its_comma(small):
    experiment = Experiment("small.py", {"seeds": "3,4", "evaluate.splits": "valid,test"})
    assert experiment.products == {}
    assert [experiment.config(cell).seeds for cell in experiment.cells(NONE)] == [(3, 4)] * 2
    named = Experiment("small.py", {"task.corpus": "file:a,b"})
    assert named.products == {} and named.config().task.corpus == "file:a,b"


def test_what_is_wrong_with_one_value_is_named(small):
    told = cli.run("describe", "--config=small.py", f"--config.{RATE}=1e-3,fast", cwd=small)
    assert told.code == 2 and f"--config.{RATE}='fast': " in told.err


def test_a_product_is_described_planned_and_swept(small):
    argv = ("--config=small.py", f"--config.{RATE}=0.001,0.01")
    rows = cli.run("describe", *argv, "--json", cwd=small).out.splitlines()
    assert [json.loads(row)["cell"] for row in rows][2] == "sf-learning_rate=0.01"
    planned = cli.run("sweep", *argv, "--dry-run", cwd=small)
    assert f"sf-learning_rate=0.01 differs from sf-learning_rate=0.001 in: {RATE}" in planned.out
    done = cli.run("sweep", *argv, "--cells=sf-*", "--seeds=1", "--name=x", cwd=small)
    assert done.code == 0, done.err
    lines = {line["cell"]: line for line in read_lines("results/x")}
    assert list(lines) == ["sf-learning_rate=0.001", "sf-learning_rate=0.01"]
    losses = {line["evaluations"]["valid"]["loss"] for line in lines.values()}
    assert len(losses) == 2
    assert read_experiment("results/x")["cells"][:1] == ["sf-learning_rate=0.001"]
    assert "0.001,0.01" in Path("results/x/table.md").read_text()


@pytest.mark.slow
def test_worker_processes_know_the_product_too(small):
    argv = ("--config=small.py", f"--config.{RATE}=0.001,0.01", "--config.train.steps=20")
    more = ("--cells=sf-*", "--seeds=1", "--name=x", "--executor=processes")
    done = cli.spawn("sweep", *argv, *more, cwd=small)
    assert done.code == 0, done.err
    assert {line["status"] for line in read_lines("results/x")} == {"finished"}
    assert len(read_lines("results/x")) == 2
