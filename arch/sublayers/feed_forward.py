"""Position-wise feed-forward networks (Vaswani et al. 2017, §3.3) and their gated kind."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from arch.checks import at_least, below_one, one_of
from arch.context import Context
from arch.layers import ACTIVATIONS, Projection, dropout, gelu, product_flops
from arch.registry import ConfigurationError, sublayers
from arch.sublayers.contract import Sublayer

GATED = {"swiglu": jax.nn.silu, "geglu": gelu}


@sublayers.register("feed_forward")
class FeedForward(Sublayer):
    """y = W₂ φ(W₁ x + b₁) + b₂; gated (Shazeer 2020): y = W₂ (φ(W₁ x + b₁) · (W₃ x + b₃)) + b₂.

    Args:
        width: of the input and the output.
        expand: the inner width in multiples of width, rounded.
        inner_width: the inner width itself; 0 stands for expand · width.
        activation: relu | relu2 (its square, So et al. 2021) | gelu (exact) | gelu_tanh | silu, or
            gated: swiglu | geglu, which has a third matrix: at expand 8/3 it has the parameters of
            the others at 4.
        bias: biases on the projections.
        activation_dropout: rate on the inner activations.
        init_std: of the kernels; 0 is Glorot's uniform.
        chunk: positions in a slice. Slices are computed one after the other, and their inner
            activations again in the backward pass, so that memory holds those of one slice (Kitaev
            et al. 2020, §3). 0, or a length of at most `chunk`: all at once. Each slice's dropout
            has a key of its own, so that other elements are dropped than without slices.
    """

    causal = True
    residual_outputs = ("output.kernel",)
    positionwise = True

    def __init__(
        self,
        width: int,
        *,
        expand: float = 4.0,
        inner_width: int = 0,
        activation: str = "relu",
        bias: bool = True,
        activation_dropout: float = 0.0,
        init_std: float = 0.0,
        chunk: int = 0,
        rngs: nnx.Rngs,
    ):
        one_of([*ACTIVATIONS, *GATED], activation=activation)
        below_one(activation_dropout=activation_dropout)
        at_least(0, "all at once", chunk=chunk)
        inner = inner_width or round(expand * width)
        if inner < 1:
            raise ConfigurationError(
                f"expand={expand}, inner_width={inner_width}: no inner width is left"
            )
        self.width, self.inner_width, self.activation = width, inner, activation
        self.activation_dropout, self.chunk = activation_dropout, chunk
        self.input = Projection(width, inner, bias=bias, init_std=init_std, rngs=rngs)
        gated = activation in GATED
        self.gate = (
            Projection(width, inner, bias=bias, init_std=init_std, rngs=rngs) if gated else None
        )
        self.output = Projection(inner, width, bias=bias, init_std=init_std, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> Float[Array, "batch length width"]:
        """y in the shape and dtype of x."""
        if self.chunk and x.shape[1] > self.chunk:
            return self._by_slices(x, context)
        return self._at_once(x, context)

    def _at_once(self, x: Float[Array, "batch length width"], context: Context) -> Array:
        if self.gate is None:
            y = ACTIVATIONS[self.activation](self.input(x))
        else:
            y = GATED[self.activation](self.gate(x)) * self.input(x)
        if context.train and self.activation_dropout:
            y = dropout(y, self.activation_dropout, context.key_for("activation"), context.platform)
        return self.output(y)

    def _by_slices(self, x: Float[Array, "batch length width"], context: Context) -> Array:
        batch, length, width = x.shape
        slices = -(-length // self.chunk)
        x = jnp.pad(x, ((0, 0), (0, slices * self.chunk - length), (0, 0)))
        x = x.reshape(batch, slices, self.chunk, width).swapaxes(0, 1)

        def body(part):
            rows, number = part
            return self._at_once(rows, context.at(number))

        # inside of a loop the compiler cannot undo the recomputation: no barrier is needed
        y = jax.lax.map(jax.checkpoint(body, prevent_cse=False), (x, jnp.arange(slices)))
        return y.swapaxes(0, 1).reshape(batch, -1, width)[:, :length]

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence."""
        matrices = 2 if self.gate is None else 3
        return matrices * product_flops(length, self.width, self.inner_width)
