"""Attention among what a hash puts together (Kitaev, Kaiser and Levskaya 2020, §2), without
parameters.

Queries are their own keys. In each round a random rotation puts every position into a bucket; the
positions are sorted by (bucket, position) and cut into chunks; a chunk sees itself and its
neighbours. There are two kinds:

within   a query sees the keys of its own bucket that are at most a chunk away in sorted order. That
         does not depend on where the chunks' borders fall, hence not on what comes later: it is
         causal, also where a bucket overflows its chunk. A pair of several rounds counts once.
across   a query sees all of the chunks, whatever the bucket. Not causal.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key

from arch.layers import Dropping, dropout, widened
from arch.sublayers.attention.dot_product import MASKED, OWN
from arch.sublayers.attention.sorting import Sorting, sort

Window = Callable[[Array], Array]  # each chunk → that chunk with its neighbours
MOST_AT_ONCE = 128  # buckets of one rotation; more are the product of two


class Sight(NamedTuple):
    """For each position in each round: its place in sorted order, and the places that it sees."""

    place: Int[Array, "group rounds length"]
    low: Int[Array, "group rounds length"]
    high: Int[Array, "group rounds length"]


def buckets_for(length: int, chunk: int) -> tuple[int, ...]:
    """Even factors; their product is the number of buckets, two for each chunk of the length,
    rounded up to a power of two. Two factors where there are many buckets."""
    power = max(1, math.ceil(math.log2(max(2, 2 * length / chunk))))
    if 2**power <= MOST_AT_ONCE:
        return (2**power,)
    return (2 ** (power // 2), 2 ** (power - power // 2))


def rotations(
    key: Key[Array, ""],
    heads: int,
    width: int,
    rounds: int,
    buckets: tuple[int, ...],
    dtype: DTypeLike,
) -> list[Float[Array, "heads width rounds half"]]:
    """A random matrix for each factor of the number of buckets, the same for all sequences."""
    keys = jax.random.split(key, len(buckets))
    return [
        jax.random.normal(key, (heads, width, rounds, size // 2), dtype)
        for key, size in zip(keys, buckets, strict=True)
    ]


def hashed(
    q: Float[Array, "batch length heads width"],
    matrices: list[Float[Array, "heads width rounds half"]],
) -> Int[Array, "batch heads rounds length"]:
    """argmax([qR; -qR]) of each rotation, the first factor the least significant (§2, and Andoni
    et al. 2015)."""
    bucket, times = jnp.zeros((), jnp.int32), 1
    for matrix in matrices:
        turned = jnp.einsum("blhd,hdrn->bhrln", q, matrix.astype(q.dtype))
        turned = jnp.concatenate([turned, -turned], axis=-1)
        bucket = bucket + times * jnp.argmax(turned, axis=-1).astype(jnp.int32)
        times *= turned.shape[-1]
    return bucket


def attend_within_buckets(
    q: Float[Array, "group length width"],
    k: Float[Array, "group length width"],
    v: Float[Array, "group length width"],
    buckets: Int[Array, "group rounds length"],
    *,
    chunk: int,
    causal: bool,
    mask: Bool[Array, "group length"] | None,
    dropping: Dropping | None,
    remove_duplicates: bool,
) -> Float[Array, "group length width"]:
    """softmax(q kᵀ) v over the pairs of one bucket that are at most `chunk` places apart in it.

    Args:
        q, k: their products are the logits.
        causal: whether a query sees only what stands before it.
        mask: True where a token is.
        remove_duplicates: a pair that N rounds put together counts N times 1/N (eq. 16).
    """
    length, rounds = q.shape[1], buckets.shape[1]
    q, k, v, buckets, _ = _filled(q, k, v, buckets, mask, -length % chunk)
    sorting = sort(buckets, chunk)
    before, after = _neighbours(1, 0 if causal else 1, q.shape[1] // chunk)
    window = functools.partial(_window, before=before, after=after, joint=False)
    logits, here, there = _logits(q, k, sorting, window)
    sight = _sight(_taken(buckets, sorting.order), sorting.inverse, chunk, causal)
    seen, times = _rounds_that_see(sight, sorting, window, rounds)
    if remove_duplicates and rounds > 1:
        logits = logits - _log(times, rounds, logits.dtype)
    logits = jnp.where(here == there, OWN, jnp.where(seen, logits, MASKED))
    y, normaliser = _weighted(logits, v, sorting, window, dropping)
    return _sum_of_rounds(y, jax.nn.softmax(normaliser, axis=1))[:, :length]


def attend_across_buckets(
    q: Float[Array, "group length width"],
    k: Float[Array, "group length width"],
    v: Float[Array, "group length width"],
    buckets: Int[Array, "group rounds length"],
    *,
    chunk: int,
    before: int,
    after: int,
    causal: bool,
    mask: Bool[Array, "group length"] | None,
    dropping: Dropping | None,
) -> Float[Array, "group length width"]:
    """softmax(q kᵀ) v over all of the query's own chunk and its neighbours, whatever the bucket, as
    in Hugging Face's and trax's later code. Not causal even where `causal`: what comes later moves
    the chunks' borders.

    Args:
        q, k: their products are the logits.
        before, after: chunks that a chunk sees besides itself; around the end of a round follows
            the next round.
        causal: whether a query sees only keys at positions before its own.
        mask: True where a token is.
    """
    length = q.shape[1]
    q, k, v, buckets, real = _filled(q, k, v, buckets, mask, -length % chunk)
    sorting = sort(buckets, chunk)
    window = functools.partial(_window, before=before, after=after, joint=True)
    logits, here, there = _logits(q, k, sorting, window)
    seen = window(sorting.chunked(_taken(real[:, None], sorting.order)))[..., None, :]
    if causal:
        seen = seen & (there <= here)
    logits = jnp.where(here == there, OWN, jnp.where(seen, logits, MASKED))
    y, normaliser = _weighted(logits, v, sorting, window, dropping)
    # as Hugging Face rounds it: near OWN, where only itself is seen, the shares sum to 1 ± 2e-3
    share = jnp.exp(normaliser - jax.nn.logsumexp(normaliser, axis=1, keepdims=True))
    return _sum_of_rounds(y, share)[:, :length]


def _filled(q, k, v, buckets, mask: Bool[Array, "group length"] | None, pad: int):
    """q, k, v and buckets padded to whole chunks, and where there is a token. Padding goes to the
    last bucket, which holds nothing else."""
    length = q.shape[1]
    q, k, v = (jnp.pad(x, ((0, 0), (0, pad), (0, 0))) for x in (q, k, v))
    real = jnp.ones(q.shape[:2], bool) if mask is None else jnp.pad(mask, ((0, 0), (0, pad)))
    if mask is None:
        real = real.at[:, length:].set(False)
    buckets = jnp.pad(buckets, ((0, 0), (0, 0), (0, pad)))
    return q, k, v, jnp.where(real[:, None], buckets, jnp.iinfo(jnp.int32).max), real


def _logits(q: Array, k: Array, sorting: Sorting, window: Window) -> tuple[Array, Array, Array]:
    """(logits, positions of the queries, positions of the keys), in chunks of sorted places."""
    q, k = sorting.sorted(q), sorting.sorted(k)
    logits = widened(q @ window(k).swapaxes(-1, -2))
    order = sorting.chunked(sorting.order)
    return logits, order[..., :, None], window(order)[..., None, :]


def _weighted(
    logits: Float[Array, "group rounds chunks chunk window"],
    v: Float[Array, "group length width"],
    sorting: Sorting,
    window: Window,
    dropping: Dropping | None,
) -> tuple[Float[Array, "group rounds length width"], Float[Array, "group rounds length 1"]]:
    """Each round's softmax(logits) v and logsumexp(logits), in the order of the positions."""
    top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    weights = jnp.exp(logits - top)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    if dropping is not None:
        weights = dropout(weights, *dropping)
    y = weights.astype(v.dtype) @ window(sorting.sorted(v)) / total.astype(v.dtype)
    y = sorting.unsorted(y.reshape(*y.shape[:2], -1, y.shape[-1]))
    normaliser = (top + jnp.log(total)).reshape(*sorting.order.shape, 1)
    return y, sorting.unsorted(normaliser)


def _sum_of_rounds(
    y: Float[Array, "group rounds length width"], share: Float[Array, "group rounds length 1"]
) -> Float[Array, "group length width"]:
    """The rounds' outputs, each by its share of what a position sees."""
    return jnp.sum(share.astype(y.dtype) * y, axis=1)


def _neighbours(before: int, after: int, chunks: int) -> tuple[int, int]:
    """No chunk twice: with few chunks, one before goes round to the end."""
    before = min(before, chunks - 1)
    return before, min(after, chunks - 1 - before)


def _window(
    x: Float[Array, "group rounds chunks chunk *rest"], before: int, after: int, joint: bool
) -> Float[Array, "group rounds chunks window *rest"]:
    """Each chunk with its neighbours. The last chunk's neighbour is the first: of the same round
    or, where joint, of the next."""
    flat = x.reshape(x.shape[0], -1, *x.shape[3:]) if joint else x
    axis = 1 if joint else 2
    parts = [jnp.roll(flat, by, axis).reshape(x.shape) for by in range(before, -after - 1, -1)]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=3)


def _sight(
    buckets: Int[Array, "group rounds length"],
    inverse: Int[Array, "group rounds length"],
    chunk: int,
    causal: bool,
) -> Sight:
    """Of sorted buckets: each position sees `chunk` places on, within its bucket."""
    places = jnp.broadcast_to(jnp.arange(buckets.shape[-1], dtype=jnp.int32), buckets.shape)
    first = jnp.ones_like(buckets[..., :1], bool)
    changes = buckets[..., 1:] != buckets[..., :-1]
    begins = jnp.where(jnp.concatenate([first, changes], axis=-1), places, 0)
    low = jnp.maximum(jax.lax.cummax(begins, axis=begins.ndim - 1), places - chunk)
    high = places
    if not causal:
        last = buckets.shape[-1] - 1
        ends = jnp.where(jnp.concatenate([changes, first], axis=-1), places, last)
        ends = jax.lax.cummin(ends, axis=ends.ndim - 1, reverse=True)
        high = jnp.minimum(ends, places + chunk)
    return Sight(inverse, _taken(low, inverse), _taken(high, inverse))


def _rounds_that_see(
    sight: Sight, sorting: Sorting, window: Window, rounds: int
) -> tuple[Bool[Array, "group rounds chunks chunk window"], Int[Array, "..."]]:
    """(whether this round lets a query see a key, how many rounds do)."""
    found = []
    for by in range(rounds):  # the first is the round itself
        rolled = (_taken(jnp.roll(x, -by, 1), sorting.order) for x in sight)
        place, low, high = (sorting.chunked(x) for x in rolled)
        place = window(place)[..., None, :]
        found.append((low[..., None] <= place) & (place <= high[..., None]))
    return found[0], functools.reduce(jnp.add, (x.astype(jnp.int32) for x in found))


def _log(times: Int[Array, "*rest"], most: int, dtype) -> Float[Array, "*rest"]:
    """log of numbers from 1 to `most`; 0 of 0."""
    steps = (jnp.where(times >= n, math.log(n / (n - 1)), 0.0) for n in range(2, most + 1))
    return functools.reduce(jnp.add, steps).astype(dtype)


def _taken(x: Int[Array, "group rounds length"], index: Int[Array, "group rounds length"]):
    return jnp.take_along_axis(x, index, axis=-1)
