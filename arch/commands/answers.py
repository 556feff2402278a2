"""What a command answers to a program: JSON on stdout, and nothing beside it."""

import contextlib
import contextvars
import json
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

_STDOUT: contextvars.ContextVar[TextIO] = contextvars.ContextVar("stdout")


@contextlib.contextmanager
def nothing_else() -> Iterator[None]:
    """Within, what is printed goes to stderr, whoever prints it, and `answer` alone to stdout."""
    token = _STDOUT.set(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _STDOUT.reset(token)


def answer(*objects: Mapping) -> None:
    """Print each as a line of JSON. A number that JSON has no word for, as the perplexity of a run
    that went NaN, is null."""
    out = _STDOUT.get(sys.stdout)
    for one in objects:
        print(json.dumps(_plain(one), allow_nan=False), file=out, flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
