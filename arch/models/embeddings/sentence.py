"""One vector per sentence, of its words."""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from arch.checks import at_least
from arch.models.embeddings.contract import TokenEmbedding, embeddings, table
from arch.registry import ConfigurationError


@embeddings.register("sentence")
class Sentence(TokenEmbedding):
    """One vector per sentence: Σⱼ E[wⱼ] ⊙ mⱼ over its words, where mⱼ, a learned mask for the j-th
    word, starts at 1 (Henaff et al. 2017, eq. 1; Dehghani et al. 2018, §3.1). Word 0 is padding
    and adds nothing.

    Args:
        words: the most words a sentence may have, 12 serve bAbI; shorter ones use the first masks.
        init_std: standard deviation of the table; 0 stands for 1/√width.
    """

    reads = "sentences"

    def __init__(
        self, vocabulary: int, width: int, *, words: int = 12, init_std: float = 0.0, rngs: nnx.Rngs
    ):
        at_least(1, of="embedding", words=words)
        self.table = table(vocabulary, width, init_std, rngs)
        self.mask = nnx.Param(jnp.ones((words, width)))

    def __call__(self, ids: Int[Array, "batch length words"]) -> Float[Array, "batch length width"]:
        """The sentences' vectors; ConfigurationError for ids without words, or with too many."""
        if ids.ndim != 3:
            raise ConfigurationError(
                f"embedding.kind='sentence' reads ids of (batch, length, words), not {ids.shape}: "
                "the task has no sentences"
            )
        masks, words = self.mask[...], ids.shape[-1]
        if words > len(masks):
            raise ConfigurationError(
                f"embedding.words={len(masks)}: the task has sentences of {words} words"
            )
        embedded = jnp.where((ids != 0)[..., None], self.table[...][ids], 0.0)
        return jnp.einsum("blwd,wd->bld", embedded, masks[:words])

    def flops(self) -> int:
        """Forward FLOPs per sentence."""
        return 2 * math.prod(self.mask.shape)
