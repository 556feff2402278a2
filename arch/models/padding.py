"""Padding of token ids to a length that every letter of a stack prefers."""

import jax.numpy as jnp
from jaxtyping import Array

from arch.context import Context
from arch.stacks.contract import Stack


def padded_length(stack: Stack, length: int) -> int:
    """The length to which a stack's token ids are padded, before the embedding: the longest that a
    letter asks for. Where one letter takes the length as it is, the ids stay as they are, and the
    sublayers that need another length pad what they are given."""
    lengths = [stack.sublayer(letter).padded_length(length) for letter in stack.letters]
    return length if length in lengths else max(lengths)


def filled(ids: Array, context: Context, length: int) -> tuple[Array, Context]:
    """(ids, context) of the length: 0 behind the ids, positions that go on counting, segments of 0,
    and a mask that is true where ids were.

    ids: (batch, length before), or (batch, length before, words).
    """
    more = length - ids.shape[1]
    if not more:
        return ids, context

    def wider(array: Array, value: int) -> Array:
        sides = ((0, 0), (0, more), *((0, 0),) * (array.ndim - 2))
        return jnp.pad(array, sides, constant_values=value)

    mask = jnp.ones(ids.shape[:2], bool) if context.mask is None else context.mask
    context = context.replace(mask=wider(mask, False))
    if context.positions is not None:
        on = context.positions[:, -1:] + jnp.arange(1, more + 1)[None]
        context = context.replace(positions=jnp.concatenate([context.positions, on], axis=1))
    if context.segments is not None:
        context = context.replace(segments=wider(context.segments, 0))
    return wider(ids, 0), context
