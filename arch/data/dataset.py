"""Corpus and tokenizer to arrays of tokens: `load('ptb', 'words')`.

Training a tokenizer and running it take time; the result is kept under `cache_directory()/tokens`,
by the corpus's sha256, the tokenizer's spec (or the content of a file) and `FORMAT`. An entry is
written beside its place and renamed into it; one that is not whole is made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arch.data.corpora import named as corpora
from arch.data.corpora.downloads import cache_directory
from arch.data.corpora.files import encode
from arch.data.tokenizers import kinds as tokenizers
from arch.data.tokenizers.kinds import Tokenizer

__all__ = ["Dataset", "Tokens", "cache_directory", "load"]

FORMAT = 1  # raise it when the arrays of an equal corpus and spec would come out different


@dataclass(frozen=True)
class Tokens:
    """One split: the documents' tokens, concatenated in order.

    Attributes:
        ids: (tokens,) of uint8, uint16 or int32, the smallest that holds the vocabulary; read-only.
        documents: (documents,) of int64, the token at which each document starts.
        bytes: of the text, in UTF-8.
        words: between white space, and one per line end; word perplexity divides by it.
    """

    ids: np.ndarray
    documents: np.ndarray
    bytes: int
    words: int


@dataclass(frozen=True)
class Dataset:
    """A tokenised corpus.

    Attributes:
        corpus: its name, as the configuration has it.
        sha256: of the corpus, and of the tokenizer where that did not learn from it.
        details: how the text came to be; recorded with results.
        splits: 'train', 'valid' and, where there is one, 'test'.
    """

    corpus: str
    sha256: str
    details: Mapping[str, object]
    tokenizer: Tokenizer
    splits: Mapping[str, Tokens]


def load(corpus: str, tokenizer: str | Tokenizer) -> Dataset:
    """The corpus in tokens, from the cache if there is a whole entry.

    Args:
      tokenizer: its spec, or a tokenizer, which learns nothing from this corpus.

    Raises:
      CorpusError: see `corpora.load`.
      ValueError: a malformed tokenizer; see `tokenizers.fixed_size`.
    """
    spec, given = (tokenizer, None) if isinstance(tokenizer, str) else ("", tokenizer)
    if given is None:
        tokenizers.fixed_size(spec)
        given = tokenizers.ready_made(spec)
    text = corpora.load(corpus)
    name, sha256 = spec.replace(":", "-"), text.sha256
    if given is not None:
        content = _sha256(json.dumps(given.to_json(), sort_keys=True))
        name, sha256 = f"given-{content[:32]}", _sha256(f"{sha256} {content}")
    place = cache_directory() / "tokens" / f"{text.sha256[:32]}-{name}-v{FORMAT}"
    try:
        learned, splits = read_entry(place)
    except (OSError, ValueError, LookupError):
        learned = given or tokenizers.build(spec, text)
        splits = {split: _tokenise(documents, learned) for split, documents in text.splits.items()}
        learned, splits = _kept(place, learned, splits)
    return Dataset(corpus, sha256, text.details, learned, splits)


def _kept(place: Path, tokenizer: Tokenizer, splits: dict) -> tuple[Tokenizer, dict[str, Tokens]]:
    try:
        write_entry(place, tokenizer, splits)
        return read_entry(place)
    except OSError as error:  # A full or read-only disk costs time at the next start, not this run.
        logging.getLogger(__name__).warning("tokens are not cached: %s", error)
        return tokenizer, splits


def smallest(size: int) -> type[np.generic]:
    """The smallest of uint8, uint16 and int32 that holds 0 … size - 1."""
    return next(
        (dtype for dtype in (np.uint8, np.uint16) if size <= np.iinfo(dtype).max + 1), np.int32
    )


def _tokenise(documents: tuple[str, ...], tokenizer: Tokenizer) -> Tokens:
    dtype = smallest(tokenizer.size)
    pieces = [tokenizer.encode(document).astype(dtype) for document in documents]
    starts = np.cumsum([0, *(len(piece) for piece in pieces)], dtype=np.int64)[:-1]
    return Tokens(
        np.concatenate(pieces),
        starts,
        bytes=sum(len(encode(document)) for document in documents),
        words=sum(_words(document) for document in documents),
    )


def _words(document: str) -> int:
    return tokenizers.lines(document) + sum(
        len(chunk.split()) for chunk in tokenizers.chunks(document)
    )


def write_entry(place: Path, tokenizer: Tokenizer, splits: Mapping[str, Tokens]) -> None:
    """Keeps a cache entry, whole or not at all. Raises OSError where the disk refuses."""
    place.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (place.with_name(f"{place.name}.{uuid.uuid4().hex}") for _ in range(2))
    try:
        partial.mkdir()
        counts = {}
        for split, tokens in splits.items():
            counts[split] = {"bytes": tokens.bytes, "words": tokens.words}
            for part in ("ids", "documents"):
                np.save(partial / f"{split}.{part}.npy", getattr(tokens, part))
                counts[split][part] = _crc32(partial / f"{split}.{part}.npy")
        body = json.dumps({"tokenizer": tokenizer.to_json(), "splits": counts})
        (partial / "entry.json").write_bytes(f"{_sha256(body)}\n{body}".encode())
        try:
            os.rename(partial, place)
        except OSError:  # In the way: a damaged entry, or a whole one that another process made.
            os.rename(place, old)
            os.rename(partial, place)
    finally:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)


def read_entry(place: Path) -> tuple[Tokenizer, dict[str, Tokens]]:
    """A cache entry. Raises OSError, ValueError or LookupError where it is missing or damaged."""
    digest, body = (place / "entry.json").read_bytes().decode().split("\n", 1)
    if digest != _sha256(body):
        raise ValueError(f"{place}: entry.json is damaged")
    entry = json.loads(body)
    splits = {}
    for split, counts in entry["splits"].items():
        arrays = {}
        for part in ("ids", "documents"):
            path = place / f"{split}.{part}.npy"
            if _crc32(path) != counts[part]:
                raise ValueError(f"{path} is damaged")
            arrays[part] = np.load(path, mmap_mode="r")
        splits[split] = Tokens(**arrays, bytes=counts["bytes"], words=counts["words"])
    return tokenizers.from_json(entry["tokenizer"]), splits


def _crc32(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
