"""Python files of the user's: plugins that register kinds, and experiments."""

import contextlib
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from arch.registry import ConfigurationError, suggestion

_loaded: dict[str, ModuleType] = {}


def load(paths: Iterable[str]) -> None:
    """Import the files, which register their kinds.

    The same content is imported once, wherever it lies, so that a run's own copy of a plugin
    serves as well. Raises ConfigurationError for a file that is missing or fails.
    """
    if isinstance(paths, str) or not all(isinstance(path, str) for path in paths):
        raise ConfigurationError(f"plugins={paths!r}: expected a list of Python files")
    for path in paths:
        file, field = Path(path), f"plugins={path!r}"
        if file.is_file() and digest(file) in _loaded:
            continue
        module = import_file(file, field)
        _loaded[digest(file)] = module


def import_file(file: Path, field: str) -> ModuleType:
    """Run a user's Python file as a module of its own.

    Raises ConfigurationError, starting with `field`, for a missing file, one that is not Python,
    and for whatever the file raises.
    """
    if not file.is_file():
        near = suggestion(file.name, [p.name for p in file.parent.glob("*.py")])
        raise ConfigurationError(f"{field}: no such file{near}")
    name = f"{file.stem}_{digest(file)[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{field}: expected a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    with blamed(file, field):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def blamed(file: Path, field: str) -> Iterator[None]:
    """Turn whatever a user's file raises into a ConfigurationError that names its line."""
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if Path(f.filename).resolve() == file.resolve()]
        where = f", line {lines[-1]}" if lines else ""
        text = str(error)
        if len(text) > 240:  # ml_collections prints all that is there, then what was meant
            text = f"{text[:120]} … {text[-120:]}"
        raise ConfigurationError(f"{field}{where}: {type(error).__name__}: {text}") from error


def digest(file: Path) -> str:
    """The sha256 of a file's content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
