"""Algorithms on strings of digits: trained on short ones, tested on those several times as long."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from arch.checks import at_least, one_of
from arch.context import Context
from arch.data.generated import algorithms
from arch.data.generated.algorithms import Example
from arch.models.families import Model
from arch.models.generation import Prompt
from arch.registry import tasks
from arch.stacks.parameters import Parameters
from arch.tasks.algorithmic import formats
from arch.tasks.algorithmic.formats import Sequences
from arch.tasks.algorithmic.generated import Generated
from arch.tasks.contract import WHOLE, Sums, Window
from arch.tasks.sequence_to_sequence import END, Pairs, free_running, sums

FAMILIES = {
    "sequence_to_sequence": ("encoder_decoder",),
    "decoder": ("decoder",),
}
LENGTHS = ("exact", "uniform")


@tasks.register("algorithmic")
class Algorithmic(Generated):
    """The output of an algorithm for a random input, both strings of symbols.

    Nothing is read: training examples are a function of key and step, made on the device; those of
    evaluation are of a constant key, the same for every seed. They are not kept out of the training
    data, which short inputs could not be. `arch.data.generated.algorithms` has the generators and
    says what exactly is drawn; symbols are 0 padding, 1 END, digits + 2, base + 2 between two
    numbers.

    Formats:
        sequence_to_sequence: source = input, END; target = output, END; the decoder is given the
            target shifted right, with 0 in front. As in tensor2tensor.
        decoder: one stream: input, SEPARATOR (the vocabulary's last symbol), output, END. Only the
            output and END have weight. A row's padding is at its end.

    Position by position, for encoders, is the task `algorithmic_bins`.

    Where the reference code of the Universal Transformer draws a position offset at each step of
    each stack, up to the length of the batch, here one is drawn for the batch, source and target.

    Args:
        algorithm: copy | reverse | double | addition | multiplication | sorting.
        base: how many digits there are: 2 is binary, 10 decimal.
        format: sequence_to_sequence | decoder.
        length: training inputs have length 1 … length, uniformly; in arithmetic two numbers and
            their separator have, distributed as `algorithms` says. So has the split valid.
        training_lengths: uniform | exact: every training input has that length, and so in valid,
            like the Reformer's duplication 0w0w (copy in the format decoder).
        multiples: a split xM of each M but 1, with inputs up to M × length.
        evaluation_lengths: in xM, exact: every input is of that length; uniform: of 1 … that
            length, like tensor2tensor's (train 40, dev 1 … 400 is length=40, multiples=(10,)).
        evaluation_examples: of each split.
        position_offsets: training positions start at a number uniform in 0 … this.
        label_smoothing: in training.
    """

    sha256 = hashlib.sha256(algorithms.VERSION.encode()).hexdigest()
    decodes, metric = True, "sequence_accuracy_free_running"

    def __init__(
        self,
        *,
        algorithm: str = "reverse",
        base: int = 2,
        format: str = "sequence_to_sequence",
        length: int = 20,
        training_lengths: str = "uniform",
        multiples: tuple[int, ...] = (1, 2, 4, 10),
        evaluation_lengths: str = "exact",
        evaluation_examples: int = 512,
        position_offsets: int = 0,
        label_smoothing: float = 0.0,
    ):
        one_of(algorithms.GENERATORS, of="task", algorithm=algorithm)
        one_of(FAMILIES, of="task", format=format)
        one_of(LENGTHS, of="task", training_lengths=training_lengths)
        one_of(LENGTHS, of="task", evaluation_lengths=evaluation_lengths)
        at_least(2, of="task", base=base)
        at_least(algorithms.least_length(algorithm), of="task", length=length)
        for multiple in multiples:
            at_least(1, of="task", multiples=multiple)
        longest = length * max(multiples, default=1)
        of_all = evaluation_examples, position_offsets, label_smoothing
        super().__init__(algorithm, base, longest, *of_all)
        self.format, self.input_length, self.multiples = format, length, {"valid": 1}
        self.multiples |= {f"x{m}": m for m in sorted(set(multiples) - {1})}
        self.splits, self.evaluation_lengths = tuple(self.multiples), evaluation_lengths
        self.training_bounds = (length if training_lengths == "exact" else 1, length)
        self._widening = algorithms.widening(algorithm)

    @property
    def families(self) -> tuple[str, ...]:
        """Of the format."""
        return FAMILIES[self.format]

    @property
    def details(self) -> dict:
        """The options that a line of results names."""
        names = ("algorithm", "base", "format", "evaluation_lengths", "evaluation_examples")
        return {name: getattr(self, name) for name in names} | {"length": self.input_length}

    @property
    def vocabulary(self) -> int:
        """Symbols, and in the format decoder the separator."""
        return algorithms.symbols(self.algorithm, self.base) + (self.format == "decoder")

    @property
    def length(self) -> int:
        """Of a training target with its padding, in positions of the model that scores it."""
        return self._positions(self.input_length)

    @property
    def max_length(self) -> int:
        """Of the longest sequence of any split, offsets included, and the END that decoding may
        put behind it."""
        longest = self._positions(self.input_length * max(self.multiples.values()))
        return longest + 1 + self.position_offsets

    def _positions(self, size: int) -> int:
        """Of a model's longest sequence where inputs have this size."""
        output = self._widening * size
        return size + 1 + output if self.format == "decoder" else output + 1

    # Training

    def gather(self, source: Any, indices: Key[Array, " batch"]) -> Example:
        """Examples made from the keys."""
        return algorithms.generate(
            self.algorithm, indices, self.training_bounds, self.base, self.input_length
        )

    def assemble(self, gathered: Example) -> Pairs | Sequences:
        """The batch in its format; of a row of zeros every weight is 0."""
        example = Example(*(jnp.asarray(a, jnp.int32) for a in gathered))
        if self.format == "decoder":
            return formats.stream(example, separator=self.vocabulary - 1)
        return formats.pairs(example)

    def sums(
        self, model: Model, parameters: Parameters, batch: Pairs | Sequences, context: Context
    ) -> tuple[Sums, Sums]:
        """Nats a position with weight, and teacher-forced accuracies."""
        if context.train and self.position_offsets:
            context = self._offset(batch, context)
        if isinstance(batch, Pairs):
            return sums(model, parameters, batch, context, self.label_smoothing)
        return formats.stream_sums(model, parameters, batch, context, self.label_smoothing)

    def _offset(self, batch: Pairs | Sequences, context: Context) -> Context:
        key = context.key_for("position_offset")
        offset = jax.random.randint(key, (), 0, self.position_offsets + 1)
        context = context.replace(positions=(offset + jnp.arange(batch.inputs.shape[1]))[None])
        if not isinstance(batch, Pairs):
            return context
        return context.replace(memory_positions=(offset + jnp.arange(batch.source.shape[1]))[None])

    # Evaluation

    def examples(self, split: str, window: Window = WHOLE) -> Example:
        """The split's examples: as many of the first as have `window.tokens` output symbols."""
        multiple = self.multiples[split]
        high = multiple * self.input_length
        low = high if self.evaluation_lengths == "exact" else 1
        low = self.training_bounds[0] if split == "valid" else low
        made = algorithms.fixed(
            self.algorithm, multiple, self.evaluation_examples, (low, high), self.base
        )
        if not window.tokens:
            return made
        n = 1 + int(np.searchsorted(np.cumsum(made.output_length), window.tokens))
        return Example(*(a[:n] for a in made))

    def figures(
        self, split: str, means: Mapping[str, float], count: int, window: Window = WHOLE
    ) -> dict[str, Any]:
        """loss: nats a position with weight, of which there are `tokens`; input_length: the
        greatest."""
        length = self.multiples[split] * self.input_length
        return {"loss": means["loss"], "tokens": count, "input_length": length}

    def prompt(self, batch: Pairs | Sequences) -> Prompt:
        """What output is decoded from, as many tokens as the longest could have, END included."""
        if isinstance(batch, Pairs):
            n, steps = batch.targets.shape
            start = jnp.zeros((n, 1), jnp.int32)
            return Prompt(batch.source, start, jnp.ones(n, jnp.int32), steps, END)
        size = (batch.inputs.shape[1] - 1) // (1 + self._widening)
        tokens, lengths = formats.before_output(batch, size + 1)
        return Prompt(None, tokens, lengths, self._widening * size + 1, END)

    def decoded_figures(self, split: str, ids: Int[np.ndarray, "n steps"], gathered: Example):
        """Accuracies of outputs decoded freely."""
        outputs, length = jnp.asarray(gathered.outputs), jnp.asarray(gathered.output_length)
        targets, counted = formats.ended(outputs, length)
        return free_running(ids, np.asarray(targets), np.asarray(counted, np.float32))
