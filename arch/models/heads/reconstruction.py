"""A sequence given back from its last hidden state."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from arch.context import Context
from arch.layers import ACTIVATIONS, Projection, norm, sinusoid
from arch.models.embeddings.contract import TokenEmbedding
from arch.models.heads.contract import Head, Score, heads, of_logits

LAYERS = 2


@heads.register("reconstruction")
class Reconstruction(Head):
    """All tokens of a sequence from the hidden state of its last position x_T (Poli et al. 2024,
    the decoder of MAD's compression).

        h = x_T + sinusoid(i);  twice h ← gelu(W norm(h) + b);  log softmax(V h) at position i

    What else the model computed is not seen, so that the last state has to hold the sequence.
    """

    no_tokens = "this head gives back the sequence that was read, and no next token"

    @property
    def answers(self) -> str:
        """All tokens, of the last state."""
        return "recollection"

    def __init__(self, vocabulary: int, width: int, tokens: TokenEmbedding, *, rngs: nnx.Rngs):
        self.width, self.vocabulary = width, vocabulary
        self.norms = nnx.List([norm("layer", width, 1e-5, rngs) for _ in range(LAYERS)])
        self.maps = nnx.List([Projection(width, width, rngs=rngs) for _ in range(LAYERS)])
        self.matrix = Projection(width, vocabulary, bias=False, rngs=rngs)

    def score(
        self,
        tokens: TokenEmbedding,
        x: Float[Array, "batch length width"],
        inputs: Any,
        targets: Int[Array, "batch length"],
        context: Context,
    ) -> Score:
        """The score of one target per position; of padding, which the mask names, the last state is
        that before it."""
        length = x.shape[1]
        last = x[:, -1:]
        if context.mask is not None:
            ends = jnp.max(jnp.where(context.mask, jnp.arange(length)[None], 0), axis=1)
            last = jnp.take_along_axis(x, ends[:, None, None], axis=1)
        h = last + sinusoid(jnp.arange(length)[None], self.width).astype(x.dtype)
        for norm_of, map_of in zip(self.norms, self.maps, strict=True):
            h = ACTIVATIONS["gelu"](map_of(norm_of(h).astype(x.dtype)))
        logits = self.matrix(h).astype(jnp.float32)
        score = of_logits(logits.reshape(-1, self.vocabulary), targets.reshape(-1))
        return Score(*(a.reshape(targets.shape) for a in (score.target, score.mean, score.best)))

    def flops(self, tokens: TokenEmbedding) -> int:
        """Forward FLOPs per position."""
        return 2 * self.width * (LAYERS * self.width + self.vocabulary)
