"""Gated linear attention (Yang et al. 2023)."""

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
from arch.sublayers.recurrent.linear import decaying, decaying_flops
from arch.sublayers.state_space import chunks
from arch.sublayers.state_space.parts import RootMeanSquare, linear, present


@sublayers.register("gated_linear_attention")
class GatedLinearAttention(Carried):
    """Sₜ = diag(αₜ) Sₜ₋₁ + kₜᵀ vₜ, oₜ = qₜ Sₜ / √keys, per head;
    y = W_o (RMSNorm(o) ∘ silu(W_g x)), with q, k, v = W x and α = σ(W₂ W₁ x + b)^(1/τ).

    Yang et al. 2023 (arXiv 2312.06635), with the sizes of `fla`: the state forgets per channel of
    the keys, at a rate that the token sets. The norm is per head and has one scale for all of them.

    Args:
        width: of the input and the output.
        heads: of queries, keys and values.
        expand_k, expand_v: width of all keys, of all values, in multiples of width, rounded.
        rank: of W₂ W₁.
        temperature: τ; the larger, the slower it forgets.
        chunk: positions that are computed by matrix products. It changes time and memory, not the
            function. A power of two wastes nothing.
        init_std: of the kernels; 0 is PyTorch's uniform within ±1/√inputs. b starts at 0.

    The recurrence is float32 in every dtype. Where `context.mask` is False the state is carried on
    unchanged.
    """

    residual_outputs = ("output.kernel",)

    def __init__(
        self,
        width: int,
        *,
        heads: int = 4,
        expand_k: float = 0.5,
        expand_v: float = 1.0,
        rank: int = 16,
        temperature: float = 16.0,
        chunk: int = 64,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        at_least(1, heads=heads, rank=rank, chunk=chunk)
        holds(temperature > 0, "above 0", temperature=temperature)
        keys, values = round(expand_k * width), round(expand_v * width)
        holds(keys >= 1, f"1/{width} or more", expand_k=expand_k)
        holds(values >= 1, f"1/{width} or more", expand_v=expand_v)
        self.heads, self.chunk, self.temperature, self.rank = heads, chunk, temperature, rank
        self.keys = divide(keys, heads, "heads", "the width of the keys")
        self.values = divide(values, heads, "heads", "the width of the values")
        self.width, self.split = width, (keys, 2 * keys, 2 * keys + values)
        outputs = 2 * keys + 2 * values
        self.input = linear(width, outputs, init_std=init_std, rngs=rngs)
        self.decay_in = linear(width, rank, init_std=init_std, rngs=rngs)
        self.decay_out = linear(rank, keys, bias=True, init_std=init_std, rngs=rngs)
        self.norm = RootMeanSquare(self.values, 1e-5, 1)
        self.output = linear(values, width, init_std=init_std, rngs=rngs)

    def start(self, batch: int, dtype: DTypeLike) -> Array:
        """Zeros."""
        wide = jnp.promote_types(dtype, jnp.float32)
        return jnp.zeros((batch, self.heads, self.keys, self.values), wide)

    def run(
        self,
        x: Float[Array, "batch length width"],
        mask: Bool[Array, "batch length"] | None,
        carried: Array,
        context: Context,
    ) -> tuple[Array, Array]:
        """(y, what is carried on): see `Carried.run`."""
        q, k, v, gate = jnp.split(self.input(x), self.split, axis=-1)
        decay = widened(self.decay_out(self.decay_in(x)))
        a = present(jax.nn.log_sigmoid(decay) / self.temperature, mask)
        terms = (widened(q) * self.keys**-0.5, widened(present(k, mask)), widened(v), a)
        terms = tuple(part.reshape(*x.shape[:2], self.heads, -1) for part in terms)
        state, o = chunks.over_chunks(decaying(), carried, terms, self.chunk)
        o = self.norm(o).reshape(gate.shape).astype(x.dtype)
        return self.output(o * jax.nn.silu(gate)), state

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence: the products of the projections and of the chunks."""
        keys, values = self.heads * self.keys, self.heads * self.values
        outer = product_flops(length, self.width, 2 * keys + 3 * values + self.rank)
        outer += product_flops(length, self.rank, keys)
        return outer + decaying_flops(length, self.chunk, self.heads, self.keys, self.values)
