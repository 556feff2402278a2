"""The embedding of a model: tokens of any kind, and the vectors that tell positions apart."""

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from arch.checks import at_least, below_one, holds, one_of
from arch.context import Context, Rotary
from arch.layers import dropout, sinusoid
from arch.layers import norm as normalisation
from arch.models.embeddings import adaptive, axial, factorised, plain, sentence, waveform
from arch.models.embeddings.contract import TokenEmbedding, embeddings, table
from arch.registry import ConfigurationError
from arch.sublayers.attention.positions import RELATIVE

POSITIONS = ("sinusoidal", "learned", "axial", *RELATIVE, "none")
SCALINGS = ("none", "linear", "ntk")
KINDS = (plain, factorised, sentence, adaptive, waveform)  # imported, and thereby registered
# Fields of `model.embedding` beside the options of its kind.
SURROUNDINGS = {
    "positions": "sinusoidal",
    "scale": True,
    "rotary_base": 10000.0,
    "rotary_scaling": "none",
    "rotary_factor": 1.0,
    "rotary_share": 1.0,
    "axial_shape": (),
    "axial_widths": (),
    "types": 0,
    "norm": "",
    "epsilon": 1e-12,
    "word_dropout": 0.0,
}


def _rotary(base: float, scaling: str, factor: float, share: float) -> Rotary:
    """What the angles are made of. Raises ConfigurationError for values that make none."""
    holds(base > 0, "above 0", of="model.embedding", rotary_base=base)
    one_of(SCALINGS, of="model.embedding", rotary_scaling=scaling)
    at_least(1, of="model.embedding", rotary_factor=factor)
    scaled = scaling != "none" or factor == 1
    holds(scaled, "1 with rotary_scaling='none'", of="model.embedding", rotary_factor=factor)
    holds(0 < share <= 1, "above 0 to 1 (all)", of="model.embedding", rotary_share=share)
    return Rotary(base, scaling, factor, share)


class Embedding(nnx.Module):
    """Tokens, times √width where `scale` says so, plus positions and types, norm, dropout.

    Args:
        vocabulary, width: number of tokens; the model's width.
        max_length: longest sequence, which sizes learned and axial positions.
        kind: kind of the token embedding; `options` are its own.
        positions: sinusoidal | learned (up to max_length) | axial (learned, up to the product of
            the shape) | none, or what attention does by itself, while nothing is added here:
            rotary | alibi | t5, see `arch.sublayers.attention.positions`.
        scale: whether tokens are multiplied by √width.
        rotary_base: base of the rotary angles.
        rotary_scaling: none | linear | ntk: how the angles of sequences that are rotary_factor
            times as long as those of training are brought back, see `rotate` there.
        rotary_share: of each head's channels, the first ones, that are turned.
        axial_shape, axial_widths: (n₁, n₂) and (d₁, d₂) of axial positions, see
            `axial.AxialPositions`; () for a grid near √max_length × √max_length, and for halves.
        types: number of token types (segments), each with a learned vector; 0 for none.
        norm: layer | rms, of the sum (BERT); empty for none. epsilon: its ε.
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
        rotary_scaling: str,
        rotary_factor: float,
        rotary_share: float,
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
        self.rotary = _rotary(rotary_base, rotary_scaling, rotary_factor, rotary_share)
        self.tokens: TokenEmbedding = embeddings.get(kind, "model.embedding.kind")(
            vocabulary, width, **options, rngs=rngs
        )
        self.width = self.tokens.early_size or width
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
        """The embedded tokens, in `dtype`.

        ids: (batch, length); of the kind `sentence`, (batch, length, words); of `waveform`,
            samples (batch, length, 4).
        signal: what `signal` gave, or None where the stack adds it.
        context: its segments, key, dropout and `train` are read.
        """
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
            x = x * dropout(kept, self.word_dropout, context.key_for("word"), context.platform)
        if context.train and context.has_dropout:
            x = dropout(x, context.dropout, context.key_for("embedding"), context.platform)
        return self.tokens.project(x) if self.early else x

    @property
    def early(self) -> bool:
        """Whether positions are added at the token embedding's own width, not at the model's."""
        return self.tokens.early_size > 0

    def signal(self, positions: Int[Array, "batch length"]) -> Array | None:
        """The vectors of these positions, (batch, length, width); None where none are added.

        Raises ConfigurationError for a length beyond the learned positions.
        """
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
        """Number of positions that have vectors; 0 for no end."""
        if self.axial is not None:
            return math.prod(self.axial.shape)
        return 0 if self.learned is None else self.max_length
