"""The head of BERT and ALBERT."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from arch.checks import at_least, one_of
from arch.context import Context
from arch.layers import ACTIVATIONS, Projection, norm
from arch.models.heads.scoring import Score, heads, of_logits
from arch.registry import ConfigurationError


@heads.register("masked")
class Masked(nnx.Module):
    """What BERT and ALBERT predict: masked tokens, and how two segments stand to each other.

        token       log softmax(E · norm(φ(W x + b)) + c) at a position, E the token table
        sentence    log softmax(V · tanh(P x₀ + p) + v), x₀ the first position's state

    W goes to the width of the table (Devlin et al. 2018; Lan et al. 2019, whose table is narrower
    than the model).

    Args:
        predict: the token's part is there.
        classes: of the sentence's part; 0 leaves the pooler P alone.
        pooler: P is there, which the sentence's part needs.
        activation: φ: relu | gelu | gelu_tanh | silu.
        epsilon: of the norm.
        init_std: of the kernels.
        chunk: positions scored at a time; 0 for all at once.
    """

    def __init__(
        self,
        vocabulary,
        width,
        tokens,
        *,
        predict=True,
        classes=2,
        pooler=True,
        activation="gelu_tanh",
        epsilon=1e-12,
        init_std=0.02,
        chunk=0,
        rngs: nnx.Rngs,
    ):
        one_of(ACTIVATIONS, of="head", activation=activation)
        if not hasattr(tokens, "table"):
            raise ConfigurationError("head.kind='masked' needs a plain or factorised embedding")
        at_least(0, of="head", classes=classes, chunk=chunk)
        if classes and not pooler:
            raise ConfigurationError(
                f"head.pooler=False: the sentence's part needs it; allowed with head.classes=0, "
                f"not {classes}"
            )
        self.width, self.vocabulary, self.chunk = width, vocabulary, chunk
        self.activation, self.size, self.classes = activation, tokens.table.shape[1], classes
        self.pooler: Any = (
            Projection(width, width, init_std=init_std, rngs=rngs) if pooler else None
        )
        self.sentence: Any = (
            Projection(width, classes, init_std=init_std, rngs=rngs) if classes else None
        )
        self.transform: Any = (
            Projection(width, self.size, init_std=init_std, rngs=rngs) if predict else None
        )
        self.norm: Any = norm("layer", self.size, epsilon, rngs) if predict else None
        self.bias: Any = nnx.Param(jnp.zeros((vocabulary,))) if predict else None

    def logits(self, tokens, x: Float[Array, "rows width"]) -> Float[Array, "rows vocabulary"]:
        if self.transform is None:
            raise ConfigurationError("model.head.predict=False: this head predicts no tokens")
        y = self.norm(ACTIVATIONS[self.activation](self.transform(x))).astype(x.dtype)
        return (y @ tokens.table[...].astype(x.dtype).T).astype(jnp.float32) + self.bias[...][None]

    def score_rows(self, tokens, rows, targets, context: Context) -> Score:
        return of_logits(self.logits(tokens, rows), targets)

    def pooled(self, x: Float[Array, "batch length width"]) -> Float[Array, "batch width"]:
        """tanh(P x₀ + p)."""
        return jnp.tanh(self.pooler(x[:, 0]))

    def sentence_logits(
        self, x: Float[Array, "batch length width"]
    ) -> Float[Array, "batch classes"]:
        return self.sentence(self.pooled(x)).astype(jnp.float32)

    def flops(self, tokens) -> int:
        """Forward FLOPs a token; those of the sentence's part, once a sequence, are left out."""
        return 2 * self.size * (self.width + self.vocabulary) if self.norm is not None else 0
