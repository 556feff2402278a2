"""The hidden layer of the feed-forward language model (Bengio et al. 2003)."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from arch.checks import at_least
from arch.context import Context
from arch.layers import Projection, columns, product_flops
from arch.registry import sublayers
from arch.sublayers.contract import Sublayer


@sublayers.register("fixed_window")
class FixedWindow(Sublayer):
    """y = tanh(d + H c) (+ W c), c = the last `tokens` inputs side by side, the newest first.

    With the head's table for U and its bias for b, logits are those of Bengio et al. 2003, §2:
    b + U tanh(d + H c), of an n-gram where tokens = n - 1. There as many features as hidden units
    are not asked for: here both are the model's width, and the direct connections W c pass through
    U. Before the first token, and where `context.mask` is False, inputs are 0.

    Args:
        width: of the input and the output.
        tokens: how many inputs are seen.
        direct: whether there is W.
        init_std: of the kernels; 0 is Glorot's uniform.
    """

    causal, own_residual = True, True
    residual_outputs = ()

    def __init__(
        self,
        width: int,
        *,
        tokens: int = 4,
        direct: bool = False,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        at_least(1, tokens=tokens)
        self.width, self.tokens = width, tokens
        self.hidden = Projection(tokens * width, width, init_std=init_std, rngs=rngs)
        self.direct = (
            Projection(tokens * width, width, bias=False, init_std=init_std, rngs=rngs)
            if direct
            else None
        )

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> Float[Array, "batch length width"]:
        """y in the shape and dtype of x."""
        if context.mask is not None:
            x = jnp.where(context.mask[:, :, None], x, 0)
        length, before = x.shape[1], self.tokens - 1
        padded = jnp.pad(x, ((0, 0), (before, 0), (0, 0)))
        parts = [padded[:, before - back : before - back + length] for back in range(self.tokens)]
        return self._of(jnp.concatenate(parts, axis=-1))

    def init_cache(
        self, batch: int, length: int, dtype: DTypeLike, context: Context
    ) -> Float[Array, "batch before width"]:
        """The inputs before, the newest first; as many whatever the length."""
        return jnp.zeros((batch, self.tokens - 1, self.width), dtype)

    def step(
        self,
        x: Float[Array, "batch 1 width"],
        cache: Float[Array, "batch before width"],
        context: Context,
    ) -> tuple[Float[Array, "batch 1 width"], Float[Array, "batch before width"]]:
        """One token more."""
        mask = columns(context.mask, context.time, x.shape[1])
        x = x if mask is None else jnp.where(mask[:, :, None], x, 0)
        seen = jnp.concatenate([x, cache.astype(x.dtype)], axis=1)
        return self._of(seen.reshape(len(x), 1, -1)), seen[:, : self.tokens - 1].astype(cache.dtype)

    def _of(self, seen: Float[Array, "batch length window"]) -> Array:
        y = jnp.tanh(self.hidden(seen))
        return y if self.direct is None else y + self.direct(seen)

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence."""
        matrices = 1 if self.direct is None else 2
        return matrices * product_flops(length, self.tokens * self.width, self.width)
