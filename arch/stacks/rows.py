"""Rows of a letter's stacked parameters, one for each owner: read, and added to, in place.

Where the order is data, which row a position reads is data too, and the gradient of reading it is
an array as large as all rows, once a position. `lent` and `claims` lead the gradients around that:
each position's flows into its claim, and all claims add up in place.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from arch.stacks.parameters import Parameters

Number = int | Int[Array, ""]


def read_row(rows: Parameters, at: Number) -> Parameters:
    """Row `at` of every leaf's leading axis."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, at, keepdims=False), rows)


def add_row(rows: Parameters, more: Parameters, at: Number) -> Parameters:
    """The rows, `more` added to row `at` of every leaf."""
    return jax.tree.map(lambda a, b: a.at[at].add(b), rows, more)


@jax.custom_vjp
def lent(row: Parameters, claim: Parameters) -> Parameters:
    """The row; its gradient flows into the claim."""
    return row


lent.defvjp(lambda row, claim: (row, None), lambda _, gradient: (None, gradient))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def claims(
    rows: Mapping[str, Parameters],
    names: tuple[str, ...],
    letters: Int[Array, " depth"],
    owners: Int[Array, " depth"],
) -> list[dict[str, Parameters]]:
    """For each position, letter → the claim on the row that this position reads.

    A claim is zeros of the row's shape, and only its gradient is of use: row `owners[p]` of the
    letter at position p gets it.

    Args:
        rows: letter → parameters stacked over its owners.
        names: the letters, as `letters` numbers them.
    """
    each = {
        name: jax.tree.map(lambda a: jnp.zeros(a.shape[1:], a.dtype), rows[name]) for name in names
    }
    return [each for _ in range(len(letters))]


def _claims_forward(rows, names, letters, owners):
    return claims(rows, names, letters, owners), (rows, letters, owners)


def _claims_backward(names, saved, gradients):
    rows, letters, owners = saved
    total = {name: jax.tree.map(jnp.zeros_like, rows[name]) for name in names}
    for position, found in enumerate(gradients):
        for number, name in enumerate(names):
            # another letter's gradient is zeros, which its first row gets
            at = jnp.where(letters[position] == number, owners[position], 0)
            total[name] = add_row(total[name], found[name], at)
    return total, None, None


claims.defvjp(_claims_forward, _claims_backward)
