"""The batches of (source, target) pairs, their objective, and their accuracies.

teacher-forced  each token is predicted from the right tokens before it
free-running    each token is predicted from the model's own before it, as at use
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from arch.context import Context
from arch.models.families import Model
from arch.models.generation import PAD
from arch.stacks.parameters import Parameters
from arch.tasks import objective
from arch.tasks.contract import Sums

END = 1  # PAD is 0, symbols start at 2


class Pairs(NamedTuple):
    """Sources, and targets with the inputs that predict them: the targets one later, after a PAD
    that stands for the start. `weights` are 1 at targets; `real` is 1 at rows that count."""

    source: Int[Array, "batch source"]
    inputs: Int[Array, "batch length"]
    targets: Int[Array, "batch length"]
    weights: Float[Array, "batch length"]
    real: Float[Array, " batch"]


def pairs(source: Int[Array, "batch source"], targets: Int[Array, "batch length"]) -> Pairs:
    """A batch of padded sources and targets; a row without any target counts nothing."""
    source, targets = source.astype(jnp.int32), targets.astype(jnp.int32)
    weights = (targets != PAD).astype(jnp.float32)
    inputs = jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1]
    return Pairs(source, inputs, targets, weights, weights.max(-1))


def sums(
    model: Model, parameters: Parameters, batch: Pairs, context: Context, smoothing: float = 0.0
) -> tuple[Sums, Sums]:
    """(losses, statistics) of a batch, see `objective.teacher_forced`."""
    context = context.replace(memory_mask=batch.source != PAD)
    score, extras = model.score(parameters, (batch.source, batch.inputs), batch.targets, context)
    losses, statistics = objective.teacher_forced(score, batch, context, smoothing)
    return objective.with_extras(losses, statistics, extras)


def free_running(
    ids: Int[np.ndarray, "n steps"],
    targets: Int[np.ndarray, "n length"],
    weights: Bool[np.ndarray, "n length"],
) -> dict[str, float]:
    """The shares of right tokens, where the target has one, and of wholly right sequences, their
    end included, of decoded ids."""
    steps = targets.shape[1]
    ids = np.pad(ids, ((0, 0), (0, max(0, steps - ids.shape[1]))))[:, :steps]
    real = weights > 0
    right = (ids == targets) & real
    return {
        "token_accuracy_free_running": float(right.sum() / real.sum()),
        "sequence_accuracy_free_running": float((right.sum(-1) == real.sum(-1)).mean()),
    }
