"""Linear attention whose state decays per channel, by matrix products over chunks of positions.

Sₜ = diag(exp aₜ) Sₜ₋₁ + kₜᵀ vₜ, a ≤ 0. Within a chunk the score of i and j < i is
Σ qᵢ kⱼ exp(aⱼ₊₁ + … + aᵢ), which is no product: exp(-Σ a) overflows. But every pair is parted by
one border between two neighbouring runs of 1, 2, 4, … positions; counted from that border each
side's exponent is at most 0. So there is one product per length of the runs, with no division, no
difference of sums, and nothing that overflows however fast the state decays.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from arch.layers import product_flops
from arch.sublayers.state_space.chunks import Chunk


class Run(NamedTuple):
    """Sums of a, (batch, size, heads, keys), within runs of `length` positions.

    before: from the run's start to each position, with its own a, or without where exclusive.
    after: from behind each position to the run's end.
    """

    length: int
    before: Array
    after: Array


def runs(a: Float[Array, "batch size heads keys"], exclusive: bool) -> Iterator[Run]:
    """The sums within runs of 1, 2, 4, … and all positions; the size is a power of two."""
    shape, length = a.shape, 1
    before, after, total = (jnp.zeros_like(a) if exclusive else a), jnp.zeros_like(a), a
    while True:
        yield Run(length, before, after)
        if length == shape[1]:
            return

        def pairs(sums: Array, of: int) -> Array:
            return sums.reshape(shape[0], shape[1] // (2 * length), 2, of, *shape[2:])  # noqa: B023

        left, right = jnp.split(pairs(total, 1), 2, axis=2)
        first, second = jnp.split(pairs(before, length), 2, axis=2)
        before = jnp.concatenate([first, second + left], axis=2).reshape(shape)
        first, second = jnp.split(pairs(after, length), 2, axis=2)
        after = jnp.concatenate([first + right, second], axis=2).reshape(shape)
        total = left + right
        length *= 2


def parted(size: int, length: int) -> Bool[Array, "size size"]:
    """Which pairs (i, j) stand in two neighbouring runs that the next longer run joins."""
    run = jnp.arange(size) // length
    return (run[:, None] == run[None] + 1) & (run[:, None] % 2 == 1)


def decaying(bonus: Float[Array, "heads keys"] | None = None) -> Chunk:
    """The chunk of oₜ = qₜ Sₜ, of terms (q, k, v, a), (batch, size, heads, keys or values).

    With a bonus u it is oₜ = qₜ (Sₜ₋₁ + diag(u) kₜᵀ vₜ) instead, as in RWKV. The state is
    (batch, heads, keys, values), from zeros. Positions whose k and a are 0 leave it as it is.
    """

    def chunk(
        state: Float[Array, "batch heads keys values"], terms: tuple[Array, Array, Array, Array]
    ) -> tuple[Array, Float[Array, "batch size heads values"]]:
        length = terms[0].shape[1]
        room = 1 << (length - 1).bit_length()
        rest = [(0, 0), (0, room - length), (0, 0), (0, 0)]
        q, k, v, a = (jnp.pad(term, rest) for term in terms)
        own = k if bonus is None else k * bonus.astype(k.dtype)[None, None]
        own = jnp.sum(q * own, axis=-1)  # of each position with itself
        scores = jnp.moveaxis(own, 1, 2)[..., None] * jnp.eye(room, dtype=q.dtype)[None, None]
        *shorter, whole = runs(a, exclusive=bonus is not None)
        for run in shorter:
            products = jnp.einsum(
                "bihd,bjhd->bhij", q * jnp.exp(run.before), k * jnp.exp(run.after)
            )
            scores = scores + jnp.where(parted(room, run.length)[None, None], products, 0)
        o = jnp.einsum("bhij,bjhe->bihe", scores, v)
        o = o + jnp.einsum("bihd,bhde->bihe", q * jnp.exp(whole.before), state)
        added = jnp.einsum("bjhd,bjhe->bhde", k * jnp.exp(whole.after), v)
        kept = jnp.exp(whole.after[:, 0] + a[:, 0])[..., None]
        return kept * state + added, o[:, :length]

    return chunk


def decaying_flops(length: int, chunk: int, heads: int, keys: int, values: int) -> int:
    """Forward FLOPs of the products of `decaying` over a sequence."""
    size = -(-length // -(-length // chunk))
    room = 1 << (size - 1).bit_length()
    levels = room.bit_length() - 1
    scores = product_flops(length, room, levels * keys + values)
    return heads * (scores + 2 * product_flops(length, keys, values))
