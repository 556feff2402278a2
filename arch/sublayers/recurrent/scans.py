"""Linear recurrences by parallel scans within a chunk of positions, for `chunks.over_chunks`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from arch.sublayers.state_space.chunks import Chunk

EMPTY = -1e38  # the exponent of a sum of nothing
Sums = tuple[Array, Array, Array]  # (p, a, b), each (batch, inner), float32


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


def wkv(decay: Float[Array, " inner"], bonus: Float[Array, " inner"]) -> Chunk:
    """The chunk of RWKV-4's average, of terms (k, v, here), with w = decay ≤ 0 and u = bonus:

    yₜ = (Σᵢ﹤ₜ exp((t - 1 - i) w + kᵢ) vᵢ + exp(u + kₜ) vₜ) / (the same without v)

    here (batch, size, 1): 1 where a token is, 0 where the state stays as it is. The state (p, a, b)
    is both sums in units of exp(p): with the largest exponent taken out they neither overflow nor
    vanish. Its start is `nothing`.
    """
    w, u = decay[None, None], bonus[None, None]

    def join(left, right):
        (n, p, a, b), (m, q, c, d) = left, right
        p = p + m * w
        # the sums are the same in any unit, so that no gradient passes through the choice
        most = jax.lax.stop_gradient(jnp.maximum(p, q))
        e, f = jnp.exp(p - most), jnp.exp(q - most)
        return n + m, most, e * a + f * c, e * b + f * d

    def chunk(state: Sums, terms: tuple[Array, Array, Array]) -> tuple[Sums, Array]:
        k, v, here = terms
        alone = here, jnp.where(here > 0, k, EMPTY), here * v, here + jnp.zeros_like(k)
        start = tuple(part[:, None] for part in state)
        sums = jax.lax.associative_scan(join, alone, axis=1)
        _, *after = join((jnp.zeros_like(here), *start), sums)
        p, a, b = (
            jnp.concatenate([first, part[:, :-1]], axis=1)
            for first, part in zip(start, after, strict=True)
        )
        most = jax.lax.stop_gradient(jnp.maximum(p, u + k))
        past, now = jnp.exp(p - most), jnp.exp(u + k - most)
        p, a_last, b_last = (part[:, -1] for part in after)
        return (p, a_last, b_last), (past * a + now * v) / (past * b + now)

    return chunk


def nothing(batch: int, inner: int, dtype: jnp.dtype) -> Sums:
    """The state of `wkv` before the first position."""
    zeros = jnp.zeros((batch, inner), dtype)
    return zeros + EMPTY, zeros, zeros
