"""The gated delta rule, Gated DeltaNet's mixer (Yang, Kautz and Hatamizadeh 2024)."""

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
)

Cache = dict[str, Array]  # 'convolution': its last inputs; 'state': S, float32
LEAST_DECAY = 1e-4  # of exp(A) at the start: 0 has no logarithm


@sublayers.register("delta")
class Delta(Carried):
    """y = W_out (RMSNorm(o) · silu(W_z x)), of a memory S (key, value) per head:

    q, k, v = silu(conv(W x)), q and k of unit length, q / √key
    Sₜ = αₜ Sₜ₋₁ + βₜ kₜ ⊗ (vₜ - αₜ Sₜ₋₁ᵀ kₜ);  oₜ = Sₜᵀ qₜ
    α = exp(-exp(A) softplus(W_a x + b)),  β = σ(W_b x)

    What stands under a key is replaced by the new value, as far as β says. Yang, Kautz and
    Hatamizadeh 2024, as flash-linear-attention writes it; without the gate α it is DeltaNet
    (Yang et al. 2024). Training runs it in chunks by matrix products, a step over one position.

    Args:
        width: of the input and the output.
        heads: of keys and values.
        head_width: of a head's keys; 0 stands for 3/4 · width / heads, rounded.
        expand: width of a head's values in multiples of that of its keys, rounded.
        decay: whether there is α.
        negative_eigenvalues: β in (0, 2): a step may turn what stands under a key around
            (Grazzi et al. 2024), which parity and the like need.
        kernel_size: positions that the convolution sees.
        chunk: positions that are computed in parallel. It changes time and memory, not the
            function.
        dt_min, dt_max: the range of softplus(b) at the start.
        a_max: exp(A) starts uniform in (0, a_max).
        init_std: of the kernels; 0 is PyTorch's uniform within ±1/√inputs.

    The recurrence is float32 in every dtype. Where `context.mask` is False the state is carried on
    unchanged, and the convolution sees zeros.
    """

    residual_outputs = ("output.kernel",)

    def __init__(
        self,
        width: int,
        *,
        heads: int = 6,
        head_width: int = 0,
        expand: float = 2.0,
        decay: bool = True,
        negative_eigenvalues: bool = False,
        kernel_size: int = 4,
        chunk: int = 64,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        a_max: float = 16.0,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        at_least(1, heads=heads, kernel_size=kernel_size, chunk=chunk)
        at_least(0, "3/4 width / heads", head_width=head_width)
        check_time_steps(dt_min, dt_max)
        holds(a_max > LEAST_DECAY, f"above {LEAST_DECAY}", a_max=a_max)
        key = head_width or max(1, round(0.75 * width / heads))
        value = round(expand * key)
        holds(value >= 1, f"1/{key} or more", expand=expand)
        self.width, self.heads, self.key, self.value, self.chunk = width, heads, key, value, chunk
        self.strongest = 2.0 if negative_eigenvalues else 1.0  # β lies below
        self.seen = heads * (2 * key + value)  # channels of the convolution
        self.input = linear(width, self.seen + heads * value, init_std=init_std, rngs=rngs)
        self.convolution = ShortConvolution(kernel_size, self.seen, bias=False, rngs=rngs)
        self.beta = linear(width, heads, init_std=init_std, rngs=rngs)
        self.dt = linear(width, heads, init_std=init_std, rngs=rngs) if decay else None
        steps = time_step_bias(rngs, heads, dt_min, dt_max)
        start = jax.random.uniform(rngs.params(), (heads,), minval=LEAST_DECAY, maxval=a_max)
        self.dt_bias = nnx.Param(steps) if decay else None
        self.a_log = nnx.Param(jnp.log(start)) if decay else None
        self.norm = RootMeanSquare(value, 1e-5)
        self.output = linear(heads * value, width, init_std=init_std, rngs=rngs)

    def start(self, batch: int, dtype: DTypeLike) -> Cache:
        """Zeros."""
        shape = (batch, self.heads, self.key, self.value)
        return {
            "convolution": self.convolution.start(batch, self.seen, dtype),
            "state": jnp.zeros(shape, jnp.promote_types(dtype, jnp.float32)),
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
        seen, z = jnp.split(self.input(x), [self.seen], axis=-1)
        seen, before = self.convolution(present(seen, mask), carried["convolution"])
        keys = self.heads * self.key
        q, k, v = (
            part.reshape(batch, length, self.heads, -1)
            for part in jnp.split(widened(seen), [keys, 2 * keys], axis=-1)
        )
        q, k = unit(q) * self.key**-0.5, unit(k)
        beta = self.strongest * present(jax.nn.sigmoid(widened(self.beta(x))), mask)
        terms = (q, k, v, self._log_decay(x, mask, beta), beta)
        state, y = chunks.over_chunks(chunks.gated_delta_rule, carried["state"], terms, self.chunk)
        y = self.norm(y).reshape(batch, length, -1) * jax.nn.silu(widened(z))
        return self.output(y.astype(x.dtype)), {"convolution": before, "state": state}

    def _log_decay(self, x: Array, mask: Array | None, like: Array) -> Array:
        """log α (batch, length, heads)."""
        if self.dt is None or self.dt_bias is None or self.a_log is None:
            return jnp.zeros_like(like)
        dt = jax.nn.softplus(widened(self.dt(x)) + self.dt_bias[...][None, None])
        return -jnp.exp(self.a_log[...])[None, None] * present(dt, mask)

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence: the products of the projections and of the chunks, and
        the triangular systems."""
        size = -(-length // -(-length // self.chunk))
        values = self.heads * self.value
        gates = (1 if self.dt is None else 2) * self.heads
        outer = product_flops(length, self.width, self.seen + gates + 2 * values)
        pairs = self.heads * product_flops(length, size, 2 * self.key + self.value)
        solved = self.heads * length * size * self.value
        states = 3 * product_flops(length, self.key, values)
        return outer + self.convolution.flops(length) + pairs + solved + states


def unit(x: Float[Array, "*shape width"]) -> Float[Array, "*shape width"]:
    """x / √(Σ x² + 1e-6) over the last axis."""
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-6)
