"""Corpus and tokenizer to arrays of tokens: `load('ptb', 'words')`.

Training a tokenizer and running it take time; the result is kept under `cache_directory()/tokens`,
by the corpus's sha256, the tokenizer's spec (or the content of a file) and `FORMAT`. An entry is
written beside its place and renamed into it. It holds a digest of every file, which each load
compares: one that is not what was written is named, and made again from the text.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arch.data.corpora import named as corpora
from arch.data.corpora.downloads import cache_directory, sha256
from arch.data.tokenizers import kinds as tokenizers
from arch.data.tokenizers.contract import LostTextError
from arch.data.tokenizers.kinds import Tokenizer
from arch.data.tokens import Losses, Tokens, tokenise

__all__ = ["Dataset", "cache_directory", "load"]

# Raise it when arrays of an equal corpus and spec, or the files of an entry, come out different.
FORMAT = 3
MOST_UNKNOWN = 0.5  # of a split's tokens: of more a model would learn to say <unk>

Tokenised = tuple[Tokenizer, Mapping[str, Tokens]]  # a cache entry: the tokenizer, and the splits


@dataclass(frozen=True)
class Dataset:
    """A tokenised corpus.

    Attributes:
        corpus: its name, as the configuration has it.
        sha256: of the corpus, and of the tokenizer where that did not learn from it.
        details: how the text came to be, and the share of unknown tokens; recorded with results.
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
      LostTextError: a tokenizer that would drop some of the text, or knows less than half of it.
    """
    spec, given = (tokenizer, None) if isinstance(tokenizer, str) else ("", tokenizer)
    if given is None:
        tokenizers.fixed_size(spec)
        given = tokenizers.ready_made(spec)
    text = corpora.load(corpus)
    name, digest = spec.replace(":", "-"), text.sha256
    if given is not None:
        content = _sha256_of(json.dumps(given.to_json(), sort_keys=True))
        name, digest = f"given-{content[:32]}", _sha256_of(f"{digest} {content}")
    place = cache_directory() / "tokens" / f"{text.sha256[:32]}-{name}-v{FORMAT}"

    def make() -> Tokenised:
        learned = given or tokenizers.build(spec, text)
        return learned, {
            part: tokenise(those, learned, f"tokenising {corpus} ({part})")
            for part, those in text.splits.items()
        }

    learned, splits = kept(place, make)
    for split, tokens in splits.items():
        if tokens.unknown > MOST_UNKNOWN:
            raise LostTextError(
                f"{tokens.unknown:.0%} of the {split} tokens would be <unk>, allowed is at most "
                f"{MOST_UNKNOWN:.0%}: the text has other words than the tokenizer; take another "
                "one (bytes, bpe:N)"
            )
    return Dataset(corpus, digest, {**text.details, **_shares(splits)}, learned, splits)


def _shares(splits: Mapping[str, Tokens]) -> dict[str, object]:
    """For the details of a corpus: the share of its tokens that are unknown, by split."""
    found = {split: round(tokens.unknown, 6) for split, tokens in splits.items() if tokens.unknown}
    return {"unknown": found} if found else {}


def kept(place: Path, make: Callable[[], Tokenised]) -> Tokenised:
    """The whole cache entry at `place`; else what `make` makes of the text, kept there.

    A damaged entry is named in a warning, and so is a disk that keeps none: it costs time at the
    next start, not this run.
    """
    log = logging.getLogger(__name__)
    if place.exists():
        try:
            return _read_entry(place)
        except (OSError, ValueError, LookupError) as error:
            log.warning("damaged in the cache, and made again from the text: %s", error)
    made = make()
    try:
        _write_entry(place, *made)
        return _read_entry(place)
    except (OSError, ValueError, LookupError) as error:
        log.warning("tokens are not cached: %s", error)
        return made


def _write_entry(place: Path, tokenizer: Tokenizer, splits: Mapping[str, Tokens]) -> None:
    """Keeps an entry, whole or not at all. Raises OSError where the disk refuses."""
    place.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (place.with_name(f"{place.name}.{uuid.uuid4().hex}") for _ in range(2))
    try:
        partial.mkdir()
        counts = {}
        for split, tokens in splits.items():
            counts[split] = {
                "bytes": tokens.bytes, "words": tokens.words, "losses": tokens.losses,
            }  # fmt: skip
            for part in ("ids", "documents"):
                np.save(partial / f"{split}.{part}.npy", getattr(tokens, part))
                counts[split][part] = sha256(partial / f"{split}.{part}.npy")
        body = json.dumps({"tokenizer": tokenizer.to_json(), "splits": counts})
        (partial / "entry.json").write_bytes(f"{_sha256_of(body)}\n{body}".encode())
        try:
            os.rename(partial, place)
        except OSError:  # In the way: a damaged entry, or a whole one that another process made.
            os.rename(place, old)
            os.rename(partial, place)
    finally:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _read_entry(place: Path) -> Tokenised:
    """Raises OSError, ValueError or LookupError where an entry is not whole.

    Every file is read through once, a block at a time; its tokens are then mapped, not loaded.
    """
    digest, _, body = (place / "entry.json").read_bytes().partition(b"\n")
    if digest.decode(errors="replace") != hashlib.sha256(body).hexdigest():
        raise ValueError(f"{place}/entry.json is not what was written")
    entry = json.loads(body)
    splits = {}
    for split, counts in entry["splits"].items():
        arrays = {}
        for part in ("ids", "documents"):
            path = place / f"{split}.{part}.npy"
            if sha256(path) != counts[part]:
                raise ValueError(f"{path} is not what was written")
            arrays[part] = np.load(path, mmap_mode="r")
        splits[split] = Tokens(
            **arrays, bytes=counts["bytes"], words=counts["words"], losses=Losses(*counts["losses"])
        )
    return tokenizers.from_json(entry["tokenizer"]), splits


def _sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
