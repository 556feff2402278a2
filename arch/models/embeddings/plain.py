"""One table of vocabulary × width, read as it is or squashed."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from arch.models.embeddings.contract import TokenEmbedding, embeddings, table
from arch.registry import ConfigurationError


@embeddings.register("plain")
class Plain(TokenEmbedding):
    """One table of vocabulary × width, which a tied head reads as its matrix too."""

    def __init__(self, vocabulary: int, width: int, *, init_std: float = 0.0, rngs: nnx.Rngs):
        self.table = table(vocabulary, width, init_std, rngs)

    def __call__(self, ids: Int[Array, "*batch"]) -> Float[Array, "*batch width"]:
        """The rows of the table."""
        return self.table[...][ids]

    def flops(self) -> int:
        """0: a row is looked up."""
        return 0


@embeddings.register("squashed")
class Squashed(TokenEmbedding):
    """tanh(factor · E[x]), E uniform in ±range (Freivalds et al. 2019): a small table moves fast.

    Args:
        factor: by which entries of the table are multiplied.
        range: largest absolute value of an entry at the start.

    A tied head reads E as it is.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        *,
        factor: float = 30.0,
        range: float = 0.01,
        rngs: nnx.Rngs,
    ):
        for name, value in (("factor", factor), ("range", range)):
            if not value > 0:
                raise ConfigurationError(f"embedding.{name}={value}: allowed is above 0")
        shape = (vocabulary, width)
        self.factor = factor
        self.table = nnx.Param(
            jax.random.uniform(rngs.params(), shape, minval=-range, maxval=range)
        )

    def __call__(self, ids: Int[Array, "*batch"]) -> Float[Array, "*batch width"]:
        """tanh(factor · E[x])."""
        return jnp.tanh(self.factor * self.table[...][ids])

    def flops(self) -> int:
        """0: a row is looked up."""
        return 0
