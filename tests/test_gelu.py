"""GELU with its derivative beside it: against SciPy, and in every way it is differentiated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from arch.layers import gelu

POINTS = np.linspace(-8, 8, 401)


@pytest.mark.usefixtures("float64")
def test_it_is_x_times_the_normal_distribution_function_with_its_two_derivatives():
    x = jnp.asarray(POINTS)
    np.testing.assert_allclose(gelu(x), POINTS * norm.cdf(POINTS), atol=1e-14)
    slope = norm.cdf(POINTS) + POINTS * norm.pdf(POINTS)
    np.testing.assert_allclose(jax.vmap(jax.grad(gelu))(x), slope, atol=1e-14)
    np.testing.assert_allclose(jax.jvp(gelu, (x,), (jnp.ones_like(x),))[1], slope, atol=1e-14)
    second = jax.vmap(jax.grad(jax.grad(gelu)))(x)
    np.testing.assert_allclose(second, (2 - POINTS**2) * norm.pdf(POINTS), atol=1e-13)


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-6), (jnp.bfloat16, 5e-3)])
def test_it_keeps_the_dtype_and_is_computed_in_float32(dtype, tolerance):
    x = jnp.asarray(POINTS, dtype)
    exact = np.asarray(x, np.float64)
    y, back = jax.vjp(gelu, x)
    (slope,) = back(jnp.ones_like(x))
    assert y.dtype == slope.dtype == dtype
    np.testing.assert_allclose(np.asarray(y, float), exact * norm.cdf(exact), tolerance, tolerance)
    expected = norm.cdf(exact) + exact * norm.pdf(exact)
    np.testing.assert_allclose(np.asarray(slope, float), expected, tolerance, tolerance)


def test_it_is_finite_where_float32_ends():
    x = jnp.asarray([-3e38, -1e20, -0.0, 0.0, 1e20, 3e38], jnp.float32)
    y, back = jax.vjp(gelu, x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(back(jnp.ones_like(x))[0], [0, 0, 0.5, 0.5, 1, 1])
