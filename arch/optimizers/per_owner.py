"""An owner's weights are a tensor of their own, however they are stored.

The parameters of a letter are stacked along a leading axis of owners. That axis is not counted
where matrices are told from biases, and optimisers with a norm per tensor are mapped over it.
"""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import optax

Letters = Mapping[str, Collection[str]]  # name of a stack in the parameters → its letters
Tree = dict[str, Any]


def matrices(tree: Any, owners: bool = False) -> Any:
    """True for the leaves that decay: matrices and tables, not biases and norms.

    owners: whether every leaf has a leading owner axis, which is not counted.
    """
    return jax.tree.map(lambda leaf: leaf.ndim - owners >= 2, tree)


def matrices_of_model(tree: Tree, letters: Letters) -> Tree:
    """`matrices` of a model's whole tree; the letters' leaves have an owner axis."""
    return {
        name: {entry: matrices(leaves, entry in letters[name]) for entry, leaves in part.items()}
        if name in letters
        else matrices(part)
        for name, part in tree.items()
    }


def per_owner(
    transform: optax.GradientTransformation, letters: Letters
) -> optax.GradientTransformation:
    """The transformation, applied to each owner's weights of each letter by themselves, and to the
    rest of the tree as a whole.

    Its state is ({stack: {letter: state, stacked over owners}}, state of the rest).
    """

    def init(params: Any):
        owned, rest = parted(params, letters)
        return _each(jax.vmap(transform.init), owned), transform.init(rest)

    def update(updates: Any, state: Any, params: Any = None):
        owned, rest = parted(updates, letters)
        weights, others = parted(params, letters)
        moved = _each(jax.vmap(transform.update), owned, state[0], weights)
        new: Any
        new, rest_state = transform.update(rest, state[1], others)
        for name, part in moved.items():
            new = {**new, name: {**new[name], **{x: pair[0] for x, pair in part.items()}}}
        states = {name: {x: pair[1] for x, pair in part.items()} for name, part in moved.items()}
        return new, (states, rest_state)

    return optax.GradientTransformation(init, update)


def parted(tree: Tree, letters: Letters) -> tuple[Tree, Tree]:
    """({stack: {letter: leaves with an owner axis}}, the tree without those)."""
    stacks = {name: part for name, part in tree.items() if name in letters}
    owned = {
        name: {x: leaves for x, leaves in part.items() if x in letters[name]}
        for name, part in stacks.items()
    }
    rest = {
        name: {x: leaves for x, leaves in part.items() if x not in letters[name]}
        for name, part in stacks.items()
    }
    return owned, {**tree, **rest}


def _each(function: Any, first: Tree, *others: Tree) -> Tree:
    """The function of each letter's entries in trees of stacks and letters."""
    return {
        name: {x: function(v, *(other[name][x] for other in others)) for x, v in part.items()}
        for name, part in first.items()
    }
