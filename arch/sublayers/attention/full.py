"""Multi-head attention (Vaswani et al. 2017, §3.2), self- or cross-, with the usual variations."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from arch.checks import at_least, below_one, holds, one_of
from arch.context import Context, Extras
from arch.layers import Projection, divide, product_flops
from arch.registry import ConfigurationError, sublayers
from arch.sublayers.attention import dot_product
from arch.sublayers.attention.cache import KeysValues
from arch.sublayers.attention.positions import BIASES, Bias, RelativePositions, summed
from arch.sublayers.attention.positions import rotate as rotate  # where others look for it
from arch.sublayers.attention.qk_norm import QueryKeyNorm
from arch.sublayers.attention.span import AdaptiveSpan, check_combination
from arch.sublayers.contract import Sublayer


@sublayers.register("attention")
class Attention(Sublayer):
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
        shared_qk: keys are the normalised queries, and a position sees itself only where it sees
            nothing else (Kitaev et al. 2020, §2): its logit with itself is -1e5, as in trax. There
            is no `key` projection.
        key_norm: unit | rms: of shared keys, see `dot_product.keys_of`.
        bias: biases on the four projections.
        attention_dropout: rate on the weights after the softmax.
        init_std: of the kernels; 0 is Glorot's uniform.
        path: auto | plain | blocks | cudnn, see `dot_product.attend`.
        qk_norm: of queries and keys: '' (none) | rms | layer | layer_no_bias | unit, see
            `qk_norm.QueryKeyNorm`.
        positions: its position kind: none | rotary | alibi | t5, see `positions`; '' is the
            model's, `model.embedding.positions`.
        relative_buckets, relative_distance: of t5, see `positions.buckets_of`.
        span: the largest of the spans that heads learn, see `span.AdaptiveSpan`; 0: none learns.
        span_ramp, span_penalty: places over which a span ends; the coefficient of its cost.

    The context says whether it is causal, how rotary positions turn, and whether it drops.
    Records 'attention.weights' (batch, heads, queries, keys) when asked. With a span the loss
    'span_cost' and the statistic 'span', their mean in places, are reported.
    """

    causal = True
    several = True
    residual_outputs = ("output.kernel",)

    def __init__(
        self,
        width: int,
        *,
        heads: int = 8,
        head_width: int = 0,
        kv_heads: int = 0,
        window: int = 0,
        cross: bool = False,
        shared_qk: bool = False,
        key_norm: str = "unit",
        bias: bool = True,
        attention_dropout: float = 0.0,
        init_std: float = 0.0,
        path: str = "auto",
        qk_norm: str = "",
        positions: str = "",
        relative_buckets: int = 32,
        relative_distance: int = 128,
        span: int = 0,
        span_ramp: int = 32,
        span_penalty: float = 5e-7,
        rngs: nnx.Rngs,
    ):
        at_least(0, "width / heads", head_width=head_width)
        self.heads = heads
        self.head_width = head_width or divide(width, heads, "heads", "width")
        self.kv_heads = kv_heads or heads
        divide(heads, self.kv_heads, "kv_heads", "heads")
        below_one(attention_dropout=attention_dropout)
        away = "0 with cross=True; places in a memory are not those of the queries"
        holds(not (window and cross), away, window=window)
        at_least(0, "no limit", window=window)
        dot_product.check(path, self.head_width, attention_dropout)
        _check_positions(positions, cross, shared_qk, path)
        check_combination(span, window, cross, path)
        if shared_qk:
            _check_shared(cross, kv_heads, heads, path)
            path = "plain"
        self.width, self.window, self.cross, self.path = width, window or span, cross, path
        one_of(dot_product.KEY_NORMS, key_norm=key_norm)
        self.shared_qk, self.key_norm = shared_qk, key_norm
        self.attention_dropout = attention_dropout
        inner, shared = self.heads * self.head_width, self.kv_heads * self.head_width
        self.query = Projection(width, inner, bias=bias, init_std=init_std, rngs=rngs)
        self.key: Any = (
            None
            if shared_qk
            else Projection(width, shared, bias=bias, init_std=init_std, rngs=rngs)
        )
        self.value = Projection(width, shared, bias=bias, init_std=init_std, rngs=rngs)
        self.output = Projection(inner, width, bias=bias, init_std=init_std, rngs=rngs)
        self.norms = QueryKeyNorm(qk_norm, self.head_width, shared_qk=shared_qk, rngs=rngs)
        self.places = RelativePositions(
            positions, heads, width, buckets=relative_buckets, distance=relative_distance,
            init_std=init_std, rngs=rngs,
        )  # fmt: skip
        self.biased = positions in BIASES
        self.span = AdaptiveSpan(span, heads, ramp=span_ramp, penalty=span_penalty)

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """(y in the shape and dtype of x, Extras: the weights where recorded, the span's)."""
        q = self._queries(x)
        k, v = self._keys_values(self._memory(context, x.dtype) if self.cross else x, q)
        causal = context.causal and not self.cross
        if not self.cross:
            q, k = self._turned(q, k, context, context.positions)
        y, weights = dot_product.attend(
            q,
            k,
            v,
            causal=causal,
            window=self.window,
            mask=context.memory_mask if self.cross else context.mask,
            dropping=dot_product.dropping(self.attention_dropout, context),
            want_weights="attention.weights" in context.record,
            path=self.path,
            platform=context.platform,
            own=jnp.arange(x.shape[1]) if self.shared_qk else None,
            bias=self._bias(causal),
        )
        extras = self.span.extras()
        if weights is not None:
            extras.record["attention.weights"] = weights
        return self.output(y.reshape(*x.shape[:-1], -1)), extras

    def init_cache(self, batch: int, length: int, dtype: DTypeLike, context: Context) -> KeysValues:
        """Keys and values: room for `length` of them or, where cross, those of the memory."""
        if self.cross:
            return KeysValues.of(*self._keys_values(self._memory(context, dtype), None))
        return KeysValues.empty(batch, self.kv_heads, length, self.head_width, dtype)

    def step(
        self, x: Float[Array, "batch tokens width"], cache: KeysValues, context: Context
    ) -> tuple[Float[Array, "batch tokens width"], KeysValues]:
        """The tokens from `context.time` on, each of which sees the cache up to itself, within the
        window and where `context.mask` (batch, length of the cache) is True; where cross, all of
        the memory that `context.memory_mask` shows. Nothing is dropped and nothing recorded."""
        q, mask = self._queries(x), context.memory_mask
        own = ahead = None
        if not self.cross:
            assert context.time is not None, "a step of self-attention needs context.time"
            k, v = self._keys_values(x, q)
            own = context.time + jnp.arange(x.shape[1])
            here = own[None] if context.positions is None else context.positions
            q, k = self._turned(q, k, context, here)
            cache, mask = cache.put(KeysValues.of(k, v), context.time), context.mask
            ahead = jnp.arange(cache.room)[None] - own[:, None]
        y, _ = dot_product.attend(
            q,
            *cache.given(),
            causal=not self.cross,
            window=self.window,
            mask=mask,
            dropping=None,
            want_weights=False,
            path="plain",
            platform=context.platform,
            own=own if self.shared_qk else None,
            bias=self._bias(causal=True),
            ahead=ahead,
        )
        return self.output(y.reshape(*x.shape[:-1], -1)), cache

    def _bias(self, causal: bool) -> Bias | None:
        return summed(self.places.bias(causal), self.span.bias())

    def _memory(self, context: Context, dtype) -> Float[Array, "batch memory width"]:
        if context.memory is None:
            raise ConfigurationError(
                "attention with cross=True needs a memory: a decoder alone has none"
            )
        return context.memory.astype(dtype)

    def _keys_values(
        self, source: Float[Array, "batch keys width"], q: Array | None
    ) -> tuple[Array, Array]:
        """Of the source; where keys are shared with the queries q, of these."""
        if self.shared_qk:
            assert q is not None
            k = dot_product.keys_of(q, self.key_norm)
        else:
            k = self.norms.keys(self._split(self.key(source), self.kv_heads))
        return k, self._split(self.value(source), self.kv_heads)

    def _queries(self, x: Float[Array, "batch length width"]) -> Array:
        return self.norms.queries(self._split(self.query(x), self.heads))

    def _turned(self, q: Array, k: Array, context: Context, positions) -> tuple[Array, Array]:
        if self.shared_qk and self.places.base(context):
            raise ConfigurationError(
                "model.embedding.positions='rotary': attention with shared_qk=True has none; "
                "allowed are sinusoidal, learned, axial, alibi, t5, none"
            )
        return self.places.turned(q, k, context, positions)

    def _split(self, x: Float[Array, "batch length inner"], heads: int) -> Array:
        return x.reshape(*x.shape[:-1], heads, self.head_width)

    def check_platform(self, platform: str) -> None:
        """Raises ConfigurationError for a path that the platform does not have."""
        if self.path == "cudnn" and platform != "gpu":
            raise ConfigurationError(f"path='cudnn' needs an NVIDIA GPU, this is {platform}")

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence; the score matrix is counted in full, masked or not."""
        inner, shared = self.heads * self.head_width, self.kv_heads * self.head_width
        projections = 2 * product_flops(length, self.width, inner)
        projections += (1 if self.shared_qk else 2) * product_flops(length, self.width, shared)
        keys = min(self.window, length) if self.window else length
        return projections + 2 * product_flops(length, inner, keys)


def _check_shared(cross: bool, kv_heads: int, heads: int, path: str) -> None:
    """Refuse what shared-QK attention cannot be combined with."""
    if cross:
        raise ConfigurationError(
            "shared_qk=True: allowed is False with cross=True; a memory's keys are no queries"
        )
    if kv_heads not in (0, heads):
        raise ConfigurationError(
            f"kv_heads={kv_heads}: allowed is 0 or heads={heads} with shared_qk=True; every query "
            "head is a key head"
        )
    if path not in ("auto", "plain"):
        raise ConfigurationError(f"path={path!r}: allowed are auto, plain with shared_qk=True")


def _check_positions(positions: str, cross: bool, shared_qk: bool, path: str) -> None:
    """Refuse what a position kind of its own cannot be combined with."""
    if cross and positions not in ("", "none"):
        raise ConfigurationError(
            f"positions={positions!r}: allowed are '' and none with cross=True; places in a memory "
            "are not those of the queries"
        )
    if shared_qk and positions == "rotary":
        raise ConfigurationError(
            "positions='rotary': allowed are '', none, alibi, t5 with shared_qk=True"
        )
    if path == "cudnn" and positions in BIASES:
        raise ConfigurationError(
            f"path='cudnn': allowed are auto, plain, blocks with positions={positions!r}, which "
            "adds a bias to the scores"
        )
