"""What recurrences share that are written once: a decoding step is the whole over one position."""

import abc
from typing import Any

import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from arch.context import Context
from arch.layers import columns
from arch.sublayers.contract import Sublayer

Carry = Any  # a tree of arrays (batch, …)


class Carried(Sublayer):
    """A recurrence. What it carries from one position to the next is a decoder's cache."""

    causal = True
    several = True

    @abc.abstractmethod
    def start(self, batch: int, dtype: DTypeLike) -> Carry:
        """What is carried before the first position, for inputs of this dtype; its size does not
        depend on the length."""

    @abc.abstractmethod
    def run(
        self,
        x: Float[Array, "batch length width"],
        mask: Bool[Array, "batch length"] | None,
        carried: Carry,
        context: Context,
    ) -> tuple[Float[Array, "batch length width"], Carry]:
        """(y, what is carried on), of positions that follow those before."""

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> Float[Array, "batch length width"]:
        """y in the shape and dtype of x."""
        return self.run(x, context.mask, self.start(len(x), x.dtype), context)[0]

    def init_cache(self, batch: int, length: int, dtype: DTypeLike, context: Context) -> Carry:
        """`start`."""
        return self.start(batch, dtype)

    def step(
        self, x: Float[Array, "batch tokens width"], cache: Carry, context: Context
    ) -> tuple[Float[Array, "batch tokens width"], Carry]:
        """Some tokens more."""
        y, carried = self.run(x, columns(context.mask, context.time, x.shape[1]), cache, context)
        return y, jax.tree.map(lambda new, old: new.astype(old.dtype), carried, cache)
