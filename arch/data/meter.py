"""How far tokenising has come: a line that is rewritten on a terminal, else one at the end."""

from __future__ import annotations

import sys
import time

LEAST = 4 << 20  # bytes of text from which on there is something to see


class Meter:
    """Bytes and tokens that are done, on the standard error, for a text of LEAST bytes and more.

    Args:
        label: what is done to which text; '' says nothing.
        total: bytes of the text.
    """

    def __init__(self, label: str, total: int):
        self._label, self._total = label, total
        self._on = bool(label) and total >= LEAST
        self._bytes = self._tokens = 0
        self._start = self._said = time.monotonic()

    def __enter__(self) -> Meter:
        if self._on:
            self._say(f"{self._label}: {self._total / 1e6:.1f} MB …")
        return self

    def __exit__(self, kind, *_) -> None:
        if self._on and kind is None:
            seconds = max(1e-3, time.monotonic() - self._start)
            self._say(
                f"{self._label}: {self._total / 1e6:.1f} MB, {self._tokens:,} tokens in "
                f"{seconds:.1f} s, {self._tokens / seconds:,.0f} tokens/s"
            )
        if self._on and sys.stderr.isatty():
            print(file=sys.stderr)

    def advance(self, size: int, tokens: int) -> None:
        """So many more bytes are done, and are so many tokens."""
        self._bytes += size
        self._tokens += tokens
        now = time.monotonic()
        if self._on and now - self._said >= (0.5 if sys.stderr.isatty() else 10):
            self._said = now
            rate = self._tokens / max(1e-3, now - self._start)
            self._say(f"{self._label}: {self._bytes / self._total:.0%}, {rate:,.0f} tokens/s")

    def _say(self, text: str) -> None:
        start, end = ("\r\033[K", "") if sys.stderr.isatty() else ("", "\n")
        print(start + text, end=end, file=sys.stderr, flush=True)
