"""Byte-level byte-pair encoding, trained by the package `tokenizers`."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from arch.data.corpora.files import encode as to_bytes
from arch.data.tokenizers.contract import CHUNK, ESCAPES, Tokenizer, chunks, printable_bytes

if TYPE_CHECKING:
    import tokenizers


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
        self.entries, self.size = list(entries), size
        self.merges = [tuple(merge) for merge in merges]
        self._ids = {entry: i for i, entry in enumerate(self.entries)}

    @classmethod
    def train(cls, train: Sequence[str], size: int) -> BPE:
        """Learns `size` entries from documents: the 256 bytes first, then merges."""
        import tokenizers

        learner = _byte_level(tokenizers.models.BPE())
        learner.train_from_iterator(
            (
                piece
                for document in train
                for chunk in chunks(document, CHUNK >> 4)
                for piece in ESCAPES.split(chunk)[::2]
            ),
            tokenizers.trainers.BpeTrainer(
                vocab_size=size,
                show_progress=False,
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
        return [bytes(byte[character] for character in entry) for entry in self.entries]

    def encode(self, text: str) -> np.ndarray:
        """See `Tokenizer.encode`."""
        alphabet = printable_bytes()
        pieces = []
        for chunk in chunks(text, CHUNK >> 4):
            # Odd pieces are the escapes.
            for i, piece in enumerate(ESCAPES.split(chunk)):
                ids = (
                    [self._ids[alphabet[byte]] for byte in to_bytes(piece)]
                    if i % 2
                    else self._encoder.encode(piece).ids
                )
                pieces.append(np.array(ids, np.int32))
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int32)

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """See `Tokenizer.encode_all`."""
        # One by one, a short text costs more on the way there and back than its merges do.
        plain = [text for text in texts if not ESCAPES.search(text)]
        found = iter(self._encoder.encode_batch_fast(plain))
        return [
            self.encode(text) if ESCAPES.search(text) else np.array(next(found).ids, np.int32)
            for text in texts
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """See `Tokenizer.decode`."""
        data = b"".join(self._bytes[i] for i in ids if i < len(self._bytes))
        return data.decode("utf-8", "surrogateescape")

    def to_json(self) -> dict:
        """See `Tokenizer.to_json`."""
        return {
            "kind": "bpe",
            "entries": self.entries,
            "size": self.size,
            "merges": [list(merge) for merge in self.merges],
        }


def _byte_level(model: tokenizers.models.BPE) -> tokenizers.Tokenizer:
    import tokenizers

    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer
