"""One file of text: unpacked, decoded and cut into documents.

A file is text (documents end at blank lines, which stay with them), `.jsonl` (the field `text` of a
record is a document) or `.json` (an array of such records, or of texts), each of them also packed
by gzip or Zstandard, whatever its name. Of a text file nothing is taken away but a byte order mark
at its start; a record without a line end at its end gets one, so that documents do not run into
each other.
"""

from __future__ import annotations

import codecs
import gzip
import itertools
import json
import re
import shlex
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

EXPECTED = "expected text, .jsonl or .json, or these as .gz or .zst"
RECORD = '{"text": "…"}'
MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
SAMPLE = 1 << 16  # bytes from which an encoding is guessed
EAST_ASIAN = ("shift_jis", "euc_jp", "euc_kr", "gb18030")


class CorpusError(ValueError):
    """Text that is missing or damaged: one line with the value, and what to do about it."""


class NoTextError(CorpusError):
    """A file that is no text at all: a picture, compiled code, a table in JSON."""


def documents(path: Path) -> tuple[str, ...]:
    """A file's documents: records, else what blank lines separate (and these with them).

    Raises:
      CorpusError: it is empty, damaged or not UTF-8; NoTextError where it is no text.
    """
    text = text_of(path)
    if is_records(path):
        return _entries(path, text)
    borders = [0, *(match.end() for match in re.finditer(r"\n\s*\n", text)), len(text)]
    return tuple(text[a:b] for a, b in itertools.pairwise(borders) if b > a)


def whole(path: Path) -> tuple[str, ...]:
    """A file of a directory: its records, or all of its text as one document; none where it is
    empty. It ends with a line end, so that the next file begins on a line of its own."""
    data = read_bytes(path)
    if not data:
        return ()
    text = _decoded(path, data)
    return _entries(path, text) if is_records(path) else (_closed(text),)


def is_records(path: Path) -> bool:
    """Whether a file is `.json` or `.jsonl`, packed or not, in any case."""
    return bool(re.search(r"\.jsonl?(\.gz|\.zst)?$", path.name.lower()))


def _closed(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _entries(path: Path, text: str) -> tuple[str, ...]:
    """The texts of records as documents."""
    return tuple(_closed(found) for found in _records(path, text) if found)


def _records(path: Path, text: str) -> Iterator[str]:
    """The texts of a file of records; of `.json` also where it has a record a line."""
    if ".jsonl" not in path.name.lower():
        try:
            found = json.loads(text)
        except ValueError:
            found = None  # a record a line, or no JSON at all
        several = isinstance(found, list)
        first = found[0] if several and found else found
        if isinstance(first, list | dict | int | float | bool) and "text" not in _keys(first):
            raise NoTextError(
                f"{path}: JSON without texts: expected an array of {RECORD} or of texts, or .jsonl "
                f"with a {RECORD} a line"
            )
        if several:
            for number, record in enumerate(found, start=1):
                yield _text_in(record, f"{path}: entry {number}", text_alone=True)
            return
        if found is not None:
            yield _text_in(found, str(path), text_alone=True)
            return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError as error:
                raise _no_record(f"{path}: line {number}", error) from None
            yield _text_in(record, f"{path}: line {number}")


def _keys(value: Any) -> Collection[str]:
    return value if isinstance(value, dict) else ()


def _text_in(record: Any, where: str, text_alone: bool = False) -> str:
    try:
        text = record if text_alone and isinstance(record, str) else record["text"]
        text.encode()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_record(where, error) from None
    return text


def _no_record(where: str, error: Exception) -> CorpusError:
    return CorpusError(
        f'{where} is not a JSON record with a "text" of whole characters '
        f"({type(error).__name__}: {error})"
    )


def text_of(path: Path) -> str:
    """A file's text, without the byte order mark at its start.

    Raises:
      CorpusError: see `documents`.
    """
    data = read_bytes(path)
    if not data:
        raise CorpusError(f"{path}: the file is empty")
    return _decoded(path, data)


def _decoded(path: Path, data: bytes) -> str:
    """The text of a file's bytes, see `text_of`."""
    coding, why = _guessed(data), ""
    if not coding:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            why = f"not UTF-8 text (byte {data[error.start]:#04x} at {error.start})"
            around = max(0, error.start - SAMPLE // 2)
            coding = _guessed_from_bytes(data[around : around + SAMPLE])
        else:
            if "\0" not in text:
                return text.removeprefix("\ufeff")
            why = f"not text (a zero byte at {data.index(0)})"
    if not coding:
        raise NoTextError(f"{path}: {why}; {EXPECTED}")
    raise CorpusError(
        f"{path}: {why or 'not UTF-8 text'}, it looks like {coding}; convert it: "
        f"iconv -f {coding} -t UTF-8 {shlex.quote(str(path))} > "
        f"{shlex.quote(str(path.with_name('utf8-' + path.name)))}"
    )


def _guessed(data: bytes) -> str:
    """UTF-16 or UTF-32 by the mark, or by zeros at every second place; '' for neither."""
    for mark, name in MARKS:
        if data.startswith(mark):
            return name
    sample = data[: SAMPLE & ~1]
    for name, place in (("UTF-16LE", 1), ("UTF-16BE", 0)):
        zeros, others = sample[place::2].count(0), sample[1 - place :: 2].count(0)
        if len(sample) >= 4 and not others and zeros > 0.7 * len(sample[place::2]):
            return name
    return ""


def _guessed_from_bytes(data: bytes) -> str:
    """What text of one or two bytes a character looks like; '' for what is no text."""
    control = sum(data.count(byte) for byte in range(32) if byte not in b"\t\n\f\r\x1b")
    if control or data[:4] == b"\x89PNG":
        return ""
    high = sum(byte >= 0x80 for byte in data) / len(data)
    if high > 0.3:
        for coding in EAST_ASIAN:
            try:
                codecs.getincrementaldecoder(coding)().decode(data)
            except UnicodeDecodeError:
                continue
            return coding.upper().replace("_", "-" if coding.startswith("euc") else "_")
        return "WINDOWS-1251"
    return "WINDOWS-1252" if any(0x80 <= byte < 0xA0 for byte in data) else "ISO-8859-1"


def read_bytes(path: Path) -> bytes:
    """A file's bytes, unpacked where they are packed or the name says that they are.

    Raises:
      CorpusError: it cannot be read or unpacked.
    """
    try:
        data, suffix = path.read_bytes(), path.suffix.lower()
        if suffix == ".gz" or data.startswith(b"\x1f\x8b"):
            return gzip.decompress(data)
        if suffix == ".zst" or data.startswith(b"\x28\xb5\x2f\xfd"):
            return _unzstd(data)
        return data
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
