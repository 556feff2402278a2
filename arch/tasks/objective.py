"""The objective of every task: cross-entropy with label smoothing, accuracies, and their weights.

Each term is a (sum, weight); what is trained on and reported is sum / weight.
"""

import math
from typing import Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from arch.context import Context, Extras
from arch.models.heads import Score
from arch.tasks.contract import Sums

Sum = tuple[Float[Array, ""], Float[Array, ""]]
Arrays = Array | np.ndarray  # a batch is NumPy's until it is on the device


def log_likelihood(
    score: Score, context: Context, smoothing: float = 0.0
) -> Float[Array, "batch length"]:
    """(1 - ε) log p(target) + ε mean over the vocabulary of log p, in nats.

    Label smoothing (Szegedy et al. 2016) is of training alone.

    Args:
        smoothing: ε, the share of the target's weight that goes to all tokens alike.
    """
    if not (smoothing and context.train):
        return score.target
    return (1 - smoothing) * score.target + smoothing * score.mean


def share(values: Arrays, weights: Float[Arrays, "*shape"]) -> Sum:
    """(Σ values · weights, Σ weights): of booleans the share of those that hold, else the mean."""
    return jnp.sum(values * weights), jnp.sum(weights)


def cross_entropy(log_p: Float[Array, "*shape"], weights: Float[Arrays, "*shape"]) -> Sum:
    """(-Σ weights · log p, Σ weights), in nats."""
    total, weight = share(log_p, weights)
    return -total, weight


def cross_entropy_of(
    log_p: Float[Array, "*shape"], counts: Bool[Arrays, "*shape"]
) -> Float[Array, ""]:
    """-Σ log p of those that count, in nats; the others may have log p = -inf."""
    return -jnp.where(counts, log_p, 0.0).sum()


class TargetBatch(Protocol):
    """A batch of target sequences: `weights` are 1 at targets, `real` at rows, that count."""

    @property
    def targets(self) -> Int[Array, "batch length"]:
        """The right tokens."""
        ...

    @property
    def weights(self) -> Float[Array, "batch length"]:
        """1 at targets that count."""
        ...

    @property
    def real(self) -> Float[Array, " batch"]:
        """1 at rows that count."""
        ...


def teacher_forced(
    score: Score, batch: TargetBatch, context: Context, smoothing: float
) -> tuple[Sums, Sums]:
    """(losses, statistics) of sequences, each token predicted from the right ones before it: nats
    a token, and the shares of right tokens and of wholly right sequences."""
    right = (score.best == batch.targets) * batch.weights
    whole = right.sum(-1) == batch.weights.sum(-1)
    losses: Sums = {"loss": cross_entropy(log_likelihood(score, context, smoothing), batch.weights)}
    return losses, {
        "token_accuracy_teacher_forced": (right.sum(), batch.weights.sum()),
        "sequence_accuracy_teacher_forced": share(whole, batch.real),
    }


def with_extras(losses: Sums, statistics: Sums, extras: Extras) -> tuple[Sums, Sums]:
    """Both, with what the model's sublayers add to them."""
    return {**losses, **extras.losses}, {**statistics, **extras.statistics}


def perplexity(loss: float) -> float:
    """exp(nats); inf beyond what a float holds, about 709 nats."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def entropy(counts: Int[np.ndarray, " entries"]) -> float:
    """-Σ p log p in nats of the frequencies p = counts / Σ counts."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())
