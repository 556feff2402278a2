"""Text of one's own: a file or a directory, cut into splits. `reading` says what a file may be.

Of a directory, entries named after splits (`train.txt`, `Valid.jsonl`, `corpus_test.txt.gz`,
`val-1/`) are the splits. Where none is, its files are documents, in the order of their paths, and
are cut like a single file's.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from arch.data.corpora.reading import CorpusError, NoTextError, documents, whole

SPLITS = ("train", "valid", "test")
Splits = dict[str, tuple[str, ...]]
Details = Mapping[str, object]

ALIASES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
# Files that may lie beside those of splits and are none of the text.
ABOUT = re.compile(
    r"(readme|licen[cs]e|copying|notice|citation|checksums|sha256sums|md5sums|tokenizer|vocab|merges"
    r"|dataset_infos?)\b"
)
# A program's train.py is no split.
PROGRAMS = (
    ".py", ".pyi", ".pyc", ".ipynb", ".c", ".h", ".cc", ".cpp", ".hpp", ".rs", ".go", ".java",
    ".js", ".ts", ".sh", ".rb", ".jl", ".toml", ".cfg", ".ini", ".yaml", ".yml",
)  # fmt: skip


def encode(text: str) -> bytes:
    """The original bytes of a corpus's text, surrogate escapes undone."""
    return text.encode("utf-8", "surrogateescape")


def from_path(path: Path) -> tuple[Splits, Details]:
    """The splits of a file or directory; `details['split']` says where they come from,
    `details['left_out']` which files of a directory are no text.

    Raises:
      CorpusError: nothing there, nothing in it, not text, damaged, too little to split, or a
        directory in which only some names are those of splits.
    """
    if not path.exists():
        raise CorpusError(f"{path}: no such file or directory")
    if not path.is_dir():
        return split_by_bytes(documents(path), str(path))
    left_out: list[str] = []
    if found := _split_files(path):
        splits = {
            split: documents(found[split])
            if found[split].is_file()
            else _together(_inside(found[split]), left_out, path)
            for split in SPLITS
            if split in found
        }
        details: Details = {"split": "files"}
    else:
        splits, details = split_by_bytes(_together(_inside(path), left_out, path), str(path))
    return splits, {**details, **({"left_out": left_out} if left_out else {})}


def _inside(folder: Path) -> list[Path]:
    """The files in a directory, at any depth, but for hidden ones and compiled Python."""
    return sorted(
        (
            p
            for p in folder.rglob("*")
            if p.is_file()
            and not any(
                part.startswith((".", "__pycache__")) for part in p.relative_to(folder).parts
            )
        ),
        key=lambda p: p.relative_to(folder).as_posix(),
    )


def _together(paths: Iterable[Path], left_out: list[str], folder: Path) -> tuple[str, ...]:
    """The documents of files, and in `left_out` the names of those that are no text.

    Raises:
      CorpusError: text that cannot be read; nothing but files that are no text.
    """
    found, refused = [], None
    for path in paths:
        try:
            found.append(whole(path))
        except NoTextError as error:
            refused = refused or error
            left_out.append(path.relative_to(folder).as_posix())
    if refused and not any(found):
        raise refused
    return tuple(itertools.chain(*found))


def _split_files(folder: Path) -> dict[str, Path]:
    """The file or directory of each split; empty if no name is that of a split.

    Raises:
      CorpusError: only some names are those of splits, or two of one.
    """
    found: dict[str, Path] = {}
    others = []
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        if name.startswith((".", "__pycache__")) or ABOUT.match(name):
            continue
        split = _split_named(path)
        if split is None:
            others.append(path.name)
        elif split in found:
            raise CorpusError(
                f"{folder}: two files for {split}: {found[split].name} and {path.name}; keep one, "
                f"or have both in a directory {split}/"
            )
        else:
            found[split] = path
    if not found:
        return {}
    there = ", ".join(p.name for p in found.values())
    for split in SPLITS[:2]:
        if split not in found:
            raise CorpusError(
                f"{folder}: no {split} file (such as {split}.txt) beside {there}; name all splits, "
                "or none of them to have the whole cut at 90 and 95 %"
            )
    if others:
        raise CorpusError(
            f"{folder}: {there} are named after splits and {', '.join(others[:3])}"
            f"{', …' * (len(others) > 3)} not; move what belongs to no split elsewhere, or to the "
            "directories train/, valid/ and test/ all that does"
        )
    return found


def _split_named(path: Path) -> str | None:
    """The split that a name speaks of, in any case, between any of . _ - and spaces.

    Raises:
      CorpusError: it speaks of two.
    """
    if path.is_file() and path.suffix.lower() in PROGRAMS:
        return None
    if path.is_dir() and all(p.suffix.lower() in PROGRAMS for p in _inside(path)):
        return None
    words = re.split(r"[\W_]+", path.name.lower())
    named = dict.fromkeys(ALIASES[word] for word in words if word in ALIASES)
    if len(named) > 1:
        raise CorpusError(
            f"{path}: the name speaks of {' and '.join(named)}; expected one split, as train.txt"
        )
    return next(iter(named), None)


def split_by_bytes(documents: Sequence[str], source: str) -> tuple[Splits, Details]:
    """Cut at 90 % and 95 % of the bytes, at the nearest borders of documents.

    Where these leave a held-out split outside 2.5 to 10 % the cuts are at line ends, or failing
    that between characters; `details['split']` says which.
    """
    if not documents:
        raise CorpusError(f"{source}: no text in it")
    data = np.frombuffer(encode("".join(documents)), np.uint8)
    ends = np.cumsum([len(encode(document)) for document in documents])
    kinds = {
        "documents": lambda: ends,
        "lines": lambda: np.flatnonzero(data == ord("\n")) + 1,
        # A character starts wherever a byte is not one of UTF-8's continuations.
        "characters": lambda: np.flatnonzero(data & 0xC0 != 0x80),
    }
    for kind, borders_of in kinds.items():
        borders = borders_of()
        borders = borders[(borders > 0) & (borders < len(data))]
        if len(borders) < 2:
            continue
        first = _nearest(borders[:-1], 0.90 * len(data))
        second = _nearest(borders[borders > first], 0.95 * len(data))
        shares = np.diff([first, second, len(data)]) / len(data)
        if kind == "characters" or np.all((shares >= 0.025) & (shares <= 0.10)):
            borders = np.union1d(ends, [0, first, second])
            pieces = [bytes(data[a:b]).decode() for a, b in itertools.pairwise(borders)]
            at = np.searchsorted(borders, [0, first, second, len(data)])
            return {
                split: tuple(pieces[a:b])
                for split, (a, b) in zip(SPLITS, itertools.pairwise(at), strict=True)
            }, {"split": kind}
    raise CorpusError(f"{source}: {len(data)} bytes are too few to split in three")


def _nearest(borders: np.ndarray, target: float) -> int:
    return int(borders[np.argmin(np.abs(borders - target))])
