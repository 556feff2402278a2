"""An answer that takes seconds to work out, kept with the files that it was made from.

These are all that was opened or listed meanwhile, as Python's audit events tell, and every module,
each with its time, its size and those of its folder: a file that changed, is gone or is new beside
one asks anew. Of the environment of Python the folders of packages stand for their files. Variables
that may matter, the working directory and the machine are in the name of what is kept. An answer
is not kept where one of its files was written meanwhile: nobody knows which of the two was read.

Only a process that has imported nothing heavy looks an answer up or keeps one: another may have
read files before, which nobody saw, and gains nothing.
"""

import contextlib
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from arch.data.cache import cache_directory
from arch.report.files import replace_file

VARIABLES = ("ARCH_", "JAX_", "XLA_", "HF_", "PYTHON", "CUDA_")
PASSING = ("/proc/", "/sys/", "/dev/")  # whose times say nothing

Stamp = list[int] | None  # time of change and size; None for what is not there


class _Seen:
    """Paths that audit events name, while there is a set to put them in."""

    paths: set[str] | None = None
    hooked = False

    @classmethod
    @contextlib.contextmanager
    def everything(cls) -> Iterator[set[str]]:
        if not cls.hooked:  # a hook is for good
            sys.addaudithook(cls._hook)
            cls.hooked = True
        cls.paths = paths = set()
        try:
            yield paths
        finally:
            cls.paths = None

    @classmethod
    def _hook(cls, event: str, arguments: tuple) -> None:
        if cls.paths is None or event not in ("open", "os.listdir", "os.scandir"):
            return
        path = "." if arguments[0] is None else arguments[0]
        if isinstance(path, str | os.PathLike):  # not a number that is open already
            cls.paths.add(os.path.abspath(path))


class _Heard:
    """A stream that knows whether anything was written to it."""

    def __init__(self, stream: TextIO):
        self.stream, self.anything = stream, False

    def write(self, text: str) -> int:
        self.anything |= bool(text)
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def kept(name: str, asked: Any, make: Callable[[], Any]) -> Any:
    """What `make` gives, as JSON has it: from the last time where nothing has changed since.

    Args:
        name, asked: of what, and what was asked of it, as JSON can write it. An answer beside which
            anything was said on stderr is not kept, so that it is said again.
    """
    if "jax" in sys.modules:
        return json.loads(json.dumps(make()))
    file = cache_directory() / "answers" / f"{name}-{_named(asked)}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        found = json.loads(file.read_bytes())
        if found["version"] == sys.version and _unchanged(found["made_from"]):
            return found["answer"]
    told, begun = _Heard(sys.stderr), time.time_ns()
    with _Seen.everything() as seen, contextlib.redirect_stderr(cast(TextIO, told)):
        text = json.dumps(make())
    answer, made_from = json.loads(text), _made_from(seen)
    if not told.anything and not _written_since(begun, made_from):
        whole = {"version": sys.version, "made_from": made_from, "answer": answer}
        with contextlib.suppress(OSError):  # a cache that cannot be written costs seconds alone
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(file, json.dumps(whole).encode())
    return answer


def _named(asked: Any) -> str:
    variables = {k: v for k, v in sorted(os.environ.items()) if k.startswith(VARIABLES)}
    whole = [asked, os.getcwd(), sys.executable, platform.node(), variables]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:16]


def _unchanged(made_from: dict[str, Stamp]) -> bool:
    return bool(made_from) and all(_stamp(path) == stamp for path, stamp in made_from.items())


def _written_since(begun: int, made_from: dict[str, Stamp]) -> bool:
    """Whether a file was, at or after a time in nanoseconds; of folders their caches change."""
    return any(
        stamp is not None and stamp[0] >= begun and os.path.isfile(path)
        for path, stamp in made_from.items()
    )


def _made_from(seen: set[str]) -> dict[str, Stamp]:
    """Path → stamp of files outside Python's environment and their folders, and of its own
    folders of packages."""
    modules = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    environment = tuple(f"{path}{os.sep}" for path in {sys.prefix, sys.base_prefix})
    own = {
        path
        for path in {*seen, *modules}
        if os.path.isabs(path)
        and not path.startswith((*environment, *PASSING))
        and "__pycache__" not in path
    }
    folders = {os.path.dirname(path) for path in own if os.path.isfile(path)}
    packages = {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}
    return {path: _stamp(path) for path in sorted(own | folders | packages)}


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_mtime_ns, found.st_size]
