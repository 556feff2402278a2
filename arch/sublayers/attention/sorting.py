"""Sorting by bucket, and the permutations there and back, whose gradients are permutations too."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

Index = Int[Array, "group rounds length"]


class Sorting(NamedTuple):
    """The order of each round, by (bucket, position), and back again."""

    order: Index
    inverse: Index
    chunk: int

    def chunked(
        self, x: Shaped[Array, "group rounds length *rest"]
    ) -> Shaped[Array, "group rounds chunks chunk *rest"]:
        """The sorted places of an array, cut into chunks."""
        return x.reshape(*x.shape[:2], -1, self.chunk, *x.shape[3:])

    def sorted(
        self, x: Float[Array, "group length width"]
    ) -> Float[Array, "group rounds chunks chunk width"]:
        """An array of the positions in each round's order, in chunks."""
        return self.chunked(permuted(x, self.order, self.inverse))

    def unsorted(
        self, y: Float[Array, "group rounds length width"]
    ) -> Float[Array, "group rounds length width"]:
        """An array of the sorted places in the order of the positions."""
        return unpermuted(y, self.order, self.inverse)


def sort(buckets: Index, chunk: int) -> Sorting:
    """The stable order of the buckets: positions stay in order within one."""
    order = jnp.argsort(buckets, axis=-1, stable=True).astype(jnp.int32)
    return Sorting(order, jnp.argsort(order, axis=-1).astype(jnp.int32), chunk)


def _rows(x: Float[Array, "group rounds length width"], index: Index) -> Array:
    return jnp.take_along_axis(x, index[..., None], axis=2)


@jax.custom_vjp
def permuted(
    x: Float[Array, "group length width"], order: Index, inverse: Index
) -> Float[Array, "group rounds length width"]:
    """x in each round's order. A permutation's gradient is the inverse one, not a scatter."""
    return _rows(x[:, None], order)


def _permuted_forward(x, order, inverse):
    return permuted(x, order, inverse), (order, inverse)


def _permuted_backward(saved, dy):
    return _rows(dy, saved[1]).sum(1), None, None


permuted.defvjp(_permuted_forward, _permuted_backward)


@jax.custom_vjp
def unpermuted(
    y: Float[Array, "group rounds length width"], order: Index, inverse: Index
) -> Float[Array, "group rounds length width"]:
    """y in the order of the positions."""
    return _rows(y, inverse)


def _unpermuted_forward(y, order, inverse):
    return unpermuted(y, order, inverse), (order, inverse)


def _unpermuted_backward(saved, dy):
    return _rows(dy, saved[0]), None, None


unpermuted.defvjp(_unpermuted_forward, _unpermuted_backward)
