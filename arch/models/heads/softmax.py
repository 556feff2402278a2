"""Softmax over the vocabulary, tied to the token table or not."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from arch.checks import at_least, one_of
from arch.layers import Projection
from arch.models.embeddings.contract import TokenEmbedding
from arch.models.heads.contract import VocabularyHead, heads
from arch.registry import ConfigurationError

POOLS = ("none", "mean")


@heads.register("softmax")
class Softmax(VocabularyHead):
    """log softmax(x E ᵀ + b).

    Args:
        tie: E is the token table (Press and Wolf 2017), through its own map back where it is
            factorised; otherwise a matrix of the head's own.
        bias: whether b is there.
        pool: none | mean: one distribution per sequence, of the mean over its positions.
        chunk: positions scored at a time; 0 for all at once.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        tokens: TokenEmbedding,
        *,
        tie: bool = True,
        bias: bool = False,
        pool: str = "none",
        chunk: int = 0,
        rngs: nnx.Rngs,
    ):
        one_of(POOLS, of="head", pool=pool)
        if tie and tokens.not_tied:
            raise ConfigurationError(tokens.not_tied)
        at_least(0, "all at once", of="head", chunk=chunk)
        self.width, self.vocabulary, self.chunk = width, vocabulary, chunk
        self.tied, self.pool = tie, pool
        self.matrix = None if tie else Projection(width, vocabulary, bias=False, rngs=rngs)
        self.bias = nnx.Param(jnp.zeros((vocabulary,))) if bias else None

    def logits(
        self, tokens: TokenEmbedding, x: Float[Array, "rows width"]
    ) -> Float[Array, "rows vocabulary"]:
        """x E ᵀ + b, in float32."""
        y = (tokens.logits(x) if self.matrix is None else self.matrix(x)).astype(jnp.float32)
        return y if self.bias is None else y + self.bias[...][None]

    def flops(self, tokens: TokenEmbedding) -> int:
        """Forward FLOPs per position."""
        return tokens.logits_flops() if self.tied else 2 * self.width * self.vocabulary
