"""The parts that both forms of LAMBADA share: a training corpus, and passages to evaluate on."""

import functools
import hashlib

from arch.checks import one_of
from arch.data.corpora import lambada
from arch.data.corpora.reading import CorpusError
from arch.data.dataset import Dataset
from arch.data.tokenizers.kinds import Tokenizer
from arch.registry import Config, ConfigurationError
from arch.tasks.contract import Task
from arch.tasks.language_model import LanguageModel


class Passages(Task):
    """A task that is trained on a corpus and evaluated on the last words of passages.

    Args:
        passages: how they are written, one of `arch.data.corpora.lambada.FORMS`.
        corpus, tokenizer, length, vocabulary, sampling, resident_bytes: of `LanguageModel`.
    """

    kind = "lambada"

    def __init__(
        self,
        *,
        corpus: str,
        tokenizer: str,
        passages: str,
        length: int,
        vocabulary: int,
        sampling: str = "permutation",
        resident_bytes: int = 1 << 30,
    ):
        one_of(lambada.FORMS, of="task", passages=passages)
        self.text = LanguageModel(
            corpus=corpus,
            tokenizer=tokenizer,
            length=length,
            vocabulary=vocabulary,
            sampling=sampling,
            resident_bytes=resident_bytes,
        )
        self.corpus, self.length, self._written = f"lambada ({corpus})", length, passages
        self.passages = functools.cache(self._passages)

    @property
    def dataset(self) -> Dataset:
        """The training corpus in tokens."""
        return self.text.dataset

    @property
    def tokenizer(self) -> Tokenizer:
        """The corpus's."""
        return self.dataset.tokenizer

    @property
    def vocabulary(self) -> int:
        """As of `LanguageModel`."""
        return self.text.vocabulary

    @property
    def about(self) -> str:
        """Tokens of the corpus, and how many passages there are."""
        passages = ", ".join(f"{s} {len(self.passages(s)):,}" for s in self.splits if s != "valid")
        return f"{self.text.about}; passages: {passages}"

    @property
    def outline(self) -> list[str]:
        """Of the corpus."""
        return self.text.outline

    @functools.cached_property
    def splits(self) -> tuple[str, ...]:
        """The corpus's valid split, the test passages, and the dev passages where they are."""
        held_out = tuple(s for s in self.dataset.splits if s == "valid")
        return (*held_out, "test", *(("dev",) if lambada.path("dev") else ()))

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        return {split: lambada.load(split).sha256 for split in lambada.FILES if lambada.path(split)}

    @property
    def details(self) -> dict[str, object]:
        """Of the corpus, how the passages are written, and their digests."""
        return {**self.dataset.details, "passages": self._written, "lambada": self._digests}

    @property
    def sha256(self) -> str:
        """Of the corpus and of the passages that are there."""
        parts = [self.dataset.sha256, *self._digests.values()]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def _passages(self, split: str) -> tuple[lambada.Passage, ...]:
        """The passages of 'test' or 'dev'; raises ConfigurationError where they are not there."""
        try:
            return lambada.load(split).split(self._written)
        except CorpusError as error:
            raise ConfigurationError(f"evaluate.splits={split!r}: {error}") from None

    def check_evaluation(self, settings: Config) -> None:
        """Raises ConfigurationError for a split that is not there."""
        for split in settings["splits"]:
            if split not in self.splits:
                raise ConfigurationError(
                    f"evaluate.splits={split!r}: allowed are {', '.join(self.splits)}"
                    + ("; there are no dev passages" if split == "dev" else "")
                )
        if "valid" not in self.splits:
            raise ConfigurationError(f"{self.corpus}: its corpus has no valid split")
