"""What tasks share whose examples are made on the device as pure functions of keys."""

import abc
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int, Key

from arch.checks import at_least
from arch.tasks.contract import Task


class Drawn(Task):
    """A task whose training examples are a function of key and step, new ones at every step; those
    of evaluation are of a constant key, the same for every seed.

    A kind gives `drawn`, `drawn_of`, and `evaluation_key`.
    """

    evaluation_key: int

    def __init__(self, evaluation_examples: int):
        """evaluation_examples: of each split."""
        at_least(1, of="task", evaluation_examples=evaluation_examples)
        self.evaluation_examples = evaluation_examples
        self._made: dict[str, Any] = {}

    @abc.abstractmethod
    def drawn(self, key: Key[Array, ""]) -> Any:
        """One training example, a named tuple of arrays; pure, and run inside jit."""

    @abc.abstractmethod
    def drawn_of(self, split: str, key: Key[Array, ""]) -> Any:
        """One example of a split, likewise."""

    def number_of(self, split: str) -> int:
        """What tells the split's key from the others'."""
        return self.splits.index(split)

    def indices(
        self, key: Key[Array, ""], step: Int[Array, ""], batch: int
    ) -> Key[Array, " batch"]:
        """A key for each example of the step."""
        return jax.random.split(jax.random.fold_in(key, step), batch)

    def gather(self, source: Any, indices: Key[Array, " batch"]) -> Any:
        """Examples made from the keys."""
        return jax.vmap(self.drawn)(indices)

    def first(self, split: str, n: int) -> Any:
        """The first n of the split's examples, on the host."""
        if split not in self._made:
            root = jax.random.key(self.evaluation_key, impl="threefry2x32")
            key = jax.random.fold_in(root, self.number_of(split))
            keys = jax.random.split(key, self.evaluation_examples)
            make = jax.jit(jax.vmap(lambda key: self.drawn_of(split, key)))
            self._made[split] = jax.tree.map(np.asarray, make(keys))
        return jax.tree.map(lambda a: a[:n], self._made[split])
