"""Interpolated modified Kneser-Ney n-grams (Kneser and Ney 1995; Chen and Goodman 1998).

    p(w | h) = max(c(hw) - D(c), 0) / c(h·) + γ(h) p(w | h')
    γ(h) = (D₁ N₁(h·) + D₂ N₂(h·) + D₃₊ N₃₊(h·)) / c(h·)

h' is h without its oldest token, c the adjusted counts of `n_grams`, Nⱼ(h·) how many tokens follow
h with the count j. Of an h that training has not seen γ is 1; below single tokens stands 1 / |V|.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from arch.baselines import n_grams


class Level(NamedTuple):
    """n-grams of one length: their sorted keys and probabilities, and what each n-gram of one
    length less gives away as a context; 1 where it is none."""

    keys: Int[np.ndarray, " n"]
    probabilities: Float[np.ndarray, " n"]
    gamma: Float[np.ndarray, " contexts"]


class KneserNey:
    """An n-gram model of a stream of tokens.

    Args:
        ids: the training tokens, each below `vocabulary`.
        order: n.
        vocabulary: |V|, tokens that can come, whether training has them or not.
        end: the token that ends a line. It is predicted, and as a context stands for the beginning
            of the next line, before which nothing is known; the stream's first line begins so too.
            -1: the stream has no lines.

    Attributes:
        discounts: (D₁, D₂, D₃₊) of each length, 1 first.
        fallback: the lengths that have too few n-grams to tell theirs: see `n_grams.discounts`.
    """

    def __init__(self, ids: Int[np.ndarray, " tokens"], order: int, vocabulary: int, end: int = -1):
        self.order, self.vocabulary, self.end = order, vocabulary, end
        self.discounts: list[tuple[float, ...]] = []
        self.fallback: list[int] = []
        self.levels: list[Level] = []
        lower = np.full(1, 1 / vocabulary)
        for counted in n_grams.count(self._begun(ids), order, vocabulary, end):
            found, own = n_grams.discounts(counted.counts)
            contexts = len(self.levels[-1].keys) if self.levels else 1
            level = _interpolated(counted, found, contexts, lower)
            self.levels.append(level)
            self.discounts.append(tuple(float(d) for d in found))
            self.fallback += [] if own else [len(self.levels)]
            lower = level.probabilities

    @property
    def entries(self) -> int:
        """n-grams of all lengths that have a probability of their own."""
        return sum(len(level.keys) for level in self.levels)

    def log_probabilities(self, ids: Int[np.ndarray, " tokens"]) -> Float[np.ndarray, " tokens"]:
        """log p of each token of a stream in nats, given those before it."""
        ids = self._begun(ids)
        reach = n_grams.reaches(ids, self.end, self.order)
        found = self.levels[0].probabilities[ids]
        numbers = ids
        for k, level in enumerate(self.levels[1:], start=2):
            if not len(level.keys):  # training is shorter than this
                break
            before = np.concatenate([[-1], numbers[:-1]])
            known = (reach >= k) & (before >= 0)
            keys = n_grams.numbered(numbers, ids, self.vocabulary)
            numbers = np.where(known, n_grams.find(level.keys, keys), -1)
            backed = found * np.where(known, level.gamma[before], 1.0)
            found = np.where(numbers >= 0, level.probabilities[numbers], backed)
        return np.log(found)[int(self.end >= 0) :]

    def _begun(self, ids: Int[np.ndarray, " tokens"]) -> Int[np.ndarray, " tokens"]:
        """The stream behind the token that begins a line."""
        return np.concatenate([np.full(int(self.end >= 0), self.end), ids]).astype(np.int64)


def _interpolated(
    counted: n_grams.Counted,
    discounts: Float[np.ndarray, " 3"],
    contexts: int,
    lower: Float[np.ndarray, " shorter"],
) -> Level:
    """contexts: how many n-grams are one shorter; lower: their probabilities, by suffix."""
    counts, prefix = counted.counts, counted.prefix
    off = np.concatenate([[0.0], discounts])[np.minimum(counts, 3)]
    totals = np.bincount(prefix, counts, contexts)
    given = np.bincount(prefix, off, contexts)
    gamma = np.where(totals > 0, given / np.maximum(totals, 1), 1.0)
    kept = np.maximum(counts - off, 0) / np.maximum(totals, 1)[prefix]
    return Level(counted.keys, kept + gamma[prefix] * lower[counted.suffix], gamma)
