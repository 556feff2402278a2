"""Tokenizers that others trained: a `tokenizer.json` in Hugging Face's format, as it stands."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

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
from arch.data.tokenizers.coverage import Coverage

# Name → what files call it; ALBERT's has <pad>.
SPECIAL = {
    "[PAD]": ("[PAD]", "<pad>"),
    "[CLS]": ("[CLS]",),
    "[SEP]": ("[SEP]",),
    "[MASK]": ("[MASK]",),
}
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class TokenizerFile(Tokenizer):
    """The package `tokenizers` run by a file's content, without special tokens around a text,
    truncation, padding and dropout.

    A special token that is written out in a text becomes that token, as in `transformers`. The
    tokenizer is lossless where text is only cut into bytes and merged (GPT-2): then bytes that make
    no character have tokens of their own. Elsewhere they are replaced. Text is never dropped: to
    encode it raises LostTextError where there is neither an entry for it nor an unknown token.

    Raises:
      ValueError: the content is not that of a tokenizer.json.
    """

    unit = "subword"

    def __init__(self, content: str):
        import tokenizers

        self.content = content
        try:
            self._encoder = tokenizers.Tokenizer.from_str(content)
        except Exception as error:  # the package raises no class of its own
            raise ValueError(" ".join(str(error).split())) from None
        self._encoder.no_truncation()
        self._encoder.no_padding()
        if getattr(self._encoder.model, "dropout", None):
            self._encoder.model.dropout = None
        vocabulary = self._encoder.get_vocab(with_added_tokens=True)
        if not vocabulary:
            raise ValueError("it has no entries")
        self.size = max(vocabulary.values()) + 1
        found = {name: [s for s in known if s in vocabulary] for name, known in SPECIAL.items()}
        self.special = {name: vocabulary[there[0]] for name, there in found.items() if there}
        # they are found in a text also where the file has them as entries alone
        added = {token.content for token in self._encoder.get_added_tokens_decoder().values()}
        names = [there[0] for there in found.values() if there]
        self._encoder.add_special_tokens([name for name in names if name not in added])
        self._bytes = self._bytes_of_entries()
        self.lossless = bool(self._bytes)
        self._coverage = None if self.lossless else Coverage(self._encoder)

    def _bytes_of_entries(self) -> dict[int, bytes]:
        """id → bytes of the entry, if the bytes of a text are those of its tokens; else {}."""
        said = json.loads(self._encoder.to_str())
        model, before, added = said["model"], said["pre_tokenizer"] or {}, said["added_tokens"]
        plain = model["type"] == "BPE" and not any(
            model[option]
            for option in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
        )
        cut = before.get("type") == "ByteLevel" and not before["add_prefix_space"]
        eaten = any(token["lstrip"] or token["rstrip"] for token in added)
        if not plain or not cut or eaten or said["normalizer"] is not None:
            return {}
        byte = {character: byte for byte, character in printable_bytes().items()}
        names = {token["id"]: to_bytes(token["content"]) for token in added}
        entries = {i: entry for entry, i in model["vocab"].items() if i not in names}
        strange = any(character not in byte for entry in entries.values() for character in entry)
        if strange or not byte.keys() <= set(entries.values()):
            return {}
        return {i: bytes(byte[c] for c in entry) for i, entry in entries.items()} | names

    @functools.cached_property
    def unknown(self) -> int:
        """The id of text that has no entry; -1 where every text has entries."""
        name = getattr(self._encoder.model, "unk_token", None)
        if name is None:  # a Unigram has its number
            number = json.loads(self._encoder.to_str())["model"].get("unk_id")
            return -1 if number is None else number
        found = self._encoder.token_to_id(name)
        return -1 if found is None or self.lossless else found

    def encode(self, text: str) -> np.ndarray:
        """See `Tokenizer.encode`. Long texts are cut before spaces: the tokenizers of BERT, ALBERT
        and GPT-2 join no space to the word before it."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """See `Tokenizer.encode_all`."""
        return encode_pieces(texts, self._pieces, self._ids_of)

    def _pieces(self, text: str) -> Iterator[str]:
        for chunk in chunks(text, CHUNK >> 4, space=r" (?=\S)"):
            if self.lossless:
                yield from filter(None, ESCAPES.split(chunk))
            else:
                yield ESCAPES.sub(REPLACEMENT, chunk)

    def _ids_of(self, pieces: list[str]) -> Iterator[np.ndarray]:
        plain = [piece for piece in pieces if not ESCAPES.match(piece)]
        if self._coverage is None:
            found = iter(self._encoder.encode_batch_fast(plain, add_special_tokens=False))
        else:
            found = iter(self._coverage.encode(plain))
        for piece in pieces:
            if ESCAPES.match(piece):
                yield self._escaped(piece)
            else:
                yield np.array(next(found).ids, np.int32)

    def _escaped(self, text: str) -> np.ndarray:
        alphabet = printable_bytes()
        return np.array([self._entries[alphabet[byte]] for byte in to_bytes(text)], np.int32)

    def count_unknown(self, text: str, ids: np.ndarray) -> int:
        """See `Tokenizer.count_unknown`; the unknown token written out in a text is not counted."""
        found = int(np.count_nonzero(ids == self.unknown)) if self.unknown >= 0 else 0
        name = self._encoder.id_to_token(self.unknown) if found else None
        return max(0, found - text.count(name)) if name else found

    @functools.cached_property
    def _entries(self) -> dict[str, int]:
        return self._encoder.get_vocab(with_added_tokens=False)

    def decode(self, ids: Iterable[int]) -> str:
        """See `Tokenizer.decode`. Ids beyond the entries, of a larger table, have no text."""
        ids = [int(i) for i in ids]
        if not self.lossless:
            return self._encoder.decode(ids, skip_special_tokens=False)
        return b"".join(self._bytes.get(i, b"") for i in ids).decode("utf-8", "surrogateescape")

    def texts(self) -> list[str]:
        """What each entry adds to a text, with the space before it where it has one."""
        before = self.encode("a").tolist()
        start = len(self.decode(before))
        return [self.decode([*before, i])[start:] for i in range(self.size)]

    def to_json(self) -> dict:
        """See `Tokenizer.to_json`."""
        return {"kind": "file", "content": self.content}


def read_tokenizer(path: str) -> TokenizerFile:
    """The tokenizer in a file.

    Raises:
      ValueError: there is none, or it is damaged; the message says what to do.
    """
    expected = (
        "expected a tokenizer.json, as AutoTokenizer.from_pretrained('DIR').save_pretrained('DIR')"
        " of the package transformers writes it"
    )
    try:
        return _parsed(Path(path).expanduser().read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{path or 'file:'}: {error.strerror}; {expected}") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a tokenizer ({error}); {expected}") from None


@functools.lru_cache(maxsize=4)
def _parsed(content: str) -> TokenizerFile:
    return TokenizerFile(content)
