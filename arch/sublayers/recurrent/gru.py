"""The gated recurrent unit (Cho et al. 2014)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from arch.registry import sublayers
from arch.sublayers.recurrent.cell import Cell, State


@sublayers.register("gru")
class GRU(Cell):
    """r, z, n = split(W xₜ + b), s, w, m = split(R hₜ₋₁):
    hₜ = (1 - σ(z + w)) tanh(n + σ(r + s) (m + bₘ)) + σ(z + w) hₜ₋₁.

    Cho et al. 2014 (arXiv 1406.1078) as cuDNN, PyTorch and Keras compute it: the reset gate comes
    after the product, so that all three gates are one product. Their r and z have two biases, whose
    sum ours are. h₀ = 0. The output is hₜ itself where the inner width is the model's; else
    y = W₂ hₜ + b₂.

    Args:
        width: of the input and the output.
        inner_width: of the state; 0 stands for width.
        keep_bias: initial bias of z; above 0 it remembers from the start, as `forget_bias` of the
            LSTM. The other biases start at 0; all are learned.
        init_std: of the kernels; 0 is Glorot's uniform, over the three gates at once.

    The state and the gates are float32 in every dtype. Masks as `cell.Cell` says.
    """

    gates = 3

    def __init__(
        self,
        width: int,
        *,
        inner_width: int = 0,
        keep_bias: float = 0.0,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        super().__init__(width, inner_width, init_std, rngs)
        start = jnp.zeros((self.gates, self.inner_width)).at[1].set(keep_bias)
        self.input.bias = nnx.Param(start.reshape(-1))
        self.candidate_bias = nnx.Param(jnp.zeros((self.inner_width,)))

    def advance(
        self,
        state: State,
        inputs: Float[Array, "batch gates"],
        recurrent: Float[Array, "batch gates"],
    ) -> State:
        """The equation above."""
        r, z, n = jnp.split(inputs, self.gates, axis=-1)
        reset, keep, candidate = jnp.split(recurrent, self.gates, axis=-1)
        reset, keep = jax.nn.sigmoid(r + reset), jax.nn.sigmoid(z + keep)
        bias = self.candidate_bias[...].astype(n.dtype)[None]
        new = jnp.tanh(n + reset * (candidate + bias))
        return {"h": (1 - keep) * new + keep * state["h"]}
