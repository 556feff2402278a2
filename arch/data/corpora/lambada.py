"""LAMBADA (Paperno et al. 2016): passages of novels whose last word is to be guessed.

| split | files accepted in `ARCH_DATA_DIR/lambada`, also as .gz or .zst |
|---|---|
| `test` | `lambada_test.jsonl`, `lambada_test_plain_text.txt` |
| `dev` | `lambada_dev.jsonl`, `lambada_development.jsonl`, `lambada_development_plain_text.txt` |

A `.jsonl` line has the passage in its field `text`, as the novel has it; a `.txt` line is a passage
in the authors' own tokens. `FORMS` says how a passage is written before a tokenizer reads it: one
that splits at white space needs the passages in the manner of its training text.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from arch.data.corpora.reading import CorpusError, read_bytes

FILES = {
    "test": ("lambada_test.jsonl", "lambada_test_plain_text.txt"),
    "dev": (
        "lambada_dev.jsonl",
        "lambada_development.jsonl",
        "lambada_development_plain_text.txt",
    ),
}
SOURCE = "https://openaipublic.blob.core.windows.net/gpt-2/data/lambada_test.jsonl"
# raw: as it stands. split: words, clitics and punctuation apart (`do n't .`), line ends as blanks.
# lower: that in lower case, the authors' own form. penn: that as the Penn Treebank of language
# modelling is, without punctuation, numbers as N and a line end after each sentence.
FORMS = ("raw", "split", "lower", "penn")

_PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "…": "..."})
_TOKEN = re.compile(
    r"(?:mr|mrs|ms|dr|st|jr)\.|\d+(?:[.,]\d+)*(?!\w)|\w+?(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b"
    r"|\w+(?:-\w+)*|\.\.\.|--+|[^\w\s]",
    re.IGNORECASE,
)
_LAST = re.compile(r"\w+(?:['’-]\w+)*$")


class Passage(NamedTuple):
    """context + word is the passage; the white space between them belongs to the context."""

    context: str
    word: str


@dataclasses.dataclass(frozen=True)
class Passages:
    """A split's passages as the file has them."""

    texts: tuple[str, ...]
    sha256: str  # of the file's bytes, unpacked

    def split(self, form: str) -> tuple[Passage, ...]:
        """Each passage's context and last word, written in one of FORMS."""
        return tuple(split(text, form) for text in self.texts)


def path(name: str) -> Path | None:
    """Where the split's file is; None where it is not."""
    own = os.environ.get("ARCH_DATA_DIR")
    if not own:
        return None
    folder = Path(own).expanduser() / "lambada"
    packed = [base + packing for base in FILES[name] for packing in ("", ".gz", ".zst")]
    return next((folder / base for base in packed if (folder / base).is_file()), None)


def load(name: str) -> Passages:
    """The passages of 'test' or 'dev'.

    Raises:
      CorpusError: the file is not there, or a line of it is no passage: no record with a text, or
        a text that does not end in a word with others before it.
    """
    found = path(name)
    if found is None:
        own = os.environ.get("ARCH_DATA_DIR")
        raise CorpusError(
            f"lambada: no {name} passages in ARCH_DATA_DIR ({own or 'unset'}): put "
            f"{' or '.join(FILES[name])} into ARCH_DATA_DIR/lambada"
            + (f" (from {SOURCE})" if name == "test" else "")
        )
    return _read(found, found.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _read(found: Path, _: int) -> Passages:
    data = read_bytes(found)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CorpusError(f"{found}: not UTF-8 text (at byte {error.start})") from None
    texts = tuple(_texts(found, text))
    if not texts:
        raise CorpusError(f"{found}: no passages in it")
    return Passages(texts, hashlib.sha256(data).hexdigest())


def _texts(found: Path, text: str) -> Iterator[str]:
    records = ".jsonl" in found.suffixes
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            passage = json.loads(line)["text"].strip() if records else line.strip()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(
                f'{found}: line {number} is not a JSON record with a "text" '
                f"({type(error).__name__}: {error})"
            ) from None
        word = _LAST.search(passage)
        if word is None or not re.search(r"\w", passage[: word.start()]):
            raise CorpusError(
                f"{found}: line {number} is no passage, it ends in {passage[-20:]!r}: expected are "
                "words, the last of them with nothing after it"
            )
        yield passage


def write(text: str, form: str) -> str:
    """A text in one of FORMS.

    Raises:
      ValueError: another form.
    """
    if form not in FORMS:
        raise ValueError(f"allowed are {', '.join(FORMS)}")
    if form == "raw":
        return text
    plain = text.translate(_PLAIN).replace("``", '"').replace("''", '"')
    tokens = _TOKEN.findall(plain if form == "split" else plain.lower())
    return " ".join(_penn(tokens) if form == "penn" else tokens)


def _penn(tokens: list[str]) -> Iterator[str]:
    """Penn Treebank as Mikolov prepared it has no punctuation, but a line a sentence."""
    for token in tokens:
        if token in (".", "!", "?"):
            yield "\n"
        elif token[0].isdigit():
            yield "N"
        elif re.search(r"\w", token):
            yield token


def split(text: str, form: str) -> Passage:
    """A passage's context and its last word: the last token of the form, and in raw text what
    stands after the last white space or mark (`"Nadia` is a quote and a word)."""
    text = write(text, form)
    found = _LAST.search(text) if form == "raw" else re.search(r"\S+$", text)
    start = found.start() if found else len(text)
    return Passage(text[:start], text[start:])
