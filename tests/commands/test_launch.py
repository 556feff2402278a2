"""The commands, as one types them."""

import dataclasses
import json
import math
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import arch
import launch
from arch import config as configuration
from arch.commands.flags import COMMANDS, Configured
from arch.report.seals import sealed
from arch.runs import provenance
from arch.runs.folders import RunFolder
from arch.sweeps.executors import EXECUTORS
from arch.training.compiled import Compiled
from tests import cli


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """A folder in which the small experiment was swept."""
    return cli.copy_swept(tmp_path_factory.mktemp("swept"))


@pytest.fixture
def folder(tmp_path) -> Path:
    return cli.write_small(tmp_path)


def lines(folder: Path, name: str = "small") -> list[dict]:
    text = (folder / "results" / name / "runs.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    told = cli.run(command, "--help")
    assert (told.code, told.err) == (0, "")
    assert f"usage: launch.py {command}" in told.out
    assert f"examples:\n  python launch.py {command}" in told.out
    assert "130  interrupted" in told.out
    assert len(COMMANDS[command].examples) >= 2


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_flag_ends_with_its_default(command):
    for spelling, settings in COMMANDS[command].flags():
        assert re.search(r".{8,} \((default: .+|required)\)$", settings["help"]), spelling


def test_the_help_names_the_executors_that_there_are():
    assert (
        f"one of {', '.join(EXECUTORS.names())} "
        in dict(COMMANDS["sweep"].flags())["--executor"]["help"]
    )


def test_the_version_is_the_distributions_or_the_checkouts(monkeypatch):
    told = cli.run("--version")
    assert (told.code, told.out) == (0, f"arch-variants {arch.__version__}\n")
    declared = tomllib.loads((cli.REPOSITORY / "pyproject.toml").read_text())["project"]
    monkeypatch.setattr(provenance, "DISTRIBUTION", "of-no-installation")
    assert provenance.version.__wrapped__() == declared["version"]
    monkeypatch.setattr(provenance, "CODE", Path("nowhere"))
    assert provenance.version.__wrapped__() == "0+unknown"


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_examples_in_the_help_are_taken_as_they_stand(command):
    """Every example parses, and the experiment, the run's flags and their types are those."""
    for example in command.examples:
        parsed = launch.parse([command.name, *shlex.split(example)])
        assert type(parsed) is command
        if isinstance(parsed, Configured) and "--all" not in example:
            assert (cli.REPOSITORY / parsed.config.partition(":")[0]).is_file()


def test_help_needs_no_jax():
    """Help is there at once, and the environment can be set before jax reads it."""
    code = "import sys, launch; launch.make_parser(); print('jax' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=cli.REPOSITORY, capture_output=True, text=True, check=True
    )
    assert told.stdout == "False\n"


def test_the_whole_explains_itself():
    told = cli.run("--help")
    assert told.code == 0
    assert all(command in told.out for command in COMMANDS)


def test_started_as_a_program_it_gives_the_exit_code(folder):
    assert cli.spawn("sweep", "--help", cwd=folder).code == 0
    told = cli.spawn("sweep", "--config=gone.py", cwd=folder)
    assert (told.code, told.out) == (2, "")
    assert told.err == "launch.py sweep: --config=gone.py: no such file\n"


def test_describe_prints_one_object_a_cell(folder):
    told = cli.run("describe", "--config=small.py", "--json", cwd=folder)
    assert (told.code, told.err) == (0, "")
    rows = [json.loads(line) for line in told.out.splitlines()]
    assert [(row["cell"], row["order"]) for row in rows] == [("sf", "sf"), ("fs", "fs")]
    for row in rows:
        # by hand: tokens 256 · 16; a norm is 2 · 16; attention four, feed-forward two projections
        attention, feed_forward = 4 * (16 * 16 + 16) + 32, 16 * 64 + 64 + 64 * 16 + 16 + 32
        total = 256 * 16 + attention + feed_forward + 32
        assert row["parameters"] == {
            "unique": total,
            "applied": total,
            "embedding": 256 * 16,
            "by_letter": {"s": attention, "f": feed_forward},
        }
        # projections; scores and mixing over 16 keys; feed-forward; logits
        flops = 2 * (4 * 16 * 16 + 2 * 16 * 16 + 2 * 16 * 64 + 16 * 256)
        assert row["flops_per_token"] == flops
        assert set(row) >= {"variant", "memory_bytes"}


def test_describe_lists_the_parameters_by_path(folder):
    argv = ("describe", "--config=small.py", "--cells=sf", "--parameters")
    told, listed = (cli.run(*argv, *more, cwd=folder) for more in (["--json"], []))
    row = json.loads(told.out)
    found = {leaf["path"]: leaf["shape"] for leaf in row["tree"]}
    assert found["stack.s.sublayer.query.kernel"] == [1, 16, 16]
    assert sum(map(math.prod, found.values())) == row["parameters"]["unique"]
    assert "stack.s.sublayer.query.kernel" in listed.out and "float32" in listed.out


def test_describe_prints_a_table_for_the_cells_one_asks_for(folder):
    told = cli.run("describe", "--config=small.py", "--cells=f*", cwd=folder)
    assert told.code == 0
    assert "fs" in told.out and "│ sf" not in told.out and "7,408" in told.out


def test_overrides_apply_to_every_cell(folder):
    argv = ("describe", "--config=small.py", "--json", "--config.model.width=32")
    rows = [json.loads(line) for line in cli.run(*argv, cwd=folder).out.splitlines()]
    assert [row["parameters"]["embedding"] for row in rows] == [256 * 32] * 2


def test_a_dry_run_trains_nothing_and_writes_nothing(swept, tmp_path, monkeypatch):
    monkeypatch.setattr(Compiled, "call", None)
    cli.copy(swept, tmp_path)
    before = cli.files(tmp_path)
    argv = ("sweep", "--config=small.py", "--dry-run", "--seeds=3")
    told = cli.run(*argv, "--rerun=fs", cwd=tmp_path)
    assert told.code == 0
    assert cli.files(tmp_path) == before
    rows = re.findall(r"│ (\w+) +│ (\w{8}) │ ([\d ]+?) +│ ([\w ]+?) +│", told.out)
    (sf, hash8, seeds, done), _ = rows
    assert (sf, seeds, done) == ("sf", "0 1 2", "0 1")
    assert (tmp_path / f"runs/small/sf-{hash8}").is_dir()
    assert "2 cells, 4 runs of a cell and a seed" in told.out, "one seed of sf, and fs anew"


def test_prepare_says_what_the_corpus_is_and_trains_nothing(folder):
    told = cli.run("prepare", "--config=small.py", cwd=folder)
    assert told.code == 0
    counts = [
        int(n.replace(",", "")) for n in re.findall(r"(?:train|valid|test) ([\d,]+)", told.out)
    ]
    assert sum(counts) == len((folder / "corpus.txt").read_bytes())
    assert "tokens of bytes, vocabulary 256" in told.out
    assert not (folder / "runs").exists()


def test_a_sweep_writes_what_the_contract_names(swept):
    found = lines(swept)
    assert [(line["cell"], line["seed"]) for line in found] == [
        ("sf", 0), ("sf", 1), ("fs", 0), ("fs", 1),
    ]  # fmt: skip
    for line in found:
        assert line["status"] == "finished" and line["error"] == ""
        assert line["order"] == line["cell"]
        assert line["parameters"]["unique"] == line["parameters"]["applied"] == 7408
        assert line["flops_per_token"] > 0
        assert line["steps"] == cli.STEPS
        assert line["tokens"] == cli.STEPS * 4 * 16
        for split in ("valid", "test"):
            evaluation = line["evaluations"][split]
            assert evaluation["perplexity"] == pytest.approx(math.exp(evaluation["loss"]))
            assert (evaluation["unit"], evaluation["window"], evaluation["stride"]) == (
                "byte",
                16,
                16,
            )
            assert evaluation["bits_per_byte"] > 0
        assert line["tokens_per_second"] > 0
        assert line["compile_seconds"] > 0
        assert line["cpu_seconds"] > 0 and line["load"] >= 0
        assert line["numerics"] == arch.NUMERICS
        assert line["peak_memory_bytes"] > 0
        assert line["device"] == "cpu" and line["device_name"] and line["cores"] >= 1
        assert line["replicas"] == {"mode": "map", "width": 2}
        assert set(line["versions"]) >= {"python", "jax", "flax", "optax"}
        assert set(line["git"]) == {"revision", "dirty"}
        assert line["attempts"] == 1
        assert line["corpus"]["name"] == f"file:{cli.swept()}/corpus.txt"
        assert re.fullmatch("[0-9a-f]{64}", line["corpus"]["sha256"])
        folder = RunFolder.of(swept / "runs", "small", line["cell"], line["hash"])
        assert line == sealed({"name": "small", **folder.seed(line["seed"]).summary})


def test_a_run_folder_holds_what_the_contract_names(swept):
    folder = cli.folder_of(swept / "runs/small", "sf")
    assert folder.config["cell"] == "sf"
    assert folder.path.name == f"sf-{folder.config['hash'][:8]}"
    state = folder.state
    assert (state["state"], state["step"], state["steps"]) == ("finished", cli.STEPS, cli.STEPS)
    assert set(state) >= {"heartbeat", "host", "pid", "error", "attempts", "command"}
    assert "seed 0: finished" in (folder.path / "log.txt").read_text()
    metrics = folder.seed(0).lines("metrics.jsonl")
    assert [m["step"] for m in metrics if "learning_rate" in m] == list(range(10, 81, 10))
    assert [m["step"] for m in metrics if "split" in m] == [20, 40, 60, 80]
    # nothing in it depends on the clock
    assert {key for m in metrics for key in m} == {
        "step", "loss", "accuracy", "gradient_norm", "learning_rate", "split", "initial_loss",
    }  # fmt: skip
    assert all(line["seconds"] > 0 for line in folder.seed(0).lines("timing.jsonl"))


def test_run_trains_one_cell_or_get_config_itself(folder):
    one = cli.run("run", "--config=small.py", "--cell=fs", cwd=folder)
    assert one.code == 0, one.err
    assert {line["cell"] for line in lines(folder)} == {"fs"}
    itself = cli.run("run", "--config=small.py", "--name=itself", cwd=folder)
    assert itself.code == 0, itself.err
    assert [(line["cell"], line["order"]) for line in lines(folder, "itself")] == [
        ("small", "sf"), ("small", "sf"),
    ]  # fmt: skip
    # the same cell as `sf`, but for its name
    hashes = {line["hash"] for line in lines(folder, "itself")}
    dry = cli.run("sweep", "--config=small.py", "--cells=sf", "--dry-run", cwd=folder)
    assert hashes.pop()[:8] in dry.out


def test_the_name_is_the_experiments_and_what_is_not_default(folder):
    argv = ("--config=small.py:scale=small", "--config.log.every=20", "--cells=sf")
    assert cli.run("sweep", *argv, cwd=folder).code == 0
    assert [p.name for p in (folder / "results").iterdir()] == ["small-scale=small-log.every=20"]


def test_a_name_that_was_not_chosen_is_not_told(swept):
    table = (swept / "results/small/table.md").read_text()
    assert "\npython launch.py sweep --config=small.py\n" in table


def test_report_needs_the_results_alone(swept, tmp_path):
    cli.copy(swept / "results", tmp_path / "results")
    tables = ("table.md", "table.csv", "perplexity.svg")
    before = {name: (tmp_path / "results/small" / name).read_bytes() for name in tables}
    for name in tables:
        (tmp_path / "results/small" / name).unlink()
    told = cli.run("report", "--name=small", cwd=tmp_path)
    assert told.code == 0, told.err
    for name in ("table.md", "table.csv"):
        assert (tmp_path / "results/small" / name).read_bytes() == before[name]
    assert (tmp_path / "results/small/perplexity.svg").exists()
    other = cli.run("report", "--name=small", "--format=latex,html", cwd=tmp_path)
    assert other.code == 0
    assert (tmp_path / "results/small/table.tex").exists()
    assert (tmp_path / "runs/small/report.html").exists()


def test_report_compares_with_another_name(swept, tmp_path):
    cli.copy(swept / "results", tmp_path / "results")
    shutil.copytree(tmp_path / "results/small", tmp_path / "results/before")
    told = cli.run("report", "--name=small", "--against=before", cwd=tmp_path)
    assert told.code == 0
    assert "difference to before" in (tmp_path / "results/small/table.md").read_text()


def rows_of(*argv: str, cwd: Path) -> list[dict]:
    """What `evaluate --json` prints."""
    told = cli.run("evaluate", *argv, "--json", cwd=cwd)
    assert told.code == 0, told.err
    return [json.loads(line) for line in told.out.splitlines()]


def test_evaluate_repeats_the_summary_and_takes_another_stride(swept):
    folder = cli.folder_of(swept / "runs/small", "fs")
    where = {"run": folder.path.name, "checkpoint": 80, "weights": "best", "step": 80}
    assert rows_of(f"--run={folder.path}", cwd=swept) == [
        {**where, "seed": seed, "status": "finished", "split": split, **figures}
        for seed in (0, 1)
        for split, figures in folder.seed(seed).summary["evaluations"].items()
    ]
    told = cli.run("evaluate", f"--run={folder.path}", "--stride=4", cwd=swept)
    row = rf"│ {folder.path.name} +│ 0 +│ 80 +│ best +│ 80 +│ valid +│ [\d.]+ +│ [\d.]+ +"
    assert re.search(row + "│ byte +│ 16 +│ 4 ", told.out)
    perplexity = folder.seed(0).summary["evaluations"]["valid"]["perplexity"]
    assert f"{perplexity:.4f}" not in told.out
    (longer, *_) = rows_of(f"--run={folder.path}", "--window=24", "--split=test", cwd=swept)
    assert (longer["split"], longer["window"], longer["stride"]) == ("test", 24, 24)


def test_evaluate_of_a_sweep_is_one_table_with_means_over_seeds(swept, tmp_path):
    """What has no checkpoint is named and left out; so is, of the means, what has not finished."""
    cli.copy(swept, tmp_path)
    sf, fs = (cli.folder_of(tmp_path / "runs/small", cell) for cell in ("sf", "fs"))
    (fs.seed(1).path / "summary.json").unlink()
    empty = cli.copy(sf.path, tmp_path / "runs/small/x-00000000")
    for seed in (0, 1):
        shutil.rmtree(empty / f"seed{seed}")
    flags = ("--run=runs/small", "--split=valid", "--name=kept")
    told = cli.run("evaluate", *flags, cwd=tmp_path)
    assert told.code == 0, told.err
    assert f"Means leave out what has not finished: {fs.path.name} seed 1 (unfinished)." in told.out
    assert "Left out, without a checkpoint: runs/small/x-00000000." in told.out
    figures = [sf.seed(s).summary["evaluations"]["valid"]["perplexity"] for s in (0, 1)]
    mean, sd = sum(figures) / 2, abs(figures[0] - figures[1]) / math.sqrt(2)
    spread = rf"│ {sf.path.name} +│ valid +│ 2 +│ [^│]+│ {mean:.4f} ± {sd:.4f} "
    assert re.search(spread, told.out)
    assert re.search(rf"│ {fs.path.name} +│ valid +│ 1 +│ [\d.]+ +│ [\d.]+ +│", told.out)
    page = (tmp_path / "results/kept/evaluation.md").read_text()
    assert f"{mean:.4f} ± {sd:.4f}" in page and "Corpus: file:" in page
    assert "```sh\npython launch.py evaluate --run=runs/small --split=valid --name=kept\n" in page
    kept = (tmp_path / "results/kept/evaluation.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in kept] == rows_of(*flags[:2], cwd=tmp_path)


def test_evaluate_takes_a_list_of_globs(swept):
    found = rows_of(
        "--run=runs/small/s*,runs/small/fs-*,runs/small/sf-*", "--split=valid", cwd=swept
    )
    assert [(row["run"][:2], row["seed"]) for row in found] == [
        ("sf", 0), ("sf", 1), ("fs", 0), ("fs", 1)
    ]  # fmt: skip


def test_evaluate_refuses_a_split_that_is_not_there_and_a_glob_without_a_match(swept):
    path = cli.folder_of(swept / "runs/small", "fs").path
    told = cli.run("evaluate", f"--run={path}", "--split=tset", cwd=swept)
    assert told.code == 2
    assert told.err == (
        f"launch.py evaluate: --split=tset: {path.name} has the splits valid, test; "
        "did you mean 'test'?\n"
    )
    told = cli.run("evaluate", "--run=runs/small/k*", cwd=swept)
    assert (told.code, told.err) == (
        2, "launch.py evaluate: --run=runs/small/k*: no folder matches\n"
    )  # fmt: skip


def test_the_step_of_the_best_weights_is_that_of_the_lowest_validation_loss(swept):
    run = arch.load(cli.folder_of(swept / "runs/small", "fs").path, seed=1)
    asked = configuration.override(run.config, {"evaluate.weights": "best"})
    valid = {x["step"]: x["loss"] for x in run.metrics if x.get("split") == "valid"}
    best = dataclasses.replace(run, config=asked).origin
    lowest = min(valid, key=lambda step: valid[step])
    assert best == {"seed": 1, "checkpoint": 80, "weights": "best", "step": lowest}
    early = run.state._replace(best_loss=np.float32(valid[20]))
    assert dataclasses.replace(run, config=asked, state=early).origin["step"] == 20
    never = run.state._replace(best_loss=np.float32(np.inf))
    assert dataclasses.replace(run, config=asked, state=never).origin["step"] == 0


def test_status_says_how_each_cell_stands(swept, tmp_path):
    cli.copy(swept, tmp_path)
    told = cli.run("status", "--name=small", cwd=tmp_path)
    assert told.code == 0
    assert len(re.findall(r"│ (?:sf|fs) +│ finished +│ 80/80 ", told.out)) == 2
    assert "to go on" not in told.out
    folder = cli.folder_of(tmp_path / "runs/small", "sf")
    for host, word in (("elsewhere", "running"), (folder.state["host"], "killed")):
        # of another machine's process nothing is known but its last sign of life; on this one, its
        # number may have been given to another since
        state = {**folder.state, "state": "running", "step": 30, "host": host, "pid": 1}
        (folder.path / "state.json").write_text(json.dumps(state))
        told = cli.run("status", "--name=small", cwd=tmp_path)
        assert re.search(rf"│ sf +│ {word} +│ 30/80 +│ 20\d\d-", told.out)


def test_two_sweeps_do_not_train_the_same_cell(folder):
    process = cli.start("sweep", "--config=small.py", cwd=folder)
    cli.until(lambda: cli.progress(folder / "runs/small") >= 20, process)
    process.send_signal(signal.SIGSTOP)
    told = cli.run("status", "--name=small", cwd=folder)
    assert re.search(r"│ sf +│ running +│ \d+/80 ", told.out)
    for more in ((), ("--rerun=sf",)):
        second = cli.run("sweep", "--config=small.py", *more, cwd=folder)
        assert second.code == 2
        assert f"process {process.pid} is at work on it" in second.err
    assert not list((folder / "runs/small").glob("*/seed*.old*"))
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    told = cli.run("status", "--name=small", cwd=folder)
    assert re.search(r"│ sf +│ interrupted ", told.out)


def test_the_way_back_can_be_pasted_whatever_was_typed(folder):
    """Quotes, spaces and flags in two words come back as they were."""
    argv = ["sweep", "--config", "small.py", "--name", "a name", "--rerun", "*", "--cells=[sf]*"]
    process = cli.start(*argv, cwd=folder)
    cli.until(lambda: cli.progress(folder / "runs/a name") >= 20, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    (command,) = re.findall("To go on: (.*)", err)
    assert command == "python launch.py sweep --config small.py --name 'a name' '--cells=[sf]*'"
    done = cli.paste(command, cwd=folder)
    assert done.code == 0, done.err
    assert {line["status"] for line in lines(folder, "a name")} == {"finished"}
    table = (folder / "results/a name/table.md").read_text()
    again = "\npython launch.py sweep --config=small.py '--name=a name' '--cells=[sf]*'\n"
    assert again in table
