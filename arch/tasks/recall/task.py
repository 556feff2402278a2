"""What the tasks of this folder share: examples made from keys, scored where something is asked."""

import abc
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from arch.checks import at_least, holds
from arch.context import Context
from arch.models.families import Model
from arch.stacks.parameters import Parameters
from arch.tasks import objective
from arch.tasks.contract import WHOLE, Sums, Window
from arch.tasks.drawn import Drawn

VERSION = "recall 1"  # another one wherever a key's examples change
TRAINING = 0x7EC  # that of a limited number of training examples


class Example(NamedTuple):
    """One example, or with a leading axis a batch; of a row of zeros nothing is asked.

    inputs, targets: tokens, position by position. learned: the positions of the training loss.
    asked: those that evaluation is about.
    """

    inputs: Int[Array, "*batch length"]
    targets: Int[Array, "*batch length"]
    learned: Bool[Array, "*batch length"]
    asked: Bool[Array, "*batch length"]


class Recall(Drawn):
    """Examples of one length.

        loss               nats a position: in training of those learned, in evaluation of those
                           asked
        accuracy           of the positions asked, all weighing alike
        sequence_accuracy  of the sequences with every position asked right
        accuracy_beyond    of the positions asked behind the training length, in longer splits
        chance             accuracy of the best guess that has not seen the input: each kind's
                           docstring says how much that is

    Splits: `valid`, of the training length, and `n64` for a length 64 of `lengths`.

    A kind gives `example` and `chance`, and `least_length` where a length may be too short.
    """

    sha256 = hashlib.sha256(VERSION.encode()).hexdigest()
    families: tuple[str, ...] = ("decoder", "encoder")
    metric, evaluation_key = "accuracy", 0x2EC

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        lengths: tuple[int, ...] = (),
        training_examples: int = 0,
        evaluation_examples: int = 512,
    ):
        """The options that every kind has.

        Args:
            vocabulary: number of tokens.
            length: positions of a training sequence.
            lengths: of more splits, n64 for 64.
            training_examples: how many different ones there are; 0: every step has new ones.
            evaluation_examples: of each split.
        """
        super().__init__(evaluation_examples)
        at_least(0, "new ones", of="task", training_examples=training_examples)
        lengths = tuple(lengths)
        fine = all(type(n) is int for n in lengths) and len(set(lengths)) == len(lengths)
        holds(fine, "a list of whole numbers without repeats", of="task", lengths=lengths)
        for name, values in (("length", (length,)), ("lengths", lengths)):
            for n in values:
                self.check_length(name, n)
        self.vocabulary, self.length = vocabulary, length
        self.lengths = {"valid": length, **{f"n{n}": n for n in sorted(lengths)}}
        self.splits = tuple(self.lengths)
        self.training_examples = training_examples

    @abc.abstractmethod
    def example(self, key: Key[Array, ""], length: int, training: bool) -> Example:
        """One example; pure, and run inside jit. training: whether to train on."""

    @abc.abstractmethod
    def chance(self, length: int) -> float:
        """Accuracy of the best guess that has not seen the input."""

    def least_length(self) -> int:
        """The shortest possible sequence; asked before the other options are set here."""
        return 2

    def check_length(self, name: str, n: int) -> None:
        """Raises ConfigurationError for a length, of the option of this name, that cannot be."""
        at_least(self.least_length(), of="task", **{name: n})

    @property
    def corpus(self) -> str:
        """The kind: there are no other data."""
        return self.kind

    @property
    def max_length(self) -> int:
        """Of the longest sequence of any split."""
        return max(self.lengths.values())

    @property
    def details(self) -> dict:
        """The options that a line of results names."""
        return {
            "vocabulary": self.vocabulary,
            "length": self.length,
            "training_examples": self.training_examples,
            "evaluation_examples": self.evaluation_examples,
        }

    @property
    def about(self) -> str:
        """What there is to train and evaluate on, for `launch.py prepare`."""
        return (
            f"{self.kind}, made as it is needed; {', '.join(self.splits)} of "
            f"{self.evaluation_examples:,} examples"
        )

    # Training

    def indices(
        self, key: Key[Array, ""], step: Int[Array, ""], batch: int
    ) -> Key[Array, " batch"]:
        """A key for each sequence of the step."""
        if not self.training_examples:
            return super().indices(key, step, batch)
        key = jax.random.fold_in(key, step)
        numbers = jax.random.randint(key, (batch,), 0, self.training_examples)
        root = jax.random.key(TRAINING, impl="threefry2x32")
        return jax.vmap(lambda number: jax.random.fold_in(root, number))(numbers)

    def drawn(self, key: Key[Array, ""]) -> Example:
        """One to train on."""
        return self.example(key, self.length, training=True)

    def sums(
        self, model: Model, parameters: Parameters, batch: Example, context: Context
    ) -> tuple[Sums, Sums]:
        """Nats a position, and accuracies where something is asked."""
        score, extras = model.score(parameters, batch.inputs, batch.targets, context)
        asked = jnp.asarray(batch.asked, jnp.float32)
        counted = jnp.asarray(batch.learned, jnp.float32) if context.train else asked
        right = score.best == batch.targets
        statistics: Sums = {
            "accuracy": objective.share(right, asked),
            "sequence_accuracy": objective.share(
                (right | (asked == 0)).all(-1), (asked > 0).any(-1).astype(jnp.float32)
            ),
        }
        if right.shape[1] > self.length:
            beyond = asked * (jnp.arange(right.shape[1]) >= self.length)[None]
            statistics["accuracy_beyond"] = objective.share(right, beyond)
        losses: Sums = {"loss": objective.cross_entropy(score.target, counted)}
        return objective.with_extras(losses, statistics, extras)

    # Evaluation

    def drawn_of(self, split: str, key: Key[Array, ""]) -> Example:
        """One of the split's length."""
        return self.example(key, self.lengths[split], training=False)

    def number_of(self, split: str) -> int:
        """The length, so that a split stays as it is whatever others are asked for."""
        return 0 if split == "valid" else self.lengths[split]

    def examples(self, split: str, window: Window = WHOLE) -> Example:
        """The split's examples: as many of the first as have `window.tokens` positions."""
        n = -(-window.tokens // self.lengths[split]) if window.tokens else self.evaluation_examples
        return self.first(split, n)

    def figures(
        self, split: str, means: Mapping[str, float], count: int, window: Window = WHOLE
    ) -> dict[str, Any]:
        """loss: nats a position asked, of which there are `tokens`; chance: see above."""
        length = self.lengths[split]
        return {
            "loss": means["loss"],
            "tokens": count,
            "chance": self.chance(length),
            "input_length": length,
        }


def labelled(
    inputs: Int[Array, " length"], targets: Int[Array, " length"], asked: Bool[Array, " length"]
) -> Example:
    """An example that is learned where it is asked; targets elsewhere are 0."""
    targets = jnp.where(asked, targets, 0).astype(jnp.int32)
    return Example(inputs.astype(jnp.int32), targets, asked, asked)


def next_tokens(
    stream: Int[Array, " longer"],
    asked: Bool[Array, " length"],
    real: Bool[Array, " length"] | None = None,
) -> Example:
    """An example of which every next token is learned; longer = length + 1.

    real: the inputs that are no padding; None: all.
    """
    stream = stream.astype(jnp.int32)
    real = jnp.ones(asked.shape, bool) if real is None else real
    return Example(stream[:-1], stream[1:], real, asked)
