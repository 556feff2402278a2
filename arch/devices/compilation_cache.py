"""Compiled programs are kept between processes, so that a resumed sweep starts at once."""

import hashlib
import os
import platform

from arch.data.cache import cache_directory


def enable() -> None:
    """Tell jax, and `arch.training.executables`, where to keep them, unless the environment has
    said so.

    Call it before jax is imported. A program compiled for one type of CPU does not run on another,
    so each type has a folder.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_directory() / "xla" / machine()))
    os.environ.setdefault("ARCH_PROGRAMS", str(cache_directory() / "programs" / machine()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def machine() -> str:
    """A name that machines share where compiled programs may be shared."""
    try:
        with open("/proc/cpuinfo") as file:
            kind = sorted({line for line in file if line.startswith(("model name", "flags"))})
    except OSError:
        kind = [platform.processor()]
    return hashlib.sha256(f"{platform.machine()} {kind}".encode()).hexdigest()[:12]
