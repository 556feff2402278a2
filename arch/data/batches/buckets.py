"""Sentences of many lengths as batches of few shapes.

A bucket holds the sentences of about one length, and a training step takes its batch from one of
them. Which one is a function of the step alone: replicas with different seeds take the same shape
at the same time, and a resumed run goes on where it stood.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from arch.data.batches.permutation import shuffled
from arch.data.tokens import Tokens

LONGEST_CYCLE = 1 << 14


class BucketSchedule(NamedTuple):
    """Which bucket each step of a cycle takes its batch from.

    Attributes:
        buckets: the bucket of each step.
        ranks: how many earlier steps of the cycle have the same bucket.
        counts: bucket → its steps in a cycle.
    """

    buckets: Int[np.ndarray, " steps"]
    ranks: Int[np.ndarray, " steps"]
    counts: tuple[int, ...]

    def bucket(self, step: Int[Array, ""]) -> Int[Array, ""]:
        """The bucket of a training step, the same for every seed."""
        return jnp.asarray(self.buckets)[step % len(self.buckets)]

    def indices(
        self, key: Key[Array, ""], step: Int[Array, ""], bucket: int, batch: int, size: int
    ) -> Int[Array, " batch"]:
        """Which of the bucket's `size` sentences a step takes; `bucket` must be that of the step.

        A bucket's steps go on in one endless sequence of permutations of its sentences: none
        comes again before all have come, and no remainder is dropped.
        """
        cycle, place = step // len(self.ranks), step % len(self.ranks)
        before = cycle * self.counts[bucket] + jnp.asarray(self.ranks)[place]
        key = jax.random.fold_in(key, bucket)
        return shuffled(key, before * batch + jnp.arange(batch), size)


def schedule(sizes: tuple[int, ...], shares: tuple[int, ...]) -> BucketSchedule:
    """A cycle that gives buckets steps in proportion to the batches they hold, evenly mixed.

    A bucket's j-th of k steps falls at a random point of [j, j + 1) / k of the cycle, so that every
    stretch of it has the mix of the whole within a step or two of each bucket. The points are those
    of a constant generator.

    Args:
        sizes: sentences in each bucket.
        shares: sentences of each bucket's step, in units of the batch. In steps of one unit the
            cycle is an epoch, and in steps of B units B epochs, where `LONGEST_CYCLE` lets it be;
            up to the remainder that fills the last batch of each bucket.
    """
    needed = np.array(sizes) / np.array(shares)
    scale = min(1.0, LONGEST_CYCLE / needed.sum())
    counts = np.maximum(1, np.ceil(needed * scale).astype(np.int64))
    random = np.random.default_rng(0)
    places = np.concatenate([(np.arange(k) + random.random(k)) / k for k in counts])
    order = np.argsort(places, kind="stable")
    buckets = np.repeat(np.arange(len(counts)), counts)[order]
    ranks = np.concatenate([np.arange(k) for k in counts])[order]
    return BucketSchedule(
        buckets.astype(np.int32), ranks.astype(np.int32), tuple(int(k) for k in counts)
    )


def lengths(tokens: Tokens) -> Int[np.ndarray, " n"]:
    """Tokens of each document."""
    return np.diff(np.append(tokens.documents, len(tokens.ids)))


def padded(
    tokens: Tokens, rows: Int[np.ndarray, " n"], length: int, end: int, shift: int
) -> Int[np.ndarray, "n length"]:
    """The documents' first `length` tokens plus `shift`; after a shorter one `end`, then 0."""
    counts, places = lengths(tokens)[rows][:, None], np.arange(length)[None]
    at = np.minimum(tokens.documents[rows][:, None] + places, len(tokens.ids) - 1)
    ids = tokens.ids[at].astype(np.int32) + shift
    return np.where(places < counts, ids, np.where(places == counts, end, 0))
