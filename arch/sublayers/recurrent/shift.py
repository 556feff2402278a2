"""Token shift: RWKV mixes each token with the one before it (Peng et al. 2023, §3.1)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from arch.sublayers.state_space.parts import present


def shifted(
    x: Float[Array, "batch length width"],
    mask: Bool[Array, "batch length"] | None,
    before: Float[Array, "batch 1 width"],
) -> tuple[Float[Array, "batch length width"], Float[Array, "batch 1 width"]]:
    """(xₜ₋₁ of each position, the last x). before: the token before the first.

    Where the mask is False a token counts as zeros.
    """
    seen = present(x, mask)
    seen = jnp.concatenate([before.astype(x.dtype), seen], axis=1)
    return seen[:, :-1], seen[:, -1:]


def mixed(
    x: Float[Array, "batch length width"],
    previous: Float[Array, "batch length width"],
    share: Float[Array, " width"],
) -> Float[Array, "batch length width"]:
    """μ xₜ + (1 - μ) xₜ₋₁, μ a number per channel."""
    share = share.astype(x.dtype)[None, None]
    return x * share + previous * (1 - share)


def places(width: int) -> Float[Array, " width"]:
    """i / width of each channel, from which the reference codes start their mixing."""
    return jnp.arange(width) / width
