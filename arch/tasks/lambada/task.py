"""LAMBADA: the last word of a passage, by a language model or by reading the passage.

Training text is any corpus, the passages are `arch.data.corpora.lambada`'s. Dehghani et al. 2018
train on the authors' 203 million words of novels; 'control' of their table is passages taken from
these at random. Here it is `valid`, the training corpus's own.
"""

from typing import Any

from arch.checks import one_of
from arch.registry import ConfigurationError, tasks
from arch.tasks.lambada.last_word import LastWord
from arch.tasks.lambada.reading import Reading

FORMS = ("language_model", "reading")


@tasks.register("lambada")
class Lambada(LastWord):
    """The last word of a passage of a novel: `LastWord`, or `Reading` where form='reading'.

    The two are one kind, because results are identified by the kind and its options.

    Args:
        form: language_model: trained on every token of the corpus, the last word is predicted from
            the tokens before it (`LastWord`) | reading: the last word is looked for in the
            passage, trained on the corpus's words that stand in the text before them (`Reading`).
        corpus: the training text, a name of `arch.data.corpora.named` or file:PATH.
        tokenizer: bytes | characters | words | words:N | bpe:N; reading takes words alone.
        passages: how the passages are written, one of `arch.data.corpora.lambada.FORMS`: in the
            manner of the training text, raw for text as it stands.
        length: tokens of a training sequence, or of the text that is read.
        common: reading is not trained on so many of the most frequent words.
        shortest, paddings, label_smoothing: of `Reading` alone.
        vocabulary, sampling, resident_bytes: of `LanguageModel`; the last two do nothing in
            reading, whose examples lie on the device and are shuffled.
    """

    def __new__(cls, *, form: str = "language_model", **options: Any):
        one_of(FORMS, of="task", form=form)
        if form == "reading":
            return Reading(**options)  # no Lambada: Python then calls no __init__ of this class
        return super().__new__(cls)

    def __init__(
        self,
        *,
        form: str = "language_model",
        corpus: str = "stdlib",
        tokenizer: str = "words:10000",
        passages: str = "lower",
        length: int = 64,
        common: int = 200,
        shortest: int = 0,
        paddings: int = 1,
        label_smoothing: float = 0.0,
        vocabulary: int = 0,
        sampling: str = "permutation",
        resident_bytes: int = 1 << 30,
    ):
        super().__init__(
            corpus=corpus,
            tokenizer=tokenizer,
            passages=passages,
            length=length,
            vocabulary=vocabulary,
            sampling=sampling,
            resident_bytes=resident_bytes,
        )
        own = {"shortest": shortest, "paddings": paddings, "label_smoothing": label_smoothing}
        if own != {"shortest": 0, "paddings": 1, "label_smoothing": 0.0}:
            raise ConfigurationError(
                f"task.form={form!r}: {', '.join(f'task.{k}={v}' for k, v in own.items())} are of "
                "task.form='reading'; allowed are 0, 1 and 0"
            )
