"""Token embeddings (plain, factorised, adaptive) and what tells positions apart."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from arch.checks import at_least, below_one, one_of
from arch.context import Context
from arch.layers import Projection, dropout, sinusoid
from arch.layers import norm as normalisation
from arch.models.embeddings import axial
from arch.registry import ConfigurationError, Registry

POSITIONS = ("sinusoidal", "learned", "axial", "rotary", "none")
# What `model.embedding` says beside the options of its kind.
SURROUNDINGS = {
    "positions": "sinusoidal",
    "scale": True,
    "rotary_base": 10000.0,
    "axial_shape": (),
    "axial_widths": (),
    "types": 0,
    "norm": "",
    "epsilon": 1e-12,
    "word_dropout": 0.0,
}

embeddings = Registry("embedding")


def table(rows: int, width: int, std: float, rngs: nnx.Rngs) -> nnx.Param:
    """A table of normal entries; std 0 stands for 1/√width."""
    return nnx.Param(jax.random.normal(rngs.params(), (rows, width)) * (std or width**-0.5))


@embeddings.register("plain")
class Plain(nnx.Module):
    """One table of vocabulary × width, which a tied head reads as its matrix."""

    def __init__(self, vocabulary: int, width: int, *, init_std=0.0, rngs: nnx.Rngs):
        self.table = table(vocabulary, width, init_std, rngs)

    def __call__(self, ids: Int[Array, "..."]) -> Float[Array, "... width"]:
        return self.table[...][ids]

    def logits(self, x: Float[Array, "rows width"]) -> Float[Array, "rows vocabulary"]:
        return x @ self.table[...].astype(x.dtype).T

    def flops(self) -> int:
        return 0


@embeddings.register("factorised")
class Factorised(nnx.Module):
    """vocabulary × size, then size × width (Lan et al. 2019, §3.1).

    Args:
        size: E.
        early: positions and types are added, normed and dropped at `size`, before the projection,
            as ALBERT does; else at the model's width, after it.
        back: a tied softmax goes back through a projection of its own to `size`, then through the
            table; the head `masked` brings its own way back.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        *,
        size=128,
        early=False,
        back=True,
        init_std=0.0,
        rngs: nnx.Rngs,
    ):
        at_least(1, of="embedding", size=size)
        self.early = early
        self.table = table(vocabulary, size, init_std, rngs)
        self.project = Projection(size, width, init_std=init_std, rngs=rngs)
        self.back: Any = Projection(width, size, init_std=init_std, rngs=rngs) if back else None

    def __call__(self, ids: Int[Array, "..."]) -> Float[Array, "... size"]:
        rows = self.table[...][ids]
        return rows if self.early else self.project(rows)

    def logits(self, x: Float[Array, "rows width"]) -> Float[Array, "rows vocabulary"]:
        return self.back(x) @ self.table[...].astype(x.dtype).T

    def flops(self) -> int:
        """Forward FLOPs a token of the projection in."""
        return 2 * math.prod(self.project.kernel.shape)


@embeddings.register("squashed")
class Squashed(nnx.Module):
    """tanh(factor · E[x]), E uniform in ±range (Freivalds et al. 2019): a small table moves fast.

    Args:
        factor: of the table's entries.
        range: of the table's first entries.
    """

    def __init__(self, vocabulary: int, width: int, *, factor=30.0, range=0.01, rngs: nnx.Rngs):
        for name, value in (("factor", factor), ("range", range)):
            if not value > 0:
                raise ConfigurationError(f"embedding.{name}={value}: allowed is above 0")
        shape = (vocabulary, width)
        self.factor = factor
        self.table = nnx.Param(
            jax.random.uniform(rngs.params(), shape, minval=-range, maxval=range)
        )

    def __call__(self, ids: Int[Array, "..."]) -> Float[Array, "... width"]:
        return jnp.tanh(self.factor * self.table[...][ids])

    def logits(self, x: Float[Array, "rows width"]) -> Float[Array, "rows vocabulary"]:
        return x @ self.table[...].astype(x.dtype).T

    def flops(self) -> int:
        return 0


@embeddings.register("sentence")
class Sentence(nnx.Module):
    """A vector a sentence: Σⱼ E[wⱼ] ⊙ mⱼ over its words, where mⱼ, a learned mask for the j-th
    word, starts at 1 (Henaff et al. 2017, eq. 1; Dehghani et al. 2018, §3.1). Word 0 is padding
    and adds nothing.

    Args:
        words: the most words a sentence may have, 12 serve bAbI; fewer use the first masks.
        init_std: of the table; 0 stands for 1/√width.
    """

    def __init__(self, vocabulary: int, width: int, *, words=12, init_std=0.0, rngs: nnx.Rngs):
        at_least(1, of="embedding", words=words)
        self.table = table(vocabulary, width, init_std, rngs)
        self.mask = nnx.Param(jnp.ones((words, width)))

    def __call__(self, ids: Int[Array, "batch length words"]) -> Float[Array, "batch length width"]:
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

    def logits(self, x: Float[Array, "rows width"]) -> Float[Array, "rows vocabulary"]:
        return x @ self.table[...].astype(x.dtype).T

    def flops(self) -> int:
        """Forward FLOPs a sentence."""
        return 2 * math.prod(self.mask.shape)


@embeddings.register("adaptive")
class Adaptive(nnx.Module):
    """Adaptive input (Baevski and Auli 2019): band i of the vocabulary, between two cutoffs, has
    embeddings of width / factorⁱ and a projection to width, the first band too."""

    def __init__(
        self, vocabulary: int, width: int, *, cutoffs=(20000, 60000), factor=4, rngs: nnx.Rngs
    ):
        edges = (0, *cutoffs, vocabulary)
        if any(low >= high for low, high in itertools.pairwise(edges)):
            raise ConfigurationError(
                f"embedding.cutoffs={cutoffs}: they must rise between 0 and the vocabulary, "
                f"{vocabulary}"
            )
        if width % factor ** len(cutoffs):
            raise ConfigurationError(
                f"embedding.factor={factor}: width {width} is not a multiple of "
                f"factor^{len(cutoffs)} = {factor ** len(cutoffs)}, "
                "which the last band is divided by"
            )
        self.edges = edges
        widths = [width // factor**band for band in range(len(edges) - 1)]
        sizes = [high - low for low, high in itertools.pairwise(edges)]
        self.tables = nnx.List([table(n, w, 0.0, rngs) for n, w in zip(sizes, widths, strict=True)])
        self.projections = nnx.List([Projection(w, width, bias=False, rngs=rngs) for w in widths])

    def __call__(self, ids: Int[Array, "..."]) -> Float[Array, "... width"]:
        total = jnp.zeros(())
        for low, high, rows, project in zip(
            self.edges[:-1], self.edges[1:], self.tables, self.projections, strict=True
        ):
            inside = (ids >= low) & (ids < high)
            x = project(rows[...][jnp.clip(ids - low, 0, high - low - 1)])
            total = total + jnp.where(inside[..., None], x, 0.0)
        return total

    def flops(self) -> int:
        """Forward FLOPs a token: every band's projection is computed for every token."""
        return sum(2 * math.prod(p.kernel.shape) for p in self.projections)


class Embedding(nnx.Module):
    """Tokens, times √width where `scale` says so, plus positions and types, norm, dropout.

    Args:
        kind: of the token embedding, with its options.
        positions: sinusoidal | learned (up to max_length) | axial (learned, up to the product of
            the shape) | rotary (nothing is added here, the attention turns its queries and keys)
            | none.
        axial_shape, axial_widths: (n₁, n₂) and (d₁, d₂) of axial positions, see
            `axial.AxialPositions`; () for a grid near √max_length × √max_length, and for halves.
        types: number of token types (segments), each with a learned vector; 0 for none.
        norm: layer | rms: of the sum (BERT); empty for none. epsilon: its ε.
        word_dropout: rate at which whole words are dropped in training, the others scaled up.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        max_length: int,
        *,
        kind: str,
        positions: str,
        scale: bool,
        rotary_base: float,
        axial_shape: tuple,
        axial_widths: tuple,
        types: int,
        norm: str,
        epsilon: float,
        word_dropout: float,
        rngs: nnx.Rngs,
        **options,
    ):
        below_one(of="model.embedding", word_dropout=word_dropout)
        one_of(POSITIONS, of="model.embedding", positions=positions)
        at_least(0, of="model.embedding", types=types)
        self.max_length, self.positions, self.word_dropout = max_length, positions, word_dropout
        self.factor = math.sqrt(width) if scale else 1.0
        self.rotary_base = rotary_base if positions == "rotary" else 0.0
        self.tokens = embeddings.get(kind, "model.embedding.kind")(
            vocabulary, width, **options, rngs=rngs
        )
        self.early = getattr(self.tokens, "early", False)
        self.width = options["size"] if self.early else width
        std = options.get("init_std", 0.0)
        self.learned = table(max_length, self.width, std, rngs) if positions == "learned" else None
        self.axial: Any = (
            axial.AxialPositions(
                axial.shape_for(axial_shape, max_length),
                axial.widths_for(axial_widths, self.width),
                std or self.width**-0.5,
                rngs,
            )
            if positions == "axial"
            else None
        )
        self.types = table(types, self.width, std, rngs) if types else None
        self.norm = normalisation(norm, self.width, epsilon, rngs) if norm else None

    def __call__(
        self,
        ids: Int[Array, "batch length"],
        signal: Float[Array, "batch length width"] | None,
        context: Context,
        dtype: jnp.dtype,
    ) -> Float[Array, "batch length width"]:
        """Tokens plus the signal, where it is to be added here."""
        x = self.tokens(ids) * self.factor
        if signal is not None:
            x = x + signal
        if self.types is not None:
            segments = jnp.zeros_like(ids) if context.segments is None else context.segments
            x = x + self.types[...][segments]
        if self.norm is not None:
            x = self.norm(x)
        x = x.astype(dtype)
        if context.train and self.word_dropout:
            kept = jnp.ones((*x.shape[:2], 1), dtype)
            x = x * dropout(kept, self.word_dropout, context.key_for("word"))
        if context.train and context.has_dropout:
            x = dropout(x, context.dropout, context.key_for("embedding"))
        return self.tokens.project(x) if self.early else x

    def signal(self, positions: Int[Array, "batch length"]) -> Array | None:
        """What is added at these positions, (batch, length, width); None for nothing."""
        if self.positions == "sinusoidal":
            return sinusoid(positions, self.width)
        if self.learned is not None:
            if positions.shape[1] > self.max_length:
                raise ConfigurationError(
                    f"length {positions.shape[1]} exceeds the {self.max_length} learned positions"
                )
            return self.learned[...][positions]
        return None if self.axial is None else self.axial(positions)

    @property
    def limit(self) -> int:
        """How many positions there are vectors for; 0 for no end."""
        if self.axial is not None:
            return math.prod(self.axial.shape)
        return 0 if self.learned is None else self.max_length
