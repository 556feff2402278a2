"""A parallel corpus in tokens, its training pairs in buckets by length."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from arch.data import parallel
from arch.data.tokenizers.contract import Tokenizer
from arch.data.tokens import Tokens
from arch.registry import ConfigurationError
from arch.tasks.translation.tokens import sentence_lengths


class Data(NamedTuple):
    """A tokenised corpus, its training pairs by length."""

    text: parallel.Bitext
    tokenizer: Tokenizer
    splits: dict[str, dict[str, Tokens]]  # split → language → its sentences
    buckets: tuple[int, ...]  # lengths of those that have pairs
    pairs: tuple[Int[np.ndarray, " pairs"], ...]  # by bucket, rows of the training split
    details: dict[str, object]


def load(corpus: str, languages: tuple[str, str], tokenizer: str, buckets: tuple[int, ...]) -> Data:
    """The corpus in tokens.

    A training pair is in the smallest bucket that holds both its sides; empty pairs and those
    longer than the last bucket are left out, and `details` counts them.

    Args:
        languages: of sources and of targets.
        buckets: rising lengths, END included.

    Raises ConfigurationError for a corpus that is not there or has no pair that short.
    """
    length = buckets[-1]
    try:
        text = parallel.load(corpus, *languages)
        vocabulary, splits = parallel.tokenise(text, tokenizer)
    except ValueError as error:
        raise ConfigurationError(f"task.corpus={corpus!r}: {error}") from None
    sides = np.stack([sentence_lengths(splits["train"][language]) for language in languages])
    longest = sides.max(0)
    empty, long = sides.min(0) == 1, longest > length
    fits = np.searchsorted(buckets, longest)
    kept = [np.flatnonzero((fits == b) & ~empty) for b in range(len(buckets))]
    used = {bucket: rows for bucket, rows in zip(buckets, kept, strict=True) if len(rows)}
    if not used:
        raise ConfigurationError(
            f"task.length={length}: no training pair of {corpus!r} is that short"
        )
    details = {
        **text.details,
        "pairs": sum(map(len, kept)),
        "left_out": {
            "longer than length": int(long.sum()),
            "empty": int((empty & ~long).sum()),
        },
        "pairs_by_bucket": {str(bucket): len(rows) for bucket, rows in used.items()},
        "cut": {
            split: _cut(splits[split], languages, length) for split in splits if split != "train"
        },
    }
    return Data(text, vocabulary, splits, tuple(used), tuple(used.values()), details)


def _cut(sides: dict[str, Tokens], languages: tuple[str, str], length: int) -> dict[str, int]:
    """How many sentences of either side are longer than `length`."""
    return {
        f"{side}s": int((sentence_lengths(sides[language]) > length).sum())
        for side, language in zip(("source", "target"), languages, strict=True)
    }


def rising(buckets: tuple[int, ...], length: int) -> tuple[int, ...]:
    """The buckets; raises ConfigurationError unless they rise from 2 on and end at `length`."""
    rises = all(a < b for a, b in zip((1, *buckets), buckets, strict=False))
    if not rises or buckets[-1] != length:
        raise ConfigurationError(
            f"task.buckets={buckets}: allowed are rising lengths from 2, the last of them "
            f"task.length={length}"
        )
    return buckets
