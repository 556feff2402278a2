"""Byte-level byte-pair encoding, trained by the package `tokenizers`."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from arch.data.corpora.files import encode as to_bytes
from arch.data.tokenizers.contract import (
    CHUNK,
    ESCAPES,
    Tokenizer,
    chunks,
    encode_pieces,
    printable_bytes,
)

if TYPE_CHECKING:
    import tokenizers

# Characters in a row from which merges are learned: the time for one grows with its square. Words,
# and the lines of symbols in source code, are shorter.
LONGEST = 256
RUN = re.compile(rf"\S{{{LONGEST + 1},}}|\s{{{LONGEST + 1},}}")


class BPE(Tokenizer):
    """A token is a byte, or bytes merged because they are frequent, within GPT-2's word pattern.

    Sennrich et al. 2016 on bytes, as in Radford et al. 2019.

    Args:
        entries: the text of each id in GPT-2's alphabet (`printable_bytes`).
        merges: pairs of entries, in the order in which they are merged.
        size: entries of the token table; ids from len(entries) on are never used.
    """

    unit, lossless = "subword", True

    def __init__(self, entries: Sequence[str], merges: Iterable[Sequence[str]], size: int):
        self.texts, self.size = list(entries), size
        self.merges = [tuple(merge) for merge in merges]
        self._ids = {entry: i for i, entry in enumerate(self.texts)}

    @property
    def entries(self) -> int:
        """See `Tokenizer.entries`."""
        return len(self.texts)

    @classmethod
    def train(cls, train: Sequence[str], size: int) -> BPE:
        """Learns `size` entries from documents: the 256 bytes first, then merges.

        Where a text has more than LONGEST characters without a space, as DNA and Chinese have, it
        is cut there, for learning alone.
        """
        import tokenizers

        learner = _byte_level(tokenizers.models.BPE())
        learner.train_from_iterator(
            (
                piece
                for document in train
                for chunk in chunks(document, CHUNK >> 4)
                for text in ESCAPES.split(chunk)[::2]
                for piece in _short(text)
            ),
            tokenizers.trainers.BpeTrainer(
                vocab_size=size,
                show_progress=sys.stderr.isatty(),
                special_tokens=[],
                initial_alphabet=list(printable_bytes().values()),
            ),
        )
        model = json.loads(learner.to_str())["model"]
        merges = [
            merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]
        ]
        return cls(sorted(model["vocab"], key=model["vocab"].get), merges, size)

    @functools.cached_property
    def _encoder(self) -> tokenizers.Tokenizer:
        import tokenizers

        return _byte_level(tokenizers.models.BPE(vocab=self._ids, merges=self.merges))

    @functools.cached_property
    def _bytes(self) -> list[bytes]:
        byte = {character: byte for byte, character in printable_bytes().items()}
        return [bytes(byte[character] for character in entry) for entry in self.texts]

    def encode(self, text: str) -> np.ndarray:
        """See `Tokenizer.encode`."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """See `Tokenizer.encode_all`."""
        return encode_pieces(texts, _pieces, self._ids_of)

    def _ids_of(self, pieces: list[str]) -> Iterator[np.ndarray]:
        alphabet = printable_bytes()
        plain = [piece for piece in pieces if not ESCAPES.match(piece)]
        found = iter(self._encoder.encode_batch_fast(plain))
        for piece in pieces:
            if ESCAPES.match(piece):
                yield np.array([self._ids[alphabet[byte]] for byte in to_bytes(piece)], np.int32)
            else:
                yield np.array(next(found).ids, np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """See `Tokenizer.decode`."""
        known = len(self._bytes)
        data = b"".join([self._bytes[i] for i in _listed(ids) if i < known])
        return data.decode("utf-8", "surrogateescape")

    def to_json(self) -> dict:
        """See `Tokenizer.to_json`."""
        return {
            "kind": "bpe",
            "entries": self.texts,
            "size": self.size,
            "merges": [list(merge) for merge in self.merges],
        }


def _pieces(text: str) -> Iterator[str]:
    """A text in pieces that are all escapes or have none."""
    for chunk in chunks(text, CHUNK >> 4):
        yield from filter(None, ESCAPES.split(chunk))


def _short(text: str) -> Iterator[str]:
    """The text, cut where LONGEST characters have no space among them."""
    start = 0
    for run in RUN.finditer(text):
        for cut in range(run.start() + LONGEST, run.end(), LONGEST):
            yield text[start:cut]
            start = cut
    yield text[start:]


def _listed(ids: Iterable[int]) -> list[int]:
    return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)


def _byte_level(model: tokenizers.models.BPE) -> tokenizers.Tokenizer:
    import tokenizers

    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer
