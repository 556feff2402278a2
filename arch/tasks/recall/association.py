"""Associative recall: several queries in a sequence, and the one of an induction head."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from arch.checks import at_least, holds, one_of
from arch.registry import tasks
from arch.tasks.recall.draws import different, gumbel, uniforms, whole
from arch.tasks.recall.task import Example, Recall, labelled


@tasks.register("mqar")
class MultiQuery(Recall):
    """Multi-query associative recall (Arora et al. 2023, the generator of zoology).

        k₁ v₁ … k_D v_D, then (length - 2 D) / 2 places of two tokens, in D of which a key stands
        again: there the target is its value. All other targets are not asked.

    The keys of an example are different tokens of 1 … V/2 - 1, its values of V/2 … V - 1. Place i =
    1, 2, … is drawn with probability ~ i^(power - 1), without replacement. The value does not
    follow the query.

    Where the reference asks for vocabulary > length, this one needs just enough keys. Chance: 2 / V
    for an even vocabulary; who names one of the example's own values has 1 / pairs.

    Args:
        pairs: D, at most a quarter of any length.
        vocabulary: V.
        length: positions of a training sequence.
        power: of the places: 1 is uniform, towards 0 queries come early.
        fillers: random | zero: the tokens where nothing stands.
        options: those of every kind; see `Recall`.
    """

    def __init__(
        self,
        *,
        pairs: int = 4,
        vocabulary: int = 64,
        length: int = 64,
        power: float = 0.01,
        fillers: str = "random",
        **options: Any,
    ):
        at_least(1, of="task", pairs=pairs)
        at_least(2 * pairs + 2, "keys for the pairs", of="task", vocabulary=vocabulary)
        holds(0 < power <= 1, "above 0, to 1", of="task", power=power)
        one_of(("random", "zero"), of="task", fillers=fillers)
        self.pairs, self.power, self.fillers = pairs, power, fillers
        super().__init__(vocabulary=vocabulary, length=length, **options)

    def least_length(self) -> int:
        """Every pair twice, a query taking two tokens."""
        return 4 * self.pairs

    def chance(self, length: int) -> float:
        """One of the values."""
        return 1 / (self.vocabulary - self.vocabulary // 2)

    @property
    def details(self) -> dict:
        """The options that a line of results names."""
        return super().details | {"pairs": self.pairs}

    def example(self, key: Key[Array, ""], length: int, training: bool) -> Example:
        """One example, by Gumbel's trick for the places."""
        half, pairs = self.vocabulary // 2, self.pairs
        space = (length - 2 * pairs) // 2
        of_keys, of_values, of_places, of_fillers = uniforms(
            key, (half - 1,), (self.vocabulary - half,), (space,), (length,)
        )
        keys, values = 1 + different(of_keys, pairs), half + different(of_values, pairs)
        logits = (self.power - 1) * jnp.log(1.0 + jnp.arange(space))
        at = 2 * pairs + 2 * different(logits + gumbel(of_places), pairs)
        inputs = whole(of_fillers, 0, self.vocabulary if self.fillers == "random" else 1)
        inputs = inputs.at[: 2 * pairs].set(jnp.stack([keys, values], axis=1).reshape(-1))
        inputs = inputs.at[at].set(keys)
        targets = jnp.zeros(length, jnp.int32).at[at].set(values)
        return labelled(inputs, targets, jnp.zeros(length, bool).at[at].set(True))


@tasks.register("induction")
class Induction(Recall):
    """An induction head's task (Gu and Dao 2023): what followed a token when it stood before.

    The token V - 1 stands twice: somewhere before the last two positions, uniformly, and at the
    last position, where the target is the token that followed it. All other tokens are uniform in
    0 … V - 2. Chance: 1 / (V - 1).

    Args:
        vocabulary: V.
        length: positions of a training sequence.
        options: those of every kind; see `Recall`.
    """

    def __init__(
        self,
        *,
        vocabulary: int = 16,
        length: int = 64,
        **options: Any,
    ):
        at_least(3, of="task", vocabulary=vocabulary)
        super().__init__(vocabulary=vocabulary, length=length, **options)

    def least_length(self) -> int:
        """The token, what follows it, and the token again."""
        return 3

    def chance(self, length: int) -> float:
        """One of the ordinary tokens."""
        return 1 / (self.vocabulary - 1)

    def example(self, key: Key[Array, ""], length: int, training: bool) -> Example:
        """One example."""
        of_tokens, of_place = uniforms(key, (length,), ())
        special = self.vocabulary - 1
        tokens = whole(of_tokens, 0, special)
        place = whole(of_place, 0, length - 2)
        inputs = tokens.at[place].set(special).at[-1].set(special)
        asked = jnp.arange(length) == length - 1
        return labelled(inputs, jnp.full(length, tokens[place + 1]), asked)
