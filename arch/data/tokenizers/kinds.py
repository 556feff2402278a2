"""Text to integers and back: bytes, characters, words, byte-level BPE, others' tokenizers.

| spec | entries | |
|---|---|---|
| `bytes` | 256 | the UTF-8 bytes themselves |
| `characters` | as the corpus decides | the training characters in order of code point |
| `words`, `words:N` | as the corpus decides, N | `<unk>`, `<eos>`, training words, frequent first |
| `bpe:N` | N | byte-level BPE; 256 bytes, then merges |
| `file:PATH` | the file's | a `tokenizer.json` of Hugging Face's; see tokenizer_files.py |

Tokenizers learn from the training split alone; `to_json` is all of one, and is kept with the tokens
it made.
"""

from __future__ import annotations

import collections
import functools
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from arch.data.corpora.files import encode as to_bytes
from arch.data.corpora.named import Corpus
from arch.data.tokenizers.contract import CHUNK, ESCAPES, Tokenizer, chunks, printable_bytes
from arch.data.tokenizers.imported import File, read

UNKNOWN, END = "<unk>", "<eos>"


def fixed_size(spec: str) -> int:
    """The number of entries the spec itself gives; 0 where the corpus decides.

    Raises:
      ValueError: the spec is malformed, or its file; the message says what is allowed.
    """
    if (given := from_file(spec)) is not None:
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


def from_file(spec: str) -> File | None:
    """The tokenizer of `file:PATH`; None of any other spec.

    Raises:
      ValueError: see `tokenizer_files.read`.
    """
    return read(spec.removeprefix("file:")) if spec.startswith("file:") else None


def build(spec: str, corpus: Corpus) -> Tokenizer:
    """The tokenizer, trained on the corpus's training split where it is not there already.

    With `words:N` and `bpe:N` the size is N also where the corpus is too small to fill it; the
    last ids are then never used.

    Raises:
      ValueError: see `fixed_size`.
    """
    if (given := from_file(spec)) is not None:
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
        "bytes": Bytes, "characters": Characters, "words": Words, "bpe": BPE, "file": File,
    }  # fmt: skip
    if saved.get("kind") not in kinds:
        raise ValueError(f"tokenizer kind {saved.get('kind')!r}: expected one of {sorted(kinds)}")
    return kinds[saved["kind"]](**{key: saved[key] for key in saved if key != "kind"})


def lines(text: str) -> int:
    """Lines of a text, one that no line end closes among them."""
    return text.count("\n") + (not text.endswith("\n") and text != "")


def encode_open(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """The ids of a text that goes on: without the <eos> that `Words` closes one with.

    Raises:
      ValueError: a character that the tokenizer has no entry for.
    """
    ids = tokenizer.encode(text)
    return ids[:-1] if isinstance(tokenizer, Words) and not text.endswith("\n") else ids


class Bytes(Tokenizer):
    """A token is a byte of UTF-8."""

    size, unit, lossless = 256, "byte", True

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(to_bytes(text), np.uint8).astype(np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(int(i) for i in ids).decode("utf-8", "surrogateescape")

    def to_json(self) -> dict:
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
        characters = self.alphabet + "\N{REPLACEMENT CHARACTER}" * self.unknown
        return "".join(characters[i] for i in ids)

    def to_json(self) -> dict:
        return {"kind": "characters", "alphabet": self.alphabet, "unknown": self.unknown}


class Words(Tokenizer):
    """A token is a word between white space, or the end of a line (`<eos>`).

    Entries are `<unk>`, `<eos>`, then the training words by descending frequency, equals in
    alphabetical order. `<unk>` and `<eos>` in the text are these same entries.
    """

    unit, lossless = "word", False

    def __init__(self, words: Sequence[str], size: int):
        self.words, self.size = list(words), size
        self._ids = {word: i for i, word in enumerate(self.words)}

    @classmethod
    def train(cls, train: Sequence[str], size: int) -> Words:
        counts: collections.Counter[str] = collections.Counter()
        for chunk in itertools.chain.from_iterable(map(chunks, train)):
            counts.update(chunk.split())
        del counts[UNKNOWN], counts[END]
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        words = [UNKNOWN, END, *ranked]
        return cls(words[: size or None], size or len(words))

    def encode(self, text: str) -> np.ndarray:
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
        words = [UNKNOWN, "\n", *self.words[2:]]
        text = " ".join(words[i] if i < len(words) else UNKNOWN for i in ids)
        return re.sub(" ?\n ?", "\n", text)

    def to_json(self) -> dict:
        return {"kind": "words", "words": self.words, "size": self.size}


class BPE(Tokenizer):
    """A token is a byte or a sequence of bytes merged by frequency, within GPT-2's word pattern.

    Sennrich et al. 2016 on bytes, as in Radford et al. 2019; trained by the package `tokenizers`.
    """

    unit, lossless = "subword", True

    def __init__(self, entries: Sequence[str], merges: Iterable[Sequence[str]], size: int):
        self.entries, self.size = list(entries), size
        self.merges = [tuple(merge) for merge in merges]
        self._ids = {entry: i for i, entry in enumerate(self.entries)}

    @classmethod
    def train(cls, train: Sequence[str], size: int) -> BPE:
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
    def _encoder(self):
        import tokenizers

        return _byte_level(tokenizers.models.BPE(vocab=self._ids, merges=self.merges))

    @functools.cached_property
    def _bytes(self) -> list[bytes]:
        byte = {character: byte for byte, character in printable_bytes().items()}
        return [bytes(byte[character] for character in entry) for entry in self.entries]

    def encode(self, text: str) -> np.ndarray:
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
        # One by one, a short text costs more on the way there and back than its merges do.
        plain = [text for text in texts if not ESCAPES.search(text)]
        found = iter(self._encoder.encode_batch_fast(plain))
        return [
            self.encode(text) if ESCAPES.search(text) else np.array(next(found).ids, np.int32)
            for text in texts
        ]

    def decode(self, ids: Iterable[int]) -> str:
        data = b"".join(self._bytes[i] for i in ids if i < len(self._bytes))
        return data.decode("utf-8", "surrogateescape")

    def to_json(self) -> dict:
        return {
            "kind": "bpe",
            "entries": self.entries,
            "size": self.size,
            "merges": [list(merge) for merge in self.merges],
        }


def _byte_level(model):
    import tokenizers

    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer
