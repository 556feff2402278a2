"""Scaled dot-product attention, by the path that suits the machine.

plain   scores in memory; batched over (batch · heads), the form XLA's CPU products run fastest.
blocks  causal self-attention a block of queries at a time, over only the keys that block may see,
        with a backward pass that keeps the logsumexp alone (Dao et al. 2022, in plain JAX).
cudnn   the fused kernel of `jax.nn.dot_product_attention`, bfloat16 on NVIDIA GPUs.
auto    cudnn where it can run, else blocks where it can, else plain.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from arch.checks import one_of
from arch.context import Context
from arch.devices import cudnn, scopes
from arch.layers import Dropping, dropout, widened
from arch.registry import ConfigurationError
from arch.sublayers.attention.positions import Bias

PATHS = ("auto", "plain", "blocks", "cudnn")
BLOCK = 128
MASKED = -1e30
OWN = -1e5  # a position's logit with itself, where queries are keys: above MASKED alone
KEY_NORMS = ("unit", "rms")  # see `keys_of`


def check(path: str, head_width: int, dropout: float) -> None:
    """Refuse at configuration time what the path cannot do."""
    one_of(PATHS, path=path)
    if path in ("blocks", "cudnn") and dropout:
        raise ConfigurationError(
            f"path={path!r} has no attention_dropout (it is {dropout}); use 'plain'"
        )
    if path == "cudnn" and (head_width % 8 or head_width > 128):
        raise ConfigurationError(
            f"path='cudnn' takes head widths that are multiples of 8 up to 128, not {head_width}"
        )


def dropping(rate: float, context: Context) -> Dropping | None:
    """How the weights of attention are dropped under this context; None where they are not."""
    if not (context.train and rate > 0):
        return None
    return Dropping(rate, context.key_for("attention"), context.platform)


def attend(
    q: Float[Array, "batch queries heads width"],
    k: Float[Array, "batch keys kv_heads width"],
    v: Float[Array, "batch keys kv_heads width"],
    *,
    causal: bool,
    window: int,
    mask: Bool[Array, "batch keys"] | None,
    dropping: Dropping | None,
    want_weights: bool,
    path: str,
    platform: str,
    own: Int[Array, " queries"] | None = None,
    bias: Bias | None = None,
    ahead: Int[Array, "queries keys"] | None = None,
) -> tuple[Float[Array, "batch queries heads width"], Array | None]:
    """softmax(q kᵀ / √width + bias) v, and the weights (batch, heads, queries, keys) when wanted.

    `mask`: True at keys that may be seen; a query without any such key gets uniform weights.
    `own`: the key of each query that it sees only where it sees no other; path 'plain' alone.
    `bias`: of how far a key is ahead of a query, for all heads, see `positions.Bias`.
    `ahead`: how far, where it is not the difference of their places, by which causal and window go
    too; path 'plain' alone.
    """
    needs_weights = dropping is not None or want_weights
    chosen = choose(path, q, k, causal, mask, needs_weights, platform, bias is not None)
    with scopes.attention(chosen):
        if chosen == "cudnn":
            cudnn.load()
            sides = (window - 1, 0 if causal else window - 1) if window else None
            keys = None if mask is None else mask[:, None, None, :]
            y = jax.nn.dot_product_attention(
                q,
                k,
                v,
                mask=keys,
                is_causal=causal,
                local_window_size=sides,
                implementation="cudnn",
            )
            return y, None
        if chosen == "blocks":
            distances = None if bias is None else bias(-jnp.arange(q.shape[1]))
            return blocks(q, k, v, window, distances), None
        if ahead is None:
            ahead = jnp.arange(k.shape[1])[None] - jnp.arange(q.shape[1])[:, None]
        added = None if bias is None else bias(ahead)
        allowed = visible(ahead, causal, window)
        return plain(q, k, v, allowed, mask, dropping, want_weights, own, added)


def choose(
    path: str,
    q: Float[Array, "batch queries heads width"],
    k: Float[Array, "batch keys kv_heads width"],
    causal: bool,
    mask: Bool[Array, "batch keys"] | None,
    needs_weights: bool,
    platform: str,
    biased: bool = False,
) -> str:
    """The path to take: static, so that it is part of the program. Weights that are dropped or
    recorded are only there in the plain path, whichever is configured; 'auto' does not hand a bias
    to cudnn.

    Raises ConfigurationError where path='blocks' cannot serve.
    """
    if needs_weights:
        return "plain"
    if path != "auto":
        if path == "blocks" and not (causal and mask is None):
            raise ConfigurationError("path='blocks' is for causal self-attention without a mask")
        return path
    width = q.shape[-1]
    if (
        not biased
        and platform == "gpu"
        and q.dtype == jnp.bfloat16
        and width % 8 == 0
        and width <= 128
    ):
        return "cudnn"
    if causal and mask is None and q.shape[1] == k.shape[1] and q.shape[1] >= 2 * BLOCK:
        return "blocks"
    return "plain"


def plain(
    q: Float[Array, "batch queries heads width"],
    k: Float[Array, "batch keys kv_heads width"],
    v: Float[Array, "batch keys kv_heads width"],
    allowed: Bool[Array, "queries keys"] | None,
    mask: Bool[Array, "batch keys"] | None,
    dropping: Dropping | None,
    want_weights: bool,
    own: Int[Array, " queries"] | None = None,
    bias: Float[Array, "heads queries keys"] | None = None,
) -> tuple[Float[Array, "batch queries heads width"], Array | None]:
    """The textbook form, see `attend`. Query heads of one key head are folded into its rows."""
    batch, queries, heads, width = q.shape
    keys, kv_heads = k.shape[1], k.shape[2]
    group = heads // kv_heads
    scores = _rows(q, kv_heads) @ _rows(k, kv_heads).swapaxes(-1, -2)
    scores = widened(scores) * (1 / math.sqrt(width))
    scores = scores.reshape(batch, heads, queries, keys)
    if bias is not None:
        scores = scores + bias[None].astype(scores.dtype)
    if own is not None:
        itself = own[:, None] == jnp.arange(keys)[None]
        scores = jnp.where(itself[None, None], OWN, scores)
    if allowed is not None:
        scores = jnp.where(allowed[None, None], scores, MASKED)
    if mask is not None:
        scores = jnp.where(mask[:, None, None, :], scores, MASKED)
    weights = jax.nn.softmax(scores, axis=-1)
    applied = weights if dropping is None else dropout(weights, *dropping)
    applied = applied.astype(v.dtype).reshape(batch * kv_heads, group * queries, keys)
    y = applied @ _rows(v, kv_heads)
    y = y.reshape(batch, heads, queries, width).swapaxes(1, 2)
    return y, weights if want_weights else None


def keys_of(q: Float[Array, "*rest width"], key_norm: str) -> Float[Array, "*rest width"]:
    """The keys of attention whose keys are its queries (Kitaev et al. 2020, §2).

    unit  q / |q|, as the paper writes it
    rms   √width times as long, as trax and Hugging Face's code have it: logits are sharper
    """
    x = widened(q)
    if key_norm == "unit":
        k = x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)
    else:
        k = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    return k.astype(q.dtype)


def visible(
    ahead: Int[Array, "queries keys"], causal: bool, window: int
) -> Bool[Array, "queries keys"] | None:
    """Whether a query may see a key that is so far ahead of it; None where it may see all."""
    limits = []
    if causal:
        limits.append(ahead <= 0)
    if window:
        limits.append(jnp.abs(ahead) < window)
    return functools.reduce(jnp.logical_and, limits) if limits else None


def _rows(x: Float[Array, "batch length heads width"], kv_heads: int) -> Array:
    """(batch · kv_heads, group · length, width)."""
    batch, length, heads, width = x.shape
    return x.swapaxes(1, 2).reshape(batch * kv_heads, heads // kv_heads * length, width)


def _spans(length: int, window: int) -> list[tuple[int, int, int]]:
    """(first key, first query, end) of each block of queries."""
    spans = []
    for start in range(0, length, BLOCK):
        first = max(0, start - window + 1) if window else 0
        spans.append((first, start, min(start + BLOCK, length)))
    return spans


def blocks(
    q: Float[Array, "batch length heads width"],
    k: Float[Array, "batch length kv_heads width"],
    v: Float[Array, "batch length kv_heads width"],
    window: int,
    bias: Float[Array, "heads length"] | None = None,
) -> Float[Array, "batch length heads width"]:
    """Causal self-attention by blocks of queries: keys after a block are never touched.

    bias: what is added to the score of a key 0, 1, … places behind its query.
    """
    batch, length, heads, width = q.shape
    kv_heads = k.shape[2]
    folded = (batch * kv_heads, heads // kv_heads, length, width)
    q = q.swapaxes(1, 2).reshape(folded)
    k, v = _rows(k, kv_heads), _rows(v, kv_heads)
    if bias is not None:
        bias = bias.reshape(kv_heads, heads // kv_heads, length)
    y = _blocks(q, k, v, bias, window)
    return y.reshape(batch, heads, length, width).swapaxes(1, 2)


def _block_scores(q, k, bias, span, window):
    first, start, end = span
    rows = q[:, :, start:end]
    scores = jnp.einsum("bgqd,bkd->bgqk", rows, k[:, first:end], preferred_element_type=jnp.float32)
    scores = scores * (1 / math.sqrt(q.shape[-1]))
    if bias is not None:
        added = _block_bias(bias, span).astype(scores.dtype)
        apart = scores.reshape(-1, *added.shape)  # batch, kv_heads, group, queries, keys
        scores = (apart + added[None]).reshape(scores.shape)
    ahead = jnp.arange(first, end)[None] - jnp.arange(start, end)[:, None]
    allowed = visible(ahead, True, window)
    assert allowed is not None  # since causal
    return jnp.where(allowed[None, None], scores, MASKED)


def _block_bias(bias, span):
    """(kv_heads, group, queries, keys) of a block; keys ahead of their query are masked anyway."""
    first, start, end = span
    behind = jnp.arange(start, end)[:, None] - jnp.arange(first, end)[None]
    return bias[:, :, jnp.maximum(behind, 0)]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _blocks(q, k, v, bias, window):
    return _blocks_forward(q, k, v, bias, window)[0]


def _blocks_forward(q, k, v, bias, window):
    outputs, normalisers = [], []
    for span in _spans(q.shape[2], window):
        first, _, end = span
        scores = _block_scores(q, k, bias, span, window)
        top = jnp.max(scores, axis=-1, keepdims=True)
        weights = jnp.exp(scores - top)
        total = jnp.sum(weights, axis=-1, keepdims=True)
        y = jnp.einsum("bgqk,bkd->bgqd", weights.astype(v.dtype), v[:, first:end])
        outputs.append(y / total.astype(v.dtype))
        normalisers.append(top + jnp.log(total))
    y = jnp.concatenate(outputs, axis=2)
    return y, (q, k, v, bias, y, jnp.concatenate(normalisers, axis=2))


def _blocks_backward(window, saved, dy):
    q, k, v, bias, y, normaliser = saved
    scale = 1 / math.sqrt(q.shape[-1])
    # rowsum(dP · P) = rowsum(dy · y), Dao et al. 2022, §B.2
    inner = jnp.sum(dy.astype(jnp.float32) * y.astype(jnp.float32), axis=-1, keepdims=True)
    dq, dk, dv = [], jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
    dbias = None if bias is None else jnp.zeros_like(bias)
    for span in _spans(q.shape[2], window):
        first, start, end = span
        rows = slice(start, end)
        weights = jnp.exp(_block_scores(q, k, bias, span, window) - normaliser[:, :, rows])
        block = dy[:, :, rows]
        dv_block = jnp.einsum("bgqk,bgqd->bkd", weights.astype(dy.dtype), block)
        dweights = jnp.einsum(
            "bgqd,bkd->bgqk", block, v[:, first:end], preferred_element_type=jnp.float32
        )
        dlogits = weights * (dweights - inner[:, :, rows])
        if bias is not None:
            added, back = jax.vjp(functools.partial(_block_bias, span=span), bias)
            whole = jnp.sum(dlogits.reshape(-1, *added.shape), axis=0)
            dbias = dbias + back(whole.astype(added.dtype))[0]
        dscores = (dlogits * scale).astype(q.dtype)
        dq.append(jnp.einsum("bgqk,bkd->bgqd", dscores, k[:, first:end]))
        dk_block = jnp.einsum("bgqk,bgqd->bkd", dscores, q[:, :, rows])
        dk = dk.at[:, first:end].add(dk_block.astype(jnp.float32))
        dv = dv.at[:, first:end].add(dv_block.astype(jnp.float32))
    return jnp.concatenate(dq, axis=2), dk.astype(k.dtype), dv.astype(v.dtype), dbias


_blocks.defvjp(_blocks_forward, _blocks_backward)
