"""The few parts that sublayers, stacks, embeddings and heads share: projection, norm, dropout,
activations, sinusoids."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key, UInt16

from arch.registry import ConfigurationError

NORMS = ("layer", "rms", "layer_no_bias")
SLICE = 1 << 16  # random numbers that are drawn at a time on CPU


@jax.custom_jvp
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x Φ(x), Φ the distribution function of the standard normal (Hendrycks and Gimpel 2016,
    arXiv 1606.08415, eq. 1), computed in float32.

    Its derivative, Φ(x) + x φ(x), is worked out beside it: the backward pass is one product, where
    autodiff of erf would take a third of a feed-forward on CPU.
    """
    return _gelu_with_slope(x)[0]


@gelu.defjvp
def _gelu_forward(primals, tangents):
    y, slope = _gelu_with_slope(*primals)
    return y, slope * tangents[0]


def _gelu_with_slope(x: Array) -> tuple[Array, Array]:
    wide = widened(x)
    below = (1 + jax.lax.erf(wide * math.sqrt(0.5))) / 2
    density = jnp.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
    return (wide * below).astype(x.dtype), (below + wide * density).astype(x.dtype)


ACTIVATIONS = {
    "relu": jax.nn.relu,
    "gelu": gelu,
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "silu": jax.nn.silu,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
}


def kernel_initializer(std: float) -> jax.nn.initializers.Initializer:
    """Normal of the given standard deviation; 0 stands for Glorot's uniform. Raises
    ConfigurationError for a negative one."""
    if std < 0:
        raise ConfigurationError(f"init_std={std}: a standard deviation is at least 0 (0: Glorot)")
    return jax.nn.initializers.normal(std) if std else jax.nn.initializers.glorot_uniform()


class Projection(nnx.Module):
    """y = x W + b over the last axis, computed in x's dtype with float32 parameters.

    The product is taken in two dimensions: on CPU, XLA runs a (batch · length, width) product at
    the machine's speed and a three-dimensional one well below it.
    """

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool = True, init_std: float = 0.0, rngs: nnx.Rngs
    ):
        self.kernel = nnx.Param(kernel_initializer(init_std)(rngs.params(), (inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros((outputs,))) if bias else None

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        """x W + b over the last axis."""
        kernel = self.kernel[...].astype(x.dtype)
        y = x.reshape(-1, kernel.shape[0]) @ kernel
        if self.bias is not None:
            y = y + self.bias[...].astype(x.dtype)[None]
        return y.reshape(*x.shape[:-1], kernel.shape[1])


def norm(kind: str, width: int, epsilon: float, rngs: nnx.Rngs) -> nnx.Module:
    """LayerNorm (Ba et al. 2016), with or without a bias, or RMSNorm (Zhang and Sennrich 2019);
    statistics in float32."""
    if kind in ("layer", "layer_no_bias"):
        biased = kind == "layer"
        return nnx.LayerNorm(
            width, epsilon=epsilon, use_bias=biased, use_fast_variance=False, rngs=rngs
        )
    if kind == "rms":
        return nnx.RMSNorm(width, epsilon=epsilon, rngs=rngs)
    raise ConfigurationError(f"norm_kind={kind!r}: allowed are {', '.join(NORMS)}")


class Dropping(NamedTuple):
    """What `dropout` needs to know. rate: at a resolution of 2⁻¹⁶; it may be traced, so that a
    sweep over it is one program. platform: what the program is compiled for."""

    rate: Float[Array, ""] | float
    key: Key[Array, ""]
    platform: str


def dropout(
    x: Float[Array, "*shape"], rate: Float[Array, ""] | float, key: Key[Array, ""], platform: str
) -> Float[Array, "*shape"]:
    """x with elements dropped at `rate` and the others scaled by 1 / (1 - rate), see `Dropping`."""
    threshold = jnp.round(jnp.asarray(rate, jnp.float32) * 65536)
    keep = random_bits(key, x.shape, platform) >= threshold.astype(jnp.uint32)
    return jnp.where(
        keep, x * (65536 / (65536 - threshold)).astype(x.dtype), jnp.zeros((), x.dtype)
    )


def random_bits(key: Key[Array, ""], shape: tuple[int, ...], platform: str) -> UInt16[Array, "..."]:
    """Random 16-bit numbers. On CPU many are drawn slice by slice: the generator passes five times
    over its array, which takes twice as long per number once that exceeds the cache. The numbers
    of the two ways differ."""
    size = math.prod(shape)
    slices = -(-size // SLICE)
    if slices < 2 or platform != "cpu":
        return jax.random.bits(key, shape, jnp.uint16)
    keys = jax.random.split(key, slices)
    bits = jax.lax.map(lambda key: jax.random.bits(key, (SLICE,), jnp.uint16), keys)
    return bits.reshape(-1)[:size].reshape(shape)


def widened(x: Array) -> Array:
    """x in float32; float64 stays as it is."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def sinusoid(
    positions: Int[Array, "batch length"], width: int
) -> Float[Array, "batch length width"]:
    """Sines in the first half of the channels, cosines in the second, of wavelengths 2π to
    10000 · 2π (Vaswani et al. 2017, §3.5, in the arrangement of the reference codes)."""
    half = width // 2
    frequency = jnp.exp(-jnp.arange(half) * (math.log(10000.0) / max(half - 1, 1)))
    angle = positions[..., None].astype(jnp.float32) * frequency[None, None]
    signal = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    return jnp.pad(signal, ((0, 0), (0, 0), (0, width - 2 * half)))


def columns(
    mask: Bool[Array, "batch length"] | None, time: Int[Array, ""] | None, tokens: int
) -> Bool[Array, "batch tokens"] | None:
    """The mask at so many tokens from the time of a decoding step on; None where there is none."""
    if mask is None:
        return None
    assert time is not None, "a mask over the cache needs context.time"
    return jax.lax.dynamic_slice_in_dim(mask, time, tokens, axis=1)


def product_flops(rows: int, inputs: int, outputs: int) -> int:
    """FLOPs of a (rows, inputs) × (inputs, outputs) product, a multiply-add counted as two."""
    return 2 * rows * inputs * outputs


def divide(value: int, by: int, field: str, of: str) -> int:
    """value / by. Raises ConfigurationError, with the nearest divisors, where that is not whole."""
    if by < 1 or value % by:
        divisors = [d for d in range(1, value + 1) if value % d == 0]
        near = sorted(sorted(divisors, key=lambda d: abs(math.log(d / max(by, 1))))[:4])
        raise ConfigurationError(
            f"{field}={by} does not divide {of}={value}; near it do {', '.join(map(str, near))}"
        )
    return value // by
