"""Examples of an algorithm as the batches of two kinds of model. A row of zeros has no weight."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from arch.context import Context
from arch.data.generated.algorithms import Example
from arch.models.generation import PAD
from arch.tasks import sequence_to_sequence
from arch.tasks.sequence_to_sequence import END, Pairs


class Sequences(NamedTuple):
    """What a model without a source learns: `weights` are 1 at targets, `real` at rows, that
    count."""

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


def stream_sums(model, parameters, batch: Sequences, context: Context, smoothing: float):
    """({loss}, teacher-forced accuracies) of `stream` batches, as for pairs with a source: nats
    against (1 - smoothing) of the target and smoothing of all symbols."""
    score, extras = model.score(parameters, batch.inputs, batch.targets, context)
    logp = (1 - smoothing) * score.target + smoothing * score.mean if smoothing else score.target
    loss = (-(logp * batch.weights).sum(), batch.weights.sum())
    right = (score.best == batch.targets) * batch.weights
    whole = (right.sum(-1) == batch.weights.sum(-1)) * batch.real
    statistics = {
        "token_accuracy_teacher_forced": (right.sum(), batch.weights.sum()),
        "sequence_accuracy_teacher_forced": (whole.sum(), batch.real.sum()),
    }
    return {"loss": loss, **extras.losses}, {**statistics, **extras.statistics}


def before_output(
    batch: Sequences, size: int
) -> tuple[Int[Array, "batch size"], Int[Array, " batch"]]:
    """Of a `stream`: what stands before the output, the separator included, and its length, which
    is 1 in a row of zeros."""
    lengths = 1 + jnp.argmax(batch.weights > 0, axis=1).astype(jnp.int32)
    known = jnp.arange(size)[None] < lengths[:, None]
    return jnp.where(known, batch.inputs[:, :size], PAD), lengths


def ended(
    symbols: Int[Array, "batch size"], length: Int[Array, " batch"]
) -> tuple[Int[Array, "batch size+1"], Bool[Array, "batch size+1"]]:
    """The symbols with END behind them, and which of these are no padding."""
    place, last = jnp.arange(symbols.shape[1] + 1)[None], length[:, None]
    wider = jnp.pad(symbols, ((0, 0), (0, 1)))
    return jnp.where(place == last, END, wider), place <= last


def _real(example: Example) -> Bool[Array, "batch 1"]:
    """No example has an empty input."""
    return (example.input_length > 0)[:, None]


def _column(real: Bool[Array, "batch 1"]) -> Float[Array, " batch"]:
    return real[:, 0].astype(jnp.float32)


def _moved(rows: Array, by, place: Int[Array, "1 size"]) -> Array:
    """(batch, size): each row moved right; what comes from outside it is anything."""
    index = jnp.clip(place - by, 0, rows.shape[1] - 1)
    index = jnp.broadcast_to(index, (rows.shape[0], index.shape[1]))
    return jnp.take_along_axis(rows, index, axis=1)
