"""In-context recall where keys and values are several tokens."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from arch.checks import at_least
from arch.registry import tasks
from arch.tasks.recall.draws import different, uniforms, whole
from arch.tasks.recall.task import Example, Recall, next_tokens


class Motifs(NamedTuple):
    """Pairs of motifs: tokens behind a size are undefined; a pair of sizes 0 is not there."""

    keys: Int[Array, "pairs key"]
    key_sizes: Int[Array, " pairs"]
    values: Int[Array, "pairs value"]
    value_sizes: Int[Array, " pairs"]

    def at(self, index) -> "Motifs":
        """The pairs of an index."""
        return Motifs(*(a[index] for a in self))

    def sizes(self) -> Int[Array, " pairs"]:
        """Tokens of each pair."""
        return self.key_sizes + self.value_sizes

    def same_keys(self) -> Bool[Array, "pairs pairs"]:
        """Which pairs have the same key."""
        size = self.keys.shape[1]
        alike = (self.keys[:, None] == self.keys[None]) | (
            jnp.arange(size)[None, None] >= self.key_sizes[:, None, None]
        )
        return alike.all(-1) & (self.key_sizes[:, None] == self.key_sizes[None])


@tasks.register("fuzzy_recall")
class FuzzyRecall(Recall):
    """Fuzzy in-context recall (Poli et al. 2024, MAD): keys and values are motifs, 1 … 3 different
    tokens each, a key's value drawn when it is first seen and kept.

    V - 1 is padding, on the left; keys are of the tokens 0 … ⌊V/2⌋ - 1, values of the rest, so that
    the input alone says where a motif ends. One pair is put at a random place among the others and
    asked once more at the end. Where the others come from: pairs are drawn until the next one has
    no room. The stream has length + 1 tokens; every next token is learned, and asked are all tokens
    of the values of keys seen before. In evaluation a key has always its greatest size. Chance:
    about 1 / (V - 1 - ⌊V/2⌋), a little more where the tokens of a value are different.

    Args:
        vocabulary: V, padding included.
        length: positions of a training sequence.
        key_size: of the longest key.
        value_size: of the longest value.
        options: those of every kind; see `Recall`.
    """

    families = ("decoder",)

    def __init__(
        self,
        *,
        vocabulary: int = 16,
        length: int = 127,
        key_size: int = 3,
        value_size: int = 3,
        **options: Any,
    ):
        at_least(1, of="task", key_size=key_size, value_size=value_size)
        least = max(2 * key_size, 2 * value_size + 1, 5)
        at_least(least, "padding, and a half each", of="task", vocabulary=vocabulary)
        self.key_size, self.value_size = key_size, value_size
        super().__init__(vocabulary=vocabulary, length=length, **options)

    def least_length(self) -> int:
        """A pair twice, but for the last token."""
        return 2 * (self.key_size + self.value_size) - 1

    @property
    def details(self) -> dict:
        """The options that a line of results names."""
        return super().details | {"key_size": self.key_size, "value_size": self.value_size}

    def chance(self, length: int) -> float:
        """One of the tokens of values."""
        return 1 / (self.vocabulary - 1 - self.vocabulary // 2)

    def example(self, key: Key[Array, ""], length: int, training: bool) -> Example:
        """One example; the pair at index 0 is the one that is asked at the end."""
        size, half = length + 1, self.vocabulary // 2
        count = 1 + size // 2
        of_place, of_sizes, of_keys, of_values = uniforms(
            key, (), (2, count), (count, half), (count, self.vocabulary - 1 - half)
        )
        pairs = Motifs(
            different(of_keys, self.key_size),
            whole(of_sizes[0], 1 if training else self.key_size, self.key_size + 1),
            half + different(of_values, self.value_size),
            whole(of_sizes[1], 1, self.value_size + 1),
        )
        # a key's first pair has its value
        pairs = pairs.at(jnp.argmax(pairs.same_keys(), axis=1))._replace(
            keys=pairs.keys, key_sizes=pairs.key_sizes
        )
        sizes = pairs.sizes()
        kept = sizes[0] + jnp.cumsum(sizes) <= size  # rises: a first part of them
        others = kept.sum() - 1
        place = whole(of_place, 0, others + 1)
        order = jnp.arange(len(sizes) + 1)
        before, at_end = order < place, order == others + 1
        index = jnp.where(before, order + 1, order)
        index = jnp.where((order == place) | at_end, 0, index)
        index = jnp.minimum(index, len(sizes) - 1)
        return self._laid_out(pairs.at(index), order <= others + 1, size)

    def _laid_out(self, pairs: Motifs, there: Bool[Array, " pairs"], size: int) -> Example:
        """The pairs that are there as a stream of `size` tokens, padded on the left."""
        ends = jnp.cumsum(jnp.where(there, pairs.sizes(), 0))
        place = jnp.arange(size) - (size - ends[-1])
        of = jnp.searchsorted(ends, place, side="right")
        found = pairs.at(jnp.minimum(of, len(there) - 1))
        within = place - (ends[of] - found.sizes())
        behind = within - found.key_sizes
        of_key = jnp.take_along_axis(found.keys, _index(within, self.key_size), 1)[:, 0]
        of_value = jnp.take_along_axis(found.values, _index(behind, self.value_size), 1)[:, 0]
        stream = jnp.where(behind < 0, of_key, of_value)
        stream = jnp.where(place < 0, self.vocabulary - 1, stream)
        seen = (jnp.tril(pairs.same_keys(), -1) & there[None]).any(1)
        asked = (place >= 0) & (behind >= 0) & seen[of]
        return next_tokens(stream, asked[1:], real=place[:-1] >= 0)


def _index(place: Int[Array, " size"], size: int) -> Int[Array, "size 1"]:
    return jnp.clip(place, 0, size - 1)[:, None]
