"""What `prepare` says of a corpus: how it was split, and with which words each split begins."""

from __future__ import annotations

from arch.data.corpora.files import encode
from arch.data.corpora.named import Corpus

SHOWN = 60  # characters of a split's beginning
LEFT_OUT = 5  # files named
HOW = {
    "files": "as its files are named",
    "published": "as published",
    "documents": "at 90 and 95 % of the bytes, between documents",
    "lines": "at 90 and 95 % of the bytes, between lines",
    "characters": "at 90 and 95 % of the bytes, between characters: it has too few lines",
}


def outline(corpus: Corpus) -> list[str]:
    """A line on how the corpus was split and what was left out, and one for each split."""
    how = str(corpus.details.get("split", ""))
    said = [f"split {HOW.get(how, 'by file')}"]
    ends = sum(text.count("\r\n") for texts in corpus.splits.values() for text in texts)
    if ends:
        said.append(f"{ends:,} line ends are \\r\\n, and are kept")
    left_out = corpus.details.get("left_out", [])
    if isinstance(left_out, list) and left_out:
        more = f" and {len(left_out) - LEFT_OUT} more" if len(left_out) > LEFT_OUT else ""
        said.append(f"left out, no text: {', '.join(left_out[:LEFT_OUT])}{more}")
    lines = ["; ".join(said)]
    for split, texts in corpus.splits.items():
        start = " ".join("".join(texts[:20])[: 4 * SHOWN].split())
        cut = start if len(start) <= SHOWN else start[:SHOWN].rpartition(" ")[0] or start[:SHOWN]
        size = sum(len(encode(text)) for text in texts)
        lines.append(f"{split}: {size:,} bytes, begins with “{cut} …”")
    return lines
