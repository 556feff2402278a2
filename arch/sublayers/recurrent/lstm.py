"""The long short-term memory, one direction (Hochreiter and Schmidhuber 1997)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from arch.registry import sublayers
from arch.sublayers.recurrent.cell import Cell, State


@sublayers.register("lstm")
class LSTM(Cell):
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

    The state and the gates are float32 in every dtype. Masks as `cell.Cell` says.
    """

    gates = 4
    state = ("h", "c")

    def __init__(
        self,
        width: int,
        *,
        inner_width: int = 0,
        forget_bias: float = 1.0,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        super().__init__(width, inner_width, init_std, rngs)
        start = jnp.zeros((self.gates, self.inner_width)).at[1].set(forget_bias)
        self.input.bias = nnx.Param(start.reshape(-1))

    def advance(
        self,
        state: State,
        inputs: Float[Array, "batch gates"],
        recurrent: Float[Array, "batch gates"],
    ) -> State:
        """The equations above."""
        i, f, g, o = jnp.split(recurrent + inputs, self.gates, axis=-1)
        c = jax.nn.sigmoid(f) * state["c"] + jax.nn.sigmoid(i) * jnp.tanh(g)
        return {"h": jax.nn.sigmoid(o) * jnp.tanh(c), "c": c}
