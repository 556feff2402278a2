"""What the kinds of this folder share around their recurrences: projections and time steps as the
reference codes start them, the short convolution, the gated norm."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from arch.checks import holds
from arch.layers import Projection, widened
from arch.sublayers.convolution import Depthwise

STEP_FLOOR = 1e-4  # of the time steps that are drawn


def linear(
    inputs: int, outputs: int, *, bias: bool = False, init_std: float = 0.0, rngs: nnx.Rngs
) -> Projection:
    """A projection whose kernel starts as PyTorch's Linear does, uniform within ±1/√inputs, or
    normal of the given standard deviation; its bias starts at 0."""
    made = Projection(inputs, outputs, bias=bias, init_std=init_std, rngs=rngs)
    if not init_std:
        made.kernel = nnx.Param(uniform(rngs, (inputs, outputs), inputs**-0.5))
    return made


def uniform(rngs: nnx.Rngs, shape: tuple[int, ...], limit: float) -> Array:
    """Uniform within ±limit."""
    return jax.random.uniform(rngs.params(), shape, minval=-limit, maxval=limit)


def check_time_steps(dt_min: float, dt_max: float) -> None:
    """Raises ConfigurationError for a range of time steps that cannot be drawn from."""
    holds(dt_min > 0, "above 0", dt_min=dt_min)
    holds(dt_max >= dt_min, f"dt_min={dt_min} or more", dt_max=dt_max)


def time_step_bias(
    rngs: nnx.Rngs, size: int, dt_min: float, dt_max: float
) -> Float[Array, " size"]:
    """b with softplus(b) log-uniform in [dt_min, dt_max], floored (Gu and Dao 2023, §3.6)."""
    low, high = math.log(dt_min), math.log(dt_max)
    drawn = jnp.exp(jax.random.uniform(rngs.params(), (size,), minval=low, maxval=high))
    step = jnp.maximum(drawn, STEP_FLOOR)
    return step + jnp.log(-jnp.expm1(-step))


class ShortConvolution(nnx.Module):
    """silu(Σᵢ kᵢ xₜ₋ᵢ + b), causal, a kernel per channel. It starts as PyTorch's Conv1d does:
    kernel and bias uniform within ±1/√size."""

    def __init__(self, size: int, channels: int, *, bias: bool, rngs: nnx.Rngs):
        self.taps = Depthwise(size, channels, rngs=rngs)
        self.taps.kernel = nnx.Param(uniform(rngs, (size, channels), size**-0.5))
        self.bias = nnx.Param(uniform(rngs, (channels,), size**-0.5)) if bias else None

    def __call__(
        self,
        x: Float[Array, "batch length channels"],
        before: Float[Array, "batch before channels"],
    ) -> tuple[Array, Array]:
        """(outputs, the last size - 1 inputs). before: the inputs before the first."""
        seen = jnp.concatenate([before.astype(x.dtype), x], axis=1)
        y = self.taps(seen)
        if self.bias is not None:
            y = y + self.bias[...].astype(x.dtype)[None, None]
        return jax.nn.silu(y), seen[:, x.shape[1] :]

    def start(self, batch: int, channels: int, dtype: DTypeLike) -> Array:
        """The inputs before the first: zeros."""
        return jnp.zeros((batch, self.taps.size - 1, channels), dtype)

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence."""
        return self.taps.flops(length)


class RootMeanSquare(nnx.Module):
    """x / √(mean x² + ε) · scale, the mean over each of `groups` equal parts of the last axis, in
    float32; it returns float32."""

    def __init__(self, width: int, epsilon: float, groups: int = 1):
        self.epsilon, self.groups = epsilon, groups
        self.scale = nnx.Param(jnp.ones((width,)))

    def __call__(self, x: Float[Array, "*shape width"]) -> Float[Array, "*shape width"]:
        """The normalised x."""
        parts = widened(x).reshape(*x.shape[:-1], self.groups, -1)
        mean = jnp.mean(parts * parts, axis=-1, keepdims=True)
        y = (parts * jax.lax.rsqrt(mean + self.epsilon)).reshape(x.shape)
        return y * self.scale[...].reshape((1,) * (x.ndim - 1) + (-1,))


def present(x: Float[Array, "batch length *rest"], mask: Bool[Array, "batch length"] | None):
    """Zeros where the mask is False."""
    if mask is None:
        return x
    return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), x, jnp.zeros((), x.dtype))
