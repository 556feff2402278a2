"""The tree of parameters by path: what is there, and setting it with a report of all that does not
fit.

A path is dotted: 'stack.s.sublayer.query.kernel'. It begins with 'embedding', 'stack', 'head', or
'encoder' for an encoder's stack. Below a stack comes a letter of the order, whose arrays are
stacked along a leading axis of its owners: its places in the order, or fewer where they share. Then
'norm_before', 'norm_after' or 'sublayer'. A kernel is (inputs, outputs). README has an example.
"""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from arch.registry import ConfigurationError

Parameters = dict[str, Any]
NEAREST = 2  # paths that are named for an unknown one


class Holder(Protocol):
    """What has a tree of parameters: a run, a model in Hugging Face's format, a built model."""

    parameters: Parameters


Target = TypeVar("Target", Parameters, Holder)


class Leaf(NamedTuple):
    """One array of the tree."""

    path: str
    shape: tuple[int, ...]
    dtype: str


def flat(tree: Any) -> dict[str, Any]:
    """Dotted path → array, or shape, in the tree's order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def leaves(held: Parameters | Holder) -> list[Leaf]:
    """Path, shape and dtype of every array of a tree, or of what holds one."""
    return [Leaf(path, tuple(a.shape), str(a.dtype)) for path, a in flat(_tree(held)).items()]


def table(held: Parameters | Holder) -> str:
    """`leaves` as text, a line each: path, shape, dtype, and the number of scalars."""
    return written(leaves(held))


def written(leaves: Sequence[Leaf]) -> str:
    """The text of `table`."""
    rows = [(one.path, _said(one.shape), one.dtype, f"{_size(one):,}") for one in leaves]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([*map(str.ljust, row[:3], widths), row[3].rjust(widths[3])]) for row in rows
    )


def set(held: Target, values: Mapping[str, Any], strict: bool = True) -> Target:
    """Parameters by path, all of them or none.

    Args:
        held: a run, an imported or a built model, whose `parameters` are then these, and which is
            returned; or a tree, of arrays or of shapes, of which a new one is returned.
        values: path → array, of NumPy, jax, or what NumPy reads, also as a tree of dictionaries.
        strict: every path must be given, each in the dtype that is there. Otherwise what is left
            out stays as it is, and floats of another size are converted.

    Raises ConfigurationError, and sets nothing, where anything does not fit: one line that lists
    every path that is unknown (with the nearest that there are), missing, or of a wrong shape or
    dtype, or that holds a value which is not finite.
    """
    tree = _tree(held)
    there, given = flat(tree), list(_given(values))
    arrays: dict[str, Any] = {}
    faults = []
    for path, value in given:
        fault = _fault(path, value, there, strict)
        if path in arrays:
            fault = "is given twice"
        if fault:
            faults.append(f"{path} {fault}")
        arrays[path] = value
    for path, leaf in there.items():
        if path not in arrays and (strict or isinstance(leaf, jax.ShapeDtypeStruct)):
            faults.append(f"{path} is missing: expected {leaf.dtype} {_said(leaf.shape)}")
    if faults:
        number = f"{len(faults)} fault{'s' * (len(faults) > 1)}"
        raise ConfigurationError(f"parameters: {number}, nothing is set: {'; '.join(faults)}")
    new = [
        jnp.asarray(np.asarray(arrays[path]), leaf.dtype) if path in arrays else leaf
        for path, leaf in there.items()
    ]
    parameters = jax.tree.unflatten(jax.tree.structure(tree), new)
    if isinstance(held, dict):
        return parameters
    held.parameters = parameters
    return held


def _tree(held: Any) -> Any:
    return held if isinstance(held, dict) else held.parameters


def _given(values: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _given(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _fault(path: str, value: Any, there: Mapping[str, Any], strict: bool) -> str:
    """Why a value cannot be set; '' where it can."""
    if path not in there:
        near = difflib.get_close_matches(path, there, NEAREST, cutoff=0.5)
        return f"is unknown{': nearest are ' * bool(near)}{' and '.join(near)}"
    leaf = there[path]
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever the type's own conversion raises
        return f"is no array: {' '.join(str(error).split())}"
    if array.shape != tuple(leaf.shape):
        return f"has shape {_said(array.shape)}: expected {_said(leaf.shape)}"
    floats = jnp.issubdtype(array.dtype, jnp.floating)
    if array.dtype != leaf.dtype and (strict or not floats):
        hint = f"; write .astype('{leaf.dtype}'), or strict=False" if floats else ""
        return f"has dtype {array.dtype}: expected {leaf.dtype}{hint}"
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        many = f"{int(bad.sum())} of {array.size} values"
        return f"has {many} that are not finite: {array[where]} at {_said(where)}"
    return ""


def _said(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _size(leaf: Leaf) -> int:
    return math.prod(leaf.shape)
