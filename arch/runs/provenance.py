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
VECTORS = ("avx512f", "avx2", "avx", "sse4_2")  # the widest first


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
    """This machine's processor: its name, and what tells types apart that virtual machines call by
    one name, on which bytes depend: 'AMD EPYC, family 26 model 2, avx512f'. '' where the system
    does not say."""
    try:
        return processor_in(Path("/proc/cpuinfo").read_text()) or platform.processor()
    except OSError:
        return platform.processor()


def processor_in(cpuinfo: str) -> str:
    """The same of a /proc/cpuinfo; '' where it names none."""
    pairs = (line.partition(":") for line in cpuinfo.partition("\n\n")[0].splitlines())
    facts = {name.strip(): value.strip() for name, _, value in pairs}
    if "model name" not in facts:
        return ""
    flags = facts.get("flags", "").split()
    widest = next((vectors for vectors in VECTORS if vectors in flags), "")
    kind = [
        f"{name.split()[-1]} {facts[name]}" for name in ("cpu family", "model") if name in facts
    ]
    return ", ".join(filter(None, (facts["model name"], " ".join(kind), widest)))


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
