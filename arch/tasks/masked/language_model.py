"""Masked language modelling of pairs of segments: what BERT and ALBERT are pre-trained on."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from arch.checks import at_least, holds, one_of
from arch.context import Context, named
from arch.data.batches import masking, segments
from arch.data.tokenizers.kinds import Tokenizer
from arch.data.tokens import Tokens
from arch.models.families import Model
from arch.models.generation import Blanks
from arch.models.heads import Head
from arch.registry import Config, ConfigurationError, tasks
from arch.stacks.parameters import Parameters
from arch.tasks import objective
from arch.tasks.contract import WHOLE, Sums, Window
from arch.tasks.masked import prompt as masked_prompt
from arch.tasks.masked.pairs import Batch, Pairs, Source, shapes
from arch.tasks.text import Text

LONGEST_SPAN = 10


class Chosen(NamedTuple):
    """Which of a split's fixed pairs are evaluated."""

    index: Int[np.ndarray, " n"]  # of the split's fixed pairs


@tasks.register("masked_language_model")
class MaskedLanguageModel(Text):
    """p(hidden token | the others) and p(label | the pair): see `arch.data.batches.segments`,
    `.masking`.

    Both are objectives, 'loss' in nats a hidden token and 'sentence_loss' in nats a pair. The model
    is an encoder with head.kind='masked', and embedding.types=2 if it is to tell A from B. [PAD],
    [CLS], [SEP] and [MASK] are the four entries after the tokenizer's; of a tokenizer of file:PATH,
    which must have them, they are its own. Pairs are drawn anew at each step, and there are no
    epochs; evaluation is of pairs that are fixed, the same for every seed.

    Args:
        corpus, tokenizer: as of `language_model`.
        length: of a sequence, special tokens and padding included.
        sentence: none (B follows A, and no loss asks) | next (half of the time B is from another
            document, label 1) | order (half of the time the two are swapped, label 1).
        rate: share of the tokens that are hidden.
        spans: the most words hidden together: 1 is BERT's, 3 ALBERT's.
        whole_words: all tokens of a word are hidden together; with `words` each token is one.
        short: share of the sequences whose target length is uniform from 2 on.
        most: of the tokens hidden in a sequence; 0 is no limit but the rate. The released script of
            ALBERT has 20, which at length 512 is 3.9 % and not 15.
        evaluation_examples: pairs a split is evaluated on.
        measure: of next, order: evaluation also says `next_accuracy`, `order_accuracy`, what the
            sentence head makes of pairs drawn that way (Lan et al. 2019, table 5). An untrained
            head is at chance.
        vocabulary: as of `language_model`; 0 is the tokenizer's entries and the special tokens.
    """

    families = ("encoder",)

    def __init__(
        self,
        *,
        corpus: str = "stdlib",
        tokenizer: str = "bytes",
        length: int = 128,
        sentence: str = "order",
        rate: float = 0.15,
        spans: int = 1,
        whole_words: bool = False,
        short: float = 0.1,
        most: int = 0,
        evaluation_examples: int = 512,
        measure: tuple[str, ...] = (),
        vocabulary: int = 0,
    ):
        one_of(segments.RELATIONS, of="task", sentence=sentence)
        if len(set(measure)) < len(measure) or not set(measure) <= {"next", "order"}:
            raise ConfigurationError(f"task.measure={measure!r}: allowed are next, order")
        if length < segments.AROUND + 2:
            raise ConfigurationError(
                f"task.length={length}: allowed is {segments.AROUND + 2} ([CLS] a [SEP] b [SEP]) "
                "or more"
            )
        holds(0 < rate < 1, "between 0 and 1", of="task", rate=rate)
        holds(1 <= spans <= LONGEST_SPAN, f"1 to {LONGEST_SPAN} words", of="task", spans=spans)
        holds(0 <= short <= 1, "0 to 1", of="task", short=short)
        at_least(0, "no limit", of="task", most=most)
        at_least(1, of="task", evaluation_examples=evaluation_examples)
        super().__init__(corpus=corpus, tokenizer=tokenizer, length=length, vocabulary=vocabulary)
        self.sentence, self.measure = sentence, tuple(measure)
        self.evaluation_examples = evaluation_examples
        self._fixed = functools.cache(self._fixed_pairs)
        self._drawing = {
            "length": length,
            "counts": masking.predictions(rate, most, length - segments.AROUND),
            "spans": spans,
            "whole_words": whole_words,
            "short": short,
        }

    def _check_split(self, split: str, tokens: Tokens) -> None:
        """It has something to draw, and what a random segment needs."""
        if split == "train" and self.evaluates_only:
            return
        found = int((segments.lengths(tokens) > 1).sum())
        if not found:
            raise ConfigurationError(
                f"task.corpus={self.corpus!r}: the {split} split has no document of 2 tokens"
            )
        measured = "next" in self.measure and split != "train"
        if found < 2 and (self.sentence == "next" or measured):
            field = "sentence='next'" if self.sentence == "next" else f"measure={self.measure!r}"
            raise ConfigurationError(
                f"task.{field}: a random segment is of another document, and the {split} split of "
                f"{self.corpus!r} has one; 'order' needs no other"
            )

    def _needed(self, tokenizer: Tokenizer) -> int:
        return max(tokenizer.size, *(i + 1 for i in segments.special(tokenizer)))

    @property
    def about(self) -> str:
        """What there is to train and evaluate on, for `launch.py prepare`."""
        sizes = ", ".join(
            f"{split} {len(tokens.ids):,} in {len(tokens.documents):,}"
            for split, tokens in self.dataset.splits.items()
        )
        return f"tokens of {self.tokenizer_name} in documents: {sizes}"

    @property
    def vocabulary(self) -> int:
        """The tokenizer's entries and the special tokens."""
        own = self.ready is not None and self.ready.special is not None
        return self._vocabulary or self.entries + (0 if own else segments.SPECIAL)

    # Training

    def source(self) -> Source:
        """The training split on the device."""
        return self.pairs.source(self.dataset.splits["train"])

    @functools.cached_property
    def pairs(self) -> Pairs:
        """The drawing of masked pairs."""
        return Pairs(self.tokenizer, **self._drawing)

    def indices(
        self, key: Key[Array, ""], step: Int[Array, ""], batch: int
    ) -> Key[Array, " batch"]:
        """A key for each of the step's pairs."""
        return jax.random.split(jax.random.fold_in(key, step), batch)

    def gather(self, source: Source, indices: Key[Array, " batch"]) -> Batch:
        """The pairs of the keys, masked."""
        return self.pairs.draw(source, indices, self.sentence)

    def gathered_shapes(self, batch: int) -> Batch:
        """A masked pair a row, whether the corpus is here or not."""
        return shapes(batch, self.length, int(self._drawing["counts"].max()))

    def sums(
        self, model: Model, parameters: Parameters, batch: Batch, context: Context
    ) -> tuple[Sums, Sums]:
        """Nats a hidden token and, as a term of its own, nats a pair; the shares of both that are
        right, and of the pairs that `measure` draws."""
        self.check_model(model)
        x, extras = self._hidden(model, parameters, batch, context)
        score = model.score_at(parameters, x, batch.positions, batch.targets, context)
        losses: Sums = {"loss": objective.cross_entropy(score.target, batch.weights)}
        statistics: Sums = {"accuracy": objective.share(score.best == batch.targets, batch.weights)}
        if self.sentence != "none":
            logits = model.sentence_logits(parameters, x)
            log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), batch.label[:, None], axis=1)
            losses["sentence_loss"] = objective.cross_entropy(log_p[:, 0], batch.real)
            statistics["sentence_accuracy"] = _right(logits, batch)
        for relation, pairs in batch.measured.items():
            x, _ = self._hidden(model, parameters, pairs, context)
            logits = model.sentence_logits(parameters, x)
            statistics[f"{relation}_accuracy"] = _right(logits, pairs)
        return objective.with_extras(losses, statistics, extras)

    @staticmethod
    def _hidden(model: Model, parameters: Parameters, batch: Batch, context: Context):
        context = context.replace(mask=batch.mask, segments=batch.segments)
        return model.hidden(parameters, batch.inputs, context)

    def check_model(self, model: Model) -> None:
        """See `Task.check_model`; a sentence's classes are asked for too."""
        super().check_model(model)
        head: Head = model.head.module
        asked = self.sentence != "none" or self.measure
        if asked and head.sentence_classes != 2:
            raise ConfigurationError(
                f"task.sentence={self.sentence!r}, task.measure={self.measure!r}: the model has no "
                "sentence head of two classes; use model.head.kind='masked', model.head.classes=2"
            )

    # Text with words left out

    def written_prompt(self, text: str, steps: int) -> Blanks:
        """A text whose [MASK]s are to be filled in; `steps` do nothing."""
        return masked_prompt.written(text, self.tokenizer, self.max_length)

    def text_of(self, ids: Int[np.ndarray, " length"]) -> str:
        """The text between [CLS] and [SEP]."""
        return self.tokenizer.decode(ids[1:-1])

    # Evaluation

    def _check_windows(self, settings: Config) -> None:
        for name in ("window", "stride"):
            if settings[name] not in (0, self.length):
                raise ConfigurationError(
                    f"evaluate.{name}={settings[name]}: pairs have task.length={self.length}, "
                    "allowed is 0"
                )

    def examples(self, split: str, window: Window = WHOLE) -> Chosen:
        """The split's fixed pairs; the first ones, one for each `length` of `window.tokens`."""
        n = max(1, window.tokens // self.length) if window.tokens else self.evaluation_examples
        return Chosen(np.arange(min(n, self.evaluation_examples)))

    def evaluation_batch(self, split: str, examples: Chosen, window: Window = WHOLE) -> Batch:
        """The fixed pairs of these numbers."""
        return jax.tree.map(lambda a: a[examples.index], self._fixed(split))

    def _fixed_pairs(self, split: str) -> Batch:
        """The pairs that a split is evaluated on, of a constant key."""
        keys = jax.random.split(named(jax.random.key(0), split), self.evaluation_examples)
        source = self.pairs.source(self.dataset.splits[split])
        draw = jax.jit(self.pairs.draw, static_argnums=2)
        measured = {relation: draw(source, keys, relation) for relation in self.measure}
        return jax.device_get(draw(source, keys, self.sentence)._replace(measured=measured))

    def figures(
        self, split: str, means: Mapping[str, float], count: int, window: Window = WHOLE
    ) -> dict[str, Any]:
        """Loss in nats and perplexity, over `count` hidden tokens."""
        return {
            "loss": means["loss"],
            "perplexity": objective.perplexity(means["loss"]),
            "unit": f"hidden {self.tokenizer.unit}",
            "window": self.length,
            "stride": self.length,
            "tokens": count,
        }


def _right(logits: Float[Array, "batch classes"], batch: Batch) -> objective.Sum:
    """The share of pairs whose label is the most probable."""
    return objective.share(jnp.argmax(logits, axis=-1) == batch.label, batch.real)
