"""Early stopping: a replica whose validation loss no longer falls stops as it is, and says so."""

import math

import pytest

from arch import config
from arch.registry import ConfigurationError
from arch.report.lines import read_lines
from arch.training.outcome import out_of_patience
from tests import cli

FIELDS = (
    "train.patience=1", "evaluate.every=5", "log.every=5", "save.every=10",
    "train.optimizer.learning_rate=0.05",
)  # fmt: skip


@pytest.mark.parametrize(
    "losses, patience, out",
    [
        ([3.0, 2.0, 2.5], 1, True),
        ([3.0, 2.0, 2.5], 2, False),
        ([3.0, 2.0, 2.5, 2.0], 2, True),
        ([3.0, 2.0, 2.5, 1.9], 2, False),
        ([2.0], 1, False),
        ([3.0, math.nan], 1, True),
        ([3.0, 4.0, 5.0], 0, False),
    ],
)
def test_patience_is_of_evaluations_in_a_row_without_a_lower_loss(losses, patience, out):
    assert out_of_patience(losses, patience) == out


def test_a_patience_that_no_run_could_use_up_is_refused():
    with pytest.raises(ConfigurationError, match=r"train.patience=4: allowed is 0 \(none\) to 3"):
        config.make(train={"steps": 80, "patience": 4}, evaluate={"every": 20})
    with pytest.raises(ConfigurationError, match="train.patience=-1"):
        config.make(train={"patience": -1})


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """Name → lines of the cell sf: trained together, one by one, and on after a stop."""
    folder = cli.write_small(tmp_path_factory.mktemp("patience"))
    fields = [f"--config.{field}" for field in FIELDS]
    command = ("sweep", "--config=small.py", "--cells=sf", *fields)
    found = {}
    for name, options in (("together", ()), ("alone", ("--replicas=1",))):
        done = cli.run(*command, f"--name={name}", *options, cwd=folder)
        assert done.code == 0, done.err
        found[name] = {x["seed"]: x for x in read_lines(folder / "results" / name)}
    found["table"] = (folder / "results/together/table.md").read_text()
    found["runs"] = folder / "runs"
    return found


def test_each_stops_by_its_own_losses_whatever_the_others_do(lines):
    together, alone = lines["together"], lines["alone"]
    assert together.keys() == alone.keys() == {0, 1}
    for seed, line in together.items():
        assert line["status"] == "finished" and line["steps"] == line["stopped_early"] < 80
        assert line["stopped_early"] % 5 == 0
        assert line["tokens"] == line["steps"] * 4 * 16
        for field in ("stopped_early", "evaluations", "tokens"):
            assert line[field] == alone[seed][field]


def test_it_stops_where_its_losses_say_and_logs_nothing_after(lines):
    for seed, line in lines["together"].items():
        run = cli.folder_of(lines["runs"] / "together", "sf").seed(seed)
        logged = run.lines("metrics.jsonl")
        losses = [x["loss"] for x in logged if x.get("split") == "valid"]
        ends = [n for n in range(1, len(losses) + 1) if out_of_patience(losses[:n], 1)]
        assert ends == [len(losses)] and logged[-1]["step"] == line["stopped_early"]
        assert min(losses) == pytest.approx(min(losses[:-1]))


def test_the_table_says_at_which_steps(lines):
    steps = [f"{line['stopped_early']} (seed {seed})" for seed, line in lines["together"].items()]
    assert "Stopped early" in lines["table"] and f"sf at {', '.join(steps)}." in lines["table"]
