"""Examples of an algorithm as the batches of two kinds of model. A row of zeros has no weight."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from arch.context import Context
from arch.data.generated.algorithms import Example
from arch.models.families import Model
from arch.models.generation import PAD
from arch.stacks.parameters import Parameters
from arch.tasks import objective, sequence_to_sequence
from arch.tasks.contract import Sums
from arch.tasks.sequence_to_sequence import END, Pairs


class Sequences(NamedTuple):
    """Inputs and targets of a model without a source: `weights` are 1 at targets, `real` at rows,
    that count."""

    inputs: Int[Array, "batch length"]
    targets: Int[Array, "batch length"]
    weights: Float[Array, "batch length"]
    real: Float[Array, " batch"]


def pairs(example: Example) -> Pairs:
    """source: input, END; targets: output, END; inputs: the targets shifted right, 0 in front."""
    real = _real(example)
    source, kept = ended(example.inputs, example.input_length)
    targets, counted = ended(example.outputs, example.output_length)
    return sequence_to_sequence.pairs(
        jnp.where(kept & real, source, PAD), jnp.where(counted & real, targets, PAD)
    )


def stream(example: Example, separator: int) -> Sequences:
    """input, separator, output, END and padding, shifted by one into inputs and targets; what
    follows the separator has weight."""
    real, m = _real(example), example.input_length[:, None]
    outputs, counted = ended(example.outputs, example.output_length)
    place = jnp.arange(example.inputs.shape[1] + 1 + outputs.shape[1])[None]
    counted = _moved(counted, m + 1, place) & (place > m) & real
    after = jnp.where(counted, _moved(outputs, m + 1, place), PAD)
    whole = jnp.where(place < m, _moved(example.inputs, 0, place), after)
    whole = jnp.where((place == m) & real, separator, whole)
    weights = counted[:, 1:].astype(jnp.float32)
    return Sequences(whole[:, :-1], whole[:, 1:], weights, _column(real))


def stream_sums(
    model: Model, parameters: Parameters, batch: Sequences, context: Context, smoothing: float
) -> tuple[Sums, Sums]:
    """(losses, statistics) of `stream` batches, see `objective.teacher_forced`."""
    score, extras = model.score(parameters, batch.inputs, batch.targets, context)
    losses, statistics = objective.teacher_forced(score, batch, context, smoothing)
    return objective.with_extras(losses, statistics, extras)


def before_output(
    batch: Sequences, size: int
) -> tuple[Int[Array, "batch size"], Int[Array, " batch"]]:
    """The part of a `stream` before the output, with the separator, and its length, which is 1 in
    a row of zeros."""
    lengths = 1 + jnp.argmax(batch.weights > 0, axis=1).astype(jnp.int32)
    known = jnp.arange(size)[None] < lengths[:, None]
    return jnp.where(known, batch.inputs[:, :size], PAD), lengths


def ended(
    symbols: Int[Array, "batch size"], length: Int[Array, " batch"]
) -> tuple[Int[Array, "batch size+1"], Bool[Array, "batch size+1"]]:
    """The symbols with END behind them, and where these stand; the rest is padding."""
    place, last = jnp.arange(symbols.shape[1] + 1)[None], length[:, None]
    wider = jnp.pad(symbols, ((0, 0), (0, 1)))
    return jnp.where(place == last, END, wider), place <= last


def _real(example: Example) -> Bool[Array, "batch 1"]:
    """Which rows are examples: those with an input."""
    return (example.input_length > 0)[:, None]


def _column(real: Bool[Array, "batch 1"]) -> Float[Array, " batch"]:
    return real[:, 0].astype(jnp.float32)


def _moved(rows: Array, by, place: Int[Array, "1 size"]) -> Array:
    """(batch, size): each row moved right by `by`; places that it leaves are undefined."""
    index = jnp.clip(place - by, 0, rows.shape[1] - 1)
    index = jnp.broadcast_to(index, (rows.shape[0], index.shape[1]))
    return jnp.take_along_axis(rows, index, axis=1)
