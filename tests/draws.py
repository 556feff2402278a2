"""Random parameters, for tests in which no bias may be 0 and hide that it is left out."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from arch.stacks.parameters import Definition


def drawn(definition: Definition, dtype=jnp.float32, seed=1):
    """Parameters of a sublayer's shapes, every one of them random, kernels of about unit gain."""
    source = np.random.default_rng(seed)

    def draw(leaf):
        scale = 1 / math.sqrt(leaf.shape[0]) if len(leaf.shape) > 1 else 0.1
        return jnp.asarray(scale * source.standard_normal(leaf.shape), dtype)

    return jax.tree.map(draw, definition.shapes)
