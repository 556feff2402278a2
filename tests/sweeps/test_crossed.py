"""Seeds of initialisation and data apart, from the command line to the table."""

from pathlib import Path

import pytest

from arch.report.curves import read_curves
from arch.report.lines import read_lines
from arch.report.seeds import Apart, line_seed
from tests import cli
from tests.sweeps.test_reuse import trains  # noqa: F401  a fixture


@pytest.mark.slow
def test_a_crossing_trains_each_pair_once_and_says_where_the_spread_comes_from(
    tmp_path,
    monkeypatch,
    trains,  # noqa: F811
):
    monkeypatch.chdir(cli.write_small(tmp_path))
    argv = ("sweep", "--config=small.py", "--cells=sf", "--name=x")
    assert cli.run(*argv, "--seeds=2").code == 0
    done = cli.run(*argv, "--seeds=2x2")
    assert done.code == 0, done.err
    assert trains == [("sf", 0), ("sf", 1), ("sf", Apart(0, 1)), ("sf", Apart(1, 0))]
    lines = read_lines("results/x")
    assert [line_seed(line) for line in lines] == [0, Apart(0, 1), Apart(1, 0), 1]
    assert "data_seed" not in lines[0] and lines[1]["data_seed"] == 1
    assert [line_seed(curve) for curve in read_curves("results/x")] == [
        0,
        Apart(0, 1),
        Apart(1, 0),
        1,
    ]
    assert len({line["evaluations"]["valid"]["loss"] for line in lines}) == 4
    assert len({line["hash"] for line in lines}) == 1
    table = Path("results/x/table.md").read_text()
    assert "## Where the spread comes from" in table and "2 × 2" in table
    # one seed of data for all is a part of it: nothing is left to train
    assert cli.run(*argv, "--seeds=2", "--config.train.data_seed=1").code == 0
    assert len(trains) == 4
    (run,) = Path("runs/x").glob("sf-*")
    shown = cli.run("generate", f"--run={run}", "--seed=0x1", "--prompt=a", "--tokens=3")
    assert shown.code == 0, shown.err
    for argv_, said in (
        ([*argv, "--seeds=2x2", "--config.train.data_seed=1"], "seed 1x0 has data of its own"),
        (["generate", f"--run={run}", "--seed=0x9", "--prompt=a"], "there are 0, 0x1, 1x0, 1"),
        (["generate", f"--run={run}", "--seed=0-1", "--prompt=a"], "expected a seed like 3, or"),
        ([*argv, "--config.train.data_seed=-2"], "train.data_seed=-2: allowed is -1"),
    ):
        refused = cli.run(*argv_)
        assert refused.code == 2 and refused.err.count("\n") == 1, refused.err
        assert said in refused.err
