"""Text in two languages, sentence by sentence: `load('multi30k', 'de', 'en')`.

| name | sentences |
|---|---|
| `multi30k` | de, en; in `ARCH_DATA_DIR/multi30k`, else fetched; its test is test_2016_flickr |
| `wmt14` | de, en; through the package `datasets` |
| `file:DIR` | `train.de` and `train.en`, `valid.`, `val.` or `dev.`, `test….`; as .gz, .zst too |

A sentence is a line; two lines of one number are a pair. One tokenizer serves both languages,
trained on the training sentences of both.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arch.data import dataset
from arch.data.corpora import named as corpora
from arch.data.corpora.files import encode
from arch.data.corpora.pair_files import Sentences, sentences_in
from arch.data.corpora.published_pairs import LANGUAGES, READERS
from arch.data.corpora.reading import CorpusError
from arch.data.tokenizers import kinds as tokenizers
from arch.data.tokenizers.kinds import Tokenizer
from arch.data.tokens import Tokens, smallest
from arch.registry import suggestion

TOGETHER = 1 << 16  # sentences tokenised at once: bounds the memory of what is made on the way


@dataclass(frozen=True)
class Bitext:
    """Sentences in two languages.

    Attributes:
        name: as the configuration has it.
        splits: 'train', 'valid' and, where there is one, 'test' → language → sentences.
        sha256: of splits, languages and sentences; the same in either direction.
        details: how the text came to be; recorded with results.
    """

    name: str
    splits: Mapping[str, Sentences]
    sha256: str
    details: Mapping[str, object]


@functools.cache
def load(name: str, source: str, target: str) -> Bitext:
    """The corpus of a name; a published one is fetched if it is not on this machine.

    Raises:
      CorpusError: an unknown name or language, or text that is missing, empty, damaged, not text,
        or not of as many lines in both languages.
    """
    languages = (source, target)
    if name.startswith("file:"):
        if name == "file:":
            raise CorpusError("corpus 'file:' names no directory; expected file:DIR")
        splits = sentences_in(Path(name.removeprefix("file:")).expanduser(), languages)
    elif name in LANGUAGES:
        for language in languages:
            if language not in LANGUAGES[name]:
                allowed = ", ".join(LANGUAGES[name])
                raise CorpusError(f"{name}: no language {language!r}; allowed are {allowed}")
        splits = READERS[name](languages)
    else:
        raise CorpusError(
            f"corpus {name!r} is not known{suggestion(name, LANGUAGES)} "
            f"(known: {', '.join(LANGUAGES)}, file:DIR)"
        )
    for split, sentences in splits.items():
        _check(name, split, sentences)
    details = {"split": "files" if name.startswith("file:") else "published"}
    return Bitext(name, splits, _digest(splits), details)


def names() -> tuple[str, ...]:
    """The corpora that have a name of their own; `file:DIR` is always possible beside them."""
    return tuple(LANGUAGES)


def describe(name: str) -> str:
    """One line about a corpus, without reading or fetching it."""
    return {
        "multi30k": "captions of Flickr images, 29,000 pairs, lower-cased and tokenised, de and en",
        "wmt14": "news, parliament and web pages, 4.5 million pairs, de and en; needs [data]",
    }.get(name, "a directory with train.SRC and train.TGT, valid and test likewise")


def tokenise(text: Bitext, spec: str) -> tuple[Tokenizer, dict[str, dict[str, Tokens]]]:
    """(the shared tokenizer, split → language → tokens); each sentence is a document.

    From the cache (see dataset.py) if there is a whole entry.

    Raises:
      ValueError: a malformed tokenizer; see `tokenizers.fixed_size`.
    """
    tokenizers.fixed_size(spec)
    name = f"{text.sha256[:32]}-{spec.replace(':', '-')}-pairs-v{dataset.FORMAT}"
    place = dataset.cache_directory() / "tokens" / name
    tokenizer, found = dataset.kept(place, lambda: _make(text, spec))
    return tokenizer, {
        split: {language: found[f"{split}.{language}"] for language in sentences}
        for split, sentences in text.splits.items()
    }


def _make(text: Bitext, spec: str) -> tuple[Tokenizer, dict[str, Tokens]]:
    both = tuple(
        "".join(f"{sentence}\n" for sentence in sentences)
        for _, sentences in sorted(text.splits["train"].items())
    )
    corpus = corpora.Corpus(text.name, {"train": both}, text.sha256, text.details)
    tokenizer = tokenizers.build(spec, corpus)
    return tokenizer, {
        f"{split}.{language}": _tokens(side, tokenizer)
        for split, sentences in text.splits.items()
        for language, side in sentences.items()
    }


def _tokens(sentences: Sequence[str], tokenizer: Tokenizer) -> Tokens:
    dtype = smallest(tokenizer.size)
    parts, counts = [], [0]
    for start in range(0, len(sentences), TOGETHER):
        pieces = tokenizer.encode_all(sentences[start : start + TOGETHER])
        counts += [len(piece) for piece in pieces]
        parts.append(np.concatenate(pieces).astype(dtype))
    return Tokens(
        np.concatenate(parts),
        np.cumsum(counts, dtype=np.int64)[:-1],
        bytes=sum(len(encode(sentence)) for sentence in sentences),
        words=sum(len(sentence.split()) for sentence in sentences),
    )


def _check(name: str, split: str, sentences: Sentences) -> None:
    counts = {language: len(side) for language, side in sentences.items()}
    if len(set(counts.values())) > 1:
        raise CorpusError(
            f"{name}: the {split} split has "
            f"{' and '.join(f'{n} lines in {language}' for language, n in counts.items())}; "
            "a pair is two lines of one number"
        )
    for language, side in sentences.items():
        if not any(map(str.strip, side)):
            raise CorpusError(f"{name}: the {split} split has no text in {language}")


def _digest(splits: Mapping[str, Sentences]) -> str:
    digest = hashlib.sha256()
    for split, sentences in splits.items():
        for language, side in sorted(sentences.items()):
            digest.update(f"{split} {language} {len(side)}\n".encode())
            for sentence in side:
                data = encode(sentence)
                digest.update(len(data).to_bytes(8, "little"))
                digest.update(data)
    return digest.hexdigest()
