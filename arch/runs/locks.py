"""One process trains in a run folder: `lock.json` there names it, until it ends.

A process of this machine is known by its number and start. Of another machine's, in a folder that
both see, only its sign of life is: the lock's `beat` changes every BEAT seconds. A lock whose beat
stands still for PATIENCE seconds is taken over. Nobody's clock is read: one that jumps changes
nothing.
"""

import contextlib
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from arch.registry import ConfigurationError
from arch.runs import provenance

FILE = "lock.json"
BEAT, PATIENCE = 10.0, 60.0  # seconds; patience outlasts what a network folder may hold back

Lock = dict[str, object]  # host, pid, started, and beat: how often it was renewed

_held: dict[Path, int] = {}  # folder → its lock's file descriptor, of those this process holds


@contextlib.contextmanager
def held(folders: Iterable[Path]) -> Iterator[None]:
    """Hold the locks of folders, which exist, and renew them meanwhile.

    Raises ConfigurationError where another process is at work in one.
    """
    folders = list(dict.fromkeys(folders))
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(folders, done), daemon=True)
    try:
        check_free(folders)
        for folder in folders:
            _acquire(folder)
        beating.start()
        yield
    finally:
        done.set()
        if beating.ident is not None:
            beating.join()
        for folder in folders:
            _release(folder)


def check_free(folders: Iterable[Path]) -> None:
    """Raises ConfigurationError where another living process holds a folder's lock.

    The lock of a dead one is removed; of another machine's it is said, after waiting for its beat.
    """
    unsure: dict[Path, Lock] = {}
    for folder in folders:
        lock = _read(folder / FILE)
        if lock is None or folder in _held:
            continue
        if not _is_here(lock):
            unsure[folder] = lock
        elif provenance.gone(lock) or lock["pid"] == os.getpid():
            _remove(folder, lock)
        else:
            raise _refusal(folder, lock)
    for folder, lock in _silent(unsure).items():
        print(
            f"{folder}: taken over from {_name(lock)}, which gave no sign of life for "
            f"{PATIENCE:g} s",
            file=sys.stderr,
        )
        _remove(folder, lock)


def holder(folder: Path) -> Lock | None:
    """Which process holds the folder's lock: its host, number and start; None where no lock is
    seen."""
    lock = _read(folder / FILE)
    return None if lock is None else {k: v for k, v in lock.items() if k != "beat"}


def check_own(folder: Path) -> None:
    """Raises ConfigurationError where another process holds the folder's lock, or has taken over
    this one's, as it may of a process that slept: nothing more is to be written there."""
    if folder in _held:
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(folder / FILE), os.fstat(_held[folder])):
                return
        raise ConfigurationError(f"{folder}: another process has taken it over; this one ends")
    lock = _read(folder / FILE)
    own = lock is None or (_is_here(lock) and lock["pid"] == os.getpid())
    if lock is not None and not own and not provenance.gone(lock):
        raise _refusal(folder, lock)


def _silent(locks: dict[Path, Lock]) -> dict[Path, Lock]:
    """Those whose beat stood still for PATIENCE seconds; ConfigurationError where one changes."""
    left, end = dict(locks), time.monotonic() + PATIENCE
    for folder, lock in locks.items():
        print(f"{folder}: waiting for a sign of life of {_name(lock)}", file=sys.stderr)
    while left and time.monotonic() < end:
        time.sleep(BEAT / 10)
        for folder, lock in list(left.items()):
            seen = _read(folder / FILE)
            if seen is None:
                del left[folder]
            elif seen != lock:
                raise _refusal(folder, seen)
    return left


def _refusal(folder: Path, lock: Lock) -> ConfigurationError:
    way_out = f", or stop it with `kill {lock['pid']}`" if _is_here(lock) else ", or stop it there"
    return ConfigurationError(f"{folder}: {_name(lock)} is at work on it; wait for it{way_out}")


def _is_here(lock: Lock) -> bool:
    return lock.get("host") == provenance.host()["host"]


def _name(lock: Lock) -> str:
    if _is_here(lock):
        return f"process {lock['pid']}"
    return f"process {lock.get('pid', '?')} of {lock.get('host', 'an unnamed machine')}"


def _acquire(folder: Path) -> None:
    try:
        opened = os.open(folder / FILE, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    except FileExistsError:  # by one who was quicker
        raise _refusal(folder, _read(folder / FILE) or {}) from None
    _held[folder] = opened
    _write(opened, 0)


def _write(opened: int, beat: int) -> None:
    """In place, and always as long: it needs no space, and never writes over another's lock."""
    text = json.dumps({**provenance.host(), "beat": f"{beat:012d}"}) + "\n"
    os.lseek(opened, 0, os.SEEK_SET)
    os.write(opened, text.encode())
    os.fsync(opened)


def _beat(folders: list[Path], done: threading.Event) -> None:
    beat = 0
    while not done.wait(BEAT):
        beat += 1
        for folder in folders:
            with contextlib.suppress(OSError):  # the training says so, where it writes
                _write(_held[folder], beat)


def _release(folder: Path) -> None:
    opened = _held.get(folder)
    if opened is None:
        return
    with contextlib.suppress(ConfigurationError, OSError):
        check_own(folder)
        os.unlink(folder / FILE)
    del _held[folder]
    with contextlib.suppress(OSError):
        os.close(opened)


def _read(file: Path) -> Lock | None:
    """A lock; {} where it is being written, None where there is none."""
    try:
        found = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _remove(folder: Path, judged: Lock) -> None:
    """Remove a lock that was judged dead, and none that took its place meanwhile."""
    aside = folder / f".{FILE}.{uuid.uuid4().hex}"
    try:
        os.rename(folder / FILE, aside)
    except FileNotFoundError:
        return
    if _read(aside) != judged:
        with contextlib.suppress(OSError):
            os.link(aside, folder / FILE)
    aside.unlink()
