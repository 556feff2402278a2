"""The head of BERT and ALBERT."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from arch.checks import at_least, one_of
from arch.context import Context
from arch.layers import ACTIVATIONS, Projection, norm
from arch.models.embeddings.contract import TokenEmbedding
from arch.models.heads.contract import VocabularyHead, heads
from arch.registry import ConfigurationError


@heads.register("masked")
class Masked(VocabularyHead):
    """BERT's and ALBERT's predictions: masked tokens, and how two segments stand to each other.

        token       log softmax(E · norm(φ(W x + b)) + c) at a position, E the token table
        sentence    log softmax(V · tanh(P x₀ + p) + v), x₀ the first position's state

    W goes to the width of the table (Devlin et al. 2018; Lan et al. 2019, whose table is narrower
    than the model).

    Args:
        predict: whether the token's part is there.
        classes: number of classes of the sentence's part; 0 leaves the pooler P alone.
        pooler: whether P is there, which the sentence's part needs.
        activation: φ: relu | gelu | gelu_tanh | silu.
        epsilon: of the norm.
        init_std: of the kernels.
        chunk: positions scored at a time; 0 for all at once.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        tokens: TokenEmbedding,
        *,
        predict: bool = True,
        classes: int = 2,
        pooler: bool = True,
        activation: str = "gelu_tanh",
        epsilon: float = 1e-12,
        init_std: float = 0.02,
        chunk: int = 0,
        rngs: nnx.Rngs,
    ):
        one_of(ACTIVATIONS, of="head", activation=activation)
        if tokens.table is None:
            raise ConfigurationError("head.kind='masked' needs a plain or factorised embedding")
        at_least(0, of="head", classes=classes, chunk=chunk)
        if classes and not pooler:
            raise ConfigurationError(
                f"head.pooler=False: the sentence's part needs it; allowed with head.classes=0, "
                f"not {classes}"
            )
        self.width, self.vocabulary, self.chunk = width, vocabulary, chunk
        self.activation, self.size = activation, tokens.table.shape[1]
        self.sentence_classes = classes
        if not predict:
            self.no_tokens = "model.head.predict=False"
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

    @property
    def answers(self) -> str:
        """Positions, or nothing where `predict` is off."""
        return "nothing" if self.transform is None else "positions"

    def logits(
        self, tokens: TokenEmbedding, x: Float[Array, "rows width"]
    ) -> Float[Array, "rows vocabulary"]:
        """E · norm(φ(W x + b)) + c, in float32; ConfigurationError where `predict` is off."""
        if self.transform is None:
            raise ConfigurationError("model.head.predict=False: this head predicts no tokens")
        y = self.norm(ACTIVATIONS[self.activation](self.transform(x))).astype(x.dtype)
        return (y @ tokens.table[...].astype(x.dtype).T).astype(jnp.float32) + self.bias[...][None]

    def sentence_logits(
        self, x: Float[Array, "batch length width"]
    ) -> Float[Array, "batch classes"]:
        """V · tanh(P x₀ + p) + v, in float32; ConfigurationError without classes."""
        if self.sentence is None:
            return super().sentence_logits(x)
        return self.sentence(self._pooler(x)).astype(jnp.float32)

    def _pooler(self, x: Float[Array, "batch length width"]) -> Float[Array, "batch width"]:
        return jnp.tanh(self.pooler(x[:, 0]))

    def outputs(
        self, tokens: TokenEmbedding, x: Float[Array, "batch length width"], context: Context
    ) -> dict[str, Array]:
        """logits where it predicts, pooler, sentence_logits where it has classes."""
        found = super().outputs(tokens, x, context)
        if self.pooler is not None:
            found["pooler"] = self._pooler(x).astype(jnp.float32)
        if self.sentence is not None:
            found["sentence_logits"] = self.sentence_logits(x)
        return found

    def flops(self, tokens: TokenEmbedding) -> int:
        """Forward FLOPs per position; the sentence's part, once per sequence, is left out."""
        return 2 * self.size * (self.width + self.vocabulary) if self.norm is not None else 0
