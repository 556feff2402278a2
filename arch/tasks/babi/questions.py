"""The questions of some of bAbI's tasks: as they are read, as arrays, and in buckets by length."""

import functools

import numpy as np
from jaxtyping import Int

from arch.data.corpora import babi
from arch.data.corpora.babi import Examples, Question
from arch.data.corpora.reading import CorpusError
from arch.registry import ConfigurationError

SHORTEST_BUCKET = 16  # sentences: below that a step costs the same


class QuestionSplits:
    """The questions of the splits 'train', 'valid' and 'test'; see `arch.data.corpora.babi`.

    Args:
        tasks: numbers from 1 to 20.
        size: 1k | 10k questions per task to train on.
        facts: only the last so many before a question are read.
        held_out: the share of the training stories that is 'valid'.

    Its members raise ConfigurationError where the files are not there, or nothing would be left.
    """

    def __init__(self, tasks: tuple[int, ...], size: str, facts: int, held_out: float):
        self.tasks, self.size, self.facts, self.held_out = tasks, size, facts, held_out

    @functools.cached_property
    def files(self) -> babi.Questions:
        """The corpus's own files."""
        try:
            return babi.load(self.tasks, self.size)
        except CorpusError as error:
            raise ConfigurationError(
                f"task.tasks={self.tasks}, task.size={self.size!r}: {error}"
            ) from None

    @functools.cached_property
    def splits(self) -> dict[str, tuple[Question, ...]]:
        """The questions of each split as they are read."""
        try:
            train, valid = babi.hold_out(self.files.train, self.held_out)
        except CorpusError as error:
            raise ConfigurationError(f"task.held_out={self.held_out}: {error}") from None
        return {"train": train, "valid": valid, "test": self.files.test}

    @functools.cached_property
    def words(self) -> dict[str, int]:
        """Word → id, from 1 on; 0 is padding."""
        return babi.vocabulary(self.files.train)

    @functools.cached_property
    def arrays(self) -> dict[str, Examples]:
        """The questions of each split as arrays of one extent, the greatest of all splits."""
        extents = [babi.extent(part, self.facts) for part in self.splits.values()]
        sentences, words = (max(sizes) for sizes in zip(*extents, strict=True))
        return {
            split: babi.encode(part, self.words, self.facts, sentences, words)
            for split, part in self.splits.items()
        }

    @functools.cached_property
    def buckets(self) -> tuple[tuple[int, Int[np.ndarray, " n"]], ...]:
        """(sentences, rows of the training split) from the shortest: the questions of at most so
        many sentences that the bucket before cannot hold."""
        found, lengths = [], self.arrays["train"].length
        longest = self.arrays["train"].sentences.shape[1]
        while longest:
            shorter = longest // 2 if longest // 2 >= SHORTEST_BUCKET else 0
            rows = np.flatnonzero((lengths <= longest) & (lengths > shorter))
            found += [(longest, rows)] if len(rows) else []
            longest = shorter
        return tuple(reversed(found))
