"""Norms of queries and keys, a head at a time, before they are turned and multiplied."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from arch.checks import one_of
from arch.layers import norm, widened
from arch.registry import ConfigurationError

KINDS = ("", "rms", "layer", "layer_no_bias", "unit")
SHARPNESS = 10.0  # of unit vectors' products, x-transformers' `qk_norm_scale`


class QueryKeyNorm(nnx.Module):
    """q and k of each head, normalised; logits no longer grow with their length (Henry et al. 2020;
    Dehghani et al. 2023, §2).

    rms, layer, layer_no_bias  the norms of a stack with gains for queries and for keys, which all
                               heads share
    unit                       q / |q| and k / |k| with logits 10 qᵀ k, as in x-transformers
    """

    def __init__(self, kind: str, head_width: int, *, shared_qk: bool, rngs: nnx.Rngs):
        one_of(KINDS, qk_norm=kind)
        if kind and shared_qk:
            raise ConfigurationError(
                f"qk_norm={kind!r}: allowed is '' with shared_qk=True, whose keys are normalised "
                "queries, see key_norm"
            )
        self.kind, self.head_width = kind, head_width
        learned = kind not in ("", "unit")
        self.query = norm(kind, head_width, 1e-6, rngs) if learned else None
        self.key = norm(kind, head_width, 1e-6, rngs) if learned else None

    def queries(
        self, q: Float[Array, "batch length heads width"]
    ) -> Float[Array, "batch length heads width"]:
        """Normalised, in q's dtype."""
        if self.kind == "unit":  # attention divides by √width
            return (_unit(q) * (SHARPNESS * math.sqrt(self.head_width))).astype(q.dtype)
        return q if self.query is None else self.query(q).astype(q.dtype)

    def keys(
        self, k: Float[Array, "batch length kv_heads width"]
    ) -> Float[Array, "batch length kv_heads width"]:
        """Normalised, in k's dtype."""
        if self.kind == "unit":
            return _unit(k).astype(k.dtype)
        return k if self.key is None else self.key(k).astype(k.dtype)


def _unit(x: Array) -> Array:
    x = widened(x)
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)
