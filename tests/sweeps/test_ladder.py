"""A ladder gives each arm its best value, chosen on seeds that no other figure has."""

import json
import shutil
from pathlib import Path

import pytest

from arch.registry import ConfigurationError
from arch.report import tables
from arch.report.claims import judge_folder
from arch.report.lines import read_experiment, read_lines, write_lines
from arch.report.seals import sealed
from arch.sweeps.audit import audit
from arch.sweeps.cells import Cell, Results
from arch.sweeps.experiment import Experiment
from arch.sweeps.ladder import Ladder, ladder
from arch.sweeps.stored import stored_experiment
from arch.sweeps.sweep import Sweep
from tests import cli
from tests.report.test_report import columns, folder, line  # noqa: F401  folder is a fixture

RATE = "train.optimizer.learning_rate"
VALUES, PILOT = ("5e-4", "1e-3", "2e-3"), (100, 101)
ARMS = [Cell("pre", {}), Cell("post", {"model.stack.norm": "post"}, seeds=(7, 8))]


def pilot_lines(arm, losses, status="finished"):
    """A line of each pilot seed at each value; the losses are by value, then by seed."""
    return [
        line(f"{arm}-learning_rate={value}", seed, loss, status=status)
        for value, pair in zip(VALUES, losses, strict=True)
        for seed, loss in zip(PILOT, pair, strict=True)
    ]


def climbed(lines, arms=ARMS, **options):
    known = Results(lines, "perplexity", "valid")
    return ladder(arms, RATE, VALUES, PILOT, known, **options)


def test_pilots_come_first_and_each_arm_takes_its_own_best():
    first = climbed([])
    assert [cell.name for cell in first] == [
        f"{arm}-learning_rate={value}" for arm in ("pre", "post") for value in VALUES
    ]
    assert all(cell.seeds == PILOT and cell.rung.pilot for cell in first)
    # means 5, 4.5, 6 for pre and 3, 2.5, 2 for post; the one best single run is at pre's 2e-3
    lines = pilot_lines("pre", [(5, 5), (4, 5), (1, 11)]) + pilot_lines(
        "post", [(3, 3), (2, 3), (2, 2)]
    )
    arms = [cell for cell in climbed(lines) if not cell.rung.pilot]
    assert [(cell.name, cell.typed, cell.seeds) for cell in arms] == [
        ("pre", {RATE: "1e-3"}, ()),
        ("post", {RATE: "2e-3"}, (7, 8)),
    ]
    highest = [cell for cell in climbed(lines, lower_is_better=False) if not cell.rung.pilot]
    assert [cell.typed[RATE] for cell in highest] == ["2e-3", "5e-4"]


def test_of_equally_good_values_the_one_of_the_least_loss_is_taken():
    """As where all get everything right: one was only just in time."""
    lines = pilot_lines("pre", [(1, 1)] * 3)
    assert climbed(lines, ARMS[:1], lower_is_better=False)[-1].typed == {RATE: "5e-4"}
    for one, loss in zip(lines, (0.2, 0.2, 0.01, 0.02, 0.1, 0.0), strict=True):
        one["evaluations"]["valid"]["loss"] = loss
    assert climbed(lines, ARMS[:1], lower_is_better=False)[-1].typed == {RATE: "1e-3"}


def test_nothing_is_chosen_before_every_pilot_has_ended():
    lines = pilot_lines("pre", [(5, 5), (4, 5), (1, 11)])
    for missing in range(len(lines)):
        assert all(c.rung.pilot for c in climbed(lines[:missing] + lines[missing + 1 :]))
        failed = [
            {**one, "status": "failed"} if n == missing else one for n, one in enumerate(lines)
        ]
        assert all(c.rung.pilot for c in climbed(failed))


def test_a_value_that_diverges_on_one_seed_is_not_chosen_and_none_may_be_left():
    lines = pilot_lines("pre", [(5, 5), (4, 5), (1, 1)])
    lines[-1]["status"] = "diverged"
    assert climbed(lines, ARMS[:1])[-1].typed == {RATE: "1e-3"}
    assert all(c.rung.pilot for c in climbed(pilot_lines("pre", [(5, 5)] * 3, "nan"), ARMS[:1]))


def test_an_arm_that_sets_the_field_and_a_metric_that_is_not_there_are_named():
    with pytest.raises(
        ConfigurationError, match=f"ladder of {RATE}: cell a sets this field itself"
    ):
        climbed([], [Cell("a", {RATE: 1.0})])
    with pytest.raises(ConfigurationError, match="pre-learning_rate=5e-4 has no bleu on valid"):
        climbed(pilot_lines("pre", [(5, 5)] * 3), ARMS[:1], metric="bleu", split="valid")


def test_a_report_shows_the_value_of_each_arm_and_pilots_in_the_ladder_alone(folder):  # noqa: F811
    lines = pilot_lines("pre", [(5, 5), (4, 5), (1, 11)]) + pilot_lines(
        "post", [(3, 3), (2, 3), (2, 2)]
    )
    cells = climbed(lines)
    lines += [line(cell, seed, 4.0) for cell in ("pre", "post") for seed in (0, 1)]
    rungs = {cell.name: json.loads(json.dumps(cell.rung.as_json())) for cell in cells}
    contrast = {"post-learning_rate=1e-3": 1, "pre-learning_rate=1e-3": -1}
    claim = {"id": "c", "statement": "s", "source": "x", "direction": "lower"}
    held = {
        "rungs": rungs,
        "claims": [{**claim, "contrast": contrast}],
    }
    path = folder(lines, {"baseline": "pre"}, **held)
    shown = tables.tabulate(path)
    assert list(columns(shown)) == ["pre", "post"]
    assert [row["learning rate"] for row in columns(shown).values()] == ["1e-3", "2e-3 (end)"]
    assert "Seeds: 0–1" in shown.notes
    assert any("pilot seeds 100–101, which are in no figure but" in note for note in shown.notes)
    assert any("may lie beyond (post)" in note for note in shown.notes)
    (climb,) = [s for s in shown.sections if s.title == f"Ladder of {RATE}"]
    assert climb.columns == ("cell", *VALUES)
    assert climb.rows[0] == ("pre", "5.000 ± 0.000", "4.500 ± 0.707 (chosen)", "6.000 ± 7.071")
    (judged,) = judge_folder(path)
    assert judged.verdict.verdict == "not run"  # a pilot decides nothing


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(cli.write_small(tmp_path, ('"steps": 80', '"steps": 20')))
    return tmp_path


def test_a_ladder_of_the_command_line_from_pilots_to_the_table(small):
    argv = ("sweep", "--config=small.py", f"--ladder={RATE}=1e-4,1e-2", "--cells=sf", "--name=x")
    done = cli.run(*argv, "--pilot=100", "--seeds=2")
    assert done.code == 0, done.err
    lines = read_lines("results/x")
    assert [(x["cell"], x["seed"]) for x in lines] == [
        ("sf-learning_rate=1e-4", 100), ("sf-learning_rate=1e-2", 100), ("sf", 0), ("sf", 1),
    ]  # fmt: skip
    held = read_experiment("results/x")
    assert held["rungs"]["sf"]["value"] == "1e-2" and not held["rungs"]["sf"]["pilot"]
    rows = Path("results/x/table.md").read_text().splitlines()
    assert sum(row.startswith("| sf ") and "1e-2 (end)" in row for row in rows) == 1
    assert f"--ladder={RATE}=1e-4,1e-2 --pilot=100" in "\n".join(rows)
    # the folder knows its ladder: the same cells are named again
    assert [one for one in audit(Path("results/x")) if "no such cell" in one.what] == []
    # a worker is told a pilot's seeds as its own, and has the very cell that is named
    for cell, seeds in (("sf-learning_rate=1e-2", (100,)), ("sf", (0, 1))):
        told = Sweep(stored_experiment(Path("results/x")), "x", cell, seeds, gathers=False)
        assert [(job.cell.name, job.seeds) for job in told.jobs()] == [(cell, seeds)]
    assert cli.run("report", "--name=x", "--refresh").code == 0
    assert read_experiment("results/x")["rungs"] == held["rungs"]


@pytest.mark.parametrize("here", [True, False])
def test_an_arm_waits_for_pilots_that_are_trained_anew_whatever_results_has_of_them(small, here):
    argv = ("sweep", "--config=small.py", f"--ladder={RATE}=1e-4,1e-2", "--cells=sf", "--name=x")
    argv += ("--pilot=100", "--seeds=2", "--fresh")
    assert cli.run(*argv).code == 0
    first = read_lines("results/x")
    lines = [dict(x) for x in first]  # as if the lower rate had been the better one
    lines[0]["evaluations"] = {"valid": {**first[0]["evaluations"]["valid"], "perplexity": 1.0}}
    write_lines(Path("results/x"), [sealed(x) for x in lines])
    if here:
        argv += ("--rerun=*",)
    else:
        shutil.rmtree("runs")
    done = cli.run(*argv)
    assert done.code == 0, done.err
    known = [(x["cell"], x["seed"], x["hash"], x["evaluations"]) for x in first]
    again = read_lines("results/x")
    assert [(x["cell"], x["seed"], x["hash"], x["evaluations"]) for x in again] == known
    assert len(list(Path("runs/x").iterdir())) == 3


def test_a_ladder_is_part_of_the_name_and_of_products(small):
    made = Experiment("small.py", {"train.steps": "5,7"}, ladder=Ladder(RATE, ("1", "2"), (9,)))
    cells = made.cells(Results([], "perplexity", "valid"))
    assert len(cells) == 8 and cells[0].name == "sf-steps=5-learning_rate=1"
    config = made.config(cells[-1]).train
    assert (config.steps, config.optimizer.learning_rate) == (7, 2.0)
    assert made.default_name.endswith(f"ladder-{RATE}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([f"--ladder={RATE}=1e-3", "--pilot=9"], "expected a field and values, each once, two"),
        ([f"--ladder={RATE}=1,1", "--pilot=9"], "expected a field and values, each once, two"),
        ([f"--ladder={RATE}=1,2"], "--pilot=: expected the seeds that choose"),
        (["--pilot=9"], "--ladder=: expected a field and values"),
        ([f"--ladder={RATE}=1,2", "--pilot=1x2"], "--pilot=1x2: expected the seeds"),
        ([f"--ladder={RATE}=1,2", "--pilot=1-2"], "cell sf: pilot seed 1 is one of its own seeds"),
        ([f"--ladder={RATE}=1,2", "--pilot=9", "--seeds=1x9-9"], "pilot seed 9 is one of its own"),
        (["--ladder=train.steeps=1,2", "--pilot=9"], "expected a field of the configuration that"),
        (["--ladder=seeds=1,2", "--pilot=9"], "expected a field of the configuration that takes"),
        (["--ladder=model.order=sf,fs", "--pilot=9"], "cell sf sets this field itself"),
        ([f"--ladder={RATE}=1,2", "--pilot=9", f"--config.{RATE}=1"], "and that no --config sets"),
        ([f"--ladder={RATE}=1,fast", "--pilot=9"], f"{RATE}='fast'"),
    ],
)
def test_what_is_no_ladder_is_refused_in_one_line_before_anything_is_trained(small, flags, message):
    refused = cli.run("sweep", "--config=small.py", *flags)
    assert refused.code == 2 and refused.err.count("\n") == 1, refused.err
    assert message in refused.err and not Path("runs").exists()


def test_the_cells_of_a_file_may_climb_a_ladder_of_their_own(small):
    code = Path("small.py").read_text()
    old = code[code.index("    return [Cell(") : code.index("TABLE = ")]
    arms = "[Cell('sf'), Cell('fs')]"
    new = f"    return ladder({arms}, '{RATE}', (1e-4, 1e-2), (100,), results)\n\n\n"
    head = "from arch.sweeps.ladder import ladder\n"
    Path("own.py").write_text(head + code.replace(old, new))
    experiment = Experiment("own.py")
    none = Results([], "perplexity", "valid")
    cells = experiment.cells(none)
    assert len(cells) == 4 and experiment.config(cells[1]).train.optimizer.learning_rate == 1e-2
    assert experiment.table(cells, none)["baseline"] == "sf"
    for argv, message in (
        ([f"--config.{RATE}=3"], "the cells of own.py vary this field"),
        (["--config.train.steps=1,2"], "its cells are on a ladder, which is crossed with no other"),
        ([f"--ladder={RATE}=1,2", "--pilot=9"], "its cells are on a ladder"),
        (["--seeds=100-101"], "cell sf: pilot seed 100 is one of its own seeds"),
    ):
        refused = cli.run("sweep", "--config=own.py", *argv)
        assert refused.code == 2 and message in refused.err, refused.err
