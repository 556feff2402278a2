"""Sentences in two languages, from files of a folder: `train.de` beside `train.en`, and so on."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from arch.data.corpora.files import ALIASES, SPLITS
from arch.data.corpora.reading import CorpusError, read_bytes

Sentences = Mapping[str, tuple[str, ...]]  # by language


def sentences_in(folder: Path, languages: tuple[str, str]) -> dict[str, Sentences]:
    """Split → language → sentences, from the files of a folder.

    Raises:
      CorpusError: no such folder, no file for a split and language, two of them, or not text.
    """
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
        split: {language: sentences_of(paths[split]) for language, paths in found.items()}
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


def sentences_of(path: Path) -> tuple[str, ...]:
    """The lines of a file. Raises CorpusError where it is empty or not UTF-8."""
    data = read_bytes(path)
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
