"""The contract of a head: from the last hidden state to log-probabilities."""

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from arch.context import Context
from arch.devices.sharding import rows as divided
from arch.models.embeddings.contract import TokenEmbedding
from arch.registry import ConfigurationError, Registry


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Score:
    """Of each position: log p(target) and the mean over the vocabulary of log p, in nats, and the
    most probable token."""

    target: Float[Array, "batch length"]
    mean: Float[Array, "batch length"]
    best: Int[Array, "batch length"]


class Head(nnx.Module):
    """From the last hidden state to log-probabilities, computed in float32.

    A kind is created as `Kind(vocabulary, width, tokens, *, …options, rngs)`: the number of tokens,
    the width of the last hidden state, and the token embedding, which the head may read but does
    not hold: it is handed over again with every call. Subclass `VocabularyHead` for log p(token) at
    each position; subclass this class for anything else.

    Attributes:
        kind: its name in the registry.
        tied: whether it reads the token embedding at the model's width, as its matrix. Such a head
            is refused in a stack whose output has another width.
        no_tokens: why it has no distribution over the vocabulary; empty where it has one, which
            `logits` then gives for each position (for each sequence, where it pools).
        pool: "none", or "mean" for one distribution per sequence.
        answers: what it gives a score of, which has to be what the task asks for: positions (a
            token at each, of its own state alone), sequence (one token for the whole), occurrence
            (one of the input's own tokens for the whole), recollection (all tokens, of the last
            state) or nothing.
        sentence_classes: number of classes of whole sequences, which `sentence_logits` tells apart;
            0 for none.
    """

    kind: str
    tied: bool = False
    no_tokens: str = "this kind predicts no tokens"
    pool: str = "none"
    sentence_classes: int = 0

    @property
    def answers(self) -> str:
        """See above: of the sequence for a head that pools, of the positions for another."""
        return "positions" if self.pool == "none" else "sequence"

    @abc.abstractmethod
    def score(
        self,
        tokens: TokenEmbedding,
        x: Float[Array, "batch length width"],
        inputs: Any,
        targets: Int[Array, "batch targets"],
        context: Context,
    ) -> Score:
        """The score of targets.

        Args:
            tokens: the token embedding, with its parameters.
            x: the last hidden state.
            inputs: the model's input, for heads that choose among it; None where positions were
                picked out.
            targets: one token per position; one per sequence for a head that pools.
            context: its mask says which positions are there.
        """

    @abc.abstractmethod
    def flops(self, tokens: TokenEmbedding) -> int:
        """Forward FLOPs per position."""

    def logits(
        self, tokens: TokenEmbedding, x: Float[Array, "rows width"]
    ) -> Float[Array, "rows vocabulary"]:
        """Logits of rows of the hidden state, in float32.

        Raises ConfigurationError for a head without a distribution over the vocabulary.
        """
        raise ConfigurationError(
            f"model.head.kind={self.kind!r}: {self.no_tokens}; expected one that predicts tokens, "
            "for example model.head.kind='softmax'"
        )

    def sentence_logits(
        self, x: Float[Array, "batch length width"]
    ) -> Float[Array, "batch classes"]:
        """Logits of the classes of whole sequences, in float32.

        Raises ConfigurationError for a head without classes.
        """
        raise ConfigurationError(
            f"model.head.kind={self.kind!r}: this head has no classes of sequences; expected one "
            "that has, for example model.head.kind='masked', model.head.classes=2"
        )

    def outputs(
        self, tokens: TokenEmbedding, x: Float[Array, "batch length width"], context: Context
    ) -> dict[str, Array]:
        """What the head makes of the last hidden state, by name, in float32, see `Model.outputs`:
        logits, (batch, length, vocabulary), where it predicts tokens; (batch, 1, vocabulary) where
        it pools."""
        if self.no_tokens:
            return {}
        x = self.pooled(x, context)
        logits = self.logits(tokens, x.reshape(-1, x.shape[-1]))
        return {"logits": logits.reshape(*x.shape[:2], -1)}

    def pooled(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> Float[Array, "batch positions width"]:
        """Every position, or, where `pool` says so, the mean over those of the context's mask."""
        if self.pool == "none":
            return x
        if context.mask is None:
            return jnp.mean(x, axis=1, keepdims=True)
        real = context.mask[..., None].astype(x.dtype)
        return (x * real).sum(1, keepdims=True) / jnp.maximum(real.sum(1, keepdims=True), 1)


class VocabularyHead(Head):
    """A distribution over the vocabulary for each row of the hidden state.

    `score` never keeps the logits of more than `chunk` positions: what leaves it is three numbers
    per position. A kind gives `logits`, and `score_rows` where there is a cheaper way to it.

    Attributes:
        chunk: positions scored at a time; 0 for all at once.
    """

    no_tokens: str = ""
    chunk: int = 0

    @abc.abstractmethod
    def logits(
        self, tokens: TokenEmbedding, x: Float[Array, "rows width"]
    ) -> Float[Array, "rows vocabulary"]:
        """Logits of rows of the hidden state, in float32."""

    def score_rows(
        self,
        tokens: TokenEmbedding,
        rows: Float[Array, "rows width"],
        targets: Int[Array, " rows"],
        context: Context,
    ) -> Score:
        """The score of one target per row; its arrays have the shape of the targets."""
        return of_logits(self.logits(tokens, rows), targets)

    def score(
        self,
        tokens: TokenEmbedding,
        x: Float[Array, "batch length width"],
        inputs: Any,
        targets: Int[Array, "batch targets"],
        context: Context,
    ) -> Score:
        """The score of one target per position, `chunk` positions at a time."""
        x = self.pooled(x, context)
        rows, wanted = x.reshape(-1, x.shape[-1]), targets.reshape(-1)
        chunk = self.chunk
        if not chunk or rows.shape[0] <= chunk:
            result = self.score_rows(tokens, rows, wanted, context)
        else:
            pad = -rows.shape[0] % chunk
            rows = jnp.pad(rows, ((0, pad), (0, 0))).reshape(-1, chunk, x.shape[-1])
            wanted = jnp.pad(wanted, (0, pad)).reshape(-1, chunk)
            # a chunk over all devices: each would wait while another is at its own
            rows, wanted = divided((rows, wanted), context.mesh, axis=1)

            @jax.checkpoint
            def part(index, rows, wanted):
                return self.score_rows(tokens, rows, wanted, context.at(index))

            parts = (jnp.arange(len(rows)), rows, wanted)
            result = jax.lax.map(lambda slices: part(*slices), parts)
            result = jax.tree.map(lambda a: a.reshape(-1)[: targets.size], result)
        return jax.tree.map(lambda a: a.reshape(targets.shape), result)


heads = Registry("head", contract=Head)


def of_logits(logits: Float[Array, "rows n"], targets: Int[Array, " rows"]) -> Score:
    """The score of targets under softmax(logits)."""
    normaliser = jax.nn.logsumexp(logits, axis=-1)
    return Score(
        target=picked(logits, targets) - normaliser,
        mean=jnp.mean(logits, axis=-1) - normaliser,
        best=jnp.argmax(logits, axis=-1),
    )


def picked(values: Float[Array, "rows n"], index: Int[Array, " rows"]) -> Float[Array, " rows"]:
    """values[i, index[i]] as a masked sum: its gradient is elementwise, where a gather's is a
    scatter."""
    chosen = jnp.arange(values.shape[1])[None] == index[:, None]
    return jnp.sum(jnp.where(chosen, values, 0.0), axis=1)
