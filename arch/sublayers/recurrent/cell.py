"""What the cells whose gates read their own state share: the loop over positions, the step of a
decoder, parameters, masks and FLOPs."""

import abc

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from arch.checks import at_least
from arch.context import Context
from arch.layers import Projection, columns, kernel_initializer, product_flops, widened
from arch.sublayers.contract import Sublayer

State = dict[str, Float[Array, "batch inner"]]  # 'h' and what else the cell keeps, float32


class Cell(Sublayer):
    """A recurrent cell: gates of W xₜ + b and of R hₜ₋₁, one position after the other.

    A subclass says how many `gates` of the inner width there are, the names in its `state`, of
    which 'h' is read by the gates and is the output, and how it goes on in `advance`.

    Args:
        width: of the input and the output.
        inner_width: of the state; 0 stands for width. y = W₂ hₜ + b₂ where they differ, else hₜ.
        init_std: of the kernels; 0 is Glorot's uniform, over all gates at once.

    The state and the gates are float32 in every dtype. It runs from the first position to the last
    in an encoder too. Where `context.mask` is False the state is carried on unchanged, and the
    output is that of the last token before.
    """

    causal = True
    several = True
    gates: int
    state: tuple[str, ...] = ("h",)

    def __init__(self, width: int, inner_width: int, init_std: float, rngs: nnx.Rngs):
        at_least(0, "width", inner_width=inner_width)
        self.width, self.inner_width = width, inner_width or width
        inner = self.inner_width
        self.input = Projection(width, self.gates * inner, init_std=init_std, rngs=rngs)
        draw = kernel_initializer(init_std)
        self.recurrent = nnx.Param(draw(rngs.params(), (inner, self.gates * inner)))
        self.residual_outputs = () if inner == width else ("output.kernel",)
        self.output = (
            None if inner == width else Projection(inner, width, init_std=init_std, rngs=rngs)
        )

    @abc.abstractmethod
    def advance(
        self,
        state: State,
        inputs: Float[Array, "batch gates"],
        recurrent: Float[Array, "batch gates"],
    ) -> State:
        """The state one position later, given the gates' two parts in float32: W xₜ + b, R hₜ₋₁."""

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> Float[Array, "batch length width"]:
        """y in the shape and dtype of x."""
        return self._run(x, context.mask, self._start(x.shape[0], x.dtype))[0]

    def _run(
        self,
        x: Float[Array, "batch length width"],
        mask: Bool[Array, "batch length"] | None,
        state: State,
    ) -> tuple[Float[Array, "batch length width"], State]:
        """(y, the state after it) of positions that follow those of the state."""
        # time first before the product, while it is at its narrowest
        inputs = self.input(x.swapaxes(0, 1))
        masks = None if mask is None else mask.T[:, :, None]
        recurrent = self.recurrent[...].astype(x.dtype)

        def body(state, now):
            state = self._next(recurrent, state, *now)
            return state, state["h"].astype(x.dtype)

        state, y = jax.lax.scan(body, state, (inputs, masks))
        return self._leave(y.swapaxes(0, 1)), state

    def init_cache(self, batch: int, length: int, dtype: DTypeLike, context: Context) -> State:
        """The state before the first token; its size does not depend on the length."""
        return self._start(batch, dtype)

    def step(
        self, x: Float[Array, "batch tokens width"], cache: State, context: Context
    ) -> tuple[Float[Array, "batch tokens width"], State]:
        """Some tokens more."""
        return self._run(x, columns(context.mask, context.time, x.shape[1]), cache)

    def _next(
        self,
        recurrent: Float[Array, "inner gates"],
        state: State,
        inputs: Float[Array, "batch gates"],
        mask: Bool[Array, "batch 1"] | None,
    ) -> State:
        """The state one position later; the old one where masked."""
        h = state["h"]
        carried = jnp.dot(h.astype(recurrent.dtype), recurrent, preferred_element_type=h.dtype)
        new = self.advance(state, widened(inputs), carried)
        if mask is None:
            return new
        return {name: jnp.where(mask, new[name], state[name]) for name in new}

    def _start(self, batch: int, dtype: DTypeLike) -> State:
        wide = jnp.promote_types(dtype, jnp.float32)
        return {name: jnp.zeros((batch, self.inner_width), wide) for name in self.state}

    def _leave(self, h: Float[Array, "batch length inner"]) -> Array:
        return h if self.output is None else self.output(h)

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence: the products."""
        inner = self.inner_width
        gates = product_flops(length, self.width + inner, self.gates * inner)
        return gates + (product_flops(length, inner, self.width) if self.output else 0)
