"""One name, two configurations: said before anything is trained, and told apart in the table."""

import json
from pathlib import Path

import pytest

from arch.report.lines import read_lines
from arch.sweeps.experiment import Experiment
from arch.sweeps.present import present_results
from tests import cli

RATE = "--config.train.optimizer.learning_rate"


@pytest.fixture(scope="module")
def half(tmp_path_factory) -> Path:
    """A folder in which one of two cells has been trained."""
    folder = cli.write_small(tmp_path_factory.mktemp("half"))
    done = cli.run("sweep", "--config=small.py", "--name=x", "--cells=sf", cwd=folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def folder(half, tmp_path, monkeypatch) -> Path:
    """The same, to be harmed."""
    monkeypatch.chdir(cli.copy(half, tmp_path))
    return tmp_path


def sweep(*more: str) -> cli.Outcome:
    return cli.run("sweep", "--config=small.py", "--name=x", *more)


def hashes() -> list[tuple[str, str]]:
    return sorted({(line["cell"], line["hash"]) for line in read_lines("results/x")})


def test_another_configuration_under_a_name_is_refused_before_training(folder):
    before = cli.files(folder / "runs", folder / "results")
    told = sweep(f"{RATE}=0.01")
    ((cell, identity),) = hashes()
    assert told.code == 2
    assert told.err == (
        f"launch.py sweep: --name=x: holds another configuration: sf-{identity[:8]} differs in: "
        "train.optimizer.learning_rate 0.001 → 0.01; say --name=OTHER, --keep to have both in one "
        "table, or --rerun=GLOB to have cells anew\n"
    )
    assert cli.files(folder / "runs", folder / "results") == before
    planned = sweep(f"{RATE}=0.01", "--dry-run")
    assert (planned.code, planned.err) == (0, "")
    assert "x holds another configuration: sf-" in planned.out
    assert "learning_rate 0.001 → 0.01" in planned.out


def test_what_is_not_retrained_is_no_matter(folder):
    """Another cell, and the same one with more seeds."""
    assert sweep("--cells=fs", "--seeds=1", f"{RATE}=0.01").code == 0
    assert sweep("--cells=sf", "--seeds=1").code == 0
    assert sweep("--cells=fs", "--seeds=1").code == 2


def test_kept_beside_each_other_they_have_a_column_and_are_compared_alike(folder):
    assert sweep("--cells=fs").code == 0
    told = sweep(f"{RATE}=0.01", "--keep")
    assert told.code == 0, told.err
    assert "learning_rate 0.001 → 0.01; both are kept" in told.err
    assert len(hashes()) == 4
    written = json.loads(Path("results/x/experiment.json").read_text())
    held = written["varied"]
    assert held.keys() == {identity for _, identity in hashes()}
    # a file's own figures of a cell, and its claims, are of the configuration that was asked for
    rates = {hash_: str(fields["train.optimizer.learning_rate"]) for hash_, fields in held.items()}
    for rate in ("0.001", "0.01"):
        experiment = Experiment("small.py", {RATE.removeprefix("--config."): rate})
        known = present_results(experiment, read_lines("results/x"))
        for cell in ("sf", "fs"):
            lines = [line for line in known.lines() if line["cell"] == cell]
            assert {rates[line["hash"]] for line in lines} == {rate}
            assert known.values(cell, "perplexity", "valid") == {
                line["seed"]: line["evaluations"]["valid"]["perplexity"] for line in lines
            }
    assert {cell: rates[hash_] for cell, hash_ in written["present"].items()} == {
        "sf": "0.01", "fs": "0.01"
    }  # fmt: skip
    # so short a training does not get below frequencies: what is compared otherwise is shown
    Path("results/x/experiment.json").write_text(json.dumps({**written, "trivial": {}}))
    assert cli.run("report", "--name=x", "--format=md").code == 0
    table = [
        [part.strip() for part in row.strip("|").split("|")]
        for row in Path("results/x/table.md").read_text().splitlines()
        if row.startswith("|")
    ]
    rows = [dict(zip(table[0], row, strict=True)) for row in table[2:6]]
    assert sorted((row["cell"].split()[0], row["learning_rate"]) for row in rows) == [
        ("fs", "0.001"), ("fs", "0.01"), ("sf", "0.001"), ("sf", "0.01"),
    ]  # fmt: skip
    by_row = {
        (row["cell"].split()[0], row["learning_rate"]): row["difference to sf"] for row in rows
    }
    perplexity = {
        (line["cell"], line["hash"], line["seed"]): line["evaluations"]["valid"]["perplexity"]
        for line in read_lines("results/x")
    }
    for rate in ("0.001", "0.01"):
        one, two = (
            [v for (c, h, _), v in sorted(perplexity.items())
             if c == cell and str(held[h]["train.optimizer.learning_rate"]) == rate]
            for cell in ("fs", "sf")
        )  # fmt: skip
        mean = sum(a - b for a, b in zip(one, two, strict=True)) / 2
        said = by_row["fs", rate].split()[0].replace("−", "-")
        assert float(said) == pytest.approx(mean, abs=10.0 ** -len(said.partition(".")[2]))


def test_started_over_in_another_configuration_it_takes_the_place_of_the_old(folder):
    ((_, before),) = hashes()
    done = sweep("--cells=sf", f"{RATE}=0.01", "--rerun=sf")
    assert done.code == 0, done.err
    ((_, after),) = hashes()
    assert after != before
    assert not list(Path("runs/x").glob(f"sf-{before[:8]}/seed[01]"))
    assert len(list(Path("runs/x").glob(f"sf-{before[:8]}/seed*.old1"))) == 2
    assert sweep("--cells=sf", f"{RATE}=0.01").code == 0  # nothing else is held


def test_figures_of_another_configuration_alone_are_none_of_the_one_that_is_kept_beside(folder):
    experiment = Experiment("small.py", {RATE.removeprefix("--config."): "0.01"})
    lines = read_lines("results/x")
    assert present_results(experiment, lines).values("sf", "perplexity", "valid").keys() == {0, 1}
    assert present_results(experiment, lines, kept=True).values("sf", "perplexity", "valid") == {}
