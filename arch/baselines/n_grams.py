"""The distinct n-grams of a stream of tokens and their adjusted counts, by sorting.

A token is its own number. An n-gram of length k is the number of its first k - 1 tokens among the
distinct (k - 1)-grams, and its last token, in one integer: NumPy's sort finds and numbers all of a
length at once.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Counted(NamedTuple):
    """The distinct n-grams of one length; of length 1 every token of the vocabulary.

    Attributes:
        keys: sorted: prefix · vocabulary + last token.
        prefix: the number of an n-gram's first k - 1 tokens among those of length k - 1.
        suffix: of its last k - 1.
        counts: adjusted: of the highest order how often each occurs; below it the number of
            different tokens that stand before it, but for those that begin a line or the stream,
            before which nothing stands.
    """

    keys: Int[np.ndarray, " n"]
    prefix: Int[np.ndarray, " n"]
    suffix: Int[np.ndarray, " n"]
    counts: Int[np.ndarray, " n"]


def reaches(ids: Int[np.ndarray, " tokens"], end: int, longest: int) -> Int[np.ndarray, " tokens"]:
    """The length of the longest n-gram, at most `longest`, that ends at each token.

    It reaches back to the stream's beginning or to the nearest token `end` before it, which stands
    for the beginning of a line; -1 is a stream without lines.
    """
    place = np.arange(len(ids))
    last = np.maximum.accumulate(np.where(ids == end, place, 0))
    return np.minimum(place - np.concatenate([[0], last[:-1]]) + 1, longest)


def numbered(before: Int[np.ndarray, " tokens"], ids: Int[np.ndarray, " tokens"], vocabulary: int):
    """The keys of the n-grams that end at each token; before: the numbers of the n-grams one
    shorter that end at each."""
    return np.concatenate([[0], before[:-1]]) * vocabulary + ids


def count(
    ids: Int[np.ndarray, " tokens"], order: int, vocabulary: int, end: int = -1
) -> list[Counted]:
    """The n-grams of lengths 1 … order of a stream. Its first token is context alone where it is
    `end`, as that of any line."""
    skipped = int(len(ids) > 0 and ids[0] == end)
    times = np.bincount(ids[skipped:], minlength=vocabulary)
    every, none = np.arange(vocabulary), np.zeros(vocabulary, np.int64)
    raw, begins = [Counted(every, none, none, times)], [none > 0]
    numbers, reach = ids, reaches(ids, end, order)
    for k in range(2, order + 1):
        where = np.flatnonzero(reach >= k)
        keys, first, own, times = np.unique(
            numbered(numbers, ids, vocabulary)[where],
            return_index=True, return_inverse=True, return_counts=True,
        )  # fmt: skip
        raw.append(Counted(keys, keys // vocabulary, numbers[where[first]], times))
        begins.append(ids[where[first] - k + 1] == end)
        numbers = np.full(len(ids), -1)
        numbers[where] = own
    return [
        level._replace(counts=_adjusted(level, above, begin))
        for level, above, begin in zip(raw, raw[1:], begins, strict=False)
    ] + raw[-1:]


def _adjusted(level: Counted, above: Counted, begins: np.ndarray) -> Int[np.ndarray, " n"]:
    different = np.bincount(above.suffix, minlength=len(level.keys))
    return np.where(begins | (different == 0), level.counts, different)


def discounts(counts: Int[np.ndarray, " n"]) -> tuple[Float[np.ndarray, " 3"], bool]:
    """(D₁, D₂, D₃₊) of Chen and Goodman 1998, and whether they are those.

    Dⱼ = j - (j + 1) Y nⱼ₊₁ / nⱼ, Y = n₁ / (n₁ + 2 n₂), where nⱼ n-grams have the count j. Where one
    is not between 0 and j, or nⱼ is 0, they are ½, 1, 1½, as of kenlm's --discount_fallback.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6)
    if min(n[1:4]) > 0:
        y = n[1] / (n[1] + 2 * n[2])
        found = np.array([j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)])
        if all(0 <= d <= j for j, d in enumerate(found, start=1)):
            return found, True
    return np.array([0.5, 1.0, 1.5]), False


def find(keys: Int[np.ndarray, " n"], wanted: Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
    """The places of integers among sorted ones; -1 where they are not there."""
    if not len(keys):
        return np.full(len(wanted), -1)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place, -1)
