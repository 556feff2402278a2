"""Where a result comes from: versions, code, process. The device is asked in `sweeps.machine`."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

CODE = Path(__file__).resolve().parents[2]
DISTRIBUTION = "arch-variants"
# Raised by a commit that changes the bits of runs; lines carry it, and `audit` names older ones.
# `arch.runs.numerics` says which configurations each number touches.
NUMERICS = 4


@functools.cache
def version() -> str:
    """This package's version: the installed distribution's, or where it only lies on the path, that
    of the pyproject.toml beside it; '0+unknown' without either."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        return tomllib.loads((CODE / "pyproject.toml").read_text())["project"]["version"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return "0+unknown"


@functools.cache
def source() -> str:
    """The digest of this package's files, as they are at the first call."""
    package, found = CODE / "arch", hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        found.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes() + b"\0")
    return found.hexdigest()


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    packages = {name: importlib.metadata.version(name) for name in ("jax", "flax", "optax")}
    return {"python": platform.python_version(), **packages}


@functools.cache
def git() -> dict[str, object]:
    """Revision of the code, 'unknown' without git or outside a repository, and whether it differs
    from what is committed."""

    def ask(*command):
        git = ["git", "-C", str(CODE)]
        try:
            done = subprocess.run([*git, *command], capture_output=True, text=True, check=False)
        except OSError:  # git is not installed
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    revision = ask("rev-parse", "HEAD")
    # neither what a sweep writes nor a log that lies about is a change of the code
    tracked = ask("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results", ":!runs")
    changed = tracked or ask("ls-files", "--others", "--exclude-standard", "--", "*.py")
    return {"revision": revision or "unknown", "dirty": bool(changed)}


def processor() -> str:
    """The name of this machine's processor; '' where the system does not say."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def host() -> dict[str, object]:
    """This process: its machine, number and time of start, since numbers are given again; job: of
    SLURM, where it is one's."""
    pid = os.getpid()
    job = {"job": os.environ["SLURM_JOB_ID"]} if "SLURM_JOB_ID" in os.environ else {}
    return {"host": socket.gethostname(), "pid": pid, "started": _started(pid), **job}


def gone(process: Mapping) -> bool:
    """Whether a process that `host` described has ended; False where another machine's is meant."""
    if process.get("host") != socket.gethostname():
        return False
    return _started(process["pid"]) != process.get("started")


def _started(pid: int) -> int:
    """When a process began, in ticks since the machine did; 0 where there is none alive."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if state in "ZX" else int(fields[18])
    except OSError:
        pass
    try:
        os.kill(pid, 0)  # where there is no /proc
    except ProcessLookupError:
        return 0
    except PermissionError:
        pass
    return 1


def changes(before: Mapping, now: Mapping) -> str:
    """'cores 2 → 1, jax 0.10.0 → 0.11.0': the fields of `now` that were otherwise before."""
    return ", ".join(
        f"{name} {before.get(name, 'unknown')} → {value}"
        for name, value in now.items()
        if before.get(name) != value
    )


def load() -> float | None:
    """How many processes wanted a core in the last minute, on the average; None where the system
    does not say. Speed is the machine's of that hour where this is above `cores`."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return None


def cores() -> int:
    """CPU cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
