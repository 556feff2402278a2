"""A softmax over the input's positions instead of the vocabulary."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from arch.checks import one_of
from arch.context import Context
from arch.layers import Projection
from arch.models.embeddings.contract import TokenEmbedding
from arch.models.heads.contract import Head, Score, heads

NEVER = -1e30  # the logit of a position that is not there: finite, so that no gradient is NaN


@heads.register("pointer")
class Pointer(Head):
    """The answer is one of the input's own tokens: softmax(w · x)ᵢ over its positions, those
    outside `context.mask` left out.

        summed  attention sum (Kadlec et al. 2016): p(token) = Σ over the positions where it stands.
                They score a position by its product with a query's encoding; here the whole input
                is the query, and w is a vector
        each    log p(token) = the mean of log p over the positions where it stands: the target is
                spread evenly over them, as for the Shuffle-Exchange networks (Freivalds et al.
                2019). The best token is that of the most probable position

    It scores a sequence, not its positions, and there are no logits over the vocabulary.

    Args:
        occurrences: summed | each.
    """

    @property
    def answers(self) -> str:
        """One of the input's own tokens."""
        return "occurrence"

    def __init__(
        self,
        vocabulary: int,
        width: int,
        tokens: TokenEmbedding,
        *,
        occurrences: str = "summed",
        rngs: nnx.Rngs,
    ):
        one_of(("summed", "each"), of="head", occurrences=occurrences)
        self.width, self.vocabulary, self.occurrences = width, vocabulary, occurrences
        # no bias: a softmax over positions would not see it
        self.position = Projection(width, 1, bias=False, rngs=rngs)

    def score(
        self,
        tokens: TokenEmbedding,
        x: Float[Array, "batch length width"],
        inputs: Int[Array, "batch length"],
        targets: Int[Array, "batch answers"],
        context: Context,
    ) -> Score:
        """log p(target), about -1e30 where it does not stand in the input, with no gradient then.

        `best` is the token that is most probable, see above. `mean` is the mean of log p over the
        positions: most of a vocabulary has no probability at all, so there is nothing else to
        smooth over.
        """
        there = jnp.ones(inputs.shape, bool) if context.mask is None else context.mask
        logits = self._logits(x, there)
        normaliser = jax.nn.logsumexp(logits, axis=1)[:, None]
        stands = (inputs[:, None, :] == targets[:, :, None]) & there[:, None, :]
        target = self._of_target(logits, normaliser, stands)
        if self.occurrences == "each":
            total = logits
        else:
            same = inputs[:, :, None] == inputs[:, None, :]
            total = jnp.sum(jnp.where(same, jnp.exp(logits - normaliser)[:, None, :], 0.0), axis=2)
        best = jnp.take_along_axis(inputs, jnp.argmax(total, axis=1)[:, None], axis=1)
        mean = mean_where(logits - normaliser, there)[:, None]
        return Score(target, *(jnp.broadcast_to(a, targets.shape) for a in (mean, best)))

    def outputs(
        self, tokens: TokenEmbedding, x: Float[Array, "batch length width"], context: Context
    ) -> dict[str, Array]:
        """position_logits, (batch, length): -1e30 outside of the mask."""
        there = jnp.ones(x.shape[:2], bool) if context.mask is None else context.mask
        return {"position_logits": self._logits(x, there)}

    def _logits(self, x: Float[Array, "batch length width"], there: Bool[Array, "batch length"]):
        return jnp.where(there, self.position(x)[..., 0].astype(jnp.float32), NEVER)

    def _of_target(
        self,
        logits: Float[Array, "batch length"],
        normaliser: Float[Array, "batch 1"],
        stands: Bool[Array, "batch answers length"],
    ) -> Float[Array, "batch answers"]:
        if self.occurrences == "each":
            found = mean_where(logits[:, None, :], stands)
        else:
            found = jax.nn.logsumexp(jnp.where(stands, logits[:, None, :], NEVER), axis=2)
        return jnp.where(stands.any(2), found - normaliser, NEVER)

    def flops(self, tokens: TokenEmbedding) -> int:
        """Forward FLOPs per position."""
        return 2 * self.width


def mean_where(values: Float[Array, "*batch n"], chosen: Bool[Array, "*batch n"]) -> Array:
    """The mean of the chosen values over the last axis; 0 where none is chosen."""
    total = jnp.sum(jnp.where(chosen, values, 0.0), axis=-1)
    return total / jnp.maximum(chosen.sum(-1), 1)
