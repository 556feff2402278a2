"""What tasks on the text of a corpus share: its tokens, its splits, and what is said of them."""

import abc
import functools

import numpy as np

from arch.checks import at_least
from arch.data.corpora import named as corpora
from arch.data.corpora.outlines import outline
from arch.data.dataset import Dataset, load
from arch.data.tokenizers import kinds as tokenizers
from arch.data.tokenizers.contract import LostTextError
from arch.data.tokenizers.kinds import Tokenizer
from arch.data.tokens import Tokens
from arch.registry import Config, ConfigurationError
from arch.tasks.contract import Task
from arch.tasks.objective import entropy


class Text(Task):
    """A corpus in tokens, taken in sequences of `length`.

    A kind adds what it needs of a split, of a tokenizer and of evaluation's windows.

    Args:
        corpus: a name of `arch.data.corpora.named`, or file:PATH.
        tokenizer: bytes | characters | words | words:N | bpe:N | file:PATH.
        length: of a sequence, in tokens.
        vocabulary: size of the token table; 0 is what the tokenizer takes.
    """

    metric = "perplexity"
    any_text = True
    evaluates_only = False  # a trained model's text: too short to train on is fine

    def __init__(self, *, corpus: str, tokenizer: str, length: int, vocabulary: int):
        at_least(0, "the tokenizer's own", of="task", vocabulary=vocabulary)
        try:
            self._fixed_size = tokenizers.fixed_size(tokenizer)
            self.ready: Tokenizer | None = tokenizers.ready_made(tokenizer)  # needs no corpus
            if self.ready is not None:
                self._needed(self.ready)
        except ValueError as error:
            raise ConfigurationError(f"task.tokenizer={tokenizer!r}: {error}") from None
        self.corpus, self.tokenizer_name, self.length = corpus, tokenizer, length
        self._vocabulary = vocabulary
        self.unigram_loss = functools.cache(self._unigram_loss)

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The tokenised corpus; raises ConfigurationError where it cannot serve this task."""
        try:
            dataset = load(self.corpus, self.ready or self.tokenizer_name)
        except LostTextError as error:
            name = f"task.tokenizer={self.tokenizer_name!r}"
            raise ConfigurationError(f"{name}: of {self.corpus!r} {error}") from None
        except ValueError as error:
            raise ConfigurationError(f"task.corpus={self.corpus!r}: {error}") from None
        for split, tokens in dataset.splits.items():
            self._check_split(split, tokens)
        needed = self._needed(dataset.tokenizer)
        if self._vocabulary and self._vocabulary < needed:
            special = " with the special ones" if needed > dataset.tokenizer.size else ""
            raise ConfigurationError(
                f"task.vocabulary={self._vocabulary}: the tokenizer {self.tokenizer_name!r} has "
                f"{needed} tokens{special}; 0 takes as many"
            )
        return dataset

    @abc.abstractmethod
    def _check_split(self, split: str, tokens: Tokens) -> None:
        """Raises ConfigurationError for a split that cannot serve this task."""

    @abc.abstractmethod
    def _needed(self, tokenizer: Tokenizer) -> int:
        """Entries that the token table has at the least; raises ValueError for a tokenizer that
        cannot serve this task."""

    def _unigram_loss(self, split: str) -> float:
        """See `Task.unigram_loss`; of all the split's tokens, those that no window hides too."""
        return entropy(np.bincount(self.dataset.splits[split].ids))

    @property
    def tokenizer(self) -> Tokenizer:
        """The task's own, or the one made from the corpus."""
        return self.ready or self.dataset.tokenizer

    def only_evaluate(self, tokenizer: Tokenizer | None = None) -> None:
        """See `Task.only_evaluate`; splits may be as short as evaluation allows."""
        self.ready, self.evaluates_only = tokenizer or self.ready, True

    @property
    def entries(self) -> int:
        """Of the tokenizer; special tokens are among them only where they are its own."""
        return self._fixed_size or self.tokenizer.size

    @property
    def sha256(self) -> str:
        """Of the corpus in tokens."""
        return self.dataset.sha256

    @property
    def details(self) -> dict:
        """Of the corpus in tokens."""
        return dict(self.dataset.details)

    @property
    def outline(self) -> list[str]:
        """How the corpus was split, with the first words of each split."""
        return outline(corpora.load(self.corpus))

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits but the training split."""
        return tuple(split for split in self.dataset.splits if split != "train")

    def check_evaluation(self, settings: Config) -> None:
        """Raises ConfigurationError for a split that is not there, a window or a stride."""
        for split in settings["splits"]:
            if split not in ("valid", "test"):
                raise ConfigurationError(f"evaluate.splits={split!r}: allowed are valid, test")
        if "valid" not in self.splits:
            raise ConfigurationError(f"task.corpus={self.corpus!r}: it has no valid split")
        self._check_windows(settings)

    @abc.abstractmethod
    def _check_windows(self, settings: Config) -> None:
        """Raises ConfigurationError for a window or a stride that the task has not."""
