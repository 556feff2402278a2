"""Facts that no context has: they have to be in the weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from arch.checks import at_least, holds
from arch.registry import tasks
from arch.tasks.recall.draws import whole
from arch.tasks.recall.task import Example, Recall, labelled

MAP = 12345  # the seed of the map, the authors'


@tasks.register("memorisation")
class Memorisation(Recall):
    """Memorisation (Poli et al. 2024, MAD): a map from keys to values, one to one, the same in
    training and evaluation and for every seed.

    key, V - 1, key, V - 1, …: at each V - 1 the target is the value of the key before it. Keys are
    the tokens 0 … ⌊V/2⌋ - 2, uniform; values are of ⌊V/2⌋ - 1 … V - 2. Chance: 1 / (⌊V/2⌋ - 1).

    Args:
        vocabulary: V: ⌊V/2⌋ - 1 facts.
        length: positions of a training sequence, even.
        options: those of every kind; see `Recall`.
    """

    def __init__(
        self,
        *,
        vocabulary: int = 256,
        length: int = 32,
        **options: Any,
    ):
        at_least(6, "two facts", of="task", vocabulary=vocabulary)
        super().__init__(vocabulary=vocabulary, length=length, **options)

    def check_length(self, name: str, n: int) -> None:
        """An even one."""
        super().check_length(name, n)
        holds(n % 2 == 0, "an even number: keys and targets", of="task", **{name: n})

    def chance(self, length: int) -> float:
        """The value of one key."""
        return 1 / len(self.values)

    @property
    def values(self) -> Int[np.ndarray, " keys"]:
        """The value of each key."""
        keys = self.vocabulary // 2 - 1
        values = np.random.default_rng(MAP).permutation(self.vocabulary - 1 - keys)
        return keys + values[:keys]

    def example(self, key: Key[Array, ""], length: int, training: bool) -> Example:
        """One example."""
        values = jnp.asarray(self.values)
        drawn = jax.random.uniform(key, (length // 2,))
        keys = jnp.repeat(whole(drawn, 0, len(values)), 2)
        asked = jnp.arange(length) % 2 == 1
        inputs = jnp.where(asked, self.vocabulary - 1, keys)
        return labelled(inputs, values[keys], asked)
