"""The batches of masked_language_model: pairs of segments with some of their tokens hidden."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from arch.context import named
from arch.data import borders, masking, segments
from arch.data.dataset import Tokens
from arch.data.tokenizers import Tokenizer


class Batch(NamedTuple):
    inputs: Int[Array, "batch length"]
    segments: Int[Array, "batch length"]
    mask: Bool[Array, "batch length"]
    positions: Int[Array, "batch places"]  # of the hidden tokens
    targets: Int[Array, "batch places"]
    weights: Float[Array, "batch places"]  # 0 at places that are left over
    label: Int[Array, " batch"]
    real: Float[Array, " batch"]  # 0 in the rows that fill up a batch
    measured: dict[str, "Batch"]  # relation → pairs drawn by it; in evaluation


class Source(NamedTuple):
    """A split on the device, and which entries go on with a word."""

    text: segments.Text
    joins_left: Bool[Array, " vocabulary"]  # see `borders.Seams`
    joins_right: Bool[Array, " vocabulary"]


class Pairs:
    """Draws masked pairs; see `arch.data.segments` and `arch.data.masking`.

    Args:
        counts: of `masking.predictions`, for 0 … length - 3 tokens.
        length, spans, whole_words, short: of the task.
    """

    def __init__(self, tokenizer: Tokenizer, *, length, counts, spans, whole_words, short):
        self.tokenizer, self.length, self.counts = tokenizer, length, counts
        self.spans, self.whole_words, self.short = spans, whole_words, short

    @functools.cached_property
    def _texts(self) -> list[str]:
        return borders.texts(self.tokenizer)

    def source(self, tokens: Tokens) -> Source:
        """What the pairs of a split are drawn from."""
        starts = borders.sentences(
            np.asarray(tokens.ids), np.asarray(tokens.documents), self._texts
        )
        special = (0, segments.SPECIAL)
        seams = [jnp.asarray(np.pad(side, special)) for side in borders.seams(self._texts)]
        return Source(segments.text(tokens, starts), *seams)

    def draw(self, source: Source, keys: Key[Array, " batch"], relation: str) -> Batch:
        """A pair for each key, of the relation 'none', 'next' or 'order'."""
        return jax.vmap(functools.partial(self._row, source, relation))(keys)

    def _row(self, source: Source, relation: str, key: Key[Array, ""]) -> Batch:
        entries = self.tokenizer.size
        pair = segments.draw(
            named(key, "segments"), source.text, entries, self.length, relation, self.short
        )
        joined = None
        if self.whole_words:  # special tokens join nothing
            joined = source.joins_right[jnp.roll(pair.ids, 1)] & source.joins_left[pair.ids]
        masked = masking.mask(
            named(key, "mask"),
            pair.ids,
            pair.segments,
            self.counts,
            entries,
            replacement=entries + segments.MASK,
            spans=self.spans,
            joined=joined,
        )
        real = jnp.ones((), jnp.float32)
        return Batch(
            masked.ids, pair.segments, pair.mask, *masked[1:], label=pair.label, real=real,
            measured={},
        )  # fmt: skip
