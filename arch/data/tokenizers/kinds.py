"""Tokenizers by their specs: bytes, characters, words, byte-level BPE, files of others.

| spec | entries | |
|---|---|---|
| `bytes` | 256 | the UTF-8 bytes themselves |
| `characters` | as the corpus decides | the training characters in order of code point |
| `words`, `words:N` | as the corpus decides, N | `<unk>`, `<eos>`, training words, frequent first |
| `bpe:N` | N | byte-level BPE; 256 bytes, then merges |
| `file:PATH` | the file's | a `tokenizer.json` of Hugging Face's; see imported.py |

Tokenizers learn from the training split alone. `to_json` gives all that makes a tokenizer; it is
kept with the tokens.
"""

from __future__ import annotations

import collections
import functools
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from arch.data.corpora.files import encode as to_bytes
from arch.data.corpora.named import Corpus
from arch.data.tokenizers.bpe import BPE
from arch.data.tokenizers.contract import Tokenizer, chunks
from arch.data.tokenizers.imported import TokenizerFile, read_tokenizer

SPECS = {
    "bytes": "the 256 UTF-8 bytes",
    "characters": "the training characters in order of code point",
    "words": "<unk>, <eos> and the training words, frequent first",
    "words:N": "the same, N entries",
    "bpe:N": "byte-level byte-pair encoding, N entries, 256 of them bytes",
    "file:PATH": "a tokenizer.json in Hugging Face's format",
}  # what `launch.py list` says of each spec
UNKNOWN, END = "<unk>", "<eos>"


def fixed_size(spec: str) -> int:
    """The number of entries that the spec itself gives; 0 where the corpus decides.

    Raises:
      ValueError: the spec is malformed, or its file; the message says what is allowed.
    """
    if (given := ready_made(spec)) is not None:
        return given.size
    kind, colon, number = spec.partition(":")
    least = {"words": 3, "bpe": 256}.get(kind, 0)
    if spec == "bytes":
        return 256
    if spec in ("characters", "words"):
        return 0
    if least and colon and re.fullmatch("[1-9][0-9]{0,8}", number) and int(number) >= least:
        return int(number)
    raise ValueError(
        f"tokenizer {spec!r}: expected bytes, characters, words, words:N (N entries, "
        "at least 3), bpe:N (N entries, at least 256) or file:PATH (a tokenizer.json)"
    )


def ready_made(spec: str) -> TokenizerFile | None:
    """The tokenizer of `file:PATH`, which learns nothing from a corpus; None for any other spec.

    Raises:
      ValueError: see `imported.read_tokenizer`.
    """
    return read_tokenizer(spec.removeprefix("file:")) if spec.startswith("file:") else None


def build(spec: str, corpus: Corpus) -> Tokenizer:
    """The tokenizer of a spec, trained on the corpus's training split unless it is a file.

    With `words:N` and `bpe:N` the size is N also where the corpus is too small to fill it; the
    last ids are then never used.

    Raises:
      ValueError: see `fixed_size`.
    """
    if (given := ready_made(spec)) is not None:
        return given
    size = fixed_size(spec)
    train = corpus.splits["train"]
    match spec.partition(":")[0]:
        case "bytes":
            return Bytes()
        case "characters":
            return Characters.train(train, itertools.chain(*corpus.splits.values()))
        case "words":
            return Words.train(train, size)
        case _:
            return BPE.train(train, size)


def from_json(saved: Mapping) -> Tokenizer:
    """The tokenizer that `to_json` was called on.

    Raises:
      ValueError: a kind that is not known.
    """
    kinds = {
        "bytes": Bytes, "characters": Characters, "words": Words, "bpe": BPE, "file": TokenizerFile,
    }  # fmt: skip
    if saved.get("kind") not in kinds:
        raise ValueError(f"tokenizer kind {saved.get('kind')!r}: expected one of {sorted(kinds)}")
    return kinds[saved["kind"]](**{key: saved[key] for key in saved if key != "kind"})


def lines(text: str) -> int:
    """How many lines a text has; a last one without a line end counts too."""
    return text.count("\n") + (not text.endswith("\n") and text != "")


def encode_open(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """The ids of a text that goes on: without the <eos> that `Words` closes one with.

    Raises:
      ValueError: a character that the tokenizer has no entry for.
    """
    ids = tokenizer.encode(text)
    return ids[:-1] if isinstance(tokenizer, Words) and not text.endswith("\n") else ids


def line_end(tokenizer: Tokenizer) -> int:
    """The id that ends every line, by whatever it is followed; -1 where lines are not marked so."""
    return Words.END_ID if isinstance(tokenizer, Words) else -1


class Bytes(Tokenizer):
    """A token is a byte of UTF-8."""

    size, unit, lossless = 256, "byte", True

    def encode(self, text: str) -> np.ndarray:
        """See `Tokenizer.encode`."""
        return np.frombuffer(to_bytes(text), np.uint8).astype(np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """See `Tokenizer.decode`."""
        values = ids.astype(np.uint8).tobytes() if isinstance(ids, np.ndarray) else bytes(ids)
        return values.decode("utf-8", "surrogateescape")

    def to_json(self) -> dict:
        """See `Tokenizer.to_json`."""
        return {"kind": "bytes"}


class Characters(Tokenizer):
    """A token is a code point of the training text.

    A last entry `<unk>` exists if and only if another split of the corpus has a character that
    the training split lacks: a rule of the whole corpus, so that the size is the same whichever
    split is asked for, and 65 for tinyshakespeare.
    """

    unit = "character"

    def __init__(self, alphabet: str, unknown: bool):
        self.alphabet, self.unknown = alphabet, unknown
        self.size = len(alphabet) + unknown
        self.lossless = not unknown

    @classmethod
    def train(cls, train: Sequence[str], everything: Iterable[str]) -> Characters:
        """Takes the training documents, and the documents of all splits."""
        alphabet = set().union(*train)
        return cls("".join(sorted(alphabet)), bool(set().union(*everything) - alphabet))

    @functools.cached_property
    def _table(self) -> np.ndarray:
        table = np.full(0x110000, len(self.alphabet) if self.unknown else -1, np.int32)
        table[[ord(character) for character in self.alphabet]] = np.arange(len(self.alphabet))
        return table

    def encode(self, text: str) -> np.ndarray:
        """See `Tokenizer.encode`.

        Raises:
          ValueError: a character without an entry, where there is no `<unk>`.
        """
        ids = self._table[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)]
        if ids.size and ids.min() < 0:
            strange = text[int(np.argmin(ids))]
            raise ValueError(f"character {strange!r} is not one of the corpus’s {self.size}")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """See `Tokenizer.decode`."""
        characters = self.alphabet + "\N{REPLACEMENT CHARACTER}" * self.unknown
        return "".join([characters[i] for i in ids])

    def count_unknown(self, text: str, ids: np.ndarray) -> int:
        """See `Tokenizer.count_unknown`."""
        return int(np.count_nonzero(ids == len(self.alphabet)))

    def to_json(self) -> dict:
        """See `Tokenizer.to_json`."""
        return {"kind": "characters", "alphabet": self.alphabet, "unknown": self.unknown}


class Words(Tokenizer):
    """A token is a word between white space, or the end of a line (`<eos>`).

    Entries are `<unk>`, `<eos>`, then the training words by descending frequency, equals in
    alphabetical order. `<unk>` and `<eos>` in the text are these same entries.
    """

    unit, lossless = "word", False
    END_ID = 1

    def __init__(self, words: Sequence[str], size: int):
        self.words, self.size = list(words), size
        self._ids = {word: i for i, word in enumerate(self.words)}

    @property
    def entries(self) -> int:
        """See `Tokenizer.entries`."""
        return len(self.words)

    @classmethod
    def train(cls, train: Sequence[str], size: int) -> Words:
        """Counts the words of the training documents; size 0: as many entries as there are."""
        counts: collections.Counter[str] = collections.Counter()
        for chunk in itertools.chain.from_iterable(map(chunks, train)):
            counts.update(chunk.split())
        del counts[UNKNOWN], counts[END]
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        words = [UNKNOWN, END, *ranked]
        return cls(words[: size or None], size or len(words))

    def encode(self, text: str) -> np.ndarray:
        """See `Tokenizer.encode`."""
        closed = text if text.endswith("\n") or not text else text + "\n"
        # get(word, 0): 0 is the id of <unk>.
        pieces = [
            np.fromiter(
                map(self._ids.get, chunk.replace("\n", f" {END} ").split(), itertools.repeat(0)),
                np.int32,
            )
            for chunk in chunks(closed)
        ]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """See `Tokenizer.decode`."""
        words = [UNKNOWN, "\n", *self.words[2:]]
        text = " ".join(words[i] if i < len(words) else UNKNOWN for i in ids)
        return re.sub(" ?\n ?", "\n", text)

    def count_unknown(self, text: str, ids: np.ndarray) -> int:
        """See `Tokenizer.count_unknown`; a `<unk>` in the text is the entry, and is not counted."""
        found = int(np.count_nonzero(ids == 0))
        return found and found - sum(chunk.split().count(UNKNOWN) for chunk in chunks(text))

    def to_json(self) -> dict:
        """See `Tokenizer.to_json`."""
        return {"kind": "words", "words": self.words, "size": self.size}
