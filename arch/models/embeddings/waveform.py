"""Positions of a sound, by strided convolutions over its samples."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from arch.checks import one_of
from arch.layers import Projection, kernel_initializer
from arch.models.embeddings.contract import TokenEmbedding, embeddings
from arch.registry import ConfigurationError

STRIDE, TAPS = 2, 4
SAMPLES = STRIDE**2  # of each position
NORMALISATIONS = ("sequence", "features")  # as those of `arch.sublayers.benes.switches`
FACTOR = 0.25  # of the output, the authors'
FLOOR = 1e-10


@embeddings.register("waveform")
class Waveform(TokenEmbedding):
    """The front end for MusicNet of Draguns et al. 2020, as the authors' code has it. Of n samples
    it makes n / 4 positions:

        z ← conv(x), 4 taps, every other place, without bias          1 → width / 2 channels
        z ← the same                                          width / 2 → 2 · width channels
        y = ¼ (W z + b)                                           2 · width → width channels

    After each convolution z ← z - mean(z) + b, z ← z / √(mean(z²) + 10⁻¹⁰), z ← z σ(1.702 z), as in
    a residual switch. Output i of a convolution is of the samples 2 i - 1 … 2 i + 2, zeros beyond
    the ends. The authors add noise of deviation 0.001 to the samples; there is none here.

    There is no table, so no softmax can be tied to it. Samples come four to a position.

    Args:
        normalisation: sequence | features: over what the means are, see
            `arch.sublayers.benes.switches.ResidualUnit`.
    """

    reads = "samples"
    not_tied = (
        "embedding.kind='waveform' has no table to tie a softmax to; say model.head.tie=False"
    )

    def __init__(
        self, vocabulary: int, width: int, *, normalisation: str = "sequence", rngs: nnx.Rngs
    ):
        one_of(NORMALISATIONS, of="embedding", normalisation=normalisation)
        if width < 2:
            raise ConfigurationError(
                f"model.width={width}: allowed is 2 or more with embedding.kind='waveform', whose "
                "first convolution has half of it"
            )
        self.first = Convolution(1, width // 2, normalisation, rngs=rngs)
        self.second = Convolution(width // 2, 2 * width, normalisation, rngs=rngs)
        self.output = Projection(2 * width, width, rngs=rngs)

    def __call__(self, ids: Float[Array, "batch length samples"]) -> Array:
        """The positions' vectors, (batch, length, width); ConfigurationError for anything but four
        samples to a position."""
        if ids.ndim != 3 or ids.shape[-1] != SAMPLES:
            raise ConfigurationError(
                f"embedding.kind='waveform' reads samples of (batch, length, {SAMPLES}), not "
                f"{ids.shape}: the task has no sound"
            )
        z = ids.reshape(len(ids), -1, 1).astype(jnp.float32)
        return FACTOR * self.output(self.second(self.first(z)))

    def flops(self) -> int:
        """Forward FLOPs per position."""
        kernels: tuple[Any, ...] = (self.first.kernel, self.second.kernel, self.output.kernel)
        first, second, output = (kernel.size for kernel in kernels)
        return 2 * (STRIDE * first + second + output)


class Convolution(nnx.Module):
    """A convolution of 4 taps at every other place, its normalisation and its activation."""

    def __init__(self, inputs: int, outputs: int, normalisation: str, *, rngs: nnx.Rngs):
        self.axis = 1 if normalisation == "sequence" else 2
        self.kernel = nnx.Param(kernel_initializer(0.0)(rngs.params(), (TAPS, inputs, outputs)))
        self.centre = nnx.Param(jnp.zeros((outputs,)))

    def __call__(self, x: Float[Array, "batch length inputs"]) -> Array:
        """(batch, length / 2, outputs)."""
        x = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
        pairs = x.reshape(len(x), -1, STRIDE * x.shape[-1])
        taps = jnp.concatenate([pairs[:, :-1], pairs[:, 1:]], axis=-1)
        z = taps @ self.kernel[...].reshape(taps.shape[-1], -1)
        z = z - jnp.mean(z, axis=self.axis, keepdims=True) + self.centre[...][None, None]
        z = z * jax.lax.rsqrt(jnp.mean(jnp.square(z), axis=self.axis, keepdims=True) + FLOOR)
        return z * jax.nn.sigmoid(1.702 * z)
