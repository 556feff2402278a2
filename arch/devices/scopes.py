"""Names that parts of a program keep in its compiled text: stack, letter, the path of an attention.

They are metadata: a program computes the same with and without them.
"""

import re
from typing import Any

import jax

OPERATION = re.compile(r'op_name="([^"]*)"')
PART = re.compile(r"\b(stack|letter|attention):([^/()\"]+)")


def stack(name: str) -> Any:
    """A context in which operations are of the stack of this name: stack | encoder."""
    return jax.named_scope(f"stack:{name}")


def letter(name: str) -> Any:
    """A context in which operations are of a letter."""
    return jax.named_scope(f"letter:{name}")


def attention(path: str) -> Any:
    """A context in which operations are of attention that is computed on this path."""
    return jax.named_scope(f"attention:{path}")


def attention_paths(text: str) -> dict[str, list[str]]:
    """letter → the paths that its attention takes in a compiled program, from its text.

    A letter of an encoder is named with it, as 'encoder.s'.
    """
    found: dict[str, list[str]] = {}
    for operation in dict.fromkeys(OPERATION.findall(text)):
        parts = dict(PART.findall(operation))
        if {"letter", "attention"} <= parts.keys():
            name = parts["letter"]
            if parts.get("stack", "stack") != "stack":
                name = f"{parts['stack']}.{name}"
            if parts["attention"] not in found.setdefault(name, []):
                found[name].append(parts["attention"])
    return {name: sorted(found[name]) for name in sorted(found)}
