"""How large things are at each position of an order, for `log.norms`.

stream_norms    of the residual stream after the position
update_norms    of what the position added to it
gradient_norms  of the gradient of the weights that the position uses

The first two are the root mean square over the width, mean over the tokens and, in a universal
stack, over its steps. The last is the Euclidean norm, of shared weights at each position that
shares them.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from arch.context import Context, Sums
from arch.stacks.depth import Turn
from arch.stacks.parameters import Parameters
from arch.stacks.schedule import Schedule

STREAM, UPDATE, GRADIENT = "stream_norms", "update_norms", "gradient_norms"
NORMS = (STREAM, UPDATE, GRADIENT)


def no_norms(schedule: Schedule, context: Context) -> Sums:
    """Zeros to add `norms_at` to; nothing where the context asks for no norms."""
    if not context.norms:
        return {}
    zeros = jnp.zeros((schedule.length,), jnp.float32)
    return {name: (zeros, zeros) for name in (STREAM, UPDATE)}


def norms_at(
    turn: Turn,
    schedule: Schedule,
    stream: Float[Array, "batch length width"],
    update: Float[Array, "batch length width"],
    context: Context,
) -> Sums:
    """(Σ, tokens) of the stream after a turn and of what it added, each (depth,) and 0 at every
    other position; nothing where the context asks for no norms. No gradient flows through them."""
    if not context.norms:
        return {}
    here = (jnp.arange(schedule.length) == turn.position) & (turn.number < len(turn.candidates))
    tokens = jnp.ones(stream.shape[:2]) if context.mask is None else context.mask

    def term(x: Array) -> tuple[Array, Array]:
        x = jax.lax.stop_gradient(x).astype(jnp.float32)
        sizes = jnp.sqrt(jnp.mean(jnp.square(x), axis=-1))
        return here * jnp.sum(sizes * tokens), here * jnp.sum(tokens, dtype=jnp.float32)

    return {STREAM: term(stream), UPDATE: term(update)}


def gradient_norms(
    gradients: Parameters, schedule: Schedule, order: Int[Array, "2 depth"] | None = None
) -> Float[Array, " depth"]:
    """The norm of the gradient of each position's weights; NaN beyond the order's end.

    Args:
        gradients: of the stack's parameters, letter → rows of its owners.
        order: the order where it is data; None for the schedule's own.
    """
    letters, owners = jnp.asarray(schedule.as_data() if order is None else order)
    widest = max(schedule.owners.values())

    def of_owners(letter: str) -> Array:
        leaves = jax.tree.leaves(gradients[letter])
        squares = [jnp.sum(jnp.square(g), axis=tuple(range(1, g.ndim))) for g in leaves]
        total = sum(squares, jnp.zeros(schedule.owners[letter]))
        return jnp.pad(jnp.sqrt(total), (0, widest - len(total)))

    table = [of_owners(letter) for letter in schedule.letters]
    return jnp.stack([*table, jnp.full(widest, jnp.nan)])[letters, owners]
