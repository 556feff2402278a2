"""Configurations: defaults, filling, overriding, checking, identity.

`make(model=…, task=…, train=…)` returns a locked ConfigDict in which every option of every chosen
kind stands with a value, so that anything can be overridden by its dotted name. Everything wrong
with a configuration is found here or in the constructors it calls, before anything compiles.

fields  what there is, and its defaults     overriding  a copy with fields changed
comparing  a configuration's hash, and the fields in which two differ
"""

from arch.config.comparing import ABSENT, canonical, differences, identity, said_differences
from arch.config.fields import (
    BINDINGS,
    DEFAULTS,
    KINDS,
    OUTSIDE_IDENTITY,
    OUTSIDE_PROGRAM,
    complete,
    has_kind,
    kind_of,
    make,
    selector,
)
from arch.config.overriding import bind, override
from arch.registry import flat, get, read

__all__ = [
    "ABSENT",
    "BINDINGS",
    "DEFAULTS",
    "KINDS",
    "OUTSIDE_IDENTITY",
    "OUTSIDE_PROGRAM",
    "bind",
    "canonical",
    "complete",
    "differences",
    "flat",
    "get",
    "has_kind",
    "identity",
    "kind_of",
    "make",
    "override",
    "read",
    "said_differences",
    "selector",
]
