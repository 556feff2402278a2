"""The convolutional gated recurrent unit, the Neural GPU's (Kaiser and Sutskever 2016)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from arch.checks import at_least
from arch.context import Context
from arch.layers import Projection, columns, product_flops, widened
from arch.registry import sublayers
from arch.sublayers.contract import Sublayer
from arch.sublayers.convolution import masked

Cache = dict[str, Float[Array, "batch before width"]]


@sublayers.register("cgru")
class CGRU(Sublayer):
    """s ← u · s + (1 - u) · tanh(U ∗ (r · s) + B),  u = σ(U' ∗ s + B'),  r = σ(U'' ∗ s + B'').

    Kaiser and Sutskever 2016, arXiv 1511.08228, §2: the whole sequence is the state s, and depth
    its time: the stack `universal` runs it over and over. s is the stream itself, without residual
    or norm around it. Their s is an image of four columns with kernels 3 × 3; here it has one,
    whose kernels see all channels. Where `context.causal`, a position sees those before it alone,
    else as many on both sides, one more after it where the kernel is even. Positions where
    `context.mask` is False are zeros to the convolutions.

    Args:
        width: of the input and the output.
        kernel_size: positions that a convolution sees.
        cutoff: gates are min(1, max(0, cutoff · σ - (cutoff - 1) / 2)): above 1 they close and open
            wholly (§3 there: 1.2); at 1 they are σ.
        gate_bias: initial B' and B'', as the authors' code has them: s is kept at first.
        init_std: of the kernels; 0 is Glorot's uniform.
    """

    causal = several = own_residual = True
    residual_outputs = ()

    def __init__(
        self,
        width: int,
        *,
        kernel_size: int = 3,
        cutoff: float = 1.0,
        gate_bias: float = 1.0,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        at_least(1, kernel_size=kernel_size)
        at_least(1, "σ", cutoff=cutoff)
        self.width, self.kernel_size, self.cutoff = width, kernel_size, cutoff
        seen = kernel_size * width
        self.gates = Projection(seen, 2 * width, init_std=init_std, rngs=rngs)
        self.gates.bias = nnx.Param(jnp.full((2 * width,), gate_bias))
        self.candidate = Projection(seen, width, init_std=init_std, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> Float[Array, "batch length width"]:
        """y in the shape and dtype of x; rows at masked positions mean nothing."""
        before = self.kernel_size - 1 if context.causal else (self.kernel_size - 1) // 2
        sides = ((0, 0), (before, self.kernel_size - 1 - before), (0, 0))
        seen = masked(x, context.mask)
        keep, read = self._gates(jnp.pad(seen, sides))
        return self._mixed(x, keep, jnp.pad(read * seen, sides))

    def init_cache(self, batch: int, length: int, dtype: DTypeLike, context: Context) -> Cache:
        """The last inputs of the gates and of the candidate, zeros at first; as many whatever the
        length."""
        zeros = jnp.zeros((batch, self.kernel_size - 1, self.width), dtype)
        return {"gates": zeros, "candidate": zeros}

    def step(
        self, x: Float[Array, "batch tokens width"], cache: Cache, context: Context
    ) -> tuple[Float[Array, "batch tokens width"], Cache]:
        """Some tokens more, of a causal sequence."""
        now = masked(x, columns(context.mask, context.time, x.shape[1]))
        seen = jnp.concatenate([cache["gates"].astype(x.dtype), now], axis=1)
        keep, read = self._gates(seen)
        kept = jnp.concatenate([cache["candidate"].astype(x.dtype), read * now], axis=1)
        after = {"gates": seen[:, x.shape[1] :], "candidate": kept[:, x.shape[1] :]}
        moved = {name: part.astype(cache[name].dtype) for name, part in after.items()}
        return self._mixed(x, keep, kept), moved

    def _gates(self, seen: Float[Array, "batch longer width"]) -> tuple[Array, Array]:
        """u in float32 and r in the inputs' dtype, of the positions between the sides."""
        y = jax.nn.sigmoid(widened(self.gates(self._windows(seen))))
        if self.cutoff > 1:
            y = jnp.clip(self.cutoff * y - (self.cutoff - 1) / 2, 0, 1)
        keep, read = jnp.split(y, 2, axis=-1)
        return keep, read.astype(seen.dtype)

    def _mixed(self, x: Array, keep: Array, seen: Float[Array, "batch longer width"]) -> Array:
        candidate = jnp.tanh(widened(self.candidate(self._windows(seen))))
        return (keep * widened(x) + (1 - keep) * candidate).astype(x.dtype)

    def _windows(self, x: Float[Array, "batch longer width"]) -> Array:
        """What a kernel sees at each position, side by side."""
        length = x.shape[1] - self.kernel_size + 1
        return jnp.concatenate([x[:, i : i + length] for i in range(self.kernel_size)], axis=-1)

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence."""
        return product_flops(length, self.kernel_size * self.width, 3 * self.width)
