"""Text in files: read, unpack, cut into documents and splits.

A file is text (documents end at blank lines, which stay with them) or `.jsonl` (the field `text` of
a record is a document), either of them also as `.gz` or `.zst`. Nothing is added or taken away:
joined, the documents of a text file are the file.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

SPLITS = ("train", "valid", "test")
Splits = dict[str, tuple[str, ...]]
Details = Mapping[str, object]

ALIASES = {
    "train": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}


class CorpusError(ValueError):
    """Text that is missing or damaged: one line with the value, and what to do about it."""


def encode(text: str) -> bytes:
    """The original bytes of a corpus's text, surrogate escapes undone."""
    return text.encode("utf-8", "surrogateescape")


def from_path(path: Path) -> tuple[Splits, Details]:
    """The splits of a file or directory; `details['split']` says where they come from.

    Raises:
      CorpusError: nothing there, nothing in it, not text, damaged, or too little to split.
    """
    if not path.exists():
        raise CorpusError(f"{path}: no such file or directory")
    if not path.is_dir():
        return split_by_bytes(_documents(path), str(path))
    if found := _split_files(path):
        return {split: _documents(found[split]) for split in SPLITS if split in found}, {
            "split": "files"
        }
    inside = sorted(
        (
            p
            for p in path.rglob("*")
            if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts)
        ),
        key=lambda p: p.relative_to(path).as_posix(),
    )
    documents = [_documents(p) if _is_jsonl(p) else (_text(p),) for p in inside]
    return split_by_bytes(tuple(itertools.chain(*documents)), str(path))


def _split_files(folder: Path) -> dict[str, Path]:
    """`train.txt`, `ptb.valid.txt.gz`, `validation.jsonl` … by split; empty if there are none."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        split = next((ALIASES[part] for part in path.name.split(".") if part in ALIASES), None)
        if split is None or path.name.startswith(".") or not path.is_file():
            continue
        if split in found:
            raise CorpusError(
                f"{folder}: two files for {split}: {found[split].name} and {path.name}; keep one"
            )
        found[split] = path
    if set(found) <= {"test"}:
        return {}
    for split in SPLITS[:2]:
        if split not in found:
            raise CorpusError(
                f"{folder}: no {split} file (such as {split}.txt) beside "
                f"{', '.join(p.name for p in found.values())}"
            )
    return found


def _is_jsonl(path: Path) -> bool:
    return path.name.removesuffix(".gz").removesuffix(".zst").endswith(".jsonl")


def _documents(path: Path) -> tuple[str, ...]:
    """A file's documents: JSONL records, else what blank lines separate (and these with them)."""
    text = _text(path)
    if not _is_jsonl(path):
        borders = [0, *(match.end() for match in re.finditer(r"\n\s*\n", text)), len(text)]
        return tuple(text[a:b] for a, b in itertools.pairwise(borders) if b > a)
    return tuple(_records(path, text))


def _records(path: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)["text"]
            document.encode()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(
                f'{path}: line {number} is not a JSON record with a "text" of '
                f"whole characters ({type(error).__name__}: {error})"
            ) from None
        if document:
            yield document


def _text(path: Path) -> str:
    data = read_bytes(path)
    if not data:
        raise CorpusError(f"{path}: the file is empty")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path}: not UTF-8 text (byte {data[error.start]:#04x} at "
            f"{error.start}); expected text or .jsonl, or these as .gz or .zst"
        ) from None
    if "\0" in text:
        raise CorpusError(
            f"{path}: not text (a zero byte at {data.index(0)}); expected text or "
            ".jsonl, or these as .gz or .zst"
        )
    return text


def read_bytes(path: Path) -> bytes:
    """A file's bytes, unpacked if it ends in .gz or .zst.

    Raises:
      CorpusError: it cannot be read or unpacked.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            return gzip.decompress(data)
        return _unzstd(data) if path.suffix == ".zst" else data
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path}: cannot be read: {error}") from None


def _unzstd(data: bytes) -> bytes:
    try:
        import zstandard
    except ImportError:
        raise OSError(".zst needs the package zstandard") from None
    pieces = []
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            pieces.append(frame.decompress(data))
        except zstandard.ZstdError as error:
            raise OSError(str(error)) from None
        if not frame.eof:
            raise EOFError("the file ends within a zstd frame")
        data = frame.unused_data
    return b"".join(pieces)


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
