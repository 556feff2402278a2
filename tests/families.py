"""Of a family of equal tests a few run always, the others with the slow ones."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def always(cases: Iterable[Any], chosen: Iterable[Any] | Callable[[Any], bool]) -> list[Any]:
    """The cases, for `pytest.mark.parametrize`: all but the chosen ones are marked `slow`.

    Raises ValueError where a chosen case is not among them: a name that is gone would leave its
    family untested.
    """
    cases = list(cases)
    if callable(chosen):
        kept = [case for case in cases if chosen(case)]
    else:
        kept = list(chosen)
        if absent := [case for case in kept if case not in cases]:
            raise ValueError(f"no such case: {absent}; there are {cases}")
    if not kept:
        raise ValueError("no case is chosen")
    return [
        case
        if case in kept
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for case in cases
    ]
