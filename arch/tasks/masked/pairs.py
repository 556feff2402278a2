"""The batches of masked_language_model: pairs of segments with some of their tokens hidden."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key

from arch.context import named
from arch.data.batches import masking, segments
from arch.data.tokenizers import borders
from arch.data.tokenizers.kinds import Tokenizer
from arch.data.tokens import Tokens


class Batch(NamedTuple):
    """Pairs of segments with tokens hidden; `weights` are 1 at places that are predicted."""

    inputs: Int[Array, "batch length"]
    segments: Int[Array, "batch length"]
    mask: Bool[Array, "batch length"]
    positions: Int[Array, "batch places"]  # of the hidden tokens
    targets: Int[Array, "batch places"]
    weights: Float[Array, "batch places"]  # 0 at places that are left over
    label: Int[Array, " batch"]
    real: Float[Array, " batch"]  # 0 in the rows that fill up a batch
    measured: dict[str, "Batch"]  # relation → pairs drawn by it; in evaluation


def shapes(batch: int, length: int, places: int) -> Batch:
    """The shapes of a batch that is drawn, of which so many tokens of a row may be hidden."""

    def of(*shape: int, dtype: DTypeLike = jnp.int32) -> Any:
        return jax.ShapeDtypeStruct((batch, *shape), dtype)

    return Batch(
        of(length), of(length), of(length, dtype=bool), of(places), of(places),
        of(places, dtype=jnp.float32), of(), of(dtype=jnp.float32), {},
    )  # fmt: skip


class Source(NamedTuple):
    """A split on the device, and which entries go on with a word."""

    text: segments.PairSource
    joins_left: Bool[Array, " vocabulary"]  # see `borders.Seams`
    joins_right: Bool[Array, " vocabulary"]


class Pairs:
    """Draws masked pairs; see `arch.data.batches.segments` and `arch.data.batches.masking`.

    Args:
        counts: of `masking.predictions`, for 0 … length - 3 tokens.
        length, spans, whole_words, short: of the task.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        length: int,
        counts: Int[np.ndarray, " tokens"],
        spans: int,
        whole_words: bool,
        short: float,
    ):
        self.tokenizer, self.special = tokenizer, segments.special(tokenizer)
        self.length, self.counts = length, counts
        self.spans, self.whole_words, self.short = spans, whole_words, short

    @functools.cached_property
    def _texts(self) -> list[str]:
        return borders.texts(self.tokenizer)

    def source(self, tokens: Tokens) -> Source:
        """What the pairs of a split are drawn from."""
        beyond = max(0, max(self.special) + 1 - self.tokenizer.size)
        starts = borders.sentences(
            np.asarray(tokens.ids), np.asarray(tokens.documents), self._texts
        )
        seams = [jnp.asarray(np.pad(side, (0, beyond))) for side in borders.seams(self._texts)]
        return Source(segments.text(tokens, starts), *seams)

    @functools.cached_property
    def _entries(self) -> int | Int[np.ndarray, " entries"]:
        """All ids but the special ones."""
        size = self.tokenizer.size
        if self.special == segments.above(size):
            return size
        return np.setdiff1d(np.arange(size, dtype=np.int32), self.special)

    def draw(self, source: Source, keys: Key[Array, " batch"], relation: str) -> Batch:
        """A pair for each key, of the relation 'none', 'next' or 'order'."""
        return jax.vmap(functools.partial(self._row, source, relation))(keys)

    def _row(self, source: Source, relation: str, key: Key[Array, ""]) -> Batch:
        pair = segments.draw(
            named(key, "segments"), source.text, self.special, self.length, relation, self.short
        )
        joined = None
        if self.whole_words:  # special tokens join nothing
            joined = source.joins_right[jnp.roll(pair.ids, 1)] & source.joins_left[pair.ids]
        masked = masking.mask(
            named(key, "mask"),
            pair.ids,
            pair.segments,
            self.counts,
            self._entries,
            replacement=self.special.mask,
            spans=self.spans,
            joined=joined,
        )
        real = jnp.ones((), jnp.float32)
        return Batch(
            masked.ids, pair.segments, pair.mask, *masked[1:], label=pair.label, real=real,
            measured={},
        )  # fmt: skip
