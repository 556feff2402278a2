"""A sweep whose processes are killed again and again is the sweep that nobody killed."""

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from arch.report.lines import read_lines
from tests import cli
from tests.sweeps.test_clusters import SIXTEEN_BY_THREE, end, sweep


def running(folder: Path) -> list[int]:
    """The processes that train in the run folders."""
    states = [cli.RunFolder(path.parent).state for path in folder.glob("*/state.json")]
    trained = [s["pid"] for s in states if s.get("state") == "running" and s.get("step", 0) > 0]
    return [pid for pid in trained if Path(f"/proc/{pid}").exists()]


def kill(*processes: int) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def harm(what: str, driver: int, folder: Path) -> None:
    """kill -9, while cells train: to the sweep alone, whose workers then end their cells; to a
    worker, and a second later to all; or to all at once, as where a machine loses its power."""
    if what == "worker":
        kill(random.choice(running(folder)))
        time.sleep(1.0)
    kill(driver, *(running(folder) if what != "driver" else ()))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_ten_rounds_of_kills_change_no_byte(tmp_path, monkeypatch):
    """Sixteen cells of three seeds, of which each ends once."""
    cores = os.sched_getaffinity(0)
    for place in ("whole", "killed"):
        (tmp_path / place).mkdir()
        cli.write_small(tmp_path / place, *SIXTEEN_BY_THREE)
    (tmp_path / "killed" / "small.py").write_text((tmp_path / "whole" / "small.py").read_text())
    monkeypatch.setenv("ARCH_PROGRAMS", str(tmp_path / "programs"))
    try:
        os.sched_setaffinity(0, {min(cores)})  # as many as a worker has
        end(sweep(tmp_path / "whole", "--name=small"))
    finally:
        os.sched_setaffinity(0, cores)
    random.seed(0)
    rounds = [*("driver", "worker", "node") * 3, "driver"]
    while True:
        started = sweep(tmp_path / "killed", "--name=small", "--executor=processes")
        folder = tmp_path / "killed" / "runs" / "small"
        while rounds and started.poll() is None:
            if running(folder):
                harm(rounds.pop(0), started.pid, folder)
                break
            time.sleep(0.01)
        _, err = started.communicate()
        if started.returncode == 0:
            break
        assert started.returncode == -signal.SIGKILL or "is at work on it" in err, err
        time.sleep(0.5)
    assert not rounds, f"all had ended before {rounds}"
    whole, killed = (tmp_path / place for place in ("whole", "killed"))
    for place in (whole, killed):
        told = read_lines(place / "results" / "small")
        assert len({(x["cell"], x["seed"]) for x in told}) == len(told) == 16 * 3
    expected, found = (cli.everything(place / "runs" / "small") for place in (whole, killed))
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []
    assert rows(whole) == rows(killed)


def rows(place: Path) -> list[str]:
    """The rows of the sweep's table."""
    text = (place / "results" / "small" / "table.md").read_text()
    return [line for line in text.splitlines() if line.startswith("|")]
