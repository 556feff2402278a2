"""Linear recurrences by parallel scans within a chunk of positions, for `chunks.over_chunks`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def decayed(
    state: Float[Array, "batch inner"],
    terms: tuple[Float[Array, "batch size inner"], Float[Array, "batch size inner"]],
) -> tuple[Array, Float[Array, "batch size inner"]]:
    """hₜ = exp(aₜ) hₜ₋₁ + bₜ of terms (a, b), a ≤ 0: (the last h, every h).

    A product of factors below 1 may vanish and never overflows, however long the chunk.
    """
    a, b = terms

    def join(left, right):
        (a, b), (c, d) = left, right
        return a * c, c * b + d

    decay, h = jax.lax.associative_scan(join, (jnp.exp(a), b), axis=1)
    h = h + decay * state[:, None]
    return h[:, -1], h
