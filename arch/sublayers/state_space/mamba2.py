"""Mamba-2, the state space dual (Dao and Gu 2024)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from arch.checks import at_least, holds
from arch.context import Context
from arch.layers import divide, product_flops, widened
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
)

HEAD_WIDTH = 64  # the reference's, where it divides
Cache = dict[str, Array]  # 'convolution': its last inputs; 'state': h, float32


@sublayers.register("mamba2")
class Mamba2(Carried):
    """y = W_out RMSNorm(o · silu(z)), of a state h (heads, head width, state) that decays:

    z, u, dt = split(W_in x);  x', B, C = split(silu(conv(u)));  Δ = softplus(dt + b)
    hₜ = exp(-Δₜ exp(A)) hₜ₋₁ + Δₜ x'ₜ ⊗ Bₜ;  oₜ = hₜ Cₜ + D x'ₜ

    A and D are a number per head; a group of heads shares B and C. Dao and Gu 2024, as
    `mamba_ssm` writes it: the gate comes before the norm, which is taken per group. Training
    runs it in chunks by matrix products (SSD), a step of decoding over one position.

    Args:
        width: of the input and the output.
        expand: the inner width in multiples of width, rounded.
        head_width: of a head; 0 stands for the widest that divides the inner width, up to 64.
        state: numbers per channel of the inner width.
        groups: of heads with their own B and C.
        kernel_size: positions that the convolution sees.
        chunk: positions that are computed in parallel. It changes time and memory, not the
            function: the reference takes 256, which is for GPUs; on CPU 32 to 64 are fastest.
        bias: biases on W_in and W_out; conv_bias: on the convolution.
        dt_min, dt_max: the time steps' range at the start.
        a_min, a_max: the range of exp(A) at the start, uniform.
        init_std: of the kernels; 0 is the reference's uniform within ±1/√inputs.

    The recurrence is float32 in every dtype. Where `context.mask` is False the state is carried on
    unchanged, and the convolution sees zeros.
    """

    residual_outputs = ("output.kernel",)

    def __init__(
        self,
        width: int,
        *,
        expand: float = 2.0,
        head_width: int = 0,
        state: int = 128,
        groups: int = 1,
        kernel_size: int = 4,
        chunk: int = 64,
        bias: bool = False,
        conv_bias: bool = True,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        a_min: float = 1.0,
        a_max: float = 16.0,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        at_least(0, f"the widest that divides, up to {HEAD_WIDTH}", head_width=head_width)
        at_least(1, state=state, groups=groups, kernel_size=kernel_size, chunk=chunk)
        check_time_steps(dt_min, dt_max)
        holds(a_min > 0, "above 0", a_min=a_min)
        holds(a_max >= a_min, f"a_min={a_min} or more", a_max=a_max)
        inner = round(expand * width)
        holds(inner >= 1, f"1/{width} or more", expand=expand)
        head_width = head_width_for(head_width, inner)
        heads = divide(inner, head_width, "head_width", "the inner width")
        per_group = divide(heads, groups, "groups", "heads")
        self.width, self.inner, self.state, self.chunk = width, inner, state, chunk
        self.heads = (groups, per_group, head_width)
        self.seen = inner + 2 * groups * state  # channels of the convolution
        self.input = linear(
            width, inner + self.seen + heads, bias=bias, init_std=init_std, rngs=rngs
        )
        self.convolution = ShortConvolution(kernel_size, self.seen, bias=conv_bias, rngs=rngs)
        self.dt_bias = nnx.Param(time_step_bias(rngs, heads, dt_min, dt_max))
        start = jax.random.uniform(rngs.params(), (heads,), minval=a_min, maxval=a_max)
        self.a_log = nnx.Param(jnp.log(start))
        self.skip = nnx.Param(jnp.ones((heads,)))
        self.norm = RootMeanSquare(inner, 1e-5, groups)
        self.output = linear(inner, width, bias=bias, init_std=init_std, rngs=rngs)

    def start(self, batch: int, dtype: DTypeLike) -> Cache:
        """Zeros."""
        wide = jnp.promote_types(dtype, jnp.float32)
        return {
            "convolution": self.convolution.start(batch, self.seen, dtype),
            "state": jnp.zeros((batch, *self.heads, self.state), wide),
        }

    def run(
        self,
        x: Float[Array, "batch length width"],
        mask: Bool[Array, "batch length"] | None,
        carried: Cache,
        context: Context,
    ) -> tuple[Array, Cache]:
        """(y, what is carried on): see `Carried.run`."""
        batch, length = x.shape[:2]
        groups, per_group, head_width = self.heads
        z, seen, dt = jnp.split(self.input(x), [self.inner, self.inner + self.seen], axis=-1)
        seen, before = self.convolution(present(seen, mask), carried["convolution"])
        inputs, b, c = jnp.split(
            widened(seen), [self.inner, self.inner + groups * self.state], axis=-1
        )
        b, c = (part.reshape(batch, length, groups, self.state) for part in (b, c))
        inputs = inputs.reshape(batch, length, groups, per_group, head_width)
        dt = jax.nn.softplus(widened(dt) + self.dt_bias[...][None, None])
        dt = present(dt, mask)
        a = -jnp.exp(self.a_log[...])[None, None] * dt
        dt, a = (part.reshape(batch, length, groups, per_group) for part in (dt, a))
        terms = (dt[..., None] * inputs, a, b, c)
        state, y = chunks.over_chunks(chunks.ssd, carried["state"], terms, self.chunk)
        y = y + self.skip[...].reshape(1, 1, groups, per_group, 1) * inputs
        gated = y.reshape(batch, length, self.inner) * jax.nn.silu(widened(z))
        y = self.output(self.norm(gated).astype(x.dtype))
        return y, {"convolution": before, "state": state}

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence: the products of the projections and of the chunks."""
        groups, heads = self.heads[0], math.prod(self.heads[:2])
        size = -(-length // -(-length // self.chunk))
        scores = product_flops(length, size, groups * self.state + self.inner)
        states = 2 * product_flops(length, self.state, self.inner)
        outer = product_flops(length, self.width, 2 * self.inner + self.seen + heads)
        return outer + self.convolution.flops(length) + scores + states


def head_width_for(asked: int, inner: int) -> int:
    """The width of a head: as asked, or of 0 the widest up to `HEAD_WIDTH` that divides."""
    return asked or max(n for n in range(1, HEAD_WIDTH + 1) if inner % n == 0)
