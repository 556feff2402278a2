"""A table narrower than the model, and a projection to the model's width."""

import math
from typing import Any

from flax import nnx
from jaxtyping import Array, Float, Int

from arch.checks import at_least
from arch.layers import Projection
from arch.models.embeddings.contract import TokenEmbedding, embeddings, table


@embeddings.register("factorised")
class Factorised(TokenEmbedding):
    """vocabulary × size, then size × width (Lan et al. 2019, §3.1).

    Args:
        size: width E of the table.
        early: whether positions and types are added, normed and dropped at `size`, before the
            projection, as in ALBERT; otherwise at the model's width, after it.
        back: whether there is a projection back to `size`, which a tied softmax needs; the head
            `masked` brings its own.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        *,
        size: int = 128,
        early: bool = False,
        back: bool = True,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        at_least(1, of="embedding", size=size)
        self.early_size = size if early else 0
        if not back:
            self.not_tied = (
                "head.kind='softmax' goes back through a factorised embedding's own map; "
                "embedding.back=False leaves it none"
            )
        self.table = table(vocabulary, size, init_std, rngs)
        self.project = Projection(size, width, init_std=init_std, rngs=rngs)
        self.back: Any = Projection(width, size, init_std=init_std, rngs=rngs) if back else None

    def __call__(self, ids: Int[Array, "*batch"]) -> Float[Array, "*batch width"]:
        """The rows of the table, projected unless `early`."""
        rows = self.table[...][ids]
        return rows if self.early_size else self.project(rows)

    def logits(self, x: Float[Array, "rows width"]) -> Float[Array, "rows vocabulary"]:
        """x back to `size`, then times the table, in the type of x."""
        return super().logits(x if self.back is None else self.back(x))

    def flops(self) -> int:
        """Forward FLOPs per token of the projection in."""
        return 2 * math.prod(self.project.kernel.shape)

    def logits_flops(self) -> int:
        """Forward FLOPs per row of both products back."""
        rows, size = self.table.shape
        width = self.project.kernel.shape[1]
        return 2 * size * (width + rows)
