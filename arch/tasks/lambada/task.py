"""LAMBADA: the last word of a passage, by a language model or by reading the passage.

Training text is any corpus, the passages are `arch.data.corpora.lambada`'s. Dehghani et al. 2018
train on the authors' 203 million words of novels; 'control' of their table is passages taken from
these at random. Here it is `valid`, the training corpus's own.
"""

import functools
import hashlib
from typing import Any

from jaxtyping import Array, Float, Int, Key

from arch.checks import one_of
from arch.context import Context
from arch.data.corpora import lambada
from arch.data.corpora.files import CorpusError
from arch.data.dataset import Dataset
from arch.data.tokenizers.kinds import Tokenizer
from arch.registry import ConfigurationError, tasks
from arch.tasks.contract import WHOLE, Task, Window
from arch.tasks.lambada.last_word import LastWord
from arch.tasks.lambada.reading import Reading
from arch.tasks.language_model import LanguageModel


@tasks.register("lambada")
class Lambada(Task):
    """The last word of a passage of a novel.

    Args:
        form: language_model: trained on every token of the corpus, the last word is predicted from
            what stands before it (see `arch.tasks.lambada.last_word`) | reading: the last word is
            looked for in the passage, trained on the corpus's words that stand in the text before
            them (see `arch.tasks.lambada.reading`).
        corpus: the training text, a name of `arch.data.corpora.named` or file:PATH.
        tokenizer: bytes | characters | words | words:N | bpe:N; reading takes words alone.
        passages: how the passages are written, one of `arch.data.corpora.lambada.FORMS`: in the
        manner of
            the training text, raw for text as it stands.
        length: tokens of a training sequence, or of the text that is read.
        common: reading is not trained on so many of the most frequent words.
        shortest, paddings, label_smoothing: of reading alone, see `Reading`.
        vocabulary, sampling, resident_bytes: of `LanguageModel`; the last two do nothing in
            reading, whose examples lie on the device and are shuffled.
    """

    def __init__(
        self,
        *,
        form="language_model",
        corpus="stdlib",
        tokenizer="words:10000",
        passages="lower",
        length=64,
        common=200,
        shortest=0,
        paddings=1,
        label_smoothing=0.0,
        vocabulary=0,
        sampling="permutation",
        resident_bytes=1 << 30,
    ):
        one_of(("language_model", "reading"), of="task", form=form)
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
        own = {"shortest": shortest, "paddings": paddings, "label_smoothing": label_smoothing}
        if form != "reading" and own != {"shortest": 0, "paddings": 1, "label_smoothing": 0.0}:
            raise ConfigurationError(
                f"task.form={form!r}: {', '.join(f'task.{k}={v}' for k, v in own.items())} are of "
                "task.form='reading'; allowed are 0, 1 and 0"
            )
        self.form: Any = (
            Reading(self.text, self.passages, common=common, **own)
            if form == "reading"
            else LastWord(self.text, self.passages)
        )

    @property
    def dataset(self) -> Dataset:
        """The training text."""
        return self.text.dataset

    @property
    def families(self) -> tuple[str, ...]:
        return self.form.families

    @property
    def metric(self) -> str:
        return self.form.metric

    @property
    def vocabulary(self) -> int:
        return self.text.vocabulary

    @property
    def tokenizer(self) -> Tokenizer:
        return self.dataset.tokenizer

    @property
    def streamed(self) -> bool:
        return self.form.streamed

    @property
    def about(self) -> str:
        """What there is to train and evaluate on, for `launch.py prepare`."""
        passages = ", ".join(f"{s} {len(self.passages(s)):,}" for s in self.splits if s != "valid")
        return f"{self.text.about}; passages: {passages}"

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

    # Training

    def source(self) -> Any:
        return self.form.source()

    def stream(self) -> Any:
        return self.text.stream()

    def indices(
        self, key: Key[Array, ""], step: Int[Array, ""], batch: int
    ) -> Int[Array, " batch"]:
        return self.form.indices(key, step, batch)

    def gather(self, source: Any, indices: Any) -> Any:
        return self.form.gather(source, indices)

    def assemble(self, gathered: Any) -> Any:
        return self.form.assemble(gathered)

    def weight(self, batch: Any) -> Float[Array, ""]:
        return self.form.weight(batch)

    def sums(self, model, parameters, batch: Any, context: Context):
        return self.form.sums(model, parameters, batch, context)

    # Evaluation

    def examples(self, split: str, window: Window = WHOLE) -> Any:
        return self.form.examples(split, window)

    def evaluation_batch(self, split: str, examples: Any, window: Window = WHOLE) -> Any:
        return self.form.evaluation_batch(split, examples, window)

    def assemble_evaluation(self, gathered: Any) -> Any:
        return self.form.assemble_evaluation(gathered)

    def figures(self, split: str, means: dict, count: int, window: Window = WHOLE) -> dict:
        return self.form.figures(split, means, count, window)

    def check_evaluation(self, settings) -> None:
        """Splits that are there, with passages that this length can take."""
        for split in settings["splits"]:
            if split not in self.splits:
                raise ConfigurationError(
                    f"evaluate.splits={split!r}: allowed are {', '.join(self.splits)}"
                    + ("; there are no dev passages" if split == "dev" else "")
                )
        if "valid" not in self.splits:
            raise ConfigurationError(f"{self.corpus}: its corpus has no valid split")
        self.form.check_evaluation(settings)
