"""A letter is an axis: its parameters are stacked along a leading owner axis.

The schedule says, for each position of the order, which letter stands there and which owner's
weights it uses. Sharing is a change of that map alone.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int, Key

from arch import order as orders
from arch.registry import ConfigurationError

Parameters = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """positions: (letter, owner) along the depth; owners: letter → number of owners."""

    positions: tuple[tuple[str, int], ...]
    owners: dict[str, int]

    @property
    def letters(self) -> tuple[str, ...]:
        """Sorted, so that every order of the same letters numbers them alike."""
        return tuple(sorted(self.owners))

    def as_data(self) -> Int[np.ndarray, "2 depth"]:
        """The schedule as numbers, for a program that serves all orders with these counts."""
        index = {letter: i for i, letter in enumerate(self.letters)}
        pairs = [(index[letter], owner) for letter, owner in self.positions]
        return np.array(pairs, np.int32).T


def schedule(order: str, share: str = "", groups: int = 1, inner_groups: int = 1) -> Schedule:
    """The order's positions and their owners.

    A letter in `share` has `groups` owners, each serving an equal run of its occurrences, as
    ALBERT's hidden groups do (Lan et al. 2019), or `inner_groups` owners a group, which take turns;
    any other letter has an owner an occurrence.

    >>> schedule("sfsf", share="f").positions
    (('s', 0), ('f', 0), ('s', 1), ('f', 0))
    """
    counts = orders.counts(order)
    for letter in share:
        if letter not in counts:
            raise ConfigurationError(
                f"model.stack.share={share!r}: letter {letter!r} is not in the order, "
                f"which has {''.join(counts)!r}"
            )
    if groups < 1 or any(groups > counts[letter] for letter in share):
        raise ConfigurationError(
            f"model.stack.groups={groups}: allowed is 1 to the occurrences of each shared letter, "
            f"{counts}"
        )
    for letter in share:
        if (
            inner_groups < 1
            or counts[letter] % inner_groups
            or (groups * inner_groups > counts[letter])
        ):
            raise ConfigurationError(
                f"model.stack.inner_groups={inner_groups}, groups={groups}: the {counts[letter]} "
                f"occurrences of {letter!r} must be a multiple of it, and enough for all owners"
            )
    if inner_groups > 1 and not share:
        raise ConfigurationError(
            f"model.stack.inner_groups={inner_groups}: no letter is shared; allowed is 1"
        )
    held = groups * inner_groups
    owners = {letter: held if letter in share else n for letter, n in counts.items()}
    seen = dict.fromkeys(counts, 0)
    positions = []
    for letter in orders.expand(order):
        owner = seen[letter]
        if letter in share:
            layer, turn = divmod(owner, inner_groups)
            group = layer * groups // (counts[letter] // inner_groups)
            owner = group * inner_groups + turn
        positions.append((letter, owner))
        seen[letter] += 1
    return Schedule(tuple(positions), owners)


class Definition:
    """An NNX module split once: the graph, and plain arrays in and out.

    `create` builds the module from `rngs`. Only `nnx.Param`s may be kept: a module with other
    state would lose it in a pure function.
    """

    def __init__(self, create: Callable[..., nnx.Module]):
        self._create = create
        self.module: Any = nnx.eval_shape(lambda: create(rngs=nnx.Rngs(0)))
        self._graph, state = nnx.split(self.module)
        for path, variable in nnx.to_flat_state(state):
            if not isinstance(variable, nnx.Param):
                raise ConfigurationError(
                    f"{type(self.module).__name__} keeps {'.'.join(map(str, path))} as "
                    f"{type(variable).__name__}; a module's state must be nnx.Param alone"
                )
        self.shapes = nnx.to_pure_dict(state)

    def init(self, key: Key[Array, ""]) -> Parameters:
        return nnx.to_pure_dict(nnx.split(self._create(rngs=nnx.Rngs(key)))[1])

    def bind(self, parameters: Parameters) -> Any:
        return nnx.merge(self._graph, parameters)


def init_owners(definition: Definition, key: Key[Array, ""], owners: int) -> Parameters:
    """Parameters of a letter, stacked over its owners; an owner's depend on the key and its index
    alone, so that reordered models start from the same weights."""
    keys = jax.vmap(lambda owner: jax.random.fold_in(key, owner))(jnp.arange(owners))
    return jax.vmap(definition.init)(keys)


def scale_outputs(parameters: Parameters, factor: float) -> Parameters:
    """The kernels of every projection named `output`, times the factor (Radford et al. 2019:
    1/√depth for the projections that end in the residual stream)."""

    def scaled(path, leaf):
        names = [getattr(entry, "key", None) for entry in path]
        return leaf * factor if names[-2:] == ["output", "kernel"] else leaf

    return jax.tree_util.tree_map_with_path(scaled, parameters)


def count(parameters: Parameters) -> int:
    """Number of scalars in a tree of arrays or shapes."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(parameters))
