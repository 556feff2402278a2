"""From the last hidden state to log-probabilities of tokens, in float32 and in slices.

`score` never keeps the logits of more than `chunk` positions: what leaves it is three numbers a
position. `logits` gives them in full, for generation and for parity tests.
"""

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from arch.context import Context
from arch.embeddings import Adaptive
from arch.layers import ACTIVATIONS, Projection, dropout, norm
from arch.registry import ConfigurationError, Registry

heads = Registry("head")
POOLS = ("none", "mean")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Score:
    """Of each position: log p(target) and the mean over the vocabulary of log p, in nats, and the
    most probable token."""

    target: Float[Array, "batch length"]
    mean: Float[Array, "batch length"]
    best: Int[Array, "batch length"]


def score(
    head,
    tokens,
    x: Float[Array, "batch length width"],
    inputs: Any,
    targets: Int[Array, "batch length"],
    context: Context,
) -> Score:
    """The head's score of targets, `head.chunk` positions at a time (0: all at once).

    A head that chooses among the input's positions has a `score_sequence` of its own; one that
    pools reads the mean over the sequence, and has one target a sequence.
    """
    if hasattr(head, "score_sequence"):
        return head.score_sequence(tokens, x, inputs, targets, context)
    x = pooled(head, x, context)
    rows, wanted = x.reshape(-1, x.shape[-1]), targets.reshape(-1)
    chunk = head.chunk
    if not chunk or rows.shape[0] <= chunk:
        result = head.score_rows(tokens, rows, wanted, context)
    else:
        pad = -rows.shape[0] % chunk
        rows = jnp.pad(rows, ((0, pad), (0, 0))).reshape(-1, chunk, x.shape[-1])
        wanted = jnp.pad(wanted, (0, pad)).reshape(-1, chunk)

        @jax.checkpoint
        def part(index, rows, wanted):
            return head.score_rows(tokens, rows, wanted, context.at(index))

        result = jax.lax.map(lambda inputs: part(*inputs), (jnp.arange(len(rows)), rows, wanted))
        result = jax.tree.map(lambda a: a.reshape(-1)[: targets.size], result)
    return jax.tree.map(lambda a: a.reshape(targets.shape), result)


def pooled(
    head, x: Float[Array, "batch length width"], context: Context
) -> Float[Array, "batch positions width"]:
    """What the head reads: every position, or where it pools the mean over those of the mask."""
    if getattr(head, "pool", "none") == "none":
        return x
    if context.mask is None:
        return jnp.mean(x, axis=1, keepdims=True)
    real = context.mask[..., None].astype(x.dtype)
    return (x * real).sum(1, keepdims=True) / jnp.maximum(real.sum(1, keepdims=True), 1)


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


@heads.register("softmax")
class Softmax(nnx.Module):
    """log softmax(x E ᵀ + b).

    Args:
        tie: E is the token table (Press and Wolf 2017), through its own map back where it is
            factorised; else a matrix of the head's own.
        bias: b is there.
        pool: none | mean: one distribution a sequence, of the mean over its positions.
        chunk: positions scored at a time; 0 for all at once.
    """

    def __init__(
        self,
        vocabulary,
        width,
        tokens,
        *,
        tie=True,
        bias=False,
        pool="none",
        chunk=0,
        rngs: nnx.Rngs,
    ):
        if pool not in POOLS:
            raise ConfigurationError(f"head.pool={pool!r}: allowed are {', '.join(POOLS)}")
        self.pool = pool
        if tie and getattr(tokens, "back", True) is None:
            raise ConfigurationError(
                "head.kind='softmax' goes back through a factorised embedding's own map; "
                "embedding.back=False leaves it none"
            )
        if tie and not hasattr(tokens, "logits"):
            raise ConfigurationError(
                "head.kind='softmax' cannot tie an adaptive embedding; use head.kind='adaptive'"
            )
        if chunk < 0:
            raise ConfigurationError(f"head.chunk={chunk}: allowed is 0 (all at once) or more")
        self.width, self.vocabulary, self.chunk, self.tie = width, vocabulary, chunk, tie
        own = not tie
        self.matrix = Projection(width, vocabulary, bias=False, rngs=rngs) if own else None
        self.bias = nnx.Param(jnp.zeros((vocabulary,))) if bias else None

    def logits(self, tokens, x: Float[Array, "rows width"]) -> Float[Array, "rows vocabulary"]:
        y = (self.matrix(x) if self.matrix is not None else tokens.logits(x)).astype(jnp.float32)
        return y if self.bias is None else y + self.bias[...][None]

    def score_rows(self, tokens, rows, targets, context: Context) -> Score:
        return of_logits(self.logits(tokens, rows), targets)

    def flops(self, tokens) -> int:
        """Forward FLOPs a token."""
        if self.matrix is not None or not hasattr(tokens, "back"):
            return 2 * self.width * self.vocabulary
        size = tokens.table.shape[1]
        return 2 * size * (self.width + self.vocabulary)


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
        if activation not in ACTIVATIONS:
            raise ConfigurationError(
                f"head.activation={activation!r}: allowed are {', '.join(ACTIVATIONS)}"
            )
        if not hasattr(tokens, "table"):
            raise ConfigurationError("head.kind='masked' needs a plain or factorised embedding")
        for name, value in (("classes", classes), ("chunk", chunk)):
            if value < 0:
                raise ConfigurationError(f"head.{name}={value}: allowed is 0 or more")
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


@heads.register("adaptive")
class AdaptiveSoftmax(nnx.Module):
    """Adaptive softmax (Grave et al. 2017) tied to an adaptive input (Baevski and Auli 2019).

    log p(w) is the head's log p(w) in the first band, and log p(band) + log p(w | band) beyond;
    tables and projections are the embedding's, only the class scores are the head's own.

    Args:
        tail_dropout: rate on the projected input of the tail bands.
        chunk: positions scored at a time; 0 for all at once.
    """

    def __init__(self, vocabulary, width, tokens, *, tail_dropout=0.0, chunk=0, rngs: nnx.Rngs):
        if not isinstance(tokens, Adaptive):
            raise ConfigurationError(
                "head.kind='adaptive' is tied to embedding.kind='adaptive' only"
            )
        if not 0 <= tail_dropout < 1:
            raise ConfigurationError(f"head.tail_dropout={tail_dropout}: allowed is 0 <= rate < 1")
        self.width, self.vocabulary, self.chunk, self.edges = width, vocabulary, chunk, tokens.edges
        self.tail_dropout = tail_dropout
        self.classes = Projection(width, len(tokens.edges) - 2, bias=False, rngs=rngs)

    def _bands(self, tokens, rows, context: Context | None):
        """log p of the head (first band, then the tails as classes) and of each tail's words."""
        first = rows @ tokens.tables[0][...].astype(rows.dtype).T
        top = jnp.concatenate([first, self.classes(rows)], axis=-1).astype(jnp.float32)
        yield jax.nn.log_softmax(top, axis=-1)
        for band in range(1, len(self.edges) - 1):
            x = rows @ tokens.projections[band].kernel[...].astype(rows.dtype).T
            if context is not None and context.train and self.tail_dropout:
                x = dropout(x, self.tail_dropout, context.key_for(f"tail{band}"))
            logits = x @ tokens.tables[band][...].astype(x.dtype).T
            yield jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)

    def logits(self, tokens, x: Float[Array, "rows width"]) -> Float[Array, "rows vocabulary"]:
        """log-probabilities, which are logits as good as any."""
        top, *tails = self._bands(tokens, x, None)
        size = self.edges[1]
        joined = [tail + top[:, size + i, None] for i, tail in enumerate(tails)]
        return jnp.concatenate([top[:, :size], *joined], axis=-1)

    def score_rows(self, tokens, rows, targets, context: Context) -> Score:
        top, *tails = self._bands(tokens, rows, context)
        size = self.edges[1]
        total = picked(top[:, :size], targets)
        mass = top[:, :size].sum(-1)
        values, best = top[:, :size].max(-1), top[:, :size].argmax(-1)
        for i, (tail, (low, high)) in enumerate(
            zip(tails, itertools.pairwise(self.edges[1:]), strict=True)
        ):
            band = top[:, size + i]
            inside = (targets >= low) & (targets < high)
            total = total + jnp.where(inside, band + picked(tail, targets - low), 0.0)
            mass = mass + (high - low) * band + tail.sum(-1)
            value = band + tail.max(-1)
            best = jnp.where(value > values, low + tail.argmax(-1), best)
            values = jnp.maximum(values, value)
        return Score(target=total, mean=mass / self.vocabulary, best=best)

    def flops(self, tokens) -> int:
        """Forward FLOPs a token."""
        products = [tokens.tables[0], self.classes.kernel]
        for band in range(1, len(self.edges) - 1):
            products += [tokens.tables[band], tokens.projections[band].kernel]
        return sum(2 * math.prod(p.shape) for p in products)


NEVER = -1e30  # the logit of a position that is not there: finite, so that no gradient is NaN


@heads.register("pointer")
class Pointer(nnx.Module):
    """The answer is one of the input's own tokens: softmax(w · x)ᵢ over its positions, those
    outside `context.mask` left out.

        summed  attention sum (Kadlec et al. 2016): p(token) = Σ over the positions where it stands.
                They score a position by its product with a query's encoding; here the whole input
                is the query, and w is a vector
        each    log p(token) = the mean of log p over the positions where it stands: the target is
                spread evenly over them, as for the Shuffle-Exchange networks (Freivalds et al.
                2019). The best token is that of the most probable position

    It scores a sequence, not its positions: `score_sequence` stands in place of `score_rows`, and
    there are no logits over the vocabulary.

    Args:
        occurrences: summed | each.
    """

    def __init__(self, vocabulary, width, tokens, *, occurrences="summed", rngs: nnx.Rngs):
        if occurrences not in ("summed", "each"):
            raise ConfigurationError(f"head.occurrences={occurrences!r}: allowed are summed, each")
        self.width, self.vocabulary, self.occurrences = width, vocabulary, occurrences
        # no bias: a softmax over positions would not see it
        self.position = Projection(width, 1, bias=False, rngs=rngs)

    def score_sequence(
        self,
        tokens,
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
        logits = self.position(x)[..., 0].astype(jnp.float32)
        there = jnp.ones(inputs.shape, bool) if context.mask is None else context.mask
        logits = jnp.where(there, logits, NEVER)
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

    def flops(self, tokens) -> int:
        """Forward FLOPs a token."""
        return 2 * self.width


def mean_where(values: Float[Array, "*batch n"], chosen: Bool[Array, "*batch n"]) -> Array:
    """The mean over the last axis of what is chosen; 0 of nothing."""
    total = jnp.sum(jnp.where(chosen, values, 0.0), axis=-1)
    return total / jnp.maximum(chosen.sum(-1), 1)
