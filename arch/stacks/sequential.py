"""The plain stack: the order once, from the first sublayer to the last."""

from jaxtyping import Array, Float

from arch.context import Context, Extras
from arch.registry import stacks
from arch.stacks.block import Block
from arch.stacks.parameters import Parameters


@stacks.register("sequential")
class Sequential(Block):
    """x through every sublayer of the order; its options are the block's."""

    def __call__(
        self, parameters: Parameters, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        x, extras = self.walk(parameters, x, context)
        return self.normalise(parameters, x), extras

    def init_cache(self, parameters: Parameters, batch: int, length: int, dtype, context: Context):
        """A cache for each position in the depth."""
        return self.init_caches(parameters, batch, length, dtype, context)

    def step(
        self, parameters: Parameters, x: Float[Array, "batch 1 width"], caches, context: Context
    ):
        """(x, caches) after one decoding step."""
        x, caches = self.walk_step(parameters, x, caches, context)
        return self.normalise(parameters, x), caches
