"""The contract of tokenizers, and how they take long texts."""

from __future__ import annotations

import abc
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

# Bytes of the corpus that make no character (see files.encode); `tokenizers` takes no such text.
ESCAPES = re.compile("([\udc80-\udcff]+)")
CHUNK = 1 << 20  # characters taken at once: bounds the memory of what is made on the way
TOGETHER = 1 << 10  # pieces that the package `tokenizers` is given at once, for all its threads


class LostTextError(ValueError):
    """Text that a tokenizer would drop: it has neither entries for it nor an unknown token, or most
    of it would be unknown tokens."""


class Tokenizer(abc.ABC):
    """A map from text to ids in 0 … size - 1.

    Attributes:
        size: number of entries.
        unit: what a token is: 'byte', 'character', 'word' or 'subword'.
        lossless: whether decode(encode(text)) == text for all text that can be encoded.
        special: name → id of those of [PAD], [CLS], [SEP] and [MASK] that the tokenizer has. None:
            it knows of no such tokens, and a task that needs them puts them above its entries.
    """

    size: int
    unit: str
    lossless: bool
    special: Mapping[str, int] | None = None

    @property
    def entries(self) -> int:
        """Ids from here on have no text: a table of N entries may have more than were learned."""
        return self.size

    @abc.abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """The ids of a text, int32. Raises ValueError for a character that has no id."""

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each of many texts."""
        return [self.encode(text) for text in texts]

    @abc.abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that make no character become surrogate escapes."""

    def count_unknown(self, text: str, ids: np.ndarray) -> int:
        """How many of the ids of a text stand for something that has no entry."""
        return 0

    @abc.abstractmethod
    def to_json(self) -> dict:
        """A dictionary of which `kinds.from_json` makes an equal tokenizer."""


def chunks(text: str, characters: int = CHUNK, space: str = r"[ \n]") -> Iterator[str]:
    """The text in pieces of about so many characters, cut only between a word and white space.

    Neither a word nor a match of GPT-2's pattern spans such a place, so that the tokens of the
    pieces are the tokens of the text.
    """
    border = re.compile(rf"(?<=\S){space}")
    start = 0
    while start < len(text):
        found = border.search(text, start + characters)
        end = found.start() if found else len(text)
        yield text[start:end]
        start = end


def encode_pieces(
    texts: Sequence[str],
    cut: Callable[[str], Iterable[str]],
    encode: Callable[[list[str]], Iterable[np.ndarray]],
) -> list[np.ndarray]:
    """The ids of each text, int32: of its pieces, one after the other.

    Args:
      cut: the pieces of a text, such that their tokens are its tokens.
      encode: the ids of each of many pieces.
    """
    parts: list[list[np.ndarray]] = [[] for _ in texts]
    pieces = ((i, piece) for i, text in enumerate(texts) for piece in cut(text))
    waiting: list[tuple[int, str]] = []
    size = 0

    def flush() -> None:
        found = encode([piece for _, piece in waiting])
        for (i, _), ids in zip(waiting, found, strict=True):
            parts[i].append(ids)
        waiting.clear()

    for i, piece in pieces:
        waiting.append((i, piece))
        size += len(piece)
        if len(waiting) >= TOGETHER or size >= CHUNK:
            flush()
            size = 0
    flush()
    return [np.concatenate(ids) if ids else np.zeros(0, np.int32) for ids in parts]


@functools.cache
def printable_bytes() -> dict[int, str]:
    """GPT-2's alphabet: a printable character for each byte (Radford et al. 2019)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {
        **{byte: chr(byte) for byte in printable},
        **{byte: chr(256 + i) for i, byte in enumerate(others)},
    }
