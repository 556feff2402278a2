"""LSH attention (Kitaev, Kaiser and Levskaya 2020, §2): each query sees the keys that a random
hash puts near it, so that time and memory are n log n in the length."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from arch.checks import SEED_LIMIT, at_least, below_one, holds, one_of
from arch.context import Context, Extras, named
from arch.devices import scopes
from arch.layers import Projection, divide, product_flops, widened
from arch.registry import ConfigurationError, sublayers
from arch.sublayers.attention import dot_product, hashing
from arch.sublayers.attention.cache import KeysValues
from arch.sublayers.contract import Sublayer


class Cache(NamedTuple):
    """Of the places before a step. buckets: -1 where there is no token yet."""

    places: KeysValues
    buckets: Int[Array, "batch keys heads rounds"]


@sublayers.register("lsh_attention")
class LSHAttention(Sublayer):
    """softmax(Q K'ᵀ / √d) V over the pairs that one of `rounds` hashes puts into one bucket, at
    most `chunk` places apart in it. Keys are the normalised queries; a position sees itself only
    where it sees nothing else.

    It is exact attention with shared queries and keys where the longest sequence fits into one
    chunk, or with `attend_across_buckets` where the present sequence does. The rotations are drawn
    from the context's key; where it has none, as in evaluation, from a constant; with `hash_seed`
    from that seed, the same at every call.

    Args:
        width: of the input and the output.
        heads: number of heads.
        head_width: d; 0 stands for width / heads.
        rounds: hashes.
        evaluate_rounds: hashes when not training; 0 stands for as many.
        chunk: how many places before it a query sees, and after it where not causal.
        buckets: even factors; their product is the number of buckets. () stands for two buckets per
            chunk of the longest sequence that the model is built for, whatever the length at hand.
        key_norm: unit | rms, see `dot_product.keys_of`.
        attend_across_buckets: a query sees all of its chunk and its neighbours, whatever the
            bucket, as in Hugging Face's and trax's later code. **Not causal**: what comes later
            moves the chunks' borders. It cannot decode token by token.
        remove_duplicates: a pair of several rounds counts once (eq. 16).
        before, after: with `attend_across_buckets`, chunks seen before and after a chunk's own.
        bias: biases on the three projections.
        attention_dropout: rate on the weights after the softmax.
        init_std: of the kernels; 0 is Glorot's uniform.
        hash_seed: of the rotations of every call; -1: they are drawn anew.

    The buckets are returned as `Extras.replay`, for the backward pass of a reversible stack: hashed
    again in bfloat16, some would differ.
    """

    causal = True
    not_turned = "keys are queries"
    not_biased = "its chunks are sorted by bucket, not by place"
    residual_outputs = ("output.kernel",)

    def __init__(
        self,
        width: int,
        *,
        heads: int = 8,
        head_width: int = 0,
        rounds: int = 2,
        evaluate_rounds: int = 0,
        chunk: int = 64,
        buckets: tuple[int, ...] = (),
        key_norm: str = "unit",
        attend_across_buckets: bool = False,
        remove_duplicates: bool = True,
        before: int = 1,
        after: int = 0,
        bias: bool = False,
        attention_dropout: float = 0.0,
        init_std: float = 0.0,
        hash_seed: int = -1,
        rngs: nnx.Rngs,
    ):
        allowed = f"-1 (drawn anew), or 0 to {SEED_LIMIT - 1}"
        holds(-1 <= hash_seed < SEED_LIMIT, allowed, hash_seed=hash_seed)
        at_least(1, rounds=rounds, chunk=chunk)
        at_least(0, evaluate_rounds=evaluate_rounds, before=before, after=after)
        at_least(0, head_width=head_width)
        if any(size < 2 or size % 2 for size in buckets):
            raise ConfigurationError(
                f"buckets={tuple(buckets)}: allowed are even numbers from 2 on, whose product is "
                "the number of buckets, or () for two per chunk"
            )
        one_of(dot_product.KEY_NORMS, key_norm=key_norm)
        if not attend_across_buckets and (before, after) != (1, 0):
            raise ConfigurationError(
                f"before={before}, after={after}: allowed are 1 and 0 unless "
                "attend_across_buckets=True"
            )
        below_one(attention_dropout=attention_dropout)
        self.heads = heads
        self.head_width = head_width or divide(width, heads, "heads", "width")
        self.width, self.chunk, self.buckets = width, chunk, tuple(buckets)
        self.rounds, self.evaluate_rounds = rounds, evaluate_rounds or rounds
        self.key_norm, self.across = key_norm, attend_across_buckets
        self.causal = not attend_across_buckets
        self.remove_duplicates, self.before, self.after = remove_duplicates, before, after
        self.attention_dropout, self.hash_seed = attention_dropout, hash_seed
        inner = self.heads * self.head_width
        projection = functools.partial(Projection, bias=bias, init_std=init_std, rngs=rngs)
        self.query = projection(width, inner)
        self.value = projection(width, inner)
        self.output = projection(inner, width)

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """(y in the shape and dtype of x, Extras with the buckets to replay)."""
        q, v = self._split(self.query(x)), self._split(self.value(x))
        dropping = dot_product.dropping(self.attention_dropout, context)
        k = dot_product.keys_of(q, self.key_norm)
        if self._exact(context, x.shape[1]):
            y, _ = dot_product.attend(
                q, k, v, causal=context.causal, window=0, mask=context.mask,
                dropping=dropping, want_weights=False, path="plain", platform=context.platform,
                own=jnp.arange(x.shape[1]),
            )  # fmt: skip
            return self.output(_joined(y)), Extras()
        replay = context.replay or {"buckets": self._hashed(q, context)}
        buckets = replay["buckets"]
        attend = (
            functools.partial(hashing.attend_across_buckets, before=self.before, after=self.after)
            if self.across
            else functools.partial(
                hashing.attend_within_buckets, remove_duplicates=self.remove_duplicates
            )
        )
        with scopes.attention("buckets"):
            y = attend(
                _grouped(q),
                _grouped(k * self.head_width**-0.5),
                _grouped(v),
                buckets.reshape(-1, *buckets.shape[2:]),
                chunk=self.chunk,
                causal=context.causal,
                mask=None if context.mask is None else jnp.repeat(context.mask, self.heads, axis=0),
                dropping=dropping,
            )
        y = y.reshape(x.shape[0], self.heads, *y.shape[1:]).swapaxes(1, 2)
        return self.output(_joined(y)), Extras(replay=replay)

    def init_cache(self, batch: int, length: int, dtype: DTypeLike, context: Context) -> Cache:
        """Room for the keys and values of `length` steps, and for their buckets."""
        buckets = jnp.full((batch, length, self.heads, self._rounds(context)), -1, jnp.int32)
        return Cache(KeysValues.empty(batch, self.heads, length, self.head_width, dtype), buckets)

    def step(
        self, x: Float[Array, "batch 1 width"], cache: Cache, context: Context
    ) -> tuple[Float[Array, "batch 1 width"], Cache]:
        """The token at `context.time`, which sees of the cache what the hashes put near it."""
        assert context.time is not None, "a step of attention needs context.time"
        if self.across:
            raise ConfigurationError(
                "attend_across_buckets=True: what a position sees depends on what comes later; it "
                "cannot be decoded token by token"
            )
        q, v = self._split(self.query(x)), self._split(self.value(x))
        buckets = self._hashed(q, context).transpose(0, 3, 1, 2)
        new = KeysValues.of(dot_product.keys_of(q, self.key_norm), v)
        places = cache.places.put(new, context.time)
        cache = Cache(
            places,
            jax.lax.dynamic_update_slice_in_dim(cache.buckets, buckets, context.time, axis=1),
        )
        times = jnp.arange(places.room)
        there = (times <= context.time)[None]
        there = there if context.mask is None else there & context.mask
        logits = jnp.einsum("bqhd,bhkd->bhk", q, places.k)
        logits = widened(logits) * self.head_width**-0.5
        if self._exact(context, len(times)):
            seen = jnp.broadcast_to(there[:, None], logits.shape)
        else:
            same = (cache.buckets == buckets) & there[..., None, None]
            later = jnp.cumsum(same[:, ::-1], axis=1)[:, ::-1] - same  # of its bucket, after it
            rounds = jnp.sum(same & (later <= self.chunk), axis=-1).swapaxes(1, 2)
            seen = rounds > 0
            if not self.remove_duplicates:
                logits = logits + jnp.log(jnp.maximum(rounds, 1))
        logits = jnp.where(seen, logits, dot_product.MASKED)
        itself = (times == context.time)[None, None]
        weights = jax.nn.softmax(jnp.where(itself, dot_product.OWN, logits), axis=-1)
        y = jnp.einsum("bhk,bhkd->bhd", weights.astype(v.dtype), places.v)
        return self.output(y.reshape(x.shape[0], 1, -1)), cache

    def _exact(self, context: Context, length: int) -> bool:
        """Whether the longest sequence fits one chunk; across buckets, whether this one does."""
        longest = length if self.across else context.max_length or length
        return longest <= self.chunk

    def _rounds(self, context: Context) -> int:
        return self.rounds if context.train else self.evaluate_rounds

    def _hashed(self, q: Float[Array, "batch length heads width"], context: Context) -> Array:
        key = context.key
        if key is None or self.hash_seed >= 0:
            key = jax.random.key(max(self.hash_seed, 0))
        longest = context.max_length or q.shape[1]
        matrices = hashing.rotations(
            named(key, "rotations"),
            self.heads,
            self.head_width,
            self._rounds(context),
            self.buckets or hashing.buckets_for(longest, self.chunk),
            jnp.float32,
        )
        return hashing.hashed(jax.lax.stop_gradient(q), matrices)

    def _split(self, x: Float[Array, "batch length inner"]) -> Array:
        return x.reshape(*x.shape[:-1], self.heads, self.head_width)

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence in training: what the chunks see, masked or not, and the
        hashes of two buckets a chunk."""
        inner = self.heads * self.head_width
        projections = 3 * product_flops(length, self.width, inner)
        if length <= self.chunk:
            return projections + 2 * product_flops(length, inner, length)
        sizes = self.buckets or hashing.buckets_for(length, self.chunk)
        hashes = self.rounds * product_flops(length, inner, sum(sizes) // 2)
        window = (self.before + 1 + self.after) * self.chunk
        return projections + hashes + 2 * self.rounds * product_flops(length, inner, window)


def _grouped(x: Float[Array, "batch length heads width"]) -> Float[Array, "group length width"]:
    return x.swapaxes(1, 2).reshape(-1, x.shape[1], x.shape[3])


def _joined(x: Float[Array, "batch length heads width"]) -> Float[Array, "batch length inner"]:
    return x.reshape(*x.shape[:2], -1)
