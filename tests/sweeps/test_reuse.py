"""A finished (cell, seed) is known by its hash, wherever it was trained."""

import json
import shutil
from pathlib import Path

import pytest

from arch.report.curves import read_curves
from arch.report.lines import read_lines
from arch.training.group import Group
from tests import cli


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with the cell sf trained under the name `first`, and a second experiment, whose cell
    `baseline` is the same configuration."""
    folder = cli.write_small(tmp_path_factory.mktemp("trained"))
    done = cli.run("sweep", "--config=small.py", "--name=first", "--cells=sf", cwd=folder)
    assert done.code == 0, done.err
    code = (folder / "small.py").read_text()
    other = code.replace('Cell("sf"', 'Cell("baseline"').replace(
        '"baseline": "sf"', '"baseline": ""'
    )
    assert other.count("baseline") == 2
    (folder / "other.py").write_text(other)
    return folder


@pytest.fixture
def folder(trained, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(cli.copy(trained, tmp_path))
    return tmp_path


@pytest.fixture
def trains(monkeypatch) -> list[tuple[str, int]]:
    """(cell, seed) of every replica that is trained."""
    found, run = [], Group.run

    def counted(group, stop):
        found.extend((member.cell, member.seed) for member in group.members)
        run(group, stop)

    monkeypatch.setattr(Group, "run", counted)
    return found


def test_two_experiments_that_share_a_cell_train_it_once(folder, trains):
    planned = cli.run("sweep", "--config=other.py", "--name=second", "--dry-run")
    assert "baseline seed 1: finished as first/sf, by the same hash" in planned.out
    assert not Path("runs/second").exists()
    done = cli.run("sweep", "--config=other.py", "--name=second")
    assert done.code == 0, done.err
    assert "baseline seeds 0, 1: finished as first/sf, by the same hash\n" in done.out
    assert trains == [("fs", 0), ("fs", 1)]
    first = {line["seed"]: line for line in read_lines("results/first")}
    for line in read_lines("results/second"):
        if line["cell"] == "baseline":
            assert line["from"] == "first/sf"
            assert line["evaluations"] == first[line["seed"]]["evaluations"]
    table = Path("results/second/table.md").read_text()
    assert "trained under another name: baseline is first/sf (seeds 0–1)" in table
    # it is a run like any other: its checkpoints are there, and outlive those of the first
    shutil.rmtree("runs/first")
    told = cli.run("evaluate", f"--run={cli.folder_of(Path('runs/second'), 'baseline').path}")
    assert told.code == 0, told.err
    assert cli.run("sweep", "--config=other.py", "--name=second").code == 0
    assert len(trains) == 2


def test_fresh_trains_what_is_finished_elsewhere(folder, trains):
    argv = ("sweep", "--config=other.py", "--name=second", "--cells=baseline", "--seeds=1")
    assert cli.run(*argv, "--fresh").code == 0
    assert trains == [("baseline", 0)]
    assert "from" not in read_lines("results/second")[0]
    refused = cli.run(*argv, "--fresh", "--reuse")
    assert refused.code == 2 and "--reuse --fresh: expected one of them" in refused.err


def test_committed_lines_count_where_reuse_asks_for_it(folder, trains):
    """As in a fresh clone, which has results/ and no runs/."""
    shutil.rmtree("runs")
    argv = ("sweep", "--config=small.py", "--name=first", "--cells=sf")
    done = cli.run(*argv, "--reuse")
    assert done.code == 0, done.err
    assert trains == [] and "sf seeds 0, 1: finished as first/sf" in done.out
    assert not any("from" in line for line in read_lines("results/first"))  # they are its own
    curves = read_curves("results/first")
    assert [(one["cell"], one["seed"], one["valid"]["step"]) for one in curves] == [
        ("sf", 0, [20, 40, 60, 80]),
        ("sf", 1, [20, 40, 60, 80]),
    ]
    assert cli.run(*argv, "--reuse", "--name=other").code == 0 and trains == []
    assert read_curves("results/other") == curves  # from beside the lines, with no metrics here
    shutil.rmtree("runs")
    assert cli.run(*argv, "--seeds=1").code == 0
    assert trains == [("sf", 0)]


def test_another_device_or_an_edited_summary_is_not_taken(folder, trains):
    for seed, change in ((0, {"device": "tpu"}), (1, {"steps": 1})):
        file = next(Path("runs/first").glob(f"sf-*/seed{seed}/summary.json"))
        held = json.loads(file.read_text())
        if "device" in change:
            held.pop("digest")
        file.write_text(json.dumps(held | change))
    done = cli.run("sweep", "--config=other.py", "--name=second", "--cells=baseline")
    assert done.code == 0, done.err
    assert trains == [("baseline", 0), ("baseline", 1)]
