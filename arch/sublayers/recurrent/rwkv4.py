"""RWKV-4's two halves of a layer: time mix and channel mix (Peng et al. 2023)."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from arch.checks import at_least, holds
from arch.context import Context
from arch.layers import Projection, product_flops, widened
from arch.registry import sublayers
from arch.sublayers.carried import Carried
from arch.sublayers.recurrent import scans
from arch.sublayers.recurrent.shift import mixed, places, shifted
from arch.sublayers.state_space import chunks

Cache = dict[str, Any]  # 'before': the last token, (batch, 1, width); 'state': float32


@sublayers.register("rwkv4")
class RWKV4(Carried):
    """y = W_o (σ(W_r x_r) ∘ wkv(W_k x_k, W_v x_v)), x_i = μ_i xₜ + (1 - μ_i) xₜ₋₁, with

    wkvₜ = (Σᵢ﹤ₜ exp((t - 1 - i) w + kᵢ) vᵢ + exp(u + kₜ) vₜ) / (the same without v)

    w = -exp(decay) and u are numbers per channel. Time mix of RWKV-4 (Peng et al. 2023, arXiv
    2305.13048, §3.1), as RWKV-LM and `transformers` compute it. No biases.

    Args:
        width: of the input and the output.
        inner_width: of keys, values and the state; 0 stands for width.
        chunk: positions that are computed in parallel. It changes time and memory, not the
            function.
        init_std: of all kernels; 0 is RWKV-LM's start: W_v orthogonal, the others zero.

    Where a letter has many owners, decays, u and μ start by the place of each among them, as
    RWKV-LM's do by the layer. The average is float32 in every dtype. Where `context.mask` is False
    the state is carried on, and the next token is mixed with zeros.
    """

    residual_outputs = ("output.kernel",)

    def __init__(
        self,
        width: int,
        *,
        inner_width: int = 0,
        chunk: int = 64,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        at_least(0, "width", inner_width=inner_width)
        at_least(1, chunk=chunk)
        self.width, self.inner_width, self.chunk = width, inner_width or width, chunk
        inner = self.inner_width
        self.key = projection(width, inner, 0.0, init_std, rngs)
        self.value = projection(width, inner, 1.0, init_std, rngs)
        self.receptance = projection(width, inner, 0.0, init_std, rngs)
        self.output = projection(inner, width, 0.0, init_std, rngs)
        start = self._starts(0, 1)
        self.decay, self.bonus = nnx.Param(start["decay"]), nnx.Param(start["bonus"])
        self.mix_key, self.mix_value, self.mix_receptance = (
            nnx.Param(start[f"mix_{name}"]) for name in ("key", "value", "receptance")
        )

    def at_layer(self, parameters: Any, layer: Int[Array, ""], layers: int) -> Any:
        """Decay, bonus and mixing as RWKV-LM starts this layer of so many."""
        return {**parameters, **self._starts(layer, layers)}

    def _starts(self, layer: Int[Array, ""] | int, layers: int) -> dict[str, Array]:
        inner = self.inner_width
        up, down = layer / max(layers - 1, 1), 1 - layer / layers
        channel, at = jnp.arange(inner), places(self.width)
        zigzag = ((channel + 1) % 3 - 1) * 0.5
        return {
            "decay": -5 + 8 * (channel / max(inner - 1, 1)) ** (0.7 + 1.3 * up),
            "bonus": math.log(0.3) + zigzag,
            "mix_key": at**down,
            "mix_value": at**down + 0.3 * up,
            "mix_receptance": at ** (0.5 * down),
        }

    def start(self, batch: int, dtype: DTypeLike) -> Cache:
        """A token of zeros, and sums of nothing."""
        wide = jnp.promote_types(dtype, jnp.float32)
        return {
            "before": jnp.zeros((batch, 1, self.width), dtype),
            "state": scans.nothing(batch, self.inner_width, wide),
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
        k = widened(self.key(mixed(x, previous, self.mix_key[...])))
        v = widened(self.value(mixed(x, previous, self.mix_value[...])))
        r = self.receptance(mixed(x, previous, self.mix_receptance[...]))
        here = jnp.ones(x.shape[:2], bool) if mask is None else mask
        terms = k, v, here[:, :, None].astype(k.dtype)
        decay, bonus = (part.astype(k.dtype) for part in (self.decay[...], self.bonus[...]))
        recurrence = scans.wkv(-jnp.exp(decay), bonus)
        state, y = chunks.over_chunks(recurrence, carried["state"], terms, self.chunk)
        y = self.output(jax.nn.sigmoid(r) * y.astype(x.dtype))
        return y, {"before": before, "state": state}

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence: the products."""
        return 4 * product_flops(length, self.width, self.inner_width)


@sublayers.register("rwkv_channel_mix")
class ChannelMix(Carried):
    """y = σ(W_r x_r) ∘ W_v relu(W_k x_k)², x_i = μ_i xₜ + (1 - μ_i) xₜ₋₁.

    Channel mix of RWKV-4, -5 and -6: the feed-forward half of their layers, with the activation of
    So et al. 2021. Their -6 writes 1 - μ for μ. No biases.

    Args:
        width: of the input and the output.
        expand: the inner width in multiples of width, rounded: 4 in RWKV-4, 3.5 in -5 and -6.
        init_std: of all kernels; 0 is RWKV-LM's start: W_k orthogonal, the others zero.

    Where a letter has many owners, μ starts by the place of each among them, as RWKV-LM's does by
    the layer. Where `context.mask` is False a token counts as zeros for the next.
    """

    residual_outputs = ("value.kernel",)

    def __init__(self, width: int, *, expand: float = 4.0, init_std: float = 0.0, rngs: nnx.Rngs):
        inner = round(expand * width)
        holds(inner >= 1, f"1/{width} or more", expand=expand)
        self.width, self.inner_width = width, inner
        self.key = projection(width, inner, 1.0, init_std, rngs)
        self.value = projection(inner, width, 0.0, init_std, rngs)
        self.receptance = projection(width, width, 0.0, init_std, rngs)
        start = self._starts(0, 1)
        self.mix_key = nnx.Param(start["mix_key"])
        self.mix_receptance = nnx.Param(start["mix_receptance"])

    def at_layer(self, parameters: Any, layer: Int[Array, ""], layers: int) -> Any:
        """Mixing as RWKV-LM starts this layer of so many."""
        return {**parameters, **self._starts(layer, layers)}

    def _starts(self, layer: Int[Array, ""] | int, layers: int) -> dict[str, Array]:
        start = places(self.width) ** (1 - layer / layers)
        return {"mix_key": start, "mix_receptance": start}

    def start(self, batch: int, dtype: DTypeLike) -> Array:
        """The token before: zeros."""
        return jnp.zeros((batch, 1, self.width), dtype)

    def run(
        self,
        x: Float[Array, "batch length width"],
        mask: Bool[Array, "batch length"] | None,
        carried: Array,
        context: Context,
    ) -> tuple[Array, Array]:
        """(y, the last token): see `Carried.run`."""
        previous, before = shifted(x, mask, carried)
        k = jax.nn.relu(self.key(mixed(x, previous, self.mix_key[...])))
        r = self.receptance(mixed(x, previous, self.mix_receptance[...]))
        return jax.nn.sigmoid(r) * self.value(k * k), before

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence: the products."""
        return 2 * product_flops(length, self.width, self.inner_width) + product_flops(
            length, self.width, self.width
        )


def projection(
    inputs: int, outputs: int, gain: float, init_std: float, rngs: nnx.Rngs
) -> Projection:
    """A projection without bias, as RWKV-LM starts it: orthogonal times the gain, and times
    √(outputs / inputs) where that is above 1; a gain of 0 is zeros. Or normal of `init_std`."""
    made = Projection(inputs, outputs, bias=False, init_std=init_std, rngs=rngs)
    if not init_std:
        gain *= max(1.0, math.sqrt(outputs / inputs))
        draw = jax.nn.initializers.orthogonal(gain) if gain else jax.nn.initializers.zeros
        made.kernel = nnx.Param(draw(rngs.params(), (inputs, outputs)))
    return made
