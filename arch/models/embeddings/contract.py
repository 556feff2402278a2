"""The contract of a token embedding: from token ids to vectors, and back for a tied head."""

import abc
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float, Int

from arch.registry import ConfigurationError, Registry


class TokenEmbedding(nnx.Module):
    """Vectors of tokens, before scale, positions, types, norm and dropout.

    A kind is created as `Kind(vocabulary, width, *, …options, rngs)`: the number of tokens, and the
    model's width.

    Attributes:
        kind: its name in the registry.
        not_tied: why no softmax can be tied to it; empty where one can, which `logits` then serves.
        reads: tokens, ids of (batch, length), sentences, ids of (batch, length, words), or samples,
            numbers of (batch, length, 4): what the task has to give.
        table: the only table, vocabulary × size, for heads that read it themselves; None where
            there are many.
        early_size: width at which positions, types, norm and dropout come, before `project` brings
            the sum to the model's; 0 where `__call__` gives the model's width.
        project: of an embedding with an `early_size`: from that to the model's width.
    """

    kind: str
    not_tied: str = ""
    reads: str = "tokens"
    table: Any = None
    early_size: int = 0
    project: Any = None

    @abc.abstractmethod
    def __call__(self, ids: Int[Array, "*batch"]) -> Float[Array, "*batch width"]:
        """The vectors, of width `early_size` where that is not 0. Some kinds read ids of one more
        axis than they return."""

    @abc.abstractmethod
    def flops(self) -> int:
        """Forward FLOPs per token; looking up costs none."""

    def logits(self, x: Float[Array, "rows width"]) -> Float[Array, "rows vocabulary"]:
        """x Eᵀ, in the type of x, where a softmax can be tied to the table E.

        Raises ConfigurationError where none can, with the reason that `not_tied` gives.
        """
        if self.not_tied or self.table is None:
            raise ConfigurationError(
                self.not_tied
                or f"embedding.kind={self.kind!r} has no table to tie a softmax to; say "
                "model.head.tie=False"
            )
        return x @ self.table[...].astype(x.dtype).T

    def logits_flops(self) -> int:
        """Forward FLOPs of `logits` per row."""
        rows, width = self.table.shape
        return 2 * width * rows


embeddings = Registry("embedding", contract=TokenEmbedding)


def table(rows: int, width: int, std: float, rngs: nnx.Rngs) -> nnx.Param:
    """A table of normal entries; std 0 stands for 1/√width."""
    return nnx.Param(jax.random.normal(rngs.params(), (rows, width)) * (std or width**-0.5))
