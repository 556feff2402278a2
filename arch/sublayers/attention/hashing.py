"""Attention among what a hash puts together (Kitaev, Kaiser and Levskaya 2020, §2): the arrays'
part, without parameters.

Queries are their own keys. In each round a random rotation puts every position into a bucket; they
are sorted by (bucket, position), cut into chunks, and a chunk looks at itself and its neighbours.
In sorted order a query sees the keys of its own bucket that are at most a chunk away. That does not
depend on where the chunks' borders fall, hence not on what comes later: it is causal also where a
bucket overflows its chunk. A pair that several rounds put together counts once.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from arch.layers import dropout as drop
from arch.layers import widened
from arch.sublayers.attention.dot_product import MASKED, OWN

MOST_AT_ONCE = 128  # buckets of one rotation; more are the product of two


class Sight(NamedTuple):
    """Of each position in each round: its place in sorted order, and the places that it sees."""

    place: Int[Array, "group rounds length"]
    low: Int[Array, "group rounds length"]
    high: Int[Array, "group rounds length"]


def buckets_for(length: int, chunk: int) -> tuple[int, ...]:
    """Numbers of buckets, so that a chunk holds two on average; two factors where they are many."""
    power = max(1, math.ceil(math.log2(max(2, 2 * length / chunk))))
    if 2**power <= MOST_AT_ONCE:
        return (2**power,)
    return (2 ** (power // 2), 2 ** (power - power // 2))


def rotations(
    key: Key[Array, ""], heads: int, width: int, rounds: int, buckets: tuple[int, ...], dtype
) -> list[Float[Array, "heads width rounds half"]]:
    """A random matrix for each factor of the buckets, the same for all sequences of a batch."""
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


def attend(
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
    dropout: tuple[float, Key[Array, ""]] | None,
    across: bool,
    remove_duplicates: bool,
) -> Float[Array, "group length width"]:
    """What each query takes from the keys that the rounds put near it.

    Args:
        q, k: whose products are the logits.
        before, after: chunks a chunk looks at besides itself.
        mask: True where a token is.
        across: other buckets are seen too, all of the chunks, as Hugging Face's and trax's later
            code has it: not causal.
        remove_duplicates: a pair that N rounds put together counts N times 1/N.
    """
    length, rounds = q.shape[1], buckets.shape[1]
    q, k, v, buckets, real = _filled(q, k, v, buckets, mask, -length % chunk)
    order = jnp.argsort(buckets, axis=-1, stable=True).astype(jnp.int32)
    inverse = jnp.argsort(order, axis=-1).astype(jnp.int32)
    chunks = q.shape[1] // chunk
    before, after = (before, after) if across else _neighbours(before, after, chunks)

    def chunked(x):
        return x.reshape(*x.shape[:2], chunks, chunk, *x.shape[3:])

    window = functools.partial(_window, before=before, after=after, joint=across)
    q, k, v = (chunked(permuted(x, order, inverse)) for x in (q, k, v))
    logits = widened(q @ window(k).swapaxes(-1, -2))
    here, there = chunked(order)[..., :, None], window(chunked(order))[..., None, :]
    if across:
        seen = window(chunked(_taken(real[:, None], order)))[..., None, :]
        seen = seen & (there <= here) if causal else seen
    else:
        sight = _sight(_taken(buckets, order), inverse, chunk, causal)
        times = _rounds_that_see(sight, order, chunked, window, rounds)
        seen = times[0]
        if remove_duplicates and rounds > 1:
            logits = logits - _log(times[1], rounds, logits.dtype)
    logits = jnp.where(here == there, OWN, jnp.where(seen, logits, MASKED))
    top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    weights = jnp.exp(logits - top)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    if dropout is not None:
        weights = drop(weights, *dropout)
    y = weights.astype(v.dtype) @ window(v) / total.astype(v.dtype)
    y = y.reshape(*y.shape[:2], -1, y.shape[-1])
    y = unpermuted(y, order, inverse)
    normaliser = (top + jnp.log(total)).reshape(*order.shape, 1)
    normaliser = unpermuted(normaliser, order, inverse)
    return _of_all_rounds(y, normaliser, across)[:, :length]


def _filled(q, k, v, buckets, mask: Bool[Array, "group length"] | None, pad: int):
    """q, k, v and buckets at a length of whole chunks, and where there is a token. What is none is
    in a bucket of its own, which comes last."""
    length = q.shape[1]
    q, k, v = (jnp.pad(x, ((0, 0), (0, pad), (0, 0))) for x in (q, k, v))
    real = jnp.ones(q.shape[:2], bool) if mask is None else jnp.pad(mask, ((0, 0), (0, pad)))
    if mask is None:
        real = real.at[:, length:].set(False)
    buckets = jnp.pad(buckets, ((0, 0), (0, 0), (0, pad)))
    return q, k, v, jnp.where(real[:, None], buckets, jnp.iinfo(jnp.int32).max), real


def _of_all_rounds(
    y: Float[Array, "group rounds length width"],
    normaliser: Float[Array, "group rounds length 1"],
    across: bool,
) -> Float[Array, "group length width"]:
    """Each round's y by its share of what a position sees, exp(normaliser)."""
    if across:  # as theirs rounds it: near OWN, where only itself is seen, to a sum off 1 by 2e-3
        share = jnp.exp(normaliser - jax.nn.logsumexp(normaliser, axis=1, keepdims=True))
    else:
        share = jax.nn.softmax(normaliser, axis=1)
    return jnp.sum(share.astype(y.dtype) * y, axis=1)


def _neighbours(before: int, after: int, chunks: int) -> tuple[int, int]:
    """No chunk twice: with few chunks, one before goes round to the end."""
    before = min(before, chunks - 1)
    return before, min(after, chunks - 1 - before)


def _window(
    x: Float[Array, "group rounds chunks chunk *rest"], before: int, after: int, joint: bool
) -> Float[Array, "group rounds chunks window *rest"]:
    """Each chunk with its neighbours; around the ends, of a round or where joint of all rounds."""
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


def _rounds_that_see(sight: Sight, order, chunked, window, rounds: int):
    """(whether this round lets a query see a key, how many rounds do)."""
    found = []
    for by in range(rounds):  # the first is the round itself
        place, low, high = (chunked(_taken(jnp.roll(x, -by, 1), order)) for x in sight)
        place = window(place)[..., None, :]
        found.append((low[..., None] <= place) & (place <= high[..., None]))
    return found[0], functools.reduce(jnp.add, (x.astype(jnp.int32) for x in found))


def _log(times: Int[Array, "*rest"], most: int, dtype) -> Float[Array, "*rest"]:
    """log of numbers from 1 to `most`; 0 of 0."""
    steps = (jnp.where(times >= n, math.log(n / (n - 1)), 0.0) for n in range(2, most + 1))
    return functools.reduce(jnp.add, steps).astype(dtype)


def _taken(x: Int[Array, "group rounds length"], index: Int[Array, "group rounds length"]):
    return jnp.take_along_axis(x, index, axis=-1)


def _rows(x: Float[Array, "group rounds length width"], index) -> Array:
    return jnp.take_along_axis(x, index[..., None], axis=2)


@jax.custom_vjp
def permuted(x: Float[Array, "group length width"], order, inverse):
    """x in each round's order. A permutation's gradient is the inverse one, not a scatter."""
    return _rows(x[:, None], order)


def _permuted_forward(x, order, inverse):
    return permuted(x, order, inverse), (order, inverse)


def _permuted_backward(saved, dy):
    return _rows(dy, saved[1]).sum(1), None, None


permuted.defvjp(_permuted_forward, _permuted_backward)


@jax.custom_vjp
def unpermuted(y: Float[Array, "group rounds length width"], order, inverse):
    """y of each round's order in that of the positions."""
    return _rows(y, inverse)


def _unpermuted_forward(y, order, inverse):
    return unpermuted(y, order, inverse), (order, inverse)


def _unpermuted_backward(saved, dy):
    return _rows(dy, saved[0]), None, None


unpermuted.defvjp(_unpermuted_forward, _unpermuted_backward)
