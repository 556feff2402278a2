"""Algorithms position by position, learned from several lengths at once and tested far beyond: the
data of the Neural GPU, in the setting of the Shuffle-Exchange networks."""

import functools
import hashlib
import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from arch.checks import holds, one_of
from arch.context import Context, add_sums
from arch.data.generated import same_length
from arch.data.generated.same_length import Aligned
from arch.models.families import Model
from arch.models.generation import PAD
from arch.registry import tasks
from arch.stacks.parameters import Parameters
from arch.tasks import objective
from arch.tasks.algorithmic.generated import Generated
from arch.tasks.contract import WHOLE, Sums, Window

SHORTER = 1 / 21  # of a bin's examples are of a smaller one: the authors add 1 to every 20
SLICE = 1 << 14  # positions that are evaluated at a time
Batch = tuple[Aligned, ...]  # one a bin; in evaluation one alone


@tasks.register("algorithmic_bins")
class AlgorithmicBins(Generated):
    """Input and output are strings of one length, position by position, as
    `arch.data.generated.same_length` makes them on the device.

    A step trains on `train.batch` sequences of **each** bin, and the loss is the mean over bins. An
    example of a bin fills it or is shorter, down to the bin before, its length uniform; one in 21
    is of a smaller bin. The rest of a bin is 0, token and target alike.

        loss        nats a position, its mean over a sequence first: where the target is 0 a
                    position weighs `padding_weight`, else 1
        token_accuracy      of the positions where the target or the prediction is not 0
        sequence_accuracy   of the sequences without a fault; `wrong_sequences` counts the others

    Splits: `valid`, as the largest bin in training; `n64` for a length 64 of `lengths`, every
    sequence of exactly that length. The authors' accuracies are of 1024 sequences a length, which
    are new to the model but for the short ones.

    Args:
        algorithm: copy | reverse | double | sorting | addition | multiplication.
        base: how many digits there are; 0 stands for the authors' 11, and 2 in arithmetic.
        bins: lengths of training sequences.
        lengths: of the splits.
        evaluation_examples: of each split.
        label_smoothing: in training, over all symbols; the authors' share leaves out the target's.
        padding_weight: in the loss, of a position whose target is 0.
        position_offsets: training positions start at a number uniform in 0 … this, for models that
            look at them.
    """

    sha256 = hashlib.sha256(same_length.VERSION.encode()).hexdigest()
    families, metric = ("encoder",), "token_accuracy"

    def __init__(
        self,
        *,
        algorithm: str = "sorting",
        base: int = 0,
        bins: tuple[int, ...] = (8, 16, 32, 64),
        lengths: tuple[int, ...] = (64, 128, 256, 512),
        evaluation_examples: int = 256,
        label_smoothing: float = 0.01,
        padding_weight: float = 0.01,
        position_offsets: int = 0,
    ):
        one_of(same_length.GENERATORS, of="task", algorithm=algorithm)
        base = base or (2 if algorithm in same_length.SEPARATORS else 11)
        largest = same_length.LARGEST if algorithm in same_length.SEPARATORS else 1 << 20
        holds(2 <= base <= largest, f"2 to {largest} in {algorithm}", of="task", base=base)
        least = same_length.least_length(algorithm)
        rising = all(low < high for low, high in itertools.pairwise((least - 1, *bins)))
        holds(bins and rising, f"a list that rises, from {least} on", of="task", bins=tuple(bins))
        fine = all(length >= least for length in lengths) and len(set(lengths)) == len(lengths)
        different = f"a list without repeats, from {least} on"
        holds(fine, different, of="task", lengths=tuple(lengths))
        holds(0 < padding_weight <= 1, "above 0, to 1", of="task", padding_weight=padding_weight)
        longest = max((*bins, *lengths))
        of_all = evaluation_examples, position_offsets, label_smoothing
        super().__init__(algorithm, base, longest, *of_all)
        self.bins, self.padding_weight = tuple(bins), padding_weight
        self.bounds = tuple(itertools.pairwise((least - 1, *bins)))
        self.lengths = {"valid": self.bins[-1], **{f"n{n}": n for n in sorted(lengths)}}
        self.splits, self._longest = tuple(self.lengths), longest

    @property
    def details(self) -> dict:
        """The options that a line of results names."""
        names = ("algorithm", "base", "bins", "evaluation_examples", "padding_weight")
        return {name: getattr(self, name) for name in names}

    @property
    def vocabulary(self) -> int:
        """Symbols, padding included."""
        return same_length.symbols(self.algorithm, self.base)

    @property
    def length(self) -> int:
        """Of the longest training sequence."""
        return self.bins[-1]

    @property
    def max_length(self) -> int:
        """Of the longest sequence of any split, offsets included."""
        return self._longest + self.position_offsets

    @property
    def tokens_per_sequence(self) -> int:
        """Positions of one sequence of every bin: `train.batch` counts those."""
        return sum(self.bins)

    # Training

    def gather(self, source: Any, indices: Key[Array, " batch"]) -> Batch:
        """A batch of every bin, made from the keys."""
        return tuple(self._bin(place, indices) for place in range(len(self.bins)))

    def _bin(self, place: int, keys: Key[Array, " batch"]) -> Aligned:
        """A batch of one bin."""
        keys = jax.vmap(lambda key: jax.random.fold_in(key, place))(keys)
        bounds = jnp.array(self.bounds)

        def length(key):
            of_shorter, of_bin, of_length = jax.random.split(key, 3)
            shorter = (jax.random.uniform(of_shorter) < SHORTER) & (place > 0)
            smaller = jax.random.randint(of_bin, (), 0, max(place, 1))
            low, high = bounds[jnp.where(shorter, smaller, place)]
            return jax.random.randint(of_length, (), low + 1, high + 1)

        pairs = jax.vmap(jax.random.split)(keys)
        lengths = jax.vmap(length)(pairs[:, 0])
        size = self.bins[place]
        return same_length.generate(self.algorithm, pairs[:, 1], lengths, self.base, size)

    def sums(
        self, model: Model, parameters: Parameters, batch: Batch, context: Context
    ) -> tuple[Sums, Sums]:
        """Nats a position, every sequence weighing alike, and accuracies."""
        losses, statistics = {}, {}
        for place, of_bin in enumerate(batch):
            inner = context.at(place)
            if context.train:
                more = self._sums(model, parameters, of_bin, self._offset(of_bin, inner))
            else:
                more = self._sliced(model, parameters, of_bin, inner)
            losses, statistics = add_sums(losses, more[0]), add_sums(statistics, more[1])
        return losses, statistics

    def _sums(
        self, model: Model, parameters: Parameters, batch: Aligned, context: Context
    ) -> tuple[Sums, Sums]:
        score, extras = model.score(parameters, batch.inputs, batch.targets, context)
        counts = real(batch)
        log_p = objective.log_likelihood(score, context, self.label_smoothing)
        weights = jnp.where(batch.targets != PAD, 1.0, self.padding_weight)
        loss = -(log_p * weights).sum(-1) / weights.sum(-1)
        right = score.best == batch.targets
        seen = ((batch.targets != PAD) | (score.best != PAD)) * counts[:, None]
        statistics: Sums = {
            "token_accuracy": objective.share(right, seen),
            "sequence_accuracy": objective.share(right.all(-1), counts),
        }
        return objective.with_extras({"loss": objective.share(loss, counts)}, statistics, extras)

    def _sliced(
        self, model: Model, parameters: Parameters, batch: Aligned, context: Context
    ) -> tuple[Sums, Sums]:
        """`_sums`, of some of the rows at a time where they are long."""
        rows, length = batch.inputs.shape
        most = max(1, SLICE // length)
        together = max(n for n in range(1, min(rows, most) + 1) if rows % n == 0)
        if together == rows:
            return self._sums(model, parameters, batch, context)
        counted = jnp.ones(rows, bool) if context.counted is None else context.counted
        parts = jax.tree.map(lambda a: a.reshape(-1, together, *a.shape[1:]), (batch, counted))

        def sums(part):
            batch, counted = part
            return self._sums(model, parameters, batch, context.replace(counted=counted))

        return jax.tree.map(lambda a: a.sum(0), jax.lax.map(sums, parts))

    def _offset(self, batch: Aligned, context: Context) -> Context:
        if not self.position_offsets:
            return context
        key = context.key_for("position_offset")
        offset = jax.random.randint(key, (), 0, self.position_offsets + 1)
        return context.replace(positions=(offset + jnp.arange(batch.inputs.shape[1]))[None])

    # Evaluation

    def examples(self, split: str, window: Window = WHOLE) -> Aligned:
        """The split's examples: as many of the first as have `window.tokens` positions."""
        n, length = self.evaluation_examples, self.lengths[split]
        n = min(n, -(-window.tokens // length)) if window.tokens else n
        if split == "valid":
            made = self._validation
        else:
            made = same_length.fixed(self.algorithm, self.evaluation_examples, length, self.base)
        return Aligned(*(a[:n] for a in made))

    @functools.cached_property
    def _validation(self) -> Aligned:
        key = jax.random.key(0xB175, impl="threefry2x32")
        keys = jax.random.split(key, self.evaluation_examples)
        made = jax.jit(lambda keys: self._bin(len(self.bins) - 1, keys))(keys)
        return jax.tree.map(np.asarray, made)

    def assemble_evaluation(self, gathered: Aligned) -> Batch:
        """One batch of one length, as a tuple of one bin."""
        return (gathered,)

    def figures(
        self, split: str, means: Mapping[str, float], count: int, window: Window = WHOLE
    ) -> dict[str, Any]:
        """loss: nats a position; sequences: how many; wrong_sequences: of these."""
        return {
            "loss": means["loss"],
            "sequences": count,
            "wrong_sequences": round(count * (1 - means["sequence_accuracy"])),
            "input_length": self.lengths[split],
        }


def real(batch: Aligned) -> Float[Array, " batch"]:
    """1 at rows that count: none begins with padding."""
    return (batch.inputs[:, 0] != PAD).astype(jnp.float32)
