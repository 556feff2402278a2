"""Adaptive softmax: rare words in bands of their own, of narrower tables."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from arch.checks import below_one
from arch.context import Context
from arch.layers import Projection, dropout
from arch.models.embeddings.adaptive import Adaptive
from arch.models.embeddings.contract import TokenEmbedding
from arch.models.heads.contract import Score, VocabularyHead, heads, picked
from arch.registry import ConfigurationError


@heads.register("adaptive")
class AdaptiveSoftmax(VocabularyHead):
    """Adaptive softmax (Grave et al. 2017) tied to an adaptive input (Baevski and Auli 2019).

    log p(w) is the head's log p(w) in the first band, and log p(band) + log p(w | band) beyond;
    tables and projections are the embedding's, only the class scores are the head's own.

    Args:
        tail_dropout: rate on the projected input of the tail bands.
        chunk: positions scored at a time; 0 for all at once.
    """

    tied = True

    def __init__(
        self,
        vocabulary: int,
        width: int,
        tokens: Any,
        *,
        tail_dropout: float = 0.0,
        chunk: int = 0,
        rngs: nnx.Rngs,
    ):
        if not isinstance(tokens, Adaptive):
            raise ConfigurationError(
                "head.kind='adaptive' is tied to embedding.kind='adaptive' only"
            )
        below_one(of="head", tail_dropout=tail_dropout)
        self.width, self.vocabulary, self.chunk, self.edges = width, vocabulary, chunk, tokens.edges
        self.tail_dropout = tail_dropout
        self.classes = Projection(width, len(tokens.edges) - 2, bias=False, rngs=rngs)

    def _bands(self, tokens: Any, rows: Array, context: Context | None) -> Iterator[Array]:
        """log p of the head (first band, then the tails as classes) and of each tail's words."""
        first = rows @ tokens.tables[0][...].astype(rows.dtype).T
        top = jnp.concatenate([first, self.classes(rows)], axis=-1).astype(jnp.float32)
        yield jax.nn.log_softmax(top, axis=-1)
        for band in range(1, len(self.edges) - 1):
            x = rows @ tokens.projections[band].kernel[...].astype(rows.dtype).T
            if context is not None and context.train and self.tail_dropout:
                key = context.key_for(f"tail{band}")
                x = dropout(x, self.tail_dropout, key, context.platform)
            logits = x @ tokens.tables[band][...].astype(x.dtype).T
            yield jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)

    def logits(
        self, tokens: TokenEmbedding, x: Float[Array, "rows width"]
    ) -> Float[Array, "rows vocabulary"]:
        """Log-probabilities, which are logits as good as any."""
        top, *tails = self._bands(tokens, x, None)
        size = self.edges[1]
        joined = [tail + top[:, size + i, None] for i, tail in enumerate(tails)]
        return jnp.concatenate([top[:, :size], *joined], axis=-1)

    def score_rows(
        self,
        tokens: TokenEmbedding,
        rows: Float[Array, "rows width"],
        targets: Int[Array, " rows"],
        context: Context,
    ) -> Score:
        """The score of one target per row, without the log-probabilities of the whole vocabulary
        side by side."""
        top, *tails = self._bands(tokens, rows, context)
        size = self.edges[1]
        total = picked(top[:, :size], targets)
        mass = top[:, :size].sum(-1)
        values, best = top[:, :size].max(-1), top[:, :size].argmax(-1)
        for i, (tail, (low, high)) in enumerate(
            zip(tails, itertools.pairwise(self.edges[1:]), strict=True)
        ):
            band = top[:, size + i]
            inside = (targets >= low) & (targets < high)
            total = total + jnp.where(inside, band + picked(tail, targets - low), 0.0)
            mass = mass + (high - low) * band + tail.sum(-1)
            value = band + tail.max(-1)
            best = jnp.where(value > values, low + tail.argmax(-1), best)
            values = jnp.maximum(values, value)
        return Score(target=total, mean=mass / self.vocabulary, best=best)

    def flops(self, tokens: Any) -> int:
        """Forward FLOPs per position."""
        products = [tokens.tables[0], self.classes.kernel]
        for band in range(1, len(self.edges) - 1):
            products += [tokens.tables[band], tokens.projections[band].kernel]
        return sum(2 * math.prod(p.shape) for p in products)
