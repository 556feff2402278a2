"""In-context recall of single tokens, with and without noise between the pairs."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from arch.checks import at_least, below_one, holds
from arch.registry import tasks
from arch.tasks.recall.draws import uniforms, whole
from arch.tasks.recall.task import Example, Recall, next_tokens


@tasks.register("in_context_recall")
class InContextRecall(Recall):
    """In-context recall (Poli et al. 2024, MAD): k v k v …, each key's value drawn when it is first
    seen and kept.

    With U = V - `noise_tokens`, keys are tokens of 0 … ⌊U/2⌋ - 1, values the rest of U, and noise
    those from U on. Keys are uniform with replacement, but for the last pair's, which is one of
    those seen. With probability `noise` a pair is two tokens of noise instead. The stream has
    length + 1 tokens, of which every next one is learned, and asked are the values of keys seen
    before. Chance: 1 / ⌈U/2⌉.

    `noisy_recall` is the same kind with other defaults.

    Args:
        vocabulary: V, noise included.
        length: positions of a training sequence, odd: the last value is a target alone.
        noise: share of the pairs.
        noise_tokens: how many tokens are noise.
        options: those of every kind; see `Recall`.
    """

    families = ("decoder",)

    def __init__(
        self,
        *,
        vocabulary: int = 16,
        length: int = 127,
        noise: float = 0.0,
        noise_tokens: int = 0,
        **options: Any,
    ):
        at_least(0, of="task", noise_tokens=noise_tokens)
        least = noise_tokens + 4
        at_least(least, "noise, two keys, two values", of="task", vocabulary=vocabulary)
        below_one(of="task", noise=noise)
        holds(noise_tokens or not noise, "0 without task.noise_tokens", of="task", noise=noise)
        self.noise, self.noise_tokens = noise, noise_tokens
        super().__init__(vocabulary=vocabulary, length=length, **options)

    def least_length(self) -> int:
        """Two pairs but for the last value."""
        return 3

    def check_length(self, name: str, n: int) -> None:
        """An odd one."""
        super().check_length(name, n)
        holds(n % 2, "an odd number: pairs, but for the last value", of="task", **{name: n})

    @property
    def details(self) -> dict:
        """The options that a line of results names."""
        return super().details | {"noise": self.noise, "noise_tokens": self.noise_tokens}

    def chance(self, length: int) -> float:
        """One of the values."""
        used = self.vocabulary - self.noise_tokens
        return 1 / (used - used // 2)

    def example(self, key: Key[Array, ""], length: int, training: bool) -> Example:
        """One example."""
        used, pairs = self.vocabulary - self.noise_tokens, (length + 1) // 2
        half = used // 2
        of_keys, of_values, of_last, of_noise, of_tokens = uniforms(
            key, (pairs - 1,), (half,), (), (pairs - 1,), (pairs, 2)
        )
        noisy = of_noise < self.noise
        noisy = noisy.at[0].set(noisy[0] & ~noisy.all())  # a key at least
        keys = whole(of_keys, 0, half)
        # a value for each key: which of them are seen does not change how they are drawn
        values = whole(of_values, half, used)
        seen = jnp.cumsum(jnp.zeros(half, bool).at[keys].max(~noisy))
        last = jnp.searchsorted(seen, whole(of_last, 0, seen[-1]), side="right")
        keys, noisy = jnp.append(keys, last), jnp.append(noisy, False)
        stream = jnp.stack([keys, values[keys]], axis=1)
        if self.noise_tokens:
            stream = jnp.where(noisy[:, None], whole(of_tokens, used, self.vocabulary), stream)
        before = jnp.tril(keys[:, None] == keys[None], -1) & ~noisy[None]
        repeated = before.any(1) & ~noisy
        asked = jnp.stack([repeated, jnp.zeros(pairs, bool)], axis=1).reshape(-1)
        return next_tokens(stream.reshape(-1), asked[:-1])


@tasks.register("noisy_recall")
class NoisyRecall(InContextRecall):
    """`in_context_recall` with noise: half of 32 tokens, a fifth of the pairs (Poli et al. 2024).

    Chance: 1 / ⌈U/2⌉ of the U tokens that are no noise.

    Args: those of `in_context_recall`.
    """

    def __init__(
        self,
        *,
        vocabulary: int = 32,
        noise: float = 0.2,
        noise_tokens: int = 16,
        **options: Any,
    ):
        super().__init__(vocabulary=vocabulary, noise=noise, noise_tokens=noise_tokens, **options)
