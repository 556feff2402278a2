"""Minimal recurrent cells, whose gates read the input alone, so that they train in parallel."""

import abc

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from arch.checks import at_least
from arch.context import Context
from arch.layers import product_flops, widened
from arch.registry import sublayers
from arch.sublayers.carried import Carried
from arch.sublayers.recurrent import scans
from arch.sublayers.state_space import chunks
from arch.sublayers.state_space.parts import linear, present

Terms = tuple[Float[Array, "batch length inner"], Float[Array, "batch length inner"]]


class Minimal(Carried):
    """hₜ = exp(aₜ) hₜ₋₁ + bₜ of the gates that a subclass names; y = hₜ, or W₂ hₜ where the inner
    width is not the model's.

    Args:
        width: of the input and the output.
        inner_width: of the state; 0 stands for width.
        chunk: positions that are computed in parallel. It changes time and memory, not the
            function.
        bias: biases of the gates and of the candidate, from 0.
        init_std: of the kernels; 0 is PyTorch's uniform within ±1/√inputs, which the authors use.
    """

    gates: int

    def __init__(
        self,
        width: int,
        *,
        inner_width: int = 0,
        chunk: int = 64,
        bias: bool = True,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        at_least(0, "width", inner_width=inner_width)
        at_least(1, chunk=chunk)
        self.width, self.inner_width, self.chunk = width, inner_width or width, chunk
        inner = self.inner_width
        self.input = linear(width, self.gates * inner, bias=bias, init_std=init_std, rngs=rngs)
        self.residual_outputs = () if inner == width else ("output.kernel",)
        self.output = None if inner == width else linear(inner, width, init_std=init_std, rngs=rngs)

    @abc.abstractmethod
    def terms(self, inputs: Float[Array, "batch length gates"]) -> Terms:
        """(a, b), a ≤ 0, of the gates and the candidate before their nonlinearities."""

    def start(self, batch: int, dtype: DTypeLike) -> Array:
        """Zeros."""
        return jnp.zeros((batch, self.inner_width), jnp.promote_types(dtype, jnp.float32))

    def run(
        self,
        x: Float[Array, "batch length width"],
        mask: Bool[Array, "batch length"] | None,
        carried: Array,
        context: Context,
    ) -> tuple[Array, Array]:
        """(y, what is carried on): see `Carried.run`."""
        a, b = self.terms(widened(self.input(x)))
        terms = present(a, mask), present(b, mask)  # zeros carry the state on
        state, h = chunks.over_chunks(scans.decayed, carried, terms, self.chunk)
        h = h.astype(x.dtype)
        return (h if self.output is None else self.output(h)), state

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence: the products."""
        inner = self.inner_width
        gates = product_flops(length, self.width, self.gates * inner)
        return gates + (product_flops(length, inner, self.width) if self.output else 0)


@sublayers.register("mingru")
class MinGRU(Minimal):
    """z, n = split(W xₜ + b);  hₜ = (1 - σ(z)) hₜ₋₁ + σ(z) g(n), g as `positive` says.

    Feng et al. 2024 (arXiv 2410.01201), algorithm 6, whose logarithms are not needed here: a scan
    over chunks multiplies factors below 1 and divides by none. h₀ = 0; it differs from theirs
    there, which start at g of a learned or zero state. Options as `Minimal` says.

    The recurrence is float32 in every dtype. Where `context.mask` is False the state is carried on
    unchanged, and the output is that of the last token before.
    """

    gates = 2

    def terms(self, inputs: Float[Array, "batch length gates"]) -> Terms:
        """(log(1 - σ(z)), σ(z) g(n))."""
        z, n = jnp.split(inputs, self.gates, axis=-1)
        return -jax.nn.softplus(z), jax.nn.sigmoid(z) * positive(n)


@sublayers.register("minlstm")
class MinLSTM(Minimal):
    """f, i, n = split(W xₜ + b);  hₜ = (σ(f) hₜ₋₁ + σ(i) g(n)) / (σ(f) + σ(i)), g as `positive`
    says.

    Feng et al. 2024 (arXiv 2410.01201), algorithm 8: the gates are normalised, so that the state
    keeps its scale whatever the length. h₀ = 0. Options as `Minimal` says; masks and dtypes as of
    `mingru`.
    """

    gates = 3

    def terms(self, inputs: Float[Array, "batch length gates"]) -> Terms:
        """(log(σ(f) / (σ(f) + σ(i))), σ(i) / (σ(f) + σ(i)) g(n))."""
        f, i, n = jnp.split(inputs, self.gates, axis=-1)
        odds = jax.nn.softplus(-f) - jax.nn.softplus(-i)  # log(σ(i) / σ(f))
        return -jax.nn.softplus(odds), jax.nn.sigmoid(odds) * positive(n)


def positive(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """g(x) = x + ½ where x ≥ 0, else σ(x): Feng et al. 2024, appendix B.3, in place of tanh."""
    return jnp.where(x >= 0, x + 0.5, jax.nn.sigmoid(x))
