"""Separable convolutions as a transition (Dehghani et al. 2018, §2.1)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from arch.checks import at_least, below_one, one_of
from arch.context import Context
from arch.layers import ACTIVATIONS, Projection, columns, dropout, product_flops
from arch.registry import ConfigurationError, sublayers
from arch.sublayers.contract import Sublayer

Cache = dict[str, Float[Array, "batch before channels"]]


class Depthwise(nnx.Module):
    """yₜ = Σᵢ kᵢ xₜ₊ᵢ, i < size, with a kernel per channel, without padding.

    A sum of shifted products: XLA makes one loop of it, where its grouped convolution is slow on
    CPU. The kernel starts at Glorot's uniform of one channel's fans: variance 1 / size.
    """

    def __init__(self, size: int, channels: int, *, rngs: nnx.Rngs):
        limit = math.sqrt(3 / size)
        draw = jax.random.uniform(rngs.params(), (size, channels), minval=-limit, maxval=limit)
        self.size, self.channels = size, channels
        self.kernel = nnx.Param(draw)

    def __call__(self, x: Float[Array, "batch longer channels"]) -> Array:
        """(batch, longer - size + 1, channels)"""
        kernel, length = self.kernel[...].astype(x.dtype), x.shape[1] - self.size + 1
        y = kernel[0][None, None] * x[:, :length]
        for i in range(1, self.size):
            y = y + kernel[i][None, None] * x[:, i : i + length]
        return y

    def pad(self, x: Float[Array, "batch length channels"], causal: bool) -> Array:
        """Zeros that keep the length: all before the first position where causal; else as many
        before as after, one more after where the size is even."""
        before = self.size - 1 if causal else (self.size - 1) // 2
        return jnp.pad(x, ((0, 0), (before, self.size - 1 - before), (0, 0)))

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence."""
        return product_flops(length, self.size, self.channels)


@sublayers.register("separable_convolution")
class SeparableConvolution(Sublayer):
    """y = W₂ (D₂ ∗ φ(W₁ (D₁ ∗ x) + b₁)) + b₂, with D₁, D₂ depthwise, W₁, W₂ pointwise.

    The Universal Transformer's other transition, as tensor2tensor writes it
    (`sepconv_relu_sepconv`): depthwise of size 3, pointwise to the inner width, ReLU, depthwise of
    size 5, pointwise back. Where `context.causal`, a position sees those before it alone, else as
    many on both sides. Positions where `context.mask` is False are zeros to both convolutions, as
    those outside of the sequence are. It differs in the depthwise kernels' start, see `Depthwise`:
    TensorFlow's counts the channels into the fan, which shrinks the signal by their root.

    Args:
        width: of the input and the output.
        expand: the inner width in multiples of width, rounded.
        inner_width: the inner width itself; 0 stands for expand · width.
        activation: relu | gelu (exact) | gelu_tanh | silu.
        first_kernel_size: positions that the first convolution sees.
        second_kernel_size: positions that the second one sees.
        bias: biases on the pointwise products; the depthwise have none.
        activation_dropout: rate on the inner activations.
        init_std: of the pointwise kernels; 0 is Glorot's uniform.
    """

    causal = True
    several = True
    residual_outputs = ("output.kernel",)

    def __init__(
        self,
        width: int,
        *,
        expand: float = 4.0,
        inner_width: int = 0,
        activation: str = "relu",
        first_kernel_size: int = 3,
        second_kernel_size: int = 5,
        bias: bool = True,
        activation_dropout: float = 0.0,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        one_of(ACTIVATIONS, activation=activation)
        at_least(1, first_kernel_size=first_kernel_size, second_kernel_size=second_kernel_size)
        below_one(activation_dropout=activation_dropout)
        inner = inner_width or round(expand * width)
        if inner < 1:
            raise ConfigurationError(
                f"expand={expand}, inner_width={inner_width}: no inner width is left"
            )
        self.width, self.inner_width, self.activation = width, inner, activation
        self.activation_dropout = activation_dropout
        self.first = Depthwise(first_kernel_size, width, rngs=rngs)
        self.input = Projection(width, inner, bias=bias, init_std=init_std, rngs=rngs)
        self.second = Depthwise(second_kernel_size, inner, rngs=rngs)
        self.output = Projection(inner, width, bias=bias, init_std=init_std, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> Float[Array, "batch length width"]:
        """y in the shape and dtype of x; rows at masked positions mean nothing."""
        y = self.first(self.first.pad(masked(x, context.mask), context.causal))
        y = ACTIVATIONS[self.activation](self.input(y))
        if context.train and self.activation_dropout:
            y = dropout(y, self.activation_dropout, context.key_for("activation"), context.platform)
        return self.output(self.second(self.second.pad(masked(y, context.mask), context.causal)))

    def init_cache(self, batch: int, length: int, dtype: DTypeLike, context: Context) -> Cache:
        """The last inputs of either convolution, zeros at first; their size does not depend on the
        length."""
        return {
            "first": jnp.zeros((batch, self.first.size - 1, self.width), dtype),
            "second": jnp.zeros((batch, self.second.size - 1, self.inner_width), dtype),
        }

    def step(
        self, x: Float[Array, "batch tokens width"], cache: Cache, context: Context
    ) -> tuple[Float[Array, "batch tokens width"], Cache]:
        """Some tokens more, of a causal sequence."""
        mask = columns(context.mask, context.time, x.shape[1])
        first = jnp.concatenate([cache["first"], masked(x, mask)], axis=1)
        y = ACTIVATIONS[self.activation](self.input(self.first(first)))
        second = jnp.concatenate([cache["second"], masked(y, mask)], axis=1)
        count = x.shape[1]
        after = {"first": first[:, count:], "second": second[:, count:]}
        return self.output(self.second(second)), after

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence."""
        pointwise = 2 * product_flops(length, self.width, self.inner_width)
        return pointwise + self.first.flops(length) + self.second.flops(length)


def masked(x: Float[Array, "batch length channels"], mask: Bool[Array, "batch length"] | None):
    """Zeros where the mask is False."""
    return x if mask is None else jnp.where(mask[:, :, None], x, jnp.zeros((), x.dtype))
