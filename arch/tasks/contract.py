"""The contract of a task: the members that training, evaluation and notebooks use."""

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from arch.checks import no_windows, one_of
from arch.context import Context, Sums
from arch.data.tokenizers.kinds import Tokenizer
from arch.models.generation import Blanks, Prompt, Search
from arch.models.model import Model
from arch.registry import Config, ConfigurationError, tasks
from arch.stacks.parameters import Parameters


class Window(NamedTuple):
    """How much of a split is evaluated, and in which steps.

    Tasks of whole examples, which have no text to slide a window over, look at `tokens` alone.
    """

    tokens: int = 0  # a prefix of so many tokens; 0: the whole split
    window: int = 0  # tokens that the model sees at once; 0: the task's length
    stride: int = 0  # tokens from one window to the next; 0: the window

    @classmethod
    def of(cls, settings: Config) -> "Window":
        """The window of the section `evaluate` of a configuration."""
        return cls(*(settings[name] for name in cls._fields))

    def whole(self) -> "Window":
        """The same window over the whole split."""
        return self._replace(tokens=0)


WHOLE = Window()

# What heads answer, in words, and the head that a task which asks for it may use.
ANSWERS = {
    "positions": "a token at each position",
    "sequence": "one token for a sequence",
    "occurrence": "one of a sequence's own tokens",
    "recollection": "the sequence back from its last state",
    "nothing": "no token",
}
HEADS = {
    "positions": "model.head.kind='softmax', model.head.pool='none'",
    "sequence": "model.head.kind='softmax', model.head.pool='mean'",
    "occurrence": "model.head.kind='pointer'",
    "recollection": "model.head.kind='reconstruction'",
}
READS = {"tokens": "'plain'", "sentences": "'sentence'", "samples": "'waveform'"}


class BatchSource(abc.ABC):
    """Training batches of one shape, as pure functions of a key and a step."""

    @abc.abstractmethod
    def indices(self, key: Key[Array, ""], step: Int[Array, ""], batch: int) -> Any:
        """Which examples a step trains on: an array with a leading axis over sequences.

        key: the replica's data stream. batch: `train.batch`.
        """

    @abc.abstractmethod
    def gather(self, source: Any, indices: Any) -> Any:
        """The examples at the indices, before `Task.assemble`; source: what `Task.source` gave."""


@tasks.require
class Task(BatchSource):
    """Data, objective and metrics.

    A training batch is made by source → indices(key, step, batch) → gather(source, indices) →
    assemble(gathered), all pure. An evaluation batch is made by examples(split, window) →
    evaluation_batch(split, part of the examples, window) → assemble_evaluation(gathered); a batch
    is filled up with rows of zeros, which must have no weight.

    A subclass is registered with `@tasks.register("kind")`; the keyword-only arguments of its
    constructor are its options. It sets the attributes below that have no value here, as class
    attributes, in the constructor, or as properties: properties may read the data, which need not
    be there when the task is built.
    """

    kind: str  # set when the class is registered
    families: tuple[str, ...]  # of models that can learn it: decoder, encoder, encoder_decoder
    metric: str  # the figure by which tables compare
    corpus: str  # what lines and messages call the data
    sha256: str  # of the data: part of a run's identity
    details: Mapping[str, object]  # what a line of results says of the data besides
    about: str  # what there is to train and evaluate on, for `launch.py prepare`
    vocabulary: int  # tokens that the model embeds and predicts
    length: int  # positions of a training sequence; FLOPs are counted at this length
    splits: tuple[str, ...]  # that can be evaluated; 'valid' is evaluated during training

    outline: Sequence[str] = ()  # more lines of `prepare`: how the data were split
    streamed: bool = False  # batches are gathered on the host, from `stream`
    slides: bool = False  # evaluation reads a text in windows of any length: `evaluate.windows`
    decodes: bool = False  # evaluation also decodes freely: see `prompt`, `decoded_figures`
    search: Search = Search()  # how: greedily
    asks: tuple[str, ...] = ("positions",)  # of a model's head: see `Head.answers`
    gives: str = "tokens"  # to its embedding: see `TokenEmbedding.reads`
    any_text: bool = False  # it can be evaluated on any corpus: see `only_evaluate`

    @property
    def max_length(self) -> int:
        """Positions of the longest sequence of any split, where learned positions end."""
        return self.length

    @property
    def tokens_per_sequence(self) -> float:
        """Tokens of a training sequence, by which tokens/s are counted."""
        return self.length

    @property
    def planned_tokens(self) -> float:
        """The same as far as it is known without a corpus, which a plan does without."""
        return self.tokens_per_sequence

    @property
    def guessing_loss(self) -> float | None:
        """The loss in nats of guessing uniformly: a run that ends well above it has diverged. None
        where the term 'loss' is no cross-entropy over the vocabulary."""
        return math.log(self.vocabulary)

    def unigram_loss(self, split: str) -> float | None:
        """The loss in nats of predicting by the split's own frequencies of single tokens, and by
        what a position's own input says of its answer: what does not get below it has learned
        nothing else. None where that says nothing of the term 'loss'."""
        return None

    def check_model(self, model: Model) -> None:
        """Raises ConfigurationError for a model whose embedding does not read what the task gives,
        or whose head does not answer what it asks: one that sees more would learn to look."""
        embedding, head = model.embedding.module.tokens, model.head.module
        if embedding.reads != self.gives:
            raise ConfigurationError(
                f"model.embedding.kind={embedding.kind!r} reads {embedding.reads}, and task.kind="
                f"{self.kind!r} gives {self.gives}; use model.embedding.kind={READS[self.gives]}"
            )
        if head.answers not in self.asks:
            why = "" if head.pool == "none" else f", model.head.pool={head.pool!r},"
            why = f" with {head.no_tokens}" if head.answers == "nothing" else why
            raise ConfigurationError(
                f"model.head.kind={head.kind!r}{why} gives {ANSWERS[head.answers]}, and task.kind="
                f"{self.kind!r} asks for {' or '.join(ANSWERS[asked] for asked in self.asks)}; use "
                f"{' or '.join(HEADS[asked] for asked in self.asks)}"
            )

    # Training

    def source(self) -> Any:
        """The training data on the device: any tree of arrays."""
        return ()

    def stream(self) -> np.ndarray:
        """The training data on the host, for a task that is `streamed`: a memory map."""
        raise ConfigurationError(f"task.kind={self.kind!r} does not stream its training data")

    def gathered_shapes(self, batch: int) -> Any:
        """The shapes of a gathered batch of the first of `batches`, to plan a step by."""
        first = self.batches[0]

        def gathered(source: Any) -> Any:
            return first.gather(source, first.indices(jax.random.key(0), jnp.int32(0), batch))

        return jax.eval_shape(gathered, self.source())

    @property
    def batches(self) -> tuple[BatchSource, ...]:
        """A source for each shape that training batches have; most tasks have one shape."""
        return (self,)

    def batch_at(self, step: Int[Array, ""]) -> Int[Array, ""]:
        """Which of `batches` a step takes: the same for every seed."""
        return jnp.zeros_like(step)

    def assemble(self, gathered: Any) -> Any:
        """The batch that `sums` reads. Gradient accumulation cuts it along the leading axis."""
        return gathered

    @abc.abstractmethod
    def sums(
        self, model: Model, parameters: Parameters, batch: Any, context: Context
    ) -> tuple[Sums, Sums]:
        """(losses, statistics), each name → (sum, weight).

        The objective is Σ sum / weight over the losses, among them 'loss', in nats. Those of the
        model's extras belong to them. Statistics are reported only. Sums and weights are those of
        the batch alone, so that parts of a batch add up to it: no mean is among them, and weights
        do not depend on the parameters.
        """

    # Evaluation

    def check_evaluation(self, settings: Config) -> None:
        """Raises ConfigurationError for splits, windows or strides that the task has not.

        settings: the section `evaluate` of a configuration.
        """
        no_windows(settings, "this task's examples are whole")
        for split in settings["splits"]:
            one_of(self.splits, of="evaluate", splits=split)

    @abc.abstractmethod
    def examples(self, split: str, window: Window = WHOLE) -> Any:
        """The examples of a split: a tree of arrays with a leading axis over them."""

    def evaluation_batch(self, split: str, examples: Any, window: Window = WHOLE) -> Any:
        """The arrays of some of the examples, as many rows as there are examples."""
        return examples

    def assemble_evaluation(self, gathered: Any) -> Any:
        """The batch of `evaluation_batch`'s arrays that `sums` reads."""
        return self.assemble(gathered)

    @abc.abstractmethod
    def figures(
        self, split: str, means: Mapping[str, float], count: int, window: Window = WHOLE
    ) -> dict[str, Any]:
        """The figures of a split that lines and tables show.

        means: of every loss and statistic. count: the weight of 'loss'. Means that it does not
        name are reported under their own names.
        """

    # Decoding

    def prompt(self, batch: Any) -> Prompt:
        """The tokens to decode from, for a batch of `assemble_evaluation`."""
        raise ConfigurationError(f"task.kind={self.kind!r} does not decode")

    def decoded_figures(
        self, split: str, ids: Int[np.ndarray, "n steps"], gathered: Any
    ) -> dict[str, Any]:
        """The figures of decoded tokens; gathered: `evaluation_batch` of the same rows."""
        raise ConfigurationError(f"task.kind={self.kind!r} does not decode")

    # Text, for notebooks and `launch.py generate`

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the text that the model reads; ConfigurationError where it reads none."""
        raise ConfigurationError(
            f"capture: task.kind={self.kind!r} reads no plain text; use capture_inputs"
        )

    def written_prompt(self, text: str, steps: int) -> Prompt | Blanks:
        """A text to go on with for `steps` tokens; ConfigurationError where the task has none."""
        raise ConfigurationError(f"generate: task.kind={self.kind!r} makes no text; see `evaluate`")

    def text_of(self, ids: Int[np.ndarray, " steps"]) -> str:
        """The text of decoded tokens; ConfigurationError where the task makes none."""
        raise ConfigurationError(f"generate: task.kind={self.kind!r} makes no text; see `evaluate`")

    def only_evaluate(self, tokenizer: Tokenizer | None = None) -> None:
        """Evaluate a trained model on a text that need not be long enough to train on.

        tokenizer: the trained model's; None is the task's own. ConfigurationError where the task
        has data of its own alone.
        """
        raise ConfigurationError(f"task.kind={self.kind!r} is evaluated on its own data alone")


def build(settings: Config) -> Task:
    """The task of the section `task` of a filled configuration.

    Raises ConfigurationError for an unknown kind, for options that cannot be, and for a class that
    lacks a member.
    """
    options = dict(settings)
    return tasks.build(options.pop("kind"), field="task.kind", **options)
