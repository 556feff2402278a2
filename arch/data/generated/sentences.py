"""Sentences whose verb agrees with their subject across other nouns, made on the device as pure
functions of a key.

    [P D N]  D S  (P D N  |  that V D N  |  that D N V)*  is/are

    near the doors the key to the cabinets that the men open … is

S is the subject; D N and P D N have nouns of their own. The verb to predict agrees with S. A verb
of a relative clause agrees with the noun before `that`, or with the noun of its own clause. The
subject need not be the first noun, since a sentence may begin with a place, nor the last.

This is not the set of Linzen et al. 2016, whose sentences are Wikipedia's: words here are numbers,
nouns and verbs are drawn by Zipf's law, and a noun's two forms have nothing in common.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

VERSION = "sentences 1"  # another one wherever a key's examples change
PAD, IS, ARE, THAT = range(4)
PREPOSITIONS = range(4, 12)
DETERMINERS = range(12, 15)
VERBS = 20  # of relative clauses, each with a form for either number
FIRST_VERB = DETERMINERS.stop
FIRST_NOUN = FIRST_VERB + 2 * VERBS
BEFORE, PLACE, CLAUSE = 2, 3, 4  # words: of the subject; of P D N; of a relative clause
STARTS = 0.5  # the share of sentences that begin with a place
PLACES = 0.5  # the share of places among what stands between; the others are relative clauses


class Sentence(NamedTuple):
    """One sentence, or with a leading axis a batch.

    words: up to the verb, then PAD. size: how many there are. verb: IS or ARE.
    """

    words: Int[Array, "*batch length"]
    size: Int[Array, "*batch"]
    verb: Int[Array, "*batch"]


def vocabulary(nouns: int) -> int:
    """Words and padding, where there are so many nouns, each in two forms."""
    return FIRST_NOUN + 2 * nouns


def longest(between: int) -> int:
    """Words of the longest sentence with so many nouns between subject and verb."""
    return PLACE + BEFORE + CLAUSE * between


def zipf(n: int) -> Float[np.ndarray, " n"]:
    """The distribution function of ranks 1 … n with p ∝ 1 / rank."""
    weights = 1 / np.arange(1, n + 1)
    return (np.cumsum(weights) / weights.sum()).astype(np.float32)


def sentence(
    key: Key[Array, ""], most: int, between: Int[Array, ""], attract: bool, nouns: int
) -> Sentence:
    """One sentence.

    Args:
        most: what `between` is at most; static.
        between: nouns between the subject and the verb.
        attract: whether all of these are of the other number (attractors), or of any.
        nouns: how many there are to draw from.
    """
    of_noun, of_verb, of_word, of_number, of_shape = jax.random.split(key, 5)
    n = most + 2  # of the place, the subject, and those between
    plural = jax.random.bernoulli(of_number, shape=(n,))
    if attract:
        plural = jnp.where(jnp.arange(n) > 1, ~plural[1], plural)
    noun = FIRST_NOUN + 2 * _ranks(of_noun, n, nouns) + plural
    verb = FIRST_VERB + 2 * _ranks(of_verb, most, VERBS)
    of_preposition, of_determiner = jax.random.split(of_word)
    preposition = _any(of_preposition, n, PREPOSITIONS)
    determiner = _any(of_determiner, n, DETERMINERS)
    starts, *shape = jax.random.uniform(of_shape, (most + 1,))
    shape = jnp.stack(shape) if most else jnp.zeros(0)
    there = jnp.arange(most) < between
    place, object_first = shape < PLACES, shape > (1 + PLACES) / 2
    inner = jnp.stack(
        [
            jnp.where(place, preposition[2:], THAT),
            verb + plural[1:-1],  # that V D N: of the noun before
            determiner[2:],
            noun[2:],
            verb + plural[2:],  # that D N V
        ],
        axis=1,
    )
    kept = jnp.stack([there, there & ~place & ~object_first, there, there, there & object_first], 1)
    begins = jnp.stack([preposition[0], determiner[0], noun[0]])
    subject = jnp.stack([determiner[1], noun[1]])
    words = jnp.concatenate([begins, subject, inner.reshape(-1)])
    first = jnp.repeat(starts < STARTS, PLACE)
    kept = jnp.concatenate([first, jnp.ones(BEFORE, bool), kept.reshape(-1)])
    return Sentence(*_closed_up(words, kept, longest(most)), jnp.where(plural[1], ARE, IS))


def _closed_up(
    words: Int[Array, " slots"], kept: Bool[Array, " slots"], length: int
) -> tuple[Int[Array, " length"], Int[Array, ""]]:
    """The words that are kept, one behind the other, then padding; and how many there are."""
    places = jnp.where(kept, jnp.cumsum(kept) - 1, length)
    closed = jnp.zeros(length, jnp.int32).at[places].set(words.astype(jnp.int32), mode="drop")
    return closed, kept.sum(dtype=jnp.int32)


def _ranks(key: Key[Array, ""], n: int, of: int) -> Int[Array, " n"]:
    """Ranks from 0 on, by Zipf's law."""
    drawn = jax.random.uniform(key, (n,))
    return jnp.searchsorted(jnp.asarray(zipf(of)[:-1]), drawn, side="right", method="compare_all")


def _any(key: Key[Array, ""], n: int, of: range) -> Int[Array, " n"]:
    return jax.random.randint(key, (n,), of.start, of.stop)
