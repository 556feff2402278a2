"""Switch units of Shuffle-Exchange networks: two neighbouring positions in, two out."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from arch.layers import Projection, kernel_initializer, product_flops

NORMALISATIONS = ("sequence", "features")
KEPT = 0.9  # what a residual unit lets through of its input at first
CANDIDATE = 0.25 * math.sqrt(1 - KEPT**2)  # and what it weighs the rest by, always
FLOOR = 1e-10


class GatedUnit(nnx.Module):
    """Freivalds et al. 2019. Of a pair s = [s₁, s₂] of two positions' m channels:

        r₁, r₂ = σ(R s + b);   u = σ(U s + b)
        c₁, c₂ = tanh(Cᵢ (rᵢ ⊙ s) + b)
        y      = u ⊙ swap(s) + (1 - u) ⊙ [c₁, c₂]

    `swap` exchanges the first half of the channels between the two positions. The biases of r and u
    start at ½. With `skips`, s is s + ρ ⊙ earlier in all but the swap, as in the authors' code; ρ
    is of a channel and starts at ½.
    """

    def __init__(self, width: int, *, skips: bool = False, rngs: nnx.Rngs):
        self.width, pair = width, 2 * width
        draw = kernel_initializer(0.0)
        self.gates = Projection(pair, 3 * pair, rngs=rngs)
        # Glorot's bounds of three kernels, not of one of their size
        kernels = [draw(rngs.params(), (pair, pair)) for _ in range(3)]
        self.gates.kernel = nnx.Param(jnp.concatenate(kernels, axis=1))
        self.gates.bias = nnx.Param(jnp.full((3 * pair,), 0.5))
        self.first = Projection(pair, width, rngs=rngs)
        self.second = Projection(pair, width, rngs=rngs)
        self.skip = nnx.Param(jnp.full((width,), 0.5)) if skips else None

    def __call__(
        self, x: Float[Array, "batch pairs channels"], earlier: Array | None = None
    ) -> Float[Array, "batch pairs channels"]:
        """The pairs after the switch. earlier: what is skipped to it, in the shape of x."""
        s = x
        if self.skip is not None and earlier is not None:
            s = s + jnp.tile(self.skip[...].astype(x.dtype), 2)[None, None] * earlier
        r1, r2, u = jnp.split(jax.nn.sigmoid(self.gates(s)), 3, axis=-1)
        c = jnp.tanh(jnp.concatenate([self.first(r1 * s), self.second(r2 * s)], axis=-1))
        return u * swapped(x) + (1 - u) * c

    def flops(self) -> int:
        """Forward FLOPs per pair."""
        pair = 2 * self.width
        return product_flops(1, pair, 3 * pair) + 2 * product_flops(1, pair, self.width)


class ResidualUnit(nnx.Module):
    """Draguns et al. 2020. Of a pair i of two positions' m channels:

        z = Z i,  z ← z - mean(z) + b,  z ← z / √(mean(z²) + 10⁻¹⁰)      4m channels
        y = σ(2 S) ⊙ i + h (W (z ⊙ σ(1.702 z)) + B)                      h = ¼ √(1 - 0.9²)

    σ(2 S) starts at 0.9, B uniform in 0 … 0.01. The normalisation has no gain. Its means are

        sequence    over the pairs of the sequence, each channel for itself: the authors' code.
                    What comes out then depends on the length, padding included
        features    over the channels of a pair, as "layer normalisation" in the paper says
    """

    def __init__(self, width: int, *, normalisation: str = "sequence", rngs: nnx.Rngs):
        self.width, self.normalisation, pair = width, normalisation, 2 * width
        self.expand = Projection(pair, 2 * pair, bias=False, rngs=rngs)
        self.centre = nnx.Param(jnp.zeros((2 * pair,)))
        self.contract = Projection(2 * pair, pair, rngs=rngs)
        # at zero, a sequence whose positions are all alike would normalise zeros
        self.contract.bias = nnx.Param(jax.random.uniform(rngs.params(), (pair,), maxval=0.01))
        self.strength = nnx.Param(jnp.full((pair,), math.log(KEPT / (1 - KEPT)) / 2))

    def __call__(
        self, x: Float[Array, "batch pairs channels"], earlier: None = None
    ) -> Float[Array, "batch pairs channels"]:
        """The pairs after the switch; it takes nothing from `earlier`."""
        axis = 1 if self.normalisation == "sequence" else 2
        z = self.expand(x).astype(jnp.float32)
        z = z - jnp.mean(z, axis=axis, keepdims=True) + self.centre[...][None, None]
        z = z * jax.lax.rsqrt(jnp.mean(jnp.square(z), axis=axis, keepdims=True) + FLOOR)
        z = (z * jax.nn.sigmoid(1.702 * z)).astype(x.dtype)
        kept = jax.nn.sigmoid(2 * self.strength[...]).astype(x.dtype)[None, None]
        return kept * x + CANDIDATE * self.contract(z)

    def flops(self) -> int:
        """Forward FLOPs per pair."""
        pair = 2 * self.width
        return product_flops(1, pair, 2 * pair) + product_flops(1, 2 * pair, pair)


def swapped(x: Float[Array, "batch pairs channels"]) -> Float[Array, "batch pairs channels"]:
    """The first half of the channels exchanged between the two positions of each pair; of an odd
    number, the smaller half."""
    x1, x2 = jnp.split(x, 2, axis=-1)
    half = x1.shape[-1] // 2
    return jnp.concatenate(
        [x2[..., :half], x1[..., half:], x1[..., :half], x2[..., half:]], axis=-1
    )
