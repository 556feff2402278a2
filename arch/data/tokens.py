"""Documents to arrays of tokens, each decoded once more to see that nothing is lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from arch.data.corpora.files import encode
from arch.data.meter import Meter
from arch.data.tokenizers import kinds as tokenizers
from arch.data.tokenizers.contract import CHUNK
from arch.data.tokenizers.kinds import Tokenizer

TOGETHER = 1 << 16  # documents tokenised at once


class Losses(NamedTuple):
    """What decoding the tokens of a split does not give back.

    Attributes:
        unknown: tokens that stand for text without an entry.
        characters: of the text, other than white space: under <unk>, in another case, without
            their accents.
        spaces: characters of white space that are more, fewer or elsewhere.
    """

    unknown: int = 0
    characters: int = 0
    spaces: int = 0

    def plus(self, other: Losses) -> Losses:
        """Of both together."""
        return Losses(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Tokens:
    """One split: the documents' tokens, concatenated in order.

    Attributes:
        ids: (tokens,) of uint8, uint16 or int32, the smallest that holds the vocabulary; read-only.
        documents: (documents,) of int64, the token at which each document starts.
        bytes: of the text, in UTF-8.
        words: between white space, and one per line end; word perplexity divides by it.
        losses: what the tokens do not hold of the text.
    """

    ids: np.ndarray
    documents: np.ndarray
    bytes: int
    words: int
    losses: Losses = Losses()

    @property
    def unknown(self) -> float:
        """The share of the tokens that stand for text without an entry."""
        return self.losses.unknown / max(1, len(self.ids))


def smallest(size: int) -> type[np.generic]:
    """The smallest of uint8, uint16 and int32 that holds 0 … size - 1."""
    return next(
        (dtype for dtype in (np.uint8, np.uint16) if size <= np.iinfo(dtype).max + 1), np.int32
    )


def tokenise(documents: Sequence[str], tokenizer: Tokenizer, label: str = "") -> Tokens:
    """The tokens of a split's documents; `label` says what is tokenised, where that takes long.

    Raises:
      ValueError: a character without an entry; text that a lossless tokenizer does not give back.
    """
    dtype, pieces, losses = smallest(tokenizer.size), [], Losses()
    sizes = [len(encode(document)) for document in documents]
    words, done = 0, 0
    with Meter(label, sum(sizes)) as meter:
        for batch in _batches(documents):
            found = tokenizer.encode_all(batch)
            for document, ids in zip(batch, found, strict=True):
                losses = losses.plus(_losses(document, ids, tokenizer))
                words += _words(document)
                pieces.append(ids.astype(dtype))
                meter.advance(sizes[done], len(ids))
                done += 1
    starts = np.cumsum([0, *(len(piece) for piece in pieces)], dtype=np.int64)[:-1]
    return Tokens(np.concatenate(pieces), starts, sum(sizes), words, losses)


def said_losses(splits: Mapping[str, Tokens]) -> str:
    """What a user is told of losses, a clause a kind; '' where there are none."""
    parts = []
    for name, text in (
        ("unknown", "become <unk>"),
        ("characters", "do not come back by decoding (case, accents, <unk>)"),
        ("spaces", "of white space are not kept"),
    ):
        counts = {split: getattr(tokens.losses, name) for split, tokens in splits.items()}
        if not any(counts.values()):
            continue
        unit = "tokens" if name == "unknown" else "characters"
        found = ", ".join(
            f"{split} {count:,}" + f" ({splits[split].unknown:.2%})" * (name == "unknown")
            for split, count in counts.items()
        )
        parts.append(f"{found} {unit} {text}")
    return "; ".join(parts)


def _batches(documents: Sequence[str]) -> Iterator[Sequence[str]]:
    """Documents in groups of a few megabytes."""
    start, size = 0, 0
    for end, document in enumerate(documents, start=1):
        size += len(document)
        if size >= 4 * CHUNK or end - start == TOGETHER:
            yield documents[start:end]
            start, size = end, 0
    if start < len(documents):
        yield documents[start:]


def _losses(document: str, ids: np.ndarray, tokenizer: Tokenizer) -> Losses:
    decoded = tokenizer.decode(ids)
    if decoded == document:
        return Losses(tokenizer.count_unknown(document, ids))
    if tokenizer.lossless:
        where = next((i for i, (a, b) in enumerate(zip(document, decoded)) if a != b), 0)  # noqa: B905
        raise ValueError(
            f"the tokenizer does not give {document[where : where + 20]!r} back: expected all text"
        )
    before, after = Counter(document), Counter(decoded)
    characters = sum(n for c, n in (before - after).items() if not c.isspace())
    more = (before - after) + (after - before)
    spaces = sum(n for c, n in more.items() if c.isspace())
    unknown = tokenizer.count_unknown(document, ids)
    return Losses(unknown, characters, spaces if characters or spaces else 1)


def _words(document: str) -> int:
    return tokenizers.lines(document) + sum(
        len(chunk.split()) for chunk in tokenizers.chunks(document)
    )
