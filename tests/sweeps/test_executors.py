"""Worker processes train what this process would, to the same bytes on equal cores."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import launch
from arch.report.lines import read_lines
from arch.sweeps.executors import orders, processes
from arch.sweeps.executors.local import SMALL, WORTH_SAYING, faster_apart

FILE = """
from arch import config
from arch.sweeps.experiment import Cell

def get_config(arg):
    return config.make(
        seeds=(0, 1),
        model={"width": 16, "order": "(sf)2"},
        task={"corpus": "file:text.txt", "length": 8},
        train={"steps": 4, "batch": 2},
    )

def cells(arg, results):
    first = [Cell("a", {"model.order": "(sf)2"}), Cell("b", {"model.order": "s2f2"})]
    more = results.mean("a") is not None and results.mean("b") is not None
    return first + [Cell("c", {"model.order": "f2s2"})] * more
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "small.py").write_text(FILE)
    lines = (f"line {i} of a text that is short but long enough" for i in range(200))
    (tmp_path / "text.txt").write_text("\n\n".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_worker_processes_train_every_cell_and_those_that_results_call_for(folder, capsys):
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # as many cores as a worker has: equal bytes
    try:
        assert launch.main(["sweep", "--config=small.py", "--name=here"]) == 0
        command = ["sweep", "--config=small.py", "--name=there", "--executor=processes"]
        assert launch.main(command) == 0
    finally:
        os.sched_setaffinity(0, cores)
    table = (folder / "results" / "there" / "table.md").read_text()
    assert "--name=there --executor=processes\n" in table
    there = {(x["cell"], x["seed"]): x for x in read_lines(folder / "results" / "there")}
    here = {(x["cell"], x["seed"]): x for x in read_lines(folder / "results" / "here")}
    assert set(there) == set(here) == {(cell, seed) for cell in "abc" for seed in (0, 1)}
    for key, line in there.items():
        assert line["evaluations"] == here[key]["evaluations"]
        assert line["hash"] == here[key]["hash"]
    for metrics in Path("runs/here").glob("*/seed*/metrics.jsonl"):
        assert metrics.read_bytes() == (Path("runs/there") / Path(*metrics.parts[2:])).read_bytes()


@pytest.mark.slow
def test_a_worker_that_fails_is_one_failed_cell(folder, monkeypatch):
    plugin = folder / "fails.py"
    plugin.write_text(
        "from arch.registry import sublayers\n"
        "from arch.sublayers import trials\n"
        "from arch.sublayers.feed_forward import FeedForward\n"
        "@sublayers.register('fails')\n"
        "class Fails(FeedForward):\n"
        "    def __call__(self, x, context):\n"
        "        if x.shape[1] != trials.LENGTH: raise RuntimeError('out of luck')\n"
        "        return x\n"
    )
    text = FILE.replace('{"model.order": "s2f2"}', '{"model.sublayers.f.kind": "fails"}')
    text = text.replace("seeds=(0, 1),", "seeds=(0,), plugins=('fails.py',),")
    (folder / "small.py").write_text(text)
    command = ["sweep", "--config=small.py", "--name=x", "--executor=processes"]
    assert launch.main(command) == 1
    status = {x["cell"]: x["status"] for x in read_lines(folder / "results" / "x")}
    assert status == {"a": "finished", "b": "failed"}
    state = json.loads(next(Path("runs/x").glob("b-*/state.json")).read_text())
    assert "out of luck" in state["error"]


def test_what_has_ended_is_told_while_others_go_on(tmp_path, monkeypatch):
    """Each worker waits until the one before it has been told of."""
    monkeypatch.setattr(processes, "slots", lambda: [{}])
    wait = "import pathlib, sys, time\nplace = pathlib.Path(sys.argv[1])\n" + (
        "while not place.exists(): time.sleep(0.01)"
    )
    started, told = [], []

    def start(environment, output):
        place = tmp_path / str(len(started))
        started.append(place)
        return subprocess.Popen(
            [sys.executable, "-c", wait, str(place)], stdin=subprocess.PIPE, text=True
        )

    def ended(done):
        told.append(done)
        (tmp_path / str(done)).touch()

    monkeypatch.setattr(processes, "_start", start)
    (tmp_path / "0").touch()
    orders = [({"cells": str(i)}, tmp_path / "log") for i in range(3)]
    ticks = itertools.count()
    assert processes.serve(orders, lambda: False, ended, lambda: next(ticks)) == []
    assert next(ticks) >= 3
    assert told == [1, 2, 3] and len(started) == 3


def test_where_the_cells_stand_is_said_of_those_that_train_now():
    def at(cell, **state):
        config = SimpleNamespace(train=SimpleNamespace(steps=1000))
        folder = SimpleNamespace(state=state)
        return SimpleNamespace(cell=SimpleNamespace(name=cell), config=config, folder=folder)

    jobs = [at("a", state="finished", step=1000), at("b", state="running", step=240), at("c")]
    assert orders.steps_said(jobs) == "b 240 of 1,000 steps"
    assert orders.steps_said(jobs[2:]) == "workers are starting"


def job(parameters=SMALL - 1, steps=WORTH_SAYING, seeds=(0,)):
    """What is asked of a job before it trains."""
    return SimpleNamespace(
        unfinished=lambda: list(seeds),
        model=SimpleNamespace(parameter_counts=lambda: {"applied": parameters}),
        config=SimpleNamespace(train=SimpleNamespace(steps=steps)),
    )


def test_small_models_are_said_to_train_faster_with_a_core_each():
    assert "2 cells" in faster_apart([job(), job()], "cpu", 2)
    assert "--executor=processes" in faster_apart([job(), job(), job(seeds=())], "cpu", 8)
    silent = [
        ([job(), job()], "cpu", 1),
        ([job(), job()], "gpu", 2),
        ([job(), job(seeds=())], "cpu", 2),
        ([job(), job(parameters=SMALL)], "cpu", 2),
        ([job(steps=4), job(steps=4)], "cpu", 2),
    ]
    assert not any(faster_apart(*given) for given in silent)
