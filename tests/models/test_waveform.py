"""Positions of a waveform against convolutions written out, and what cannot be."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.models import families as models
from arch.models.embeddings.waveform import Waveform
from arch.registry import ConfigurationError
from arch.stacks.parameters import Definition
from tests.draws import drawn

WIDTH, LENGTH = 6, 5


def define(**options):
    return Definition(functools.partial(Waveform, 128, WIDTH, **options))


def convolved(p, x, axis):
    """Tap by tap, output by output: (length, inputs) to (length / 2, outputs)."""
    z = np.tile(np.zeros(p["kernel"].shape[-1]), (len(x) // 2, 1))
    for i in range(len(z)):
        for tap, kernel in enumerate(np.asarray(p["kernel"])):
            at = 2 * i - 1 + tap
            if 0 <= at < len(x):
                z[i] += x[at] @ kernel
    z = z - z.mean(axis, keepdims=True) + np.asarray(p["centre"])
    z = z / np.sqrt((z**2).mean(axis, keepdims=True) + 1e-10)
    return z / (1 + np.exp(-1.702 * z))


@pytest.mark.parametrize("normalisation, axis", [("sequence", 0), ("features", 1)])
def test_it_is_two_convolutions_and_a_map(normalisation, axis, float64, assert_close):
    definition = define(normalisation=normalisation)
    p = drawn(definition, jnp.float32)
    samples = np.random.default_rng(0).standard_normal((2, LENGTH, 4)).astype(np.float32)
    y = jax.jit(definition.bind(p))(jnp.asarray(samples))
    assert y.shape == (2, LENGTH, WIDTH)
    for row, expected in zip(samples, np.asarray(y), strict=True):
        z = convolved(p["second"], convolved(p["first"], row.reshape(-1, 1), axis), axis)
        z = z @ np.asarray(p["output"]["kernel"]) + np.asarray(p["output"]["bias"])
        assert_close(0.25 * z, expected, 1e-4)


def test_flops_are_those_of_its_products():
    # a position has two places of the first convolution, and one of the second and of the map
    first, second, output = 4 * 3, 4 * 3 * 12, 12 * 6
    assert define().module.flops() == 2 * (2 * first + second + output)


def test_what_cannot_be_is_refused():
    embedding = define().bind(drawn(define()))
    for ids in (jnp.zeros((2, 8)), jnp.zeros((2, 8, 3))):
        with pytest.raises(ConfigurationError, match="reads samples of"):
            embedding(ids)
    with pytest.raises(ConfigurationError, match="normalisation='batch': allowed are sequence"):
        assert define(normalisation="batch").module
    model = {"family": "encoder", "width": 8, "order": "f", "embedding": {"kind": "waveform"}}
    with pytest.raises(ConfigurationError, match="say model.head.tie=False"):
        models.build(config.make(model=model).model, 128, 8)
    with pytest.raises(ConfigurationError, match="model.width=1: allowed is 2 or more"):
        models.build(config.make(model={**model, "width": 1}).model, 128, 8)
