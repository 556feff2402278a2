"""What tests of recurrent sublayers share: draws, and a compiled loop over decoding steps."""

import jax
import jax.numpy as jnp
import numpy as np

from arch.context import Context


def normal(*shape, seed=0, dtype=jnp.float32):
    """Standard normal numbers."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def stepped(sublayer, x, context=None):
    """Outputs of one compiled loop over steps."""
    context = context or Context()

    def body(cache, time):
        token = jax.lax.dynamic_slice_in_dim(x, time, 1, axis=1)
        y, cache = sublayer.step(token, cache, context.replace(time=time))
        return cache, y[:, 0]

    cache = sublayer.init_cache(len(x), x.shape[1], x.dtype, context)
    return jax.jit(lambda: jax.lax.scan(body, cache, jnp.arange(x.shape[1]))[1])().swapaxes(0, 1)


def sigmoid(x):
    """σ(x) in NumPy."""
    return 1 / (1 + np.exp(-x))


def softplus(x):
    """log(1 + exp(x)) in NumPy."""
    return np.logaddexp(x, 0)
