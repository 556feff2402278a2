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
import importlib
import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arch.data import dataset
from arch.data.corpora import downloads, files
from arch.data.corpora import named as corpora
from arch.data.corpora.files import ALIASES, SPLITS, CorpusError, encode
from arch.data.dataset import Tokens
from arch.data.tokenizers import kinds as tokenizers
from arch.data.tokenizers.kinds import Tokenizer
from arch.registry import suggestion

TOGETHER = 1 << 16  # sentences tokenised at once: bounds the memory of what is made on the way
Sentences = Mapping[str, tuple[str, ...]]  # by language


@dataclass(frozen=True)
class Bitext:
    """Sentences by split ('train', 'valid' and, where there is one, 'test') and language."""

    name: str  # as the configuration wrote it
    splits: Mapping[str, Sentences]
    sha256: str  # of splits, languages and sentences; the same in either direction
    details: Mapping[str, object]  # how the text came to be; recorded with results


@functools.cache
def load(name: str, source: str, target: str) -> Bitext:
    """Find the corpus, fetching it where it is known by name and not at hand.

    Raises:
      CorpusError: an unknown name or language, or text that is missing, empty, damaged, not text,
        or not of as many lines in both languages.
    """
    languages = (source, target)
    if name.startswith("file:"):
        if name == "file:":
            raise CorpusError("corpus 'file:' names no directory; expected file:DIR")
        splits = _from_folder(Path(name.removeprefix("file:")).expanduser(), languages)
    elif name in KNOWN:
        for language in languages:
            if language not in KNOWN[name]:
                allowed = ", ".join(KNOWN[name])
                raise CorpusError(f"{name}: no language {language!r}; allowed are {allowed}")
        splits = {"multi30k": _multi30k, "wmt14": _wmt14}[name](languages)
    else:
        raise CorpusError(
            f"corpus {name!r} is not known{suggestion(name, KNOWN)} "
            f"(known: {', '.join(KNOWN)}, file:DIR)"
        )
    for split, sentences in splits.items():
        _check(name, split, sentences)
    details = {"split": "files" if name.startswith("file:") else "published"}
    return Bitext(name, splits, _digest(splits), details)


def names() -> tuple[str, ...]:
    """The corpora that have a name of their own; `file:DIR` is always possible beside them."""
    return tuple(KNOWN)


def describe(name: str) -> str:
    """One line about a corpus, without reading or fetching it."""
    return {
        "multi30k": "captions of Flickr images, 29,000 pairs, lower-cased and tokenised, de and en",
        "wmt14": "news, parliament and web pages, 4.5 million pairs, de and en; needs [data]",
    }.get(name, "a directory with train.SRC and train.TGT, valid and test likewise")


def tokenise(text: Bitext, spec: str) -> tuple[Tokenizer, dict[str, dict[str, Tokens]]]:
    """The shared tokenizer, and by split and language the tokens; a sentence is a document of them.

    From the cache (see dataset.py) where it is there and whole.

    Raises:
      ValueError: a malformed tokenizer; see `tokenizers.fixed_size`.
    """
    tokenizers.fixed_size(spec)
    name = f"{text.sha256[:32]}-{spec.replace(':', '-')}-pairs-v{dataset.FORMAT}"
    place = dataset.cache_directory() / "tokens" / name
    try:
        tokenizer, found = dataset.read(place)
    except (OSError, ValueError, LookupError):
        tokenizer, found = _make(text, spec)
        try:
            dataset.write(place, tokenizer, found)
        except OSError as error:  # It costs time at the next start, not this run.
            logging.getLogger(__name__).warning("tokens are not cached: %s", error)
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
    dtype = dataset.smallest(tokenizer.size)
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


# --- files ----------------------------------------------------------------------------------------


def _from_folder(folder: Path, languages: tuple[str, str]) -> dict[str, Sentences]:
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such directory; expected one with train.SRC, train.TGT …")
    found = {language: _locate(folder, language) for language in languages}
    splits = [s for s in SPLITS if s != "test" or any(s in paths for paths in found.values())]
    for language, split in itertools.product(languages, splits):
        if split not in found[language]:
            raise CorpusError(
                f"{folder}: no {split} file in {language}, such as {split}.{language}"
            )
    return {
        split: {language: _lines(paths[split]) for language, paths in found.items()}
        for split in splits
    }


def _locate(folder: Path, language: str) -> dict[str, Path]:
    """`train.de`, `val.lc.de.gz`, `test_2016.de` … by split."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem, _, end = path.name.removesuffix(".gz").removesuffix(".zst").rpartition(".")
        split = ALIASES.get(stem.split(".")[0]) or ("test" if stem.startswith("test") else None)
        if end != language or split is None or not path.is_file():
            continue
        if split in found:
            raise CorpusError(
                f"{folder}: two {split} files in {language}: {found[split].name} and {path.name}; "
                "keep one"
            )
        found[split] = path
    return found


def _lines(path: Path) -> tuple[str, ...]:
    data = files.read(path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorpusError(
            f"{path}: line {line} is not UTF-8 text (byte {data[error.start]:#04x})"
        ) from None
    if not text.strip():
        raise CorpusError(f"{path}: the file is empty")
    return tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))


# --- by name --------------------------------------------------------------------------------------

KNOWN: Mapping[str, tuple[str, ...]] = {"multi30k": ("de", "en"), "wmt14": ("de", "en")}

# Elliott et al. 2016, task 1, as its authors lower-cased, normalised and tokenised it.
_TASK1 = (
    "https://raw.githubusercontent.com/multi30k/dataset/"
    "a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/tok/"
)
_MULTI30K_NAMES = {"train": "train", "valid": "val", "test": "test_2016_flickr"}
MULTI30K = {
    "train.de": "cb5a23529b65ec2061f1dc446192a9c37382b63cc75f81a0be59d34894b3a505",
    "train.en": "08925f8e0572bcd5a006702fc5fe20e2d77c6917d4eebd576fc20de6693c2119",
    "val.de": "97232bd273eceb7207f689527386a97e4be2616b18ada47576bdaf96c8ae1f00",
    "val.en": "46573ce391ae227f1c72f873392436a20ef18e0a6d518098cfbd70b77c8572ec",
    "test_2016_flickr.de": "c6a33d39d48f9f510de147651316cd9d918e09ad0219df734a2f16b6baccacc4",
    "test_2016_flickr.en": "5b7f32627cf99eced828311b955dae9800bb52bc8b91cf8b6526829e605b29d2",
}


def _multi30k(languages: tuple[str, str]) -> dict[str, Sentences]:
    own = os.environ.get("ARCH_DATA_DIR")
    folder = Path(own).expanduser() / "multi30k" if own else None
    if folder is None or not folder.is_dir():
        folder = _fetched(own)
    return {
        split: {language: _published(folder / f"{base}.{language}") for language in languages}
        for split, base in _MULTI30K_NAMES.items()
    }


def _fetched(own: str | None) -> Path:
    folder = downloads.cache_directory() / "corpora" / "multi30k"
    try:
        for name, digest in MULTI30K.items():
            base, _, language = name.rpartition(".")
            url = f"{_TASK1}{base}.lc.norm.tok.{language}"
            downloads.fetch(url, folder / name, sha256=digest)
    except OSError as error:
        raise CorpusError(
            f"multi30k: not in ARCH_DATA_DIR ({own or 'unset'}) and not to be had from the network "
            f"({error}); put {', '.join(MULTI30K)} into ARCH_DATA_DIR/multi30k"
        ) from None
    return folder


def _published(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise CorpusError(f"multi30k: no {path.name} in {path.parent}: put it there ({_TASK1})")
    found = downloads.sha256(path)
    if found != MULTI30K[path.name]:
        raise CorpusError(
            f"{path}: not the published multi30k (sha256 {found}, expected {MULTI30K[path.name]}); "
            f"replace it, or name sentences of your own file:{path.parent}"
        )
    return _lines(path)


def _wmt14(languages: tuple[str, str]) -> dict[str, Sentences]:
    try:
        library = importlib.import_module("datasets")
    except ImportError:
        raise CorpusError(
            "wmt14: needs the package datasets: pip install 'arch-variants[data]'"
        ) from None
    try:
        found = library.load_dataset("wmt/wmt14", "de-en")
    except Exception as error:  # of any kind: the hub's, the network's, the file system's
        raise CorpusError(f"wmt14: datasets cannot load it: {error}".replace("\n", " ")) from None
    splits: dict[str, Sentences] = {}
    for split, published in {"train": "train", "valid": "validation", "test": "test"}.items():
        rows = [row["translation"] for row in found[published]]
        splits[split] = {language: tuple(row[language] for row in rows) for language in languages}
    return splits
