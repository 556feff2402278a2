"""Multi-head attention (Vaswani et al. 2017, §3.2), self- or cross-, with the usual variations."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from arch.context import Context, Extras
from arch.layers import Projection, divide, product_flops
from arch.registry import ConfigurationError, sublayers
from arch.sublayers import dot_product


@sublayers.register("attention")
class Attention(nnx.Module):
    """Attention(Q, K, V) = softmax(Q Kᵀ / √d + mask) V for each of `heads` heads of width d.

    Args:
        width: of the input and the output.
        heads: number of query heads.
        head_width: d; 0 stands for width / heads.
        kv_heads: heads of keys and values, shared by equal groups of query heads (grouped-query
            attention, Ainslie et al. 2023); 0 stands for heads.
        window: a position sees itself and the window - 1 before it (and after it, where not
            causal); 0 is no limit.
        cross: keys and values come from `context.memory`, never masked causally.
        bias: biases on the four projections.
        attention_dropout: rate on the weights after the softmax.
        init_std: of the kernels; 0 is Glorot's uniform.
        path: auto | plain | blocks | cudnn, see `dot_product.attend`.

    Whether it is causal, rotary or dropping is the model's to say, by the context.
    Records 'attention.weights' (batch, heads, queries, keys) when asked.
    """

    causal = True

    def __init__(
        self,
        width: int,
        *,
        heads=8,
        head_width=0,
        kv_heads=0,
        window=0,
        cross=False,
        bias=True,
        attention_dropout=0.0,
        init_std=0.0,
        path="auto",
        rngs: nnx.Rngs,
    ):
        if head_width < 0:
            raise ConfigurationError(
                f"head_width={head_width}: allowed is 0 (width / heads) or more"
            )
        self.heads = heads
        self.head_width = head_width or divide(width, heads, "heads", "width")
        self.kv_heads = kv_heads or heads
        divide(heads, self.kv_heads, "kv_heads", "heads")
        if not 0 <= attention_dropout < 1:
            raise ConfigurationError(
                f"attention_dropout={attention_dropout}: allowed is 0 <= rate < 1"
            )
        if window < 0:
            raise ConfigurationError(f"window={window}: allowed is 0 (no limit) or more")
        dot_product.check(path, self.head_width, attention_dropout)
        self.width, self.window, self.cross, self.path = width, window, cross, path
        self.attention_dropout = attention_dropout
        inner, shared = self.heads * self.head_width, self.kv_heads * self.head_width
        self.query = Projection(width, inner, bias=bias, init_std=init_std, rngs=rngs)
        self.key = Projection(width, shared, bias=bias, init_std=init_std, rngs=rngs)
        self.value = Projection(width, shared, bias=bias, init_std=init_std, rngs=rngs)
        self.output = Projection(inner, width, bias=bias, init_std=init_std, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        source = x
        if self.cross:
            if context.memory is None:
                raise ConfigurationError(
                    "attention with cross=True needs a memory: a decoder alone has none"
                )
            source = context.memory.astype(x.dtype)
        q = self._split(self.query(x), self.heads)
        k = self._split(self.key(source), self.kv_heads)
        v = self._split(self.value(source), self.kv_heads)
        if context.rotary_base and not self.cross:
            q, k = (rotate(y, context.positions, context.rotary_base) for y in (q, k))
        dropping = context.train and self.attention_dropout > 0
        y, weights = dot_product.attend(
            q,
            k,
            v,
            causal=context.causal and not self.cross,
            window=self.window,
            mask=context.memory_mask if self.cross else context.mask,
            dropout=(self.attention_dropout, context.key_for("attention")) if dropping else None,
            want_weights="attention.weights" in context.record,
            path=self.path,
        )
        record = {} if weights is None else {"attention.weights": weights}
        return self.output(y.reshape(*x.shape[:-1], -1)), Extras(record=record)

    def _split(self, x: Float[Array, "batch length inner"], heads: int) -> Array:
        return x.reshape(*x.shape[:-1], heads, self.head_width)

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence; the score matrix is counted in full, masked or not."""
        inner, shared = self.heads * self.head_width, self.kv_heads * self.head_width
        projections = 2 * product_flops(length, self.width, inner)
        projections += 2 * product_flops(length, self.width, shared)
        keys = min(self.window, length) if self.window else length
        return projections + 2 * product_flops(length, inner, keys)


def rotate(
    x: Float[Array, "batch length heads width"],
    positions: Int[Array, "batch length"] | None,
    base: float,
) -> Float[Array, "batch length heads width"]:
    """Rotary position embedding (Su et al. 2021, eq. 34): channel i is paired with i + width / 2
    and turned by position · base^(-2 i / width), in float32."""
    half = x.shape[-1] // 2
    if positions is None:
        positions = jnp.arange(x.shape[1])[None]
    frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[:, :, None].astype(jnp.float32) * frequency[None, None, :]
    cos, sin = jnp.cos(angle)[:, :, None, :], jnp.sin(angle)[:, :, None, :]
    a, b = x[..., :half].astype(jnp.float32), x[..., half : 2 * half].astype(jnp.float32)
    turned = jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)
    return (
        jax.numpy.concatenate([turned, x[..., 2 * half :]], axis=-1) if x.shape[-1] % 2 else turned
    )
