"""Whether a tokenizer of the package `tokenizers` has tokens for all of a text.

Without an unknown token and byte fallback a BPE drops what it has no entry for, in silence; other
models raise an exception of the package's own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from arch.data.tokenizers.contract import LostTextError, printable_bytes

if TYPE_CHECKING:
    import tokenizers

SHOWN = 8  # characters that an error names


class Coverage:
    """Encodes, and refuses to drop text.

    A character has a token if the token's offsets cover it. That is asked of the text as its
    normaliser leaves it, since what a normaliser takes away (accents, control characters) it is
    meant to; white space needs none.
    """

    def __init__(self, encoder: tokenizers.Tokenizer):
        import tokenizers

        self._encoder = encoder
        content = json.loads(encoder.to_str())
        self._normalizer, model = encoder.normalizer, content["model"]
        content["normalizer"] = None
        self._after = tokenizers.Tokenizer.from_str(json.dumps(content))  # without a normaliser
        before = json.dumps(content["pre_tokenizer"])
        # of a character in several bytes, one may have an entry and another none
        self._missing = b""
        if '"ByteLevel"' in before and model["type"] == "BPE" and not model.get("unk_token"):
            there = set(model["vocab"])
            self._missing = bytes(b for b, entry in printable_bytes().items() if entry not in there)

    def encode(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        """The encodings of texts.

        Raises:
          LostTextError: characters without a token.
        """
        try:
            found = self._encoder.encode_batch(list(texts), add_special_tokens=False)
        except Exception as error:  # the package raises no class of its own
            said = " ".join(str(error).split())
            raise LostTextError(
                f"it has no entry for a part of the text, and no unknown token ({said}); {REMEDY}"
            ) from None
        for text, encoding in zip(texts, found, strict=True):
            if self._missing or _uncovered(text, encoding):
                self._check(text)
        return found

    def _check(self, text: str) -> None:
        """Raises LostTextError for a text of which the model drops something."""
        if self._normalizer is not None:
            text = self._normalizer.normalize_str(text)
        lost = _uncovered(text, self._after.encode(text, add_special_tokens=False))
        if self._missing:
            kept = text.encode().translate(None, self._missing)
            if len(kept) < len(text.encode()):
                lost += "".join(c for c in text if set(c.encode()) & set(self._missing))
        if lost:
            named = ", ".join(repr(c) for c in list(dict.fromkeys(lost))[:SHOWN])
            more = ", …" if len(set(lost)) > SHOWN else ""
            raise LostTextError(
                f"it has no entry for {named}{more} and neither an unknown token nor byte "
                f"fallback: {len(lost):,} of {len(text):,} characters would be lost; {REMEDY}"
            )


REMEDY = "add an unknown token to the file, or take another tokenizer (bytes, bpe:N)"


def _uncovered(text: str, encoding: tokenizers.Encoding) -> str:
    """The characters that no token covers, but for white space."""
    change = np.zeros(len(text) + 1, np.int64)
    if encoding.offsets:
        starts, ends = np.array(encoding.offsets).T
        change += np.bincount(starts, minlength=len(change))
        change -= np.bincount(ends, minlength=len(change))
    bare = np.flatnonzero(np.cumsum(change)[:-1] == 0)
    return "".join(text[i] for i in bare if not text[i].isspace())
