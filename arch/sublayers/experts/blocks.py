"""Each row through its own expert: rows are laid into blocks that have one expert each, so that
none is computed that no token chose and none is dropped for want of room."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Weights = Any  # a tree of arrays (experts, …)
Expert = Callable[[Weights, Array], Array]  # of one expert's weights and rows (block, width)
SMALLEST = 8
LARGEST = {"cpu": 128}  # elsewhere a larger one, which fills the device
LARGEST_ELSEWHERE = 1024


class Layout(NamedTuple):
    """Where the pairs of a token and an expert lie.

    places: row of each pair; as many as there are rows for a pair that is left out.
    owners: expert of each block.
    """

    places: Int[Array, "*pairs"]
    owners: Int[Array, " blocks"]


def block_size(pairs: int, experts: int, platform: str) -> int:
    """A power of two of which about half the pairs' rows at most are padding."""
    most = min(LARGEST.get(platform, LARGEST_ELSEWHERE), pairs // experts)
    return max(SMALLEST, 1 << (most.bit_length() - 1) if most else 0)


def laid_out(
    chosen: Int[Array, "*pairs"],
    ranks: Int[Array, "*pairs"],
    kept: Bool[Array, "*pairs"],
    counts: Int[Array, " experts"],
    block: int,
) -> Layout:
    """The layout of pairs in blocks of `block` rows.

    Args:
        chosen: expert of each pair.
        ranks: of a pair that is kept, how many of its expert's come before it.
        kept: which pairs are computed.
        counts: pairs that each expert keeps.
    """
    experts = len(counts)
    blocks = min(chosen.size, chosen.size // block + experts)  # an expert fills all but one
    ends = jnp.cumsum(-(-counts // block))
    starts = ends - -(-counts // block)
    places = jnp.where(kept, starts[chosen] * block + ranks, blocks * block)
    owners = jnp.sum(ends[None] <= jnp.arange(blocks)[:, None], axis=1)
    return Layout(places, jnp.minimum(owners, experts - 1))


def through(
    expert: Expert, weights: Weights, x: Float[Array, "tokens width"], layout: Layout, block: int
) -> Float[Array, "*pairs width"]:
    """What the expert of each pair makes of its token; zeros for a pair that is left out.

    x: the tokens, of which the first axes of the pairs are a reshaping; the last axis of the pairs
    is the experts of a token.
    """
    rows, width = len(layout.owners) * block, x.shape[-1]
    places = layout.places.reshape(-1)
    tokens = jnp.arange(places.size) // layout.places.shape[-1]
    source = jnp.full((rows,), len(x)).at[places].set(tokens, mode="drop")
    filled = x.at[source].get(mode="fill", fill_value=0)
    y = by_blocks(expert, weights, filled.reshape(-1, block, width), layout.owners)
    return y.reshape(rows, width).at[layout.places].get(mode="fill", fill_value=0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def by_blocks(
    expert: Expert,
    weights: Weights,
    x: Float[Array, "blocks block width"],
    owners: Int[Array, " blocks"],
) -> Float[Array, "blocks block width"]:
    """Each block through its owner, one after the other. The backward pass computes a block again,
    and adds its gradient in place to its owner's: autodiff would add an array of all experts."""

    def body(_, part):
        rows, owner = part
        return None, expert(_of(weights, owner), rows)

    return jax.lax.scan(body, None, (x, owners))[1]


def _forward(expert: Expert, weights: Weights, x: Array, owners: Array):
    return by_blocks(expert, weights, x, owners), (weights, x, owners)


def _backward(expert: Expert, saved: tuple, cotangent: Array):
    weights, x, owners = saved

    def body(total, part):
        rows, owner, of_rows = part
        of_weights, back = jax.vjp(expert, _of(weights, owner), rows)[1](of_rows)
        total = jax.tree.map(lambda all_, one: all_.at[owner].add(one), total, of_weights)
        return total, back

    zeros = jax.tree.map(jnp.zeros_like, weights)
    of_weights, back = jax.lax.scan(body, zeros, (x, owners, cotangent))
    return of_weights, back, None


by_blocks.defvjp(_forward, _backward)


def _of(weights: Weights, owner: Int[Array, ""]) -> Weights:
    return jax.tree.map(lambda leaf: leaf[owner], weights)
