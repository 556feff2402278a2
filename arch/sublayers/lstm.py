"""The long short-term memory, one direction (Hochreiter and Schmidhuber 1997)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from arch.checks import at_least
from arch.context import Context
from arch.layers import Projection, column, kernel_initializer, product_flops
from arch.registry import sublayers
from arch.sublayers.contract import Sublayer

GATES = 4
State = dict[str, Float[Array, "batch inner"]]  # 'h' and 'c', float32


@sublayers.register("lstm")
class LSTM(Sublayer):
    """i, f, g, o = split(W xₜ + b + R hₜ₋₁);  cₜ = σ(f) cₜ₋₁ + σ(i) tanh(g);  hₜ = σ(o) tanh(cₜ).

    Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000: without peepholes,
    with one bias (that of cuDNN and PyTorch is a sum of two). h₀ = c₀ = 0. The output is hₜ itself
    where the inner width is the model's, the classic LSTM; else y = W₂ hₜ + b₂.

    Args:
        width: of the input and the output.
        inner_width: of the state; 0 stands for width.
        forget_bias: initial bias of f; above 0, so that it remembers from the start (Gers et al.
            2000, Jozefowicz et al. 2015). The other biases start at 0; all are learned.
        init_std: of the kernels; 0 is Glorot's uniform, over the four gates at once.

    The state and the gates are float32 in every dtype. It runs from the first position to the last
    in an encoder too. Where `context.mask` is False the state is carried on unchanged, and the
    output is that of the last token before.
    """

    causal = True

    def __init__(
        self,
        width: int,
        *,
        inner_width: int = 0,
        forget_bias: float = 1.0,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        at_least(0, "width", inner_width=inner_width)
        self.width, self.inner_width = width, inner_width or width
        inner = self.inner_width
        self.input = Projection(width, GATES * inner, init_std=init_std, rngs=rngs)
        start = jnp.zeros((GATES, inner)).at[1].set(forget_bias)
        self.input.bias = nnx.Param(start.reshape(-1))
        draw = kernel_initializer(init_std)
        self.recurrent = nnx.Param(draw(rngs.params(), (inner, GATES * inner)))
        self.residual_outputs = () if inner == width else ("output.kernel",)
        self.output = (
            None if inner == width else Projection(inner, width, init_std=init_std, rngs=rngs)
        )

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> Float[Array, "batch length width"]:
        """y in the shape and dtype of x."""
        # time first before the product, while it is at its narrowest
        inputs = self.input(x.swapaxes(0, 1))
        mask = None if context.mask is None else context.mask.T[:, :, None]
        recurrent = self.recurrent[...].astype(x.dtype)

        def body(state, now):
            state = advance(recurrent, state, *now)
            return state, state["h"].astype(x.dtype)

        _, y = jax.lax.scan(body, self._start(x.shape[0]), (inputs, mask))
        return self._leave(y.swapaxes(0, 1))

    def init_cache(self, batch: int, length: int, dtype: DTypeLike, context: Context) -> State:
        """The state before the first token; its size does not depend on the length."""
        return self._start(batch)

    def step(
        self, x: Float[Array, "batch 1 width"], cache: State, context: Context
    ) -> tuple[Float[Array, "batch 1 width"], State]:
        """One token more."""
        recurrent = self.recurrent[...].astype(x.dtype)
        state = advance(recurrent, cache, self.input(x)[:, 0], column(context.mask, context.time))
        return self._leave(state["h"].astype(x.dtype)[:, None]), state

    def _start(self, batch: int) -> State:
        return {name: jnp.zeros((batch, self.inner_width), jnp.float32) for name in ("h", "c")}

    def _leave(self, h: Float[Array, "batch length inner"]) -> Array:
        return h if self.output is None else self.output(h)

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence."""
        inner = self.inner_width
        gates = product_flops(length, self.width + inner, GATES * inner)
        return gates + (product_flops(length, inner, self.width) if self.output else 0)


def advance(
    recurrent: Float[Array, "inner gates"],
    state: State,
    inputs: Float[Array, "batch gates"],
    mask: Bool[Array, "batch 1"] | None,
) -> State:
    """The state one step later, given the inputs' part of the gates; the old one where masked."""
    h = state["h"].astype(recurrent.dtype)
    gates = jnp.dot(h, recurrent, preferred_element_type=jnp.float32) + inputs.astype(jnp.float32)
    i, f, g, o = jnp.split(gates, GATES, axis=-1)
    c = jax.nn.sigmoid(f) * state["c"] + jax.nn.sigmoid(i) * jnp.tanh(g)
    new = {"h": jax.nn.sigmoid(o) * jnp.tanh(c), "c": c}
    if mask is None:
        return new
    return {name: jnp.where(mask, new[name], state[name]) for name in new}
