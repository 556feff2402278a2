"""How the next token is drawn from logits: repetition penalty, temperature, top-k, top-p, min-p, in
the order of Hugging Face's processors. All of a choice is data: another one compiles nothing."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt32


class Choice(NamedTuple):
    """How a token is drawn from logits.

    Attributes:
        temperature: logits are divided by it; 0 is greedy.
        top_k: from so many, the most probable ones; 0 for all.
        top_p: from the fewest most probable ones whose probabilities add up to it (Holtzman et al.
            2020); 1 for all.
        min_p: from those at least this share as probable as the most probable one (Nguyen et al.
            2024); 0 for all.
        repetition_penalty: θ, by which positive logits of tokens that stand before are divided and
            negative ones multiplied (Keskar et al. 2019, with the sign minded); 1 for none.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


def drawn(
    logits: Float[Array, "batch vocabulary"], key: Key[Array, ""], choice: Choice, entries: int = 0
) -> Int[Array, " batch"]:
    """A token a row, by all of a choice but its repetition penalty, which `penalised` applies.

    entries: tokens from this number on are never drawn; 0 for none."""
    logits = allowed(logits.astype(jnp.float32), entries)
    return jax.lax.cond(
        jnp.asarray(choice.temperature) == 0,
        lambda: jnp.argmax(logits, axis=-1),
        lambda: jax.random.categorical(key, narrowed(logits, choice)),
    )


def allowed(logits: Float[Array, "batch vocabulary"], entries: int) -> Array:
    """The logits, -∞ from token number `entries` on; 0 leaves them as they are."""
    if not entries:
        return logits
    return jnp.where(jnp.arange(logits.shape[-1])[None] < entries, logits, -jnp.inf)


def penalised(
    logits: Float[Array, "batch vocabulary"],
    before: Bool[Array, "batch vocabulary"],
    penalty: Float[Array, ""] | float,
) -> Float[Array, "batch vocabulary"]:
    """The logits with those of the tokens `before` made smaller, see `Choice`."""
    smaller = jnp.where(logits < 0, logits * penalty, logits / penalty)
    return jnp.where(before, smaller, logits)


def seen(
    tokens: Int[Array, "batch length"], count: Int[Array, ""], vocabulary: int
) -> Bool[Array, "batch vocabulary"]:
    """Which tokens stand among the first `count` of each row."""
    rows = jnp.arange(tokens.shape[0])[:, None]
    there = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None] < count, tokens.shape)
    return jnp.zeros((tokens.shape[0], vocabulary), bool).at[rows, tokens].max(there)


def narrowed(
    logits: Float[Array, "batch vocabulary"], choice: Choice
) -> Float[Array, "batch vocabulary"]:
    """The logits over the temperature, less the largest of the row; -∞ for the tokens that top_k,
    top_p and min_p leave out. Of a temperature of 0 the most probable ones alone are left."""
    # the largest is 0, so that a tiny temperature makes no infinity of it
    centred = logits - jnp.max(logits, axis=-1, keepdims=True)
    temperature = jnp.asarray(choice.temperature, jnp.float32)
    warm = centred / jnp.maximum(temperature, jnp.finfo(jnp.float32).tiny)
    warm = jnp.where(centred == 0, 0.0, warm)
    warm = jax.lax.cond(
        (jnp.asarray(choice.top_k) > 0) | (jnp.asarray(choice.top_p) < 1),
        lambda z: _most_probable(z, choice),
        lambda z: z,
        warm,
    )
    return jnp.where(warm < jnp.log(jnp.asarray(choice.min_p, jnp.float32)), -jnp.inf, warm)


def _most_probable(logits: Float[Array, "batch vocabulary"], choice: Choice) -> Array:
    """The logits of the tokens that top_k and top_p leave; of equal ones all or none."""
    keys = _ordered(logits)
    k = jnp.where(jnp.asarray(choice.top_k) > 0, choice.top_k, logits.shape[-1])
    kth = _last(lambda least: jnp.sum(keys >= least, axis=-1) >= k, keys)
    logits = jnp.where(keys < kth, -jnp.inf, logits)
    p = jax.nn.softmax(logits, axis=-1)

    def enough(least):
        return jnp.sum(jnp.where(keys >= least, p, 0.0), axis=-1) >= choice.top_p

    narrow = jnp.where(keys < _last(enough, keys), -jnp.inf, logits)
    return jnp.where(jnp.asarray(choice.top_p) < 1, narrow, logits)


def _ordered(x: Float[Array, "batch vocabulary"]) -> UInt32[Array, "batch vocabulary"]:
    """Whole numbers in the order of float32s: their bits, with the sign's meaning turned round."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    return jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(1 << 31))


def _last(
    holds: Callable[[UInt32[Array, "batch 1"]], Bool[Array, " batch"]], keys: Array
) -> UInt32[Array, "batch 1"]:
    """The largest number of each row for which `holds`, which holds up to there, bit by bit: 32
    passes over a vocabulary are many times faster than sorting it."""

    def set_bit(n, found):
        tried = found | (jnp.uint32(1 << 31) >> n.astype(jnp.uint32))
        return jnp.where(holds(tried)[:, None], tried, found)

    return jax.lax.fori_loop(0, 32, set_bit, jnp.zeros((keys.shape[0], 1), jnp.uint32))
