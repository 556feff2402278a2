"""The plain stack: the order once, from the first sublayer to the last."""

from jax.typing import DTypeLike
from jaxtyping import Array, Float

from arch.context import Context, Extras
from arch.registry import stacks
from arch.stacks.block import Block
from arch.stacks.parameters import Parameters
from arch.stacks.residual import Cache


@stacks.register("sequential")
class Sequential(Block):
    """x through every sublayer of the order, then the final norm; its options are the block's."""

    several = True

    def __call__(
        self, parameters: Parameters, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """The output, and the sums of what the sublayers return beside theirs."""
        x, extras = self.run_order(parameters, x, context)
        return self.normalise(parameters, x), extras

    def init_cache(
        self, parameters: Parameters, batch: int, length: int, dtype: DTypeLike, context: Context
    ) -> list[Cache]:
        """A cache for each position of the order."""
        return self.init_order_cache(parameters, batch, length, dtype, context)

    def step(
        self,
        parameters: Parameters,
        x: Float[Array, "batch tokens width"],
        cache: list[Cache],
        context: Context,
    ) -> tuple[Float[Array, "batch tokens width"], list[Cache]]:
        """The output of one decoding step, and the caches after it."""
        x, cache = self.step_order(parameters, x, cache, context)
        return self.normalise(parameters, x), cache
