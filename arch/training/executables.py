"""Compiled functions kept between processes, so that a second start neither traces nor compiles.

An executable is kept under a digest of all that it is made from: the signature of its program
(configuration and data), the function's name and the shapes of its inputs, the source of this
package, versions, jax's settings, and the machine. ARCH_PROGRAMS names the folder; nothing is kept
where it is empty, as in tests, which change code while they run.
"""

import contextlib
import hashlib
import os
import pickle
import tempfile
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxlib.version
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache

from arch.runs import provenance

MOST_BYTES = 2 << 30  # of all that is kept; the longest unused go first
DIGEST = 32  # bytes of the digest in front of a file's content


class Executable(NamedTuple):
    """call: the compiled function. bytes: what it needs in memory, as the compiler counts it."""

    call: Any
    bytes: int


def key(made_from: str, name: str, static: Hashable, donate: tuple[int, ...], inputs: Any) -> str:
    """The digest of what the function of a program is made from.

    Args:
        made_from: the program's signature, see `arch.training.program.signature`.
        static: what the function depends on beside its inputs and the signature.
        donate: which inputs are donated.
    """
    leaves, tree = jax.tree.flatten(inputs)
    shapes = [(jax.numpy.shape(a), str(jax.numpy.result_type(a))) for a in leaves]
    parts = made_from, name, static, donate, str(tree), shapes, _surroundings(), provenance.cores()
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def load(key: str) -> Executable | None:
    """The executable kept under a key; None where there is none that is whole and runs here."""
    folder = _folder()
    if folder is None:
        return None
    try:
        kept = (folder / key).read_bytes()
        if hashlib.sha256(kept[DIGEST:]).digest() != kept[:DIGEST]:
            return None
        payload, in_tree, out_tree, size = pickle.loads(kept[DIGEST:])
        call = serialize_executable.deserialize_and_load(payload, in_tree, out_tree)
        os.utime(folder / key)
    except Exception:  # whatever is wrong with what was kept, it can be compiled again
        return None
    return Executable(call, size)


@contextlib.contextmanager
def compiled_to_be_kept() -> Iterator[None]:
    """Compile without jax's own cache, where executables are kept here: what was loaded from that
    one has lost its code when it is written down again, and fails as it is called."""
    if _folder() is None or not jax.config.values["jax_enable_compilation_cache"]:
        yield
        return
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
        compilation_cache.reset_cache()


def save(key: str, executable: Executable) -> None:
    """Keep an executable for the processes that come; not where the platform cannot."""
    folder = _folder()
    if folder is None:
        return
    try:
        content = pickle.dumps((*serialize_executable.serialize(executable.call), executable.bytes))
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(hashlib.sha256(content).digest() + content)
        os.replace(file.name, folder / key)
        _discard(folder)
    except Exception:  # a full disk, or outputs of a structure that cannot be written down
        return


def _folder() -> Path | None:
    named = os.environ.get("ARCH_PROGRAMS", "")
    return Path(named) if named else None


def _discard(folder: Path) -> None:
    """Remove what was not used for longest, beyond MOST_BYTES."""
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > MOST_BYTES:
            file.unlink(missing_ok=True)


def _surroundings() -> str:
    """What every function depends on: source, versions, settings."""
    settings = sorted((k, v) for k, v in jax.config.values.items() if "cache" not in k)
    flags = sorted((k, v) for k, v in os.environ.items() if k.startswith("XLA_"))
    return repr(
        (provenance.source(), provenance.versions(), jaxlib.version.__version__, settings, flags)
    )
