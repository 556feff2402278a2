"""Copying what counts, and compressing all of it into one state."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from arch.checks import at_least
from arch.registry import tasks
from arch.tasks.recall.draws import uniforms, whole
from arch.tasks.recall.task import Example, Recall, labelled


@tasks.register("selective_copy")
class SelectiveCopy(Recall):
    """Selective copying (Gu and Dao 2023; the generator of Poli et al. 2024): n tokens with blanks
    among them, the token V - 1, and n blanks whose targets are the tokens in their order.

    V - 2 is the blank. Each of the length - 2 n - 1 blanks stands before one of the tokens, drawn
    uniformly: none is behind the last. Chance: 1 / (V - 2).

    Args:
        copied: n.
        vocabulary: V.
        length: positions of a training sequence.
        options: those of every kind; see `Recall`.
    """

    def __init__(
        self,
        *,
        copied: int = 16,
        vocabulary: int = 16,
        length: int = 256,
        **options: Any,
    ):
        at_least(1, of="task", copied=copied)
        at_least(4, "blank, copy, two more", of="task", vocabulary=vocabulary)
        self.copied = copied
        super().__init__(vocabulary=vocabulary, length=length, **options)

    def least_length(self) -> int:
        """The tokens, the sign, the tokens."""
        return 2 * self.copied + 1

    @property
    def details(self) -> dict:
        """The options that a line of results names."""
        return super().details | {"copied": self.copied}

    def chance(self, length: int) -> float:
        """One of the tokens that are copied."""
        return 1 / (self.vocabulary - 2)

    def example(self, key: Key[Array, ""], length: int, training: bool) -> Example:
        """One example."""
        n, blank = self.copied, self.vocabulary - 2
        of_tokens, of_blanks = uniforms(key, (n,), (length - 2 * n - 1,))
        tokens, gaps = whole(of_tokens, 0, blank), whole(of_blanks, 0, n)
        before = (gaps[None] <= jnp.arange(n)[:, None]).sum(1)  # blanks before each token
        inputs = jnp.full(length, blank).at[jnp.arange(n) + before].set(tokens)
        inputs = inputs.at[length - n - 1].set(self.vocabulary - 1)
        targets = jnp.zeros(length, jnp.int32).at[length - n :].set(tokens)
        return labelled(inputs, targets, jnp.arange(length) >= length - n)


@tasks.register("compression")
class Compression(Recall):
    """Compression (Poli et al. 2024, MAD): a sequence given back from its last hidden state.

    length - 1 tokens uniform in 0 … V - 2, then the token V - 1; the target of each position is its
    own token, and model.head.kind='reconstruction' (which this task requires) sees the last hidden
    state and the position alone. Chance: ((length - 1) / (V - 1) + 1) / length, since the last
    token is always the same.

    Args:
        vocabulary: V.
        length: positions of a training sequence.
        options: those of every kind; see `Recall`.
    """

    asks = ("recollection",)

    def __init__(
        self,
        *,
        vocabulary: int = 16,
        length: int = 32,
        **options: Any,
    ):
        at_least(3, "two tokens, and the last", of="task", vocabulary=vocabulary)
        super().__init__(vocabulary=vocabulary, length=length, **options)

    def chance(self, length: int) -> float:
        """One of the tokens, and the last one."""
        return ((length - 1) / (self.vocabulary - 1) + 1) / length

    def example(self, key: Key[Array, ""], length: int, training: bool) -> Example:
        """One example."""
        last = self.vocabulary - 1
        tokens = whole(jax.random.uniform(key, (length,)), 0, last).at[-1].set(last)
        return labelled(tokens, tokens, jnp.ones(length, bool))
