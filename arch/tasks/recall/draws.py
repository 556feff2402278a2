"""Random numbers of an example from one call of the generator, which is most of what one costs."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def uniforms(key: Key[Array, ""], *shapes: tuple[int, ...]) -> list[Float[Array, "..."]]:
    """Independent arrays of numbers uniform in [0, 1), multiples of 2⁻²³."""
    sizes = [math.prod(shape) for shape in shapes]
    drawn, found = jax.random.uniform(key, (sum(sizes),)), []
    for shape, size in zip(shapes, sizes, strict=True):
        found.append(drawn[:size].reshape(shape))
        drawn = drawn[size:]
    return found


def whole(u: Float[Array, "*shape"], low, high) -> Int[Array, "*shape"]:
    """Whole numbers of low … high - 1, uniform up to (high - low) · 2⁻²³; bounds may be traced."""
    return low + jnp.floor(u * (high - low)).astype(jnp.int32)


def different(u: Float[Array, "*batch n"], size: int) -> Int[Array, "*batch size"]:
    """`size` different numbers of 0 … n - 1 in random order, each with the same chance."""
    return jax.lax.top_k(u, size)[1]


def gumbel(u: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Numbers of the Gumbel distribution: the largest of log p + these are draws from p without
    replacement."""
    return -jnp.log(-jnp.log(u + 2.0**-24))
