"""Mamba, the selective state space (Gu and Dao 2023)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from arch.checks import at_least, holds
from arch.context import Context
from arch.layers import product_flops, widened
from arch.registry import sublayers
from arch.sublayers.carried import Carried
from arch.sublayers.state_space import chunks
from arch.sublayers.state_space.parts import (
    RootMeanSquare,
    ShortConvolution,
    check_time_steps,
    linear,
    present,
    time_step_bias,
    uniform,
)

Cache = dict[str, Array]  # 'convolution': its last inputs; 'state': h, float32


@sublayers.register("mamba")
class Mamba(Carried):
    """y = W_out (o · silu(z)), of a state h (inner, state) that decays as the input says:

    u, z = split(W_in x);  u' = silu(conv(u));  r, B, C = split(W_x u');  Δ = softplus(W_Δ r + b)
    hₜ = exp(-Δₜ exp(A)) hₜ₋₁ + (Δₜ u'ₜ) ⊗ Bₜ;  oₜ = hₜ Cₜ + D u'ₜ

    Gu and Dao 2023, as `mamba_ssm` writes it: B is discretised by Euler's rule. A is a matrix, kept
    flat so that no optimiser takes it for one: it does not decay.

    Args:
        width: of the input and the output.
        expand: the inner width in multiples of width, rounded.
        state: numbers per channel of the inner width.
        rank: of Δ, the width of r; 0 stands for width / 16, rounded up.
        kernel_size: positions that the convolution sees.
        chunk: positions whose states are in memory at a time. It changes time and memory, not the
            function.
        bias: biases on W_in and W_out; conv_bias: on the convolution.
        selection_norm: RMSNorm on r, B and C (Lieber et al. 2024, Jamba).
        dt_min, dt_max: the time steps' range at the start.
        init_std: of the kernels; 0 is the reference's uniform within ±1/√inputs.

    The recurrence is float32 in every dtype; on CPU it goes from position to position, elsewhere it
    is an associative scan in each chunk. Where `context.mask` is False the state is carried on
    unchanged, and the convolution sees zeros.
    """

    residual_outputs = ("output.kernel",)

    def __init__(
        self,
        width: int,
        *,
        expand: float = 2.0,
        state: int = 16,
        rank: int = 0,
        kernel_size: int = 4,
        chunk: int = 32,
        bias: bool = False,
        conv_bias: bool = True,
        selection_norm: bool = False,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        at_least(1, state=state, kernel_size=kernel_size, chunk=chunk)
        at_least(0, "width / 16, rounded up", rank=rank)
        check_time_steps(dt_min, dt_max)
        inner, rank = round(expand * width), rank or -(-width // 16)
        holds(inner >= 1, f"1/{width} or more", expand=expand)
        self.width, self.inner, self.state, self.rank, self.chunk = width, inner, state, rank, chunk
        self.input = linear(width, 2 * inner, bias=bias, init_std=init_std, rngs=rngs)
        self.convolution = ShortConvolution(kernel_size, inner, bias=conv_bias, rngs=rngs)
        self.selection = linear(inner, rank + 2 * state, init_std=init_std, rngs=rngs)
        self.dt_norm, self.b_norm, self.c_norm = (
            RootMeanSquare(size, 1e-6) if selection_norm else None for size in (rank, state, state)
        )
        self.dt = linear(rank, inner, bias=True, rngs=rngs)
        self.dt.kernel = nnx.Param(uniform(rngs, (rank, inner), rank**-0.5))
        self.dt.bias = nnx.Param(time_step_bias(rngs, inner, dt_min, dt_max))
        self.a_log = nnx.Param(jnp.tile(jnp.log(jnp.arange(1.0, state + 1)), inner))
        self.skip = nnx.Param(jnp.ones((inner,)))
        self.output = linear(inner, width, bias=bias, init_std=init_std, rngs=rngs)

    def start(self, batch: int, dtype: DTypeLike) -> Cache:
        """Zeros."""
        wide = jnp.promote_types(dtype, jnp.float32)
        return {
            "convolution": self.convolution.start(batch, self.inner, dtype),
            "state": jnp.zeros((batch, self.inner, self.state), wide),
        }

    def run(
        self,
        x: Float[Array, "batch length width"],
        mask: Bool[Array, "batch length"] | None,
        carried: Cache,
        context: Context,
    ) -> tuple[Array, Cache]:
        """(y, what is carried on): see `Carried.run`."""
        seen, z = jnp.split(self.input(x), 2, axis=-1)
        seen, before = self.convolution(present(seen, mask), carried["convolution"])
        selected = self.selection(seen)
        parts = jnp.split(selected, [self.rank, self.rank + self.state], axis=-1)
        norms = (self.dt_norm, self.b_norm, self.c_norm)
        raw, b, c = (norm(y) if norm else y for norm, y in zip(norms, parts, strict=True))
        dt = present(jax.nn.softplus(widened(self._time_steps(raw.astype(x.dtype)))), mask)
        inputs = widened(seen)
        rates = -jnp.exp(self.a_log[...]).reshape(self.inner, self.state)
        scan = functools.partial(chunks.selective_scan, rates, context.platform == "cpu")
        terms = (inputs, dt, widened(b), widened(c))
        state, y = chunks.over_chunks(scan, carried["state"], terms, self.chunk)
        y = (y + self.skip[...][None, None] * inputs) * jax.nn.silu(widened(z))
        return self.output(y.astype(x.dtype)), {"convolution": before, "state": state}

    def _time_steps(self, raw: Float[Array, "batch length rank"]) -> Array:
        """W_Δ r + b, the sum in float32: the bias decides between steps of 0.001 and 0.1."""
        kernel, bias = self.dt.kernel[...], self.dt.bias
        assert bias is not None
        y = widened(raw.reshape(-1, self.rank) @ kernel.astype(raw.dtype)) + bias[...][None]
        return y.reshape(*raw.shape[:-1], self.inner)

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence: projections, and of every channel's states the
        discretisation, the update and the reading."""
        selected = self.rank + 2 * self.state
        projections = product_flops(length, self.width, 2 * self.inner) + product_flops(
            length, self.inner, selected + self.rank + self.width
        )
        scan = 3 * product_flops(length, self.inner, self.state)
        return projections + self.convolution.flops(length) + scan
