"""One process at a time trains in a run folder, whichever machine it is on."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arch.registry import ConfigurationError
from arch.runs import locks, provenance
from arch.runs.folders import RunFolder


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.02)
    monkeypatch.setattr(locks, "PATIENCE", 0.6)


def lock_of(folder: Path) -> dict:
    return json.loads((folder / locks.FILE).read_text())


def put_lock(folder: Path, host: str = "elsewhere", pid: int = 7, beat: int = 0) -> dict:
    """The lock of another machine's process."""
    lock = {"host": host, "pid": pid, "started": 1, "beat": f"{beat:012d}"}
    (folder / locks.FILE).write_text(json.dumps(lock))
    return lock


@contextlib.contextmanager
def alive(folder: Path) -> Iterator[None]:
    """Another machine's process, which renews its lock."""
    done = threading.Event()
    put_lock(folder)

    def beat():
        n = 0
        while not done.wait(0.02):
            put_lock(folder, beat=(n := n + 1))

    thread = threading.Thread(target=beat)
    thread.start()
    yield
    done.set()
    thread.join()


def test_a_lock_names_its_process_is_renewed_and_goes(tmp_path):
    with locks.held([tmp_path]):
        lock = lock_of(tmp_path)
        assert {**provenance.host(), "beat": lock["beat"]} == lock
        end = time.monotonic() + 5
        while lock_of(tmp_path)["beat"] == lock["beat"] and time.monotonic() < end:
            time.sleep(0.01)
        assert lock_of(tmp_path)["beat"] > lock["beat"]
        locks.check_own(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_machines_living_process_is_respected(tmp_path, capsys):
    with alive(tmp_path):
        with pytest.raises(ConfigurationError) as refused, locks.held([tmp_path]):
            pass
        assert "process 7 of elsewhere is at work on it; wait for it, or stop" in str(refused.value)
        with pytest.raises(ConfigurationError, match="process 7 of elsewhere"):
            RunFolder(tmp_path).update_state(step=1)
    assert "taken over" not in capsys.readouterr().err
    assert lock_of(tmp_path)["host"] == "elsewhere"


def test_another_machines_dead_process_is_taken_over_aloud(tmp_path, capsys):
    put_lock(tmp_path)
    with locks.held([tmp_path]):
        assert lock_of(tmp_path)["pid"] == os.getpid()
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == (
        f"{tmp_path}: taken over from process 7 of elsewhere, which gave no sign of life for 0.6 s"
    )


@pytest.mark.parametrize("jump", [-1e6, 1e6], ids=["back", "forward"])
def test_a_clock_that_jumps_neither_locks_for_ever_nor_breaks_a_lock(tmp_path, monkeypatch, jump):
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + jump)
    with alive(tmp_path):
        os.utime(tmp_path / locks.FILE, (clock() - jump, clock() - jump))
        with pytest.raises(ConfigurationError, match="is at work on it"):
            locks.check_free([tmp_path])
    os.utime(tmp_path / locks.FILE, (clock() - jump, clock() - jump))
    locks.check_free([tmp_path])
    assert not (tmp_path / locks.FILE).exists()


def test_a_dead_process_of_this_machine_is_taken_over_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 1e6)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    put_lock(tmp_path, host=str(provenance.host()["host"]), pid=ended.pid)
    with locks.held([tmp_path]):
        assert lock_of(tmp_path)["pid"] == os.getpid()
    assert capsys.readouterr().err == ""


def test_a_living_process_of_this_machine_is_named_with_the_way_to_stop_it(tmp_path):
    parent = os.getppid()
    lock = put_lock(tmp_path, host=str(provenance.host()["host"]), pid=parent)
    lock["started"] = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19])
    (tmp_path / locks.FILE).write_text(json.dumps(lock))
    with pytest.raises(ConfigurationError, match=f"stop it with `kill {parent}`"):
        locks.check_free([tmp_path])


def test_of_two_that_begin_at_once_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "check_free", lambda folders: put_lock(tmp_path))
    with pytest.raises(ConfigurationError, match="process 7 of elsewhere"), locks.held([tmp_path]):
        pass
    assert lock_of(tmp_path)["pid"] == 7


def test_who_slept_and_was_taken_over_writes_nothing_more(tmp_path):
    with locks.held([tmp_path]):
        (tmp_path / locks.FILE).unlink()
        put_lock(tmp_path)
        with pytest.raises(ConfigurationError, match="another process has taken it over"):
            RunFolder(tmp_path).update_state(step=1)
    assert lock_of(tmp_path)["pid"] == 7  # not ours to remove
    assert not (tmp_path / "state.json").exists()


def test_a_lock_that_was_not_judged_dead_is_put_back(tmp_path):
    judged, new = {"host": "a"}, put_lock(tmp_path, pid=8)
    locks._remove(tmp_path, judged)
    assert lock_of(tmp_path) == new and len(list(tmp_path.iterdir())) == 1
