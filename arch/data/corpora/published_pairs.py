"""Published text in two languages, by name: Multi30k and WMT 2014."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from arch.data.corpora import downloads
from arch.data.corpora.pair_files import Sentences, sentences_of
from arch.data.corpora.reading import CorpusError

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


def multi30k(languages: tuple[str, str]) -> dict[str, Sentences]:
    """Multi30k from ARCH_DATA_DIR/multi30k, else fetched into the cache.

    Raises:
      CorpusError: it is neither there nor to be had, or is not the published text.
    """
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
    return sentences_of(path)


def wmt14(languages: tuple[str, str]) -> dict[str, Sentences]:
    """WMT 2014 German and English, through the package `datasets`.

    Raises:
      CorpusError: the package is missing, or cannot load it.
    """
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


LANGUAGES = {"multi30k": ("de", "en"), "wmt14": ("de", "en")}
READERS = {"multi30k": multi30k, "wmt14": wmt14}
