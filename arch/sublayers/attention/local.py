"""Attention within chunks of the sequence and their neighbours, of linear cost in its length."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from arch.checks import at_least, below_one
from arch.context import Context
from arch.devices import scopes
from arch.layers import Dropping, Projection, divide, dropout, product_flops, widened
from arch.registry import ConfigurationError, sublayers
from arch.sublayers.attention import dot_product
from arch.sublayers.attention.cache import KeysValues
from arch.sublayers.attention.positions import BIASES, Bias, RelativePositions
from arch.sublayers.attention.qk_norm import QueryKeyNorm
from arch.sublayers.contract import Sublayer


@sublayers.register("local_attention")
class LocalAttention(Sublayer):
    """softmax(Q Kᵀ / √d) V with position p in chunk ⌊p / chunk⌋, where a query sees the keys of its
    own chunk, of `before` chunks before it and of `after` after it.

    The local layers of the released Reformer (trax, and Hugging Face's LocalSelfAttention), with
    queries, keys and values of their own. Differs from Hugging Face's, whose first chunk sees the
    last one where not causal: here nothing stands before the first and after the last. A length
    that is no multiple of the chunk is padded inside; a query that may see nothing gets uniform
    weights over its chunks.

    Args:
        width: of the input and the output.
        heads: number of heads.
        head_width: d; 0 stands for width / heads.
        chunk: positions in a chunk.
        before: chunks before its own that a query sees.
        after: chunks after its own that a query sees; above 0 the kind is not causal.
        bias: biases on the four projections.
        attention_dropout: rate on the weights after the softmax.
        init_std: of the kernels; 0 is Glorot's uniform.
        qk_norm, positions, relative_buckets, relative_distance: as of attention, see `full`.

    The context says whether it is causal inside its chunks, how rotary positions turn, and whether
    it drops.
    """

    causal = True  # where after=0
    residual_outputs = ("output.kernel",)

    def __init__(
        self,
        width: int,
        *,
        heads: int = 8,
        head_width: int = 0,
        chunk: int = 64,
        before: int = 1,
        after: int = 0,
        bias: bool = True,
        attention_dropout: float = 0.0,
        init_std: float = 0.0,
        qk_norm: str = "",
        positions: str = "",
        relative_buckets: int = 32,
        relative_distance: int = 128,
        rngs: nnx.Rngs,
    ):
        at_least(1, chunk=chunk)
        at_least(0, before=before, after=after)
        at_least(0, "width / heads", head_width=head_width)
        below_one(attention_dropout=attention_dropout)
        self.heads = heads
        self.head_width = head_width or divide(width, heads, "heads", "width")
        self.width, self.chunk, self.before, self.after = width, chunk, before, after
        self.causal, self.attention_dropout = after == 0, attention_dropout
        inner = self.heads * self.head_width
        self.query = Projection(width, inner, bias=bias, init_std=init_std, rngs=rngs)
        self.key = Projection(width, inner, bias=bias, init_std=init_std, rngs=rngs)
        self.value = Projection(width, inner, bias=bias, init_std=init_std, rngs=rngs)
        self.output = Projection(inner, width, bias=bias, init_std=init_std, rngs=rngs)
        self.norms = QueryKeyNorm(qk_norm, self.head_width, shared_qk=False, rngs=rngs)
        self.places = RelativePositions(
            positions, heads, width, buckets=relative_buckets, distance=relative_distance,
            init_std=init_std, rngs=rngs,
        )  # fmt: skip
        self.biased = positions in BIASES

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> Float[Array, "batch length width"]:
        """y in the shape and dtype of x. Raises ConfigurationError where it would not be causal."""
        if context.causal and self.after:
            raise ConfigurationError(
                f"after={self.after}: allowed is 0 in a causal model, which would see the tokens "
                "it is to predict"
            )
        q, k, v = self._projected(x, context)
        dropping = dot_product.dropping(self.attention_dropout, context)
        with scopes.attention("chunks"):
            y = attend(
                q,
                k,
                v,
                chunk=self.chunk,
                before=self.before,
                after=self.after,
                causal=context.causal,
                mask=context.mask,
                dropping=dropping,
                bias=self.places.bias(context.causal),
            )
        return self.output(y.reshape(*x.shape[:-1], -1))

    def init_cache(self, batch: int, length: int, dtype: DTypeLike, context: Context) -> KeysValues:
        """Keys and values of as many positions as a query may see: a ring, filled in turn."""
        room = min(length, (self.before + 1) * self.chunk)
        return KeysValues.empty(batch, self.heads, room, self.head_width, dtype)

    def step(
        self, x: Float[Array, "batch 1 width"], cache: KeysValues, context: Context
    ) -> tuple[Float[Array, "batch 1 width"], KeysValues]:
        """The token at `context.time`, which sees its chunk up to itself and the chunks before,
        where `context.mask` (batch, all steps) is True. Nothing is dropped."""
        assert context.time is not None, "a step of local_attention needs context.time"
        assert not self.after, "a step sees nothing after it"
        here = context.time[None, None] if context.positions is None else context.positions
        q, k, v = self._projected(x, context.replace(positions=here))
        room = cache.room
        cache = cache.put(KeysValues.of(k, v), context.time % room)
        times = context.time - (context.time - jnp.arange(room)) % room  # of the ring's places
        first = (context.time // self.chunk - self.before) * self.chunk
        mask = (times >= jnp.maximum(first, 0))[None]
        if context.mask is not None:
            mask = mask & jnp.take(context.mask, jnp.maximum(times, 0), axis=1)
        y, _ = dot_product.attend(
            q,
            *cache.given(),
            causal=False,  # the mask says it
            window=0,
            mask=mask,
            dropping=None,
            want_weights=False,
            path="plain",
            platform=context.platform,
            bias=self.places.bias(causal=True),
            ahead=(times - context.time)[None],
        )
        return self.output(y.reshape(*x.shape[:-1], -1)), cache

    def _projected(self, x: Float[Array, "batch length width"], context: Context):
        """q, k, v, each (batch, length, heads, head_width); q and k turned where rotary."""
        shape = (*x.shape[:-1], self.heads, self.head_width)
        q, k, v = (p(x).reshape(shape) for p in (self.query, self.key, self.value))
        q, k = self.norms.queries(q), self.norms.keys(k)
        return *self.places.turned(q, k, context, context.positions), v

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence; a query's chunks are counted in full, masked or not."""
        inner = self.heads * self.head_width
        keys = min((self.before + 1 + self.after) * self.chunk, length)
        projections = 4 * product_flops(length, self.width, inner)
        return projections + 2 * product_flops(length, inner, keys)


def attend(
    q: Float[Array, "batch length heads width"],
    k: Float[Array, "batch length heads width"],
    v: Float[Array, "batch length heads width"],
    *,
    chunk: int,
    before: int,
    after: int,
    causal: bool,
    mask: Bool[Array, "batch length"] | None,
    dropping: Dropping | None,
    bias: Bias | None = None,
) -> Float[Array, "batch length heads width"]:
    """Local attention of projected heads: one batched product over (batch · heads · chunks), the
    form XLA's CPU products run fastest, of (chunk, width) and (keys, width)."""
    batch, length, heads, width = q.shape
    chunk = min(chunk, length)
    chunks = -(-length // chunk)
    before, after = min(before, chunks - 1), min(after, chunks - 1)
    keys = (before + 1 + after) * chunk

    def rows(x):
        """(batch · heads · chunks, keys, width)"""
        x = around(x.swapaxes(1, 2), chunk, chunks, before, after, axis=2)
        return x.reshape(-1, keys, width)

    filled = around(q.swapaxes(1, 2), chunk, chunks, 0, 0, axis=2)
    scores = filled.reshape(-1, chunk, width) @ rows(k).swapaxes(-1, -2)
    scores = widened(scores) * (1 / math.sqrt(width))
    scores = scores.reshape(batch, heads, chunks, chunk, keys)
    if bias is not None:  # the same for every chunk
        ahead = jnp.arange(keys)[None] - before * chunk - jnp.arange(chunk)[:, None]
        scores = scores + bias(ahead)[None, :, None].astype(scores.dtype)
    # position of each key, and of each query
    start = chunk * jnp.arange(chunks)[:, None]
    theirs = (start - before * chunk + jnp.arange(keys)[None])[:, None, :]
    mine = (start + jnp.arange(chunk)[None])[:, :, None]
    allowed = (theirs >= 0) & (theirs < length)
    if causal:
        allowed = allowed & (theirs <= mine)
    allowed = allowed[None, None]
    if mask is not None:
        seen = around(mask, chunk, chunks, before, after, axis=1)
        allowed = allowed & seen[:, None, :, None, :]
    weights = jax.nn.softmax(jnp.where(allowed, scores, dot_product.MASKED), axis=-1)
    if dropping is not None:
        weights = dropout(weights, *dropping)
    y = weights.astype(v.dtype).reshape(-1, chunk, keys) @ rows(v)
    return y.reshape(batch, heads, chunks * chunk, width)[:, :, :length].swapaxes(1, 2)


def around(x: Array, chunk: int, chunks: int, before: int, after: int, axis: int) -> Array:
    """Each chunk of an axis with its neighbours, zeros where there are none: the axis becomes
    (chunks, (before + 1 + after) · chunk)."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (before * chunk, (chunks + after) * chunk - x.shape[axis])
    x = jnp.pad(x, widths)
    x = x.reshape(*x.shape[:axis], before + chunks + after, chunk, *x.shape[axis + 1 :])
    shifted = [jax.lax.slice_in_dim(x, i, i + chunks, axis=axis) for i in range(before + 1 + after)]
    return jnp.concatenate(shifted, axis=axis + 1)
