"""Killed anywhere and gone on with is the same as never killed, byte for byte."""

import errno
import json
import random
import re
import shlex
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from arch.runs.checkpoints import Checkpoints
from arch.training.compiled import Compiled
from tests import cli
from tests.cli import SAVE, STEPS

WHOLE = 4 * STEPS  # of two cells with two seeds


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """A folder in which the sweep went through at once."""
    return cli.copy_swept(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def disturbed(undisturbed, tmp_path) -> Path:
    """A folder with the same experiment in which nothing was run."""
    shutil.copy(undisturbed / "small.py", tmp_path)  # the corpus stays where it is: it is named
    (tmp_path / "launch.py").symlink_to(cli.REPOSITORY / "launch.py")
    return tmp_path


def assert_same(folder: Path, other: Path) -> None:
    here, there = (cli.everything(f / "runs/small") for f in (folder, other))
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []


def interrupt(folder: Path, at: int, number: signal.Signals, command: str = "") -> cli.Outcome:
    """Start the sweep, send a signal once `at` steps of all replicas are logged."""
    words = shlex.split(command)[2:] if command else ["sweep", "--config=small.py"]
    process = cli.start(*words, cwd=folder)
    cli.until(lambda: cli.progress(folder / "runs/small") >= at, process)
    time.sleep(random.Random(at).uniform(0, 0.05))  # somewhere between two lines
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    return cli.Outcome(process.returncode, out, err)


def resume_command(folder: Path) -> str:
    """What `status` says to type."""
    told = cli.run("status", "--name=small", cwd=folder)
    assert told.code == 0
    (command,) = re.findall(r"^to go on: (.*)$", told.out, re.M)
    return command


def test_killed_at_three_moments_and_resumed_is_never_killed(undisturbed, disturbed):
    moments = sorted(random.Random(5).sample(range(SAVE, WHOLE - 2 * SAVE, 10), 3))
    command = ""
    for moment in moments:
        killed = interrupt(disturbed, moment, signal.SIGKILL, command)
        assert killed.code == -signal.SIGKILL
        command = resume_command(disturbed)
    told = cli.run("status", "--name=small", cwd=disturbed).out
    (row,) = (line for line in told.splitlines() if "killed" in line)
    cell = re.search(r"│ (sf|fs)\s+│ killed\s+│ (\d+)/80", row)
    assert cell and 0 < int(cell[2]) < STEPS
    done = cli.paste(command, cwd=disturbed)
    assert done.code == 0, done.err
    assert_same(disturbed, undisturbed)
    assert "to go on" not in cli.run("status", "--name=small", cwd=disturbed).out


def test_asked_to_stop_it_saves_says_how_to_go_on_and_loses_nothing(undisturbed, disturbed):
    first = interrupt(disturbed, 50, signal.SIGINT)
    assert first.code == 130
    (command,) = re.findall(r"To go on: (.*)", first.err)
    assert "Traceback" not in first.err
    # saved where it stood
    seed = cli.folder_of(disturbed / "runs/small", "sf").seed(0)
    assert max(cli.kept(seed.checkpoints)) == seed.lines("metrics.jsonl")[-1]["step"]
    second = interrupt(disturbed, 200, signal.SIGTERM, command)
    assert second.code == 130
    assert command in second.err
    told = cli.run("status", "--name=small", cwd=disturbed).out
    assert "interrupted" in told and "asked to stop" in told
    done = cli.paste(resume_command(disturbed), cwd=disturbed)
    assert done.code == 0, done.err
    assert_same(disturbed, undisturbed)


def test_a_half_written_newest_checkpoint_is_passed_over(undisturbed, disturbed):
    runs = cli.copy(undisturbed / "runs", disturbed / "runs")
    for seed in (0, 1):
        folder = cli.folder_of(runs / "small", "fs").seed(seed)
        (folder.path / "summary.json").unlink()
        newest = folder.checkpoints / str(STEPS)
        for file in newest.rglob("*"):
            if file.is_file():
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    done = cli.run("sweep", "--config=small.py", cwd=disturbed)
    assert done.code == 0, done.err
    assert f"{STEPS} steps from step {STEPS - SAVE}" in done.out
    assert_same(disturbed, undisturbed)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints of steps 1 and 2 of a small state, and the state's shapes."""
    folder = tmp_path_factory.mktemp("checkpoints")
    state = {"a": np.arange(2000.0), "b": np.ones(3, np.int32)}
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        checkpoints.save(step, state, {"step": step})
    checkpoints.wait()
    checkpoints.close()
    return folder, jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), state)


@pytest.mark.parametrize("harm", ["cut", "empty", "missing"])
@pytest.mark.parametrize("part", ["state", "meta", "."])
def test_a_checkpoint_with_any_harmed_part_is_passed_over(saved, tmp_path, part, harm):
    folder, shapes = saved
    cli.copy(folder, tmp_path)
    for file in list((tmp_path / "2" / part).rglob("*")):
        if file.is_file() and harm == "missing":
            file.unlink()
        elif file.is_file():
            file.write_bytes(
                b"" if harm == "empty" else file.read_bytes()[: file.stat().st_size // 2]
            )
    checkpoints = Checkpoints(tmp_path)
    found = checkpoints.newest(shapes)
    checkpoints.close()
    assert found is not None
    assert found[0] == 1
    np.testing.assert_array_equal(found[1]["a"], np.arange(2000.0))


@pytest.mark.slow
def test_more_seeds_train_only_the_new_ones(tmp_path):
    cli.write_small(tmp_path)
    sweep = ("sweep", "--config=small.py", "--cells=sf", "--replicas=1")
    assert cli.run(*sweep, "--seeds=3", cwd=tmp_path).code == 0
    folder = cli.folder_of(tmp_path / "runs/small", "sf")
    first = [folder.seed(k).path for k in range(3)]
    before = cli.files(*first)
    lines = (tmp_path / "results/small/runs.jsonl").read_text().splitlines()
    more = cli.run(*sweep, "--seeds=5", cwd=tmp_path)
    assert more.code == 0
    assert re.findall("^sf seeds .*", more.out, re.M) == [
        "sf seeds 3: 80 steps",
        "sf seeds 4: 80 steps",
    ]
    assert cli.files(*first) == before
    assert folder.seeds() == [0, 1, 2, 3, 4]
    assert all(folder.seed(k).summary["status"] == "finished" for k in (3, 4))
    now = (tmp_path / "results/small/runs.jsonl").read_text().splitlines()
    assert len(lines) == 3 and now[:3] == lines and len(now) == 5


def forbid_programs(monkeypatch):
    """From here on, whatever would compile a program fails."""

    def refuse(self, name, *_, **__):
        raise AssertionError(f"the program {name} was called")

    monkeypatch.setattr(Compiled, "call", refuse)


def test_what_is_finished_is_not_run_again(undisturbed, disturbed, monkeypatch):
    for part in ("runs", "results"):
        cli.copy(undisturbed / part, disturbed / part)
    before = cli.files(disturbed / "runs")
    forbid_programs(monkeypatch)
    again = cli.run("sweep", "--config=small.py", cwd=disturbed)
    assert again.code == 0
    after = cli.files(disturbed / "runs")
    assert after == before


def test_verify_says_bit_equal_until_a_checkpoint_is_tampered_with(undisturbed, disturbed):
    cli.copy(undisturbed / "runs", disturbed / "runs")
    held = cli.folder_of(disturbed / "runs/small", "sf")
    fine = cli.run("verify", f"--run={held.path}", cwd=disturbed)
    assert fine.code == 0
    assert [line.split(": ", 1)[1] for line in fine.out.splitlines()] == [
        f"steps {STEPS - SAVE} to {STEPS} replayed: bit-equal"
    ] * 2
    checkpoints = Checkpoints(held.seed(1).checkpoints)
    state, meta = checkpoints.restore(STEPS)
    checkpoints.discard_after(STEPS - 1)
    table = np.array(state["parameters"]["embedding"]["tokens"]["table"])
    table[0, 0] += 2.0**-20
    state["parameters"]["embedding"]["tokens"]["table"] = table
    checkpoints.save(STEPS, state, meta)
    checkpoints.wait()
    checkpoints.close()
    harmed = cli.run("verify", f"--run={held.path}", cwd=disturbed)
    assert harmed.code == 1
    assert "seed 0: steps 60 to 80 replayed: bit-equal" in harmed.out
    assert "seed 1: steps 60 to 80 replayed: largest difference 9.54e-07" in harmed.out


BROKEN = """
from flax import nnx

from arch.registry import sublayers
from arch.sublayers import trials


@sublayers.register("broken")
class Broken(nnx.Module):
    causal = True

    def __init__(self, width, *, rngs):
        pass

    def __call__(self, x, context):
        if x.shape[1] != trials.LENGTH:  # where it is tried, it is sound
            raise TypeError("this idea does not work")
        return x

    def flops(self, length):
        return 0
"""


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path):
    changes = {"model.sublayers.s.kind": "broken", "model.sublayers.s.heads": None}
    bad = f'Cell("bad", {changes}), Cell("sf"'
    cli.write_small(
        tmp_path, ("seeds=(0, 1)", "seeds=(0, 1), plugins=('broken.py',)"), ('Cell("sf"', bad)
    )
    (tmp_path / "broken.py").write_text(BROKEN)
    done = cli.run("sweep", "--config=small.py", cwd=tmp_path)
    assert done.code == 1
    assert "cell bad failed: TypeError: this idea does not work" in done.err
    lines = [
        json.loads(t) for t in (tmp_path / "results/small/runs.jsonl").read_text().splitlines()
    ]
    assert [(line["cell"], line["status"]) for line in lines] == [
        ("bad", "failed"), ("bad", "failed"), ("sf", "finished"), ("sf", "finished"),
        ("fs", "finished"), ("fs", "finished"),
    ]  # fmt: skip
    assert lines[0]["error"] == "TypeError: this idea does not work"
    assert "2 failed of 2" in (tmp_path / "results/small/table.md").read_text()
    told = cli.run("status", "--name=small", cwd=tmp_path).out
    assert "this idea does not work" in told
    # it is tried again, the others are not
    again = cli.run("sweep", "--config=small.py", cwd=tmp_path)
    assert again.code == 1
    assert "sf seeds" not in again.out
    assert cli.folder_of(tmp_path / "runs/small", "bad").state["attempts"] == 2


def test_nan_is_a_result_until_it_is_rerun(undisturbed, tmp_path, monkeypatch):
    hot = 'Cell("hot", {"train.optimizer.learning_rate": 1e30}), Cell("sf"'
    cli.write_small(tmp_path, ('Cell("sf"', hot), ("seeds=(0, 1)", "seeds=(1,)"))
    sweep = ("sweep", "--config=small.py", "--cells=[hs]*")
    done = cli.run(*sweep, cwd=tmp_path)
    assert done.code == 1  # a whole cell is lost
    assert "cell hot: no seed finished: seed 1: loss or gradient not finite at step" in done.err
    told = cli.run("status", "--name=small", cwd=tmp_path).out
    assert "nan" in told and "not finite" in told
    assert "hot, sf seeds 1, 1: 80 steps" in done.out  # one group
    folder = cli.folder_of(tmp_path / "runs/small", "hot")
    summary = folder.seed(1).summary
    assert summary["status"] == "nan"
    assert 0 < summary["stopped_step"] < 20
    assert summary["error"] == f"loss or gradient not finite at step {summary['stopped_step']}"
    assert summary["evaluations"] == {}
    # the other replica of the program does not notice
    well, alone = (cli.folder_of(f / "runs/small", "sf").seed(1) for f in (tmp_path, undisturbed))
    assert well.lines("metrics.jsonl") == alone.lines("metrics.jsonl")
    lines = [
        json.loads(t) for t in (tmp_path / "results/small/runs.jsonl").read_text().splitlines()
    ]
    assert [line["status"] for line in lines] == ["nan", "finished"]
    assert "1 NaN of 1" in (tmp_path / "results/small/table.md").read_text()
    with monkeypatch.context() as patched:
        forbid_programs(patched)
        assert cli.run(*sweep, cwd=tmp_path).code == 1
    before = cli.files(folder.seed(1).path)
    again = cli.run(*sweep, "--rerun=hot", cwd=tmp_path)
    assert again.code == 1
    assert "\nhot seeds 1: 80 steps\n" in again.out and "sf seeds" not in again.out
    old = cli.files(folder.path / "seed1.old1")
    assert list(old.values()) == list(before.values())
    assert folder.seed(1).summary["status"] == "nan"
    # "start over" is no part of the way back: that would start over for ever
    assert "--rerun" not in folder.state["command"]


@pytest.mark.slow
def test_a_disk_that_fills_up_fails_the_cell_and_leaves_its_checkpoints(
    undisturbed, disturbed, monkeypatch
):
    save = Checkpoints.save

    def full(self, step, state, meta):
        if meta["cell"] == "sf" and step >= 3 * SAVE:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, step, state, meta)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", full)
        done = cli.run("sweep", "--config=small.py", cwd=disturbed)
    assert done.code == 1
    assert "cell sf failed: OSError: [Errno 28] No space left on device" in done.err
    runs = disturbed / "runs/small"
    assert sorted(cli.kept(cli.folder_of(runs, "sf").seed(0).checkpoints)) == [20, 40]
    assert cli.folder_of(runs, "fs").seed(1).summary["status"] == "finished"
    assert "No space left on device" in cli.run("status", "--name=small", cwd=disturbed).out
    again = cli.run("sweep", "--config=small.py", cwd=disturbed)
    assert again.code == 0, again.err
    assert "\nsf seeds 0, 1: 80 steps from step 40\n" in again.out
    assert_same(disturbed, undisturbed)


def test_a_checkpoint_of_another_vocabulary_is_refused_with_the_way_out(undisturbed, disturbed):
    cli.copy(undisturbed / "runs", disturbed / "runs")
    seed = cli.folder_of(disturbed / "runs/small", "sf").seed(0)
    (seed.path / "summary.json").unlink()
    checkpoints = Checkpoints(seed.checkpoints)
    state, meta = checkpoints.restore(STEPS)
    checkpoints.discard_after(STEPS - 1)
    state["parameters"]["embedding"]["tokens"]["table"] = np.zeros((300, 16), np.float32)
    checkpoints.save(STEPS, state, meta)
    checkpoints.wait()
    checkpoints.close()
    before = cli.files(disturbed)
    sweep = ("sweep", "--config=small.py", "--cells=sf")
    refused = cli.run(*sweep, cwd=disturbed)
    assert refused.code == 2
    (line,) = refused.err.splitlines()
    assert "embedding.tokens.table is (300, 16), and the configuration wants (256, 16)" in line
    assert "--rerun=sf starts over" in line
    assert before.items() <= cli.files(disturbed).items()
    over = cli.run(*sweep, "--rerun=sf", cwd=disturbed)
    assert over.code == 0
    assert "\nsf seeds 0, 1: 80 steps\n" in over.out
