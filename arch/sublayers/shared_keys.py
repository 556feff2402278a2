"""Attention whose keys are its queries (Kitaev, Kaiser and Levskaya 2020, §2).

    k = q / |q|        a position sees itself only where it sees nothing else

key_norm  unit  as the paper writes it
          rms   √d longer, as trax and Hugging Face's code have it: logits are sharper
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from arch.context import Context
from arch.layers import dropout as drop

KEY_NORMS = ("unit", "rms")
MASKED = -1e30
ALONE = -1e5  # of a position to itself


def keys_of(q: Float[Array, "*rest width"], key_norm: str) -> Float[Array, "*rest width"]:
    """The keys, divided by √width: their products with the queries are the logits."""
    x = q.astype(jnp.promote_types(q.dtype, jnp.float32))
    width = q.shape[-1]
    if key_norm == "unit":
        k = x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12) / math.sqrt(width)
    else:
        k = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) / math.sqrt(width)
    return k.astype(q.dtype)


def weights_of(
    logits: Float[Array, "*rest queries keys"],
    seen: Bool[Array, "*rest queries keys"],
    itself: Bool[Array, "*rest queries keys"],
) -> Float[Array, "*rest queries keys"]:
    """The softmax over what is seen; over itself where nothing is."""
    return jax.nn.softmax(jnp.where(itself, ALONE, jnp.where(seen, logits, MASKED)), axis=-1)


def attend(
    q: Float[Array, "batch length heads width"],
    k: Float[Array, "batch length heads width"],
    v: Float[Array, "batch length heads width"],
    context: Context,
    dropout: tuple[float, Key[Array, ""]] | None,
) -> Float[Array, "batch length heads width"]:
    """All pairs; k as `keys_of` has it."""
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    logits = (q @ k.swapaxes(-1, -2)).astype(jnp.promote_types(q.dtype, jnp.float32))
    here = jnp.arange(q.shape[2])[:, None]
    ahead = (here.T - here)[None, None]
    seen = ahead <= 0 if context.causal else jnp.ones_like(ahead, bool)
    if context.mask is not None:
        seen = seen & context.mask[:, None, None, :]
    weights = weights_of(logits, seen, ahead == 0)
    weights = weights if dropout is None else drop(weights, *dropout)
    return (weights.astype(v.dtype) @ v).swapaxes(1, 2)
