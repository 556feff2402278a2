"""The last word of a passage, predicted by a language model from the tokens before it."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from arch.context import Context
from arch.data.corpora import lambada
from arch.data.tokenizers.imported import TokenizerFile
from arch.data.tokenizers.kinds import Characters, Tokenizer, Words, encode_open
from arch.models.families import Model
from arch.registry import Config, ConfigurationError
from arch.stacks.parameters import Parameters
from arch.tasks import objective
from arch.tasks.contract import WHOLE, Sums, Window
from arch.tasks.lambada.passages import Passages
from arch.tasks.lambada.reading import Chosen
from arch.tasks.language_model import Batch, Windows
from arch.tasks.objective import Arrays


class LastWordBatch(NamedTuple):
    """Passages, padded at the end; only the last word's tokens are predicted."""

    inputs: Int[Arrays, "batch length"]
    targets: Int[Arrays, "batch length"]
    weights: Float[Arrays, "batch length"]  # 1 at the tokens of the last word
    mask: Bool[Arrays, "batch length"]
    known: Float[Arrays, " batch"]  # 1 where no token of the word is <unk>
    real: Float[Arrays, " batch"]  # 0 in the rows that fill up a batch


class LastWord(Passages):
    """A language model of the corpus, evaluated on the last words of passages.

    Of a passage, the window's tokens up to the last but one predict those of the last word:

        loss        nats a word, the sum over the word's tokens; its exp is the perplexity
        accuracy    share of words all of whose tokens are the most probable, each after the right
                    ones; a word that begins with the right tokens and goes on counts
        unknown_share   of words with an <unk>, which have its loss and count as wrong

    A space before the word is the word's with bpe, whose tokens have it, else the context's.
    Training, and evaluation of the split 'valid', are those of `LanguageModel`.
    """

    families, metric = ("decoder",), "perplexity"

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.encoded = functools.cache(self._encoded)

    def unigram_loss(self, split: str) -> float | None:
        """Of the corpus; None of the last words, which are several tokens each."""
        return self.text.unigram_loss(split) if split == "valid" else None

    @property
    def streamed(self) -> bool:
        """As the corpus is."""
        return self.text.streamed

    def source(self) -> Any:
        """The corpus's tokens, on the device."""
        return self.text.source()

    def stream(self) -> np.ndarray:
        """The corpus's tokens, on the host."""
        return self.text.stream()

    def indices(
        self, key: Key[Array, ""], step: Int[Array, ""], batch: int
    ) -> Int[Array, " batch"]:
        """As of `LanguageModel`."""
        return self.text.indices(key, step, batch)

    def gather(self, source: Any, indices: Any) -> Any:
        """As of `LanguageModel`."""
        return self.text.gather(source, indices)

    def gathered_shapes(self, batch: int) -> Any:
        """As of `LanguageModel`."""
        return self.text.gathered_shapes(batch)

    def assemble(self, gathered: Any) -> Batch:
        """As of `LanguageModel`."""
        return self.text.assemble(gathered)

    def sums(
        self, model: Model, parameters: Parameters, batch: Any, context: Context
    ) -> tuple[Sums, Sums]:
        """As `LanguageModel.sums`; of passages, sums over their last words."""
        if not isinstance(batch, LastWordBatch):
            return self.text.sums(model, parameters, batch, context)
        context = context.replace(mask=batch.mask)
        targets = jnp.asarray(batch.targets)
        score, extras = model.score(parameters, batch.inputs, targets, context)
        counts, real = batch.weights > 0, batch.real.sum()
        losses: Sums = {"loss": (objective.cross_entropy_of(score.target, counts), real)}
        right = ((score.best == targets) | ~counts).all(1) * batch.known
        statistics: Sums = {
            "accuracy": objective.share(right, batch.real),
            "unknown_share": objective.share(1 - batch.known, batch.real),
        }
        return objective.with_extras(losses, statistics, extras)

    def _encoded(self, split: str) -> tuple[tuple[np.ndarray, int], ...]:
        """Each passage's tokens, and how many of them are the last word's."""
        tokenizer = self.tokenizer
        try:
            return tuple(encode(tokenizer, passage) for passage in self.passages(split))
        except ValueError as error:
            raise ConfigurationError(
                f"task.tokenizer={self.text.tokenizer_name!r}: {error}, which the {split} passages "
                "have; bytes and bpe:N take all text, words:N takes what it lacks as <unk>"
            ) from None

    def examples(self, split: str, window: Window = WHOLE) -> Windows | Chosen:
        """Windows of the corpus, or passages by their number: one for each window's tokens."""
        if split == "valid":
            return self.text.examples(split, window)
        n = len(self.passages(split))
        if window.tokens:
            n = max(1, window.tokens // (window.window or self.text.length))
        return Chosen(np.arange(len(self.passages(split)))[:n])

    def evaluation_batch(self, split: str, examples: Any, window: Window = WHOLE) -> Any:
        """The last inputs of passages that the window holds, shorter ones filled up at the end."""
        if split == "valid":
            return self.text.evaluation_batch(split, examples, window)
        width, n = window.window or self.text.length, len(examples.index)
        inputs, targets = np.zeros((n, width), np.int32), np.zeros((n, width), np.int32)
        weights, mask = np.zeros((n, width), np.float32), np.zeros((n, width), bool)
        known = np.zeros(n, np.float32)
        unknown = unknown_id(self.tokenizer)
        for row, index in enumerate(examples.index):
            ids, word = self.encoded(split)[index]
            ids = ids[-width - 1 :]
            end = len(ids) - 1
            inputs[row, :end], targets[row, :end] = ids[:-1], ids[1:]
            weights[row, end - word : end], mask[row, :end] = 1, True
            known[row] = not np.any(ids[-word:] == unknown)
        return LastWordBatch(inputs, targets, weights, mask, known, np.ones(n, np.float32))

    def assemble_evaluation(self, gathered: Any) -> Any:
        """Passages as they are, windows of the corpus as `LanguageModel` has them."""
        passages = isinstance(gathered, LastWordBatch)
        return gathered if passages else self.text.assemble_evaluation(gathered)

    def figures(
        self, split: str, means: Mapping[str, float], count: int, window: Window = WHOLE
    ) -> dict[str, Any]:
        """Those of `LanguageModel`; of passages loss and perplexity a word."""
        if split == "valid":
            return self.text.figures(split, means, count, window)
        width = window.window or self.text.length
        return {
            "loss": means["loss"],
            "perplexity": objective.perplexity(means["loss"]),
            "unit": "word",
            "window": width,
            "stride": width,
            "passages": count,
        }

    def check_evaluation(self, settings: Config) -> None:
        """Raises ConfigurationError for splits and windows that are not there, and where a window
        has no room for the longest last word."""
        super().check_evaluation(settings)
        self.text.check_evaluation({**settings, "splits": ("valid",)})
        width = settings["window"] or self.text.length
        for split in settings["splits"]:
            passages = self.encoded(split) if split != "valid" else ()
            longest = max((word for _, word in passages), default=0)
            if longest > width:
                raise ConfigurationError(
                    f"task.length={width}: a last word of the {split} passages has {longest} "
                    "tokens, and so many are needed"
                )


def encode(tokenizer: Tokenizer, passage: lambada.Passage) -> tuple[Int[np.ndarray, " n"], int]:
    """A passage's tokens and how many of them are its word's.

    Raises:
      ValueError: a character that the tokenizer has no entry for.
    """
    context, word = passage
    if tokenizer.unit == "subword" and context.endswith(" "):
        context, word = context[:-1], " " + word
    last = encode_open(tokenizer, word)
    return np.concatenate([encode_open(tokenizer, context), last]), len(last)


def unknown_id(tokenizer: Tokenizer) -> int:
    """The id of <unk>; -1 where every text has ids of its own."""
    if isinstance(tokenizer, Words):
        return 0
    if isinstance(tokenizer, TokenizerFile):
        return tokenizer.unknown
    return tokenizer.size - 1 if isinstance(tokenizer, Characters) and tokenizer.unknown else -1
