"""Which tokens of a sequence are hidden, and what stands there instead (Devlin et al. 2018, §3.1).

Of the c tokens that may be hidden, n = max(1, round(rate · c)) are: spans of one to `spans` words,
p(n) ∝ 1/n (Lan et al. 2019, §3.1), where a word is one token, or all tokens of a whole word. 80 %
become [MASK], 10 % stay, 10 % become another token, uniform over the tokenizer's entries without
the special tokens; BERT draws it from the whole vocabulary, these among it.

The sequence is cut into spans one after the other, which are then taken in random order for as
long as there is room, the last one only in part; so every token is as likely as any other, and the
law of the spans is exact but for the ends of a segment. A whole word that has no room is passed
over, as in BERT's code, so that up to n tokens are hidden. The authors' code of ALBERT draws spans
one by one and drops those that overlap.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

MASKED, KEPT = 0.8, 0.1  # the rest becomes a random token


class HiddenTokens(NamedTuple):
    """A sequence and the tokens to predict; `weights` is 0 for places that are left over."""

    ids: Int[Array, " length"]
    positions: Int[Array, " predictions"]
    targets: Int[Array, " predictions"]
    weights: Float[Array, " predictions"]


def predictions(rate: float, most: int, tokens: int) -> Int[np.ndarray, " tokens+1"]:
    """How many of 0 … `tokens` tokens are hidden; at most `most`, unless that is 0."""
    count = np.array([max(1, round(rate * n)) if n else 0 for n in range(tokens + 1)], np.int32)
    return np.minimum(count, most) if most else count


def mask(
    key: Key[Array, ""],
    ids: Int[Array, " length"],
    segments: Int[Array, " length"],
    counts: Int[np.ndarray, " n"],
    entries: int | Int[np.ndarray, " entries"],
    replacement: int,
    spans: int = 1,
    joined: Bool[Array, " length"] | None = None,
) -> HiddenTokens:
    """Hides tokens of a sequence and says what they were.

    Args:
        entries: the ids that may be hidden and may replace others: those below a number, or
            those of an array.
        segments: the segment of each token; a span stays within one.
        counts: of `predictions`.
        replacement: [MASK].
        joined: True at a token that continues the word before it; words are hidden whole. None:
            each token is a word.
    """
    where, what, which = jax.random.split(key, 3)
    hidden, _ = choose(where, _among(entries, ids), segments, jnp.asarray(counts), spans, joined)
    size = int(counts.max())
    positions = jnp.nonzero(hidden, size=size, fill_value=0)[0]
    real = jnp.arange(size) < hidden.sum()
    u = jax.random.uniform(what, ids.shape)
    if isinstance(entries, int):
        strange = jax.random.randint(which, ids.shape, 0, entries)
    else:
        strange = jnp.asarray(entries)[jax.random.randint(which, ids.shape, 0, len(entries))]
    changed = jnp.where(u < MASKED, replacement, jnp.where(u < MASKED + KEPT, ids, strange))
    return HiddenTokens(
        ids=jnp.where(hidden, changed, ids),
        positions=positions,
        targets=jnp.where(real, ids[positions], 0),
        weights=real.astype(jnp.float32),
    )


def _among(entries, ids: Int[Array, " length"]) -> Bool[Array, " length"]:
    if isinstance(entries, int):
        return ids < entries
    table = np.zeros(entries.max() + 1, bool)
    table[entries] = True
    return jnp.asarray(table).at[ids].get(mode="fill", fill_value=False)


def choose(
    key: Key[Array, ""],
    real: Bool[Array, " length"],
    segments: Int[Array, " length"],
    counts: Int[Array, " n"],
    spans: int,
    joined: Bool[Array, " length"] | None,
) -> tuple[Bool[Array, " length"], Int[Array, " length"]]:
    """(whether each position is hidden, the number of its span). Arguments as those of `mask`."""
    length, place = len(real), jnp.arange(len(real))
    lengths_key, order_key = jax.random.split(key)
    begins = real if joined is None else real & ~joined
    word = jnp.where(real, jnp.cumsum(begins) - 1, length)
    span = _spans(lengths_key, word, segments, spans)
    size = jnp.zeros(length + 1, jnp.int32).at[word].add(real)[word]
    # where a token's word ends in its span's order: what is hidden when that word is
    after = size - 1 - (place - jax.lax.cummax(jnp.where(begins, place, 0)))

    priority = jax.random.uniform(order_key, (2 * length + 2,))[span]
    order = jnp.argsort(jnp.where(real, priority, jnp.inf), stable=True)
    real, size, after = real[order], size[order], after[order]
    n = counts[real.sum()]

    def open_to(hidden):
        return real & ~hidden & (size <= n - hidden.sum())

    def fill(hidden):
        candidates = open_to(hidden)
        fits = jnp.cumsum(candidates) + after <= n - hidden.sum()
        return hidden | (candidates & fits)

    hidden = jax.lax.while_loop(lambda h: open_to(h).any(), fill, jnp.zeros(length, bool))
    # no word has room: the beginning of one
    hidden = jnp.where(hidden.any(), hidden, real & (jnp.cumsum(real) <= n))
    return jnp.zeros(length, bool).at[order].set(hidden), span


def _spans(key, word, segments, spans: int) -> Int[Array, " length"]:
    """Cut the words, from the first on, into spans of p(n) ∝ 1/n words."""
    length = len(word)
    if spans == 1:
        return word
    odds = jnp.log(1 / jnp.arange(1, spans + 1))
    sizes = 1 + jax.random.categorical(key, odds, shape=(length,))
    return 2 * jnp.searchsorted(jnp.cumsum(sizes), word, side="right") + segments
