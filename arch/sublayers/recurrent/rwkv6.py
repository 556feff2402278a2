"""RWKV-6's time mix (Peng et al. 2024, Finch)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from arch.checks import at_least
from arch.context import Context
from arch.layers import divide, product_flops, widened
from arch.registry import sublayers
from arch.sublayers.carried import Carried
from arch.sublayers.recurrent.linear import decaying, decaying_flops
from arch.sublayers.recurrent.rwkv4 import Cache, projection
from arch.sublayers.recurrent.shift import places, shifted
from arch.sublayers.state_space import chunks
from arch.sublayers.state_space.parts import present, uniform

HEAD_WIDTH = 64  # the reference's, where it divides
EPSILON = 64e-5  # of the norm over heads
MIXED = ("decay", "key", "value", "receptance", "gate")  # inputs, each with a mixing of its own


@sublayers.register("rwkv6")
class RWKV6(Carried):
    """y = W_o (norm(o) ∘ silu(W_g x_g)), per head
    oₜ = rₜ (Sₜ₋₁ + diag(u) kₜᵀ vₜ),  Sₜ = diag(exp(-exp dₜ)) Sₜ₋₁ + kₜᵀ vₜ,

    of r, k, v = W x_r, W x_k, W x_v and d = ω + tanh(x_w A) B. Each x_i = x + δ ∘ (μ_i + m_i),
    δ = xₜ₋₁ - xₜ, the m_i = tanh((x + δ ∘ μ) M) N_i. Time mix of RWKV-6 (Peng et al. 2024, arXiv
    2404.05892), as RWKV-LM computes it (x060): decay and mixing depend on the token. The norm is a
    LayerNorm per head with scales and biases per channel. No other biases.

    Args:
        width: of the input and the output.
        head_width: 0 stands for the widest that divides width, up to 64.
        mix_rank, decay_rank: of M N_i and of A B.
        chunk: positions that are computed by matrix products. It changes time and memory, not the
            function. A power of two wastes nothing.
        init_std: of the kernels of r, k, v, g and o; 0 is RWKV-LM's start: W_r and W_v orthogonal,
            W_k and W_g a tenth of that, W_o zero.

    Where a letter has many owners, ω, u, μ and the norm's scale start by the place of each among
    them, as RWKV-LM's do by the layer. The recurrence is float32 in every dtype. Where
    `context.mask` is False the state is carried on, and the next token is mixed with zeros.
    """

    residual_outputs = ("output.kernel",)

    def __init__(
        self,
        width: int,
        *,
        head_width: int = 0,
        mix_rank: int = 32,
        decay_rank: int = 64,
        chunk: int = 64,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        at_least(0, f"the widest that divides, up to {HEAD_WIDTH}", head_width=head_width)
        at_least(1, mix_rank=mix_rank, decay_rank=decay_rank, chunk=chunk)
        head_width = head_width or max(n for n in range(1, HEAD_WIDTH + 1) if width % n == 0)
        self.heads = divide(width, head_width, "head_width", "width")
        self.width, self.head_width, self.chunk = width, head_width, chunk
        self.mix_rank, self.decay_rank = mix_rank, decay_rank
        self.key = projection(width, width, 0.1, init_std, rngs)
        self.value = projection(width, width, 1.0, init_std, rngs)
        self.receptance = projection(width, width, 1.0, init_std, rngs)
        self.gate = projection(width, width, 0.1, init_std, rngs)
        self.output = projection(width, width, 0.0, init_std, rngs)
        five = len(MIXED)
        self.mix_in = nnx.Param(jnp.zeros((width, five * mix_rank)))
        self.mix_out = nnx.Param(uniform(rngs, (five, mix_rank, width), 0.01))
        self.decay_in = nnx.Param(jnp.zeros((width, decay_rank)))
        self.decay_out = nnx.Param(uniform(rngs, (decay_rank, width), 0.01))
        start = self._starts(0, 1)
        self.decay, self.bonus = nnx.Param(start["decay"]), nnx.Param(start["bonus"])
        self.mix, self.mixes = nnx.Param(start["mix"]), nnx.Param(start["mixes"])
        self.norm_scale = nnx.Param(start["norm_scale"])
        self.norm_bias = nnx.Param(jnp.zeros((width,)))

    def at_layer(self, parameters: Any, layer: Int[Array, ""], layers: int) -> Any:
        """Decay, bonus, mixing and scale as RWKV-LM starts this layer of so many."""
        return {**parameters, **self._starts(layer, layers)}

    def _starts(self, layer: Int[Array, ""] | int, layers: int) -> dict[str, Array]:
        width = self.width
        up, down = layer / max(layers - 1, 1), 1 - layer / layers
        channel, at = jnp.arange(width), places(width)
        along = channel / max(width - 1, 1)
        usual = 1 - at**down
        shares = {"value": usual - 0.3 * up, "receptance": 1 - at ** (0.5 * down)}
        shares["gate"] = shares["receptance"]
        return {
            "decay": -6 + 5 * along ** (0.7 + 1.3 * up),
            "bonus": up * (1 - along) + ((channel + 1) % 3 - 1) * 0.1,
            "mix": usual,
            "mixes": jnp.stack([shares.get(name, usual) for name in MIXED]),
            "norm_scale": jnp.full((width,), ((1 + layer) / layers) ** 0.7),
        }

    def start(self, batch: int, dtype: DTypeLike) -> Cache:
        """Zeros."""
        wide = jnp.promote_types(dtype, jnp.float32)
        return {
            "before": jnp.zeros((batch, 1, self.width), dtype),
            "state": jnp.zeros((batch, self.heads, self.head_width, self.head_width), wide),
        }

    def run(
        self,
        x: Float[Array, "batch length width"],
        mask: Bool[Array, "batch length"] | None,
        carried: Cache,
        context: Context,
    ) -> tuple[Array, Cache]:
        """(y, what is carried on): see `Carried.run`."""
        previous, before = shifted(x, mask, carried["before"])
        of = dict(zip(MIXED, self._mixed(x, previous - x), strict=True))
        k, v, r = self.key(of["key"]), self.value(of["value"]), self.receptance(of["receptance"])
        low = jnp.tanh(rows_product(of["decay"], self.decay_in[...]))
        decay = widened(rows_product(low, self.decay_out[...])) + self.decay[...][None, None]
        a = present(-jnp.exp(decay), mask)
        terms = (widened(r), widened(present(k, mask)), widened(v), a)
        terms = tuple(part.reshape(*x.shape[:2], self.heads, -1) for part in terms)
        recurrence = decaying(self.bonus[...].reshape(self.heads, self.head_width))
        state, o = chunks.over_chunks(recurrence, carried["state"], terms, self.chunk)
        o = self._normed(o).astype(x.dtype) * jax.nn.silu(self.gate(of["gate"]))
        return self.output(o), {"before": before, "state": state}

    def _mixed(self, x: Array, difference: Array) -> list[Array]:
        """x_i of each of MIXED."""
        dtype = x.dtype
        start = x + difference * self.mix[...].astype(dtype)[None, None]
        low = jnp.tanh(rows_product(start, self.mix_in[...]))
        low = low.reshape(*x.shape[:2], len(MIXED), self.mix_rank)
        own = jnp.einsum("btnr,nrd->nbtd", low, self.mix_out[...].astype(dtype))
        own = own + self.mixes[...].astype(dtype)[:, None, None]
        return list(x[None] + difference[None] * own)

    def _normed(self, o: Float[Array, "batch length heads values"]) -> Array:
        """A LayerNorm per head, (batch, length, width)."""
        mean = jnp.mean(o, axis=-1, keepdims=True)
        away = o - mean
        variance = jnp.mean(away * away, axis=-1, keepdims=True)
        y = (away * jax.lax.rsqrt(variance + EPSILON)).reshape(*o.shape[:2], self.width)
        return y * self.norm_scale[...][None, None] + self.norm_bias[...][None, None]

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence: the products of the projections and of the chunks."""
        ranks = 2 * len(MIXED) * self.mix_rank + 2 * self.decay_rank
        outer = product_flops(length, self.width, 5 * self.width + ranks)
        head = self.head_width
        return outer + decaying_flops(length, self.chunk, self.heads, head, head)


def rows_product(
    x: Float[Array, "batch length inputs"], kernel: Float[Array, "inputs outputs"]
) -> Float[Array, "batch length outputs"]:
    """x W in two dimensions and in the dtype of x."""
    y = x.reshape(-1, x.shape[-1]) @ kernel.astype(x.dtype)
    return y.reshape(*x.shape[:2], -1)
