"""Linear recurrences over chunks of positions: in parallel within a chunk, one after the other.

A chunk's function takes the state before it and the terms of its positions, and returns the state
after it and the outputs. One position is a chunk too: that is a decoding step. All is float32, or
float64 where that is given; every exponent is at most 0, so that nothing overflows however fast
the state decays.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

HIGHEST = jax.lax.Precision.HIGHEST  # for sums of exponents: accelerators would round to bfloat16
Terms = Any  # a tree of arrays (batch, length, …)
Chunk = Callable[[Any, Terms], tuple[Any, Array]]


def over_chunks(
    function: Chunk, state: Any, terms: Terms, chunk: int
) -> tuple[Any, Float[Array, "batch length ..."]]:
    """(the state at the end, outputs) of a recurrence over chunks of at most `chunk` positions.

    What a chunk computes is computed again in the backward pass: memory holds the terms, a state
    per chunk, and the inside of one chunk. Chunks are of one size; the last is padded with zeros,
    which must leave a state as it is. A single chunk is computed as it stands.
    """
    batch, length = jax.tree.leaves(terms)[0].shape[:2]
    chunks = -(-length // chunk)
    if chunks == 1:
        return function(state, terms)
    size = -(-length // chunks)

    def split(term: Array) -> Array:
        rest = term.shape[2:]
        room = [(0, 0), (0, chunks * size - length), *[(0, 0) for _ in rest]]
        return jnp.pad(term, room).reshape(batch, chunks, size, *rest).swapaxes(0, 1)

    # inside of a loop the compiler cannot undo the recomputation: no barrier is needed
    body = jax.checkpoint(function, prevent_cse=False)
    state, y = jax.lax.scan(body, state, jax.tree.map(split, terms))
    return state, y.swapaxes(0, 1).reshape(batch, chunks * size, *y.shape[3:])[:, :length]


def segment_sums(a: Float[Array, "*rows size"]) -> Float[Array, "*rows size size"]:
    """S[i, j] = aⱼ₊₁ + … + aᵢ where i ≥ j, -∞ elsewhere.

    A difference of two running sums would cancel where the decay is fast; here only what lies
    between j and i is summed, by a product with a triangle of ones.
    """
    size = a.shape[-1]
    lower = jnp.tril(jnp.ones((size, size), a.dtype))
    before = jnp.broadcast_to(a[..., :, None], (*a.shape, size))
    before = jnp.where(_like(jnp.tril(lower, -1), before) > 0, before, 0)
    sums = jnp.einsum("ik,...kj->...ij", lower, before, precision=HIGHEST)
    return jnp.where(_like(lower, sums) > 0, sums, -jnp.inf)


def _like(triangle: Array, rows: Array) -> Array:
    """The triangle with the leading axes of rows."""
    return triangle.reshape((1,) * (rows.ndim - 2) + triangle.shape)


def ssd(
    state: Float[Array, "batch groups heads width state"],
    terms: tuple[
        Float[Array, "batch size groups heads width"],
        Float[Array, "batch size groups heads"],
        Float[Array, "batch size groups state"],
        Float[Array, "batch size groups state"],
    ],
) -> tuple[Array, Float[Array, "batch size groups heads width"]]:
    """hₜ = exp(aₜ) hₜ₋₁ + xₜ ⊗ Bₜ, yₜ = hₜ Cₜ, of terms (x, a, B, C), a ≤ 0 a number per head.

    By matrix products (Dao and Gu 2024, §6): Y = ((C Bᵀ) ∘ exp(S)) X + exp(cumsum a) C h₀ᵀ.
    """
    x, a, b, c = terms
    a = jnp.moveaxis(a, 1, -1)  # (batch, groups, heads, size)
    sums = segment_sums(a)
    scores = jnp.einsum("bign,bjgn->bgij", c, b)
    y = jnp.einsum("bghij,bjghp->bighp", jnp.exp(sums) * scores[:, :, None], x)
    decay = jnp.exp(sums[..., 0] + a[..., :1])  # from before the chunk to each position
    carried = jnp.einsum("bign,bghpn->bighp", c, state)
    y = y + jnp.moveaxis(decay, -1, 1)[..., None] * carried
    left = jnp.moveaxis(jnp.exp(sums[..., -1, :]), -1, 1)[..., None]  # from each to the last
    added = jnp.einsum("bjghp,bjgn->bghpn", left * x, b)
    return decay[..., -1, None, None] * state + added, y


def selective_scan(
    decay_rates: Float[Array, "width state"],
    by_position: bool,
    state: Float[Array, "batch width state"],
    terms: tuple[
        Float[Array, "batch size width"],
        Float[Array, "batch size width"],
        Float[Array, "batch size state"],
        Float[Array, "batch size state"],
    ],
) -> tuple[Array, Float[Array, "batch size width"]]:
    """hₜ = exp(Δₜ A) hₜ₋₁ + (Δₜ xₜ) ⊗ Bₜ, yₜ = hₜ Cₜ, of terms (x, Δ, B, C); A < 0 are the decay
    rates (Gu and Dao 2023, §3.2).

    by_position: one position after the other; else by an associative scan, whose few large steps
    are what accelerators want. On CPU that does twice the work or more.
    """

    def products(x: Array, dt: Array, b: Array) -> tuple[Array, Array]:
        rates = decay_rates.reshape((1,) * (dt.ndim - 1) + decay_rates.shape)
        return jnp.exp(dt[..., None] * rates), (dt * x)[..., None] * b[..., None, :]

    def advance(h: Array, now: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        *inputs, c = now
        decay, fresh = products(*inputs)
        h = decay * h + fresh
        return h, jnp.sum(h * c[..., None, :], axis=-1)

    def join(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
        return right[0] * left[0], right[0] * left[1] + right[1]

    if by_position:
        state, y = jax.lax.scan(advance, state, jax.tree.map(lambda a: a.swapaxes(0, 1), terms))
        return state, y.swapaxes(0, 1)
    *inputs, c = terms
    decay, h = jax.lax.associative_scan(join, products(*inputs), axis=1)
    h = h + decay * state[:, None]
    return h[:, -1], jnp.einsum("btds,bts->btd", h, c)


def gated_delta_rule(
    state: Float[Array, "batch heads key value"],
    terms: tuple[
        Float[Array, "batch size heads key"],
        Float[Array, "batch size heads key"],
        Float[Array, "batch size heads value"],
        Float[Array, "batch size heads"],
        Float[Array, "batch size heads"],
    ],
) -> tuple[Array, Float[Array, "batch size heads value"]]:
    """Sₜ = e^{gₜ} Sₜ₋₁ + βₜ kₜ ⊗ (vₜ - e^{gₜ} Sₜ₋₁ᵀ kₜ), oₜ = Sₜᵀ qₜ, of terms (q, k, v, g, β),
    g ≤ 0 (Yang, Kautz and Hatamizadeh 2024, §3).

    By matrix products, with Mᵢⱼ = exp(gⱼ₊₁ + … + gᵢ) for i ≥ j and G = cumsum g. The writes N that
    the rule makes solve (I + strictly lower(diag(β) K Kᵀ ∘ M)) N = diag(β) (V - e^G K S₀).
    """
    q, k, v, g, beta = (jnp.moveaxis(term, 1, 2) for term in terms)  # heads before positions
    sums = segment_sums(g)
    between = jnp.exp(sums)
    before = jnp.exp(sums[..., 0] + g[..., :1])[..., None]  # from before the chunk to each position
    left = between[..., -1, :, None]  # from each position to the last
    beta = beta[..., None]
    overlaps = jnp.einsum("bhik,bhjk->bhij", beta * k, k, precision=HIGHEST) * between
    wanted = beta * (v - before * jnp.einsum("bhik,bhkv->bhiv", k, state))
    writes = jax.scipy.linalg.solve_triangular(  # reads what is strictly lower alone
        overlaps, wanted, lower=True, unit_diagonal=True
    )
    scores = jnp.einsum("bhik,bhjk->bhij", q, k) * between
    y = before * jnp.einsum("bhik,bhkv->bhiv", q, state)
    y = y + jnp.einsum("bhij,bhjv->bhiv", scores, writes)
    added = jnp.einsum("bhjk,bhjv->bhkv", left * k, writes)
    return before[..., -1:, :] * state + added, jnp.moveaxis(y, 2, 1)
