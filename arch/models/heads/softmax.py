"""Softmax over the vocabulary, tied to the token table or not."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from arch.checks import at_least, one_of
from arch.context import Context
from arch.layers import Projection
from arch.models.heads.scoring import Score, heads, of_logits
from arch.registry import ConfigurationError

POOLS = ("none", "mean")


@heads.register("softmax")
class Softmax(nnx.Module):
    """log softmax(x E ᵀ + b).

    Args:
        tie: E is the token table (Press and Wolf 2017), through its own map back where it is
            factorised; else a matrix of the head's own.
        bias: b is there.
        pool: none | mean: one distribution a sequence, of the mean over its positions.
        chunk: positions scored at a time; 0 for all at once.
    """

    def __init__(
        self,
        vocabulary,
        width,
        tokens,
        *,
        tie=True,
        bias=False,
        pool="none",
        chunk=0,
        rngs: nnx.Rngs,
    ):
        one_of(POOLS, of="head", pool=pool)
        self.pool = pool
        if tie and getattr(tokens, "back", True) is None:
            raise ConfigurationError(
                "head.kind='softmax' goes back through a factorised embedding's own map; "
                "embedding.back=False leaves it none"
            )
        if tie and not hasattr(tokens, "logits"):
            raise ConfigurationError(
                "head.kind='softmax' cannot tie an adaptive embedding; use head.kind='adaptive'"
            )
        at_least(0, "all at once", of="head", chunk=chunk)
        self.width, self.vocabulary, self.chunk, self.tie = width, vocabulary, chunk, tie
        own = not tie
        self.matrix = Projection(width, vocabulary, bias=False, rngs=rngs) if own else None
        self.bias = nnx.Param(jnp.zeros((vocabulary,))) if bias else None

    def logits(self, tokens, x: Float[Array, "rows width"]) -> Float[Array, "rows vocabulary"]:
        y = (self.matrix(x) if self.matrix is not None else tokens.logits(x)).astype(jnp.float32)
        return y if self.bias is None else y + self.bias[...][None]

    def score_rows(self, tokens, rows, targets, context: Context) -> Score:
        return of_logits(self.logits(tokens, rows), targets)

    def flops(self, tokens) -> int:
        """Forward FLOPs a token."""
        if self.matrix is not None or not hasattr(tokens, "back"):
            return 2 * self.width * self.vocabulary
        size = tokens.table.shape[1]
        return 2 * size * (self.width + self.vocabulary)
