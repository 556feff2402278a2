"""What a head says of targets, in slices.

`score` never keeps the logits of more than `chunk` positions: what leaves it is three numbers a
position. `logits` of a head gives them in full, for generation and for parity tests.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from arch.context import Context
from arch.registry import Registry

heads = Registry("head")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Score:
    """Of each position: log p(target) and the mean over the vocabulary of log p, in nats, and the
    most probable token."""

    target: Float[Array, "batch length"]
    mean: Float[Array, "batch length"]
    best: Int[Array, "batch length"]


def score(
    head,
    tokens,
    x: Float[Array, "batch length width"],
    inputs: Any,
    targets: Int[Array, "batch length"],
    context: Context,
) -> Score:
    """The head's score of targets, `head.chunk` positions at a time (0: all at once).

    A head that chooses among the input's positions has a `score_sequence` of its own; one that
    pools reads the mean over the sequence, and has one target a sequence.
    """
    if hasattr(head, "score_sequence"):
        return head.score_sequence(tokens, x, inputs, targets, context)
    x = pooled(head, x, context)
    rows, wanted = x.reshape(-1, x.shape[-1]), targets.reshape(-1)
    chunk = head.chunk
    if not chunk or rows.shape[0] <= chunk:
        result = head.score_rows(tokens, rows, wanted, context)
    else:
        pad = -rows.shape[0] % chunk
        rows = jnp.pad(rows, ((0, pad), (0, 0))).reshape(-1, chunk, x.shape[-1])
        wanted = jnp.pad(wanted, (0, pad)).reshape(-1, chunk)

        @jax.checkpoint
        def part(index, rows, wanted):
            return head.score_rows(tokens, rows, wanted, context.at(index))

        result = jax.lax.map(lambda inputs: part(*inputs), (jnp.arange(len(rows)), rows, wanted))
        result = jax.tree.map(lambda a: a.reshape(-1)[: targets.size], result)
    return jax.tree.map(lambda a: a.reshape(targets.shape), result)


def pooled(
    head, x: Float[Array, "batch length width"], context: Context
) -> Float[Array, "batch positions width"]:
    """What the head reads: every position, or where it pools the mean over those of the mask."""
    if getattr(head, "pool", "none") == "none":
        return x
    if context.mask is None:
        return jnp.mean(x, axis=1, keepdims=True)
    real = context.mask[..., None].astype(x.dtype)
    return (x * real).sum(1, keepdims=True) / jnp.maximum(real.sum(1, keepdims=True), 1)


def of_logits(logits: Float[Array, "rows n"], targets: Int[Array, " rows"]) -> Score:
    """The score of targets under softmax(logits)."""
    normaliser = jax.nn.logsumexp(logits, axis=-1)
    return Score(
        target=picked(logits, targets) - normaliser,
        mean=jnp.mean(logits, axis=-1) - normaliser,
        best=jnp.argmax(logits, axis=-1),
    )


def picked(values: Float[Array, "rows n"], index: Int[Array, " rows"]) -> Float[Array, " rows"]:
    """values[i, index[i]] as a masked sum: its gradient is elementwise, where a gather's is a
    scatter."""
    chosen = jnp.arange(values.shape[1])[None] == index[:, None]
    return jnp.sum(jnp.where(chosen, values, 0.0), axis=1)
