"""Tables by frequency: rare words have narrower vectors."""

import itertools
import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from arch.layers import Projection
from arch.models.embeddings.contract import TokenEmbedding, embeddings, table
from arch.registry import ConfigurationError


@embeddings.register("adaptive")
class Adaptive(TokenEmbedding):
    """Adaptive input (Baevski and Auli 2019): band i of the vocabulary, between two cutoffs, has
    embeddings of width / factorⁱ and a projection to width, the first band too.

    Args:
        cutoffs: where bands end, rising; the last band ends with the vocabulary.
        factor: by which each band is narrower than the one before.
    """

    not_tied = "head.kind='softmax' cannot tie an adaptive embedding; use head.kind='adaptive'"

    def __init__(
        self,
        vocabulary: int,
        width: int,
        *,
        cutoffs: tuple[int, ...] = (20000, 60000),
        factor: int = 4,
        rngs: nnx.Rngs,
    ):
        edges = (0, *cutoffs, vocabulary)
        if any(low >= high for low, high in itertools.pairwise(edges)):
            raise ConfigurationError(
                f"embedding.cutoffs={cutoffs}: they must rise between 0 and the vocabulary, "
                f"{vocabulary}"
            )
        if width % factor ** len(cutoffs):
            raise ConfigurationError(
                f"embedding.factor={factor}: width {width} is not a multiple of "
                f"factor^{len(cutoffs)} = {factor ** len(cutoffs)}, "
                "which the last band is divided by"
            )
        self.edges = edges
        widths = [width // factor**band for band in range(len(edges) - 1)]
        sizes = [high - low for low, high in itertools.pairwise(edges)]
        self.tables = nnx.List([table(n, w, 0.0, rngs) for n, w in zip(sizes, widths, strict=True)])
        self.projections = nnx.List([Projection(w, width, bias=False, rngs=rngs) for w in widths])

    def __call__(self, ids: Int[Array, "*batch"]) -> Float[Array, "*batch width"]:
        """The projected row of each token's band."""
        total = jnp.zeros(())
        for low, high, rows, project in zip(
            self.edges[:-1], self.edges[1:], self.tables, self.projections, strict=True
        ):
            inside = (ids >= low) & (ids < high)
            x = project(rows[...][jnp.clip(ids - low, 0, high - low - 1)])
            total = total + jnp.where(inside[..., None], x, 0.0)
        return total

    def flops(self) -> int:
        """Forward FLOPs per token: every band's projection is computed for every token."""
        return sum(2 * math.prod(p.kernel.shape) for p in self.projections)
