"""Separable convolutions: against loops in NumPy, how far they see, masks, numbers."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from arch.context import Context
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition, count
from arch.sublayers.convolution import Depthwise, SeparableConvolution

WIDTH, LENGTH, BATCH = 6, 11, 2
NUMPY_ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
}


def define(width=WIDTH, **options) -> Definition:
    return Definition(functools.partial(sublayers.get("separable_convolution"), width, **options))


def drawn(definition, seed=1):
    source = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.7 * source.standard_normal(leaf.shape), jnp.float32),
        definition.shapes,
    )


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def double(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def numpy_depthwise(kernel, x, causal):
    """One sequence, (length, channels): a position and a tap after the other."""
    size, y = len(kernel), np.zeros_like(x)
    before = size - 1 if causal else (size - 1) // 2
    for t in range(len(x)):
        for tap in range(size):
            if 0 <= t + tap - before < len(x):
                y[t] += kernel[tap] * x[t + tap - before]
    return y


def numpy_transition(p, x, causal, mask, activation="relu"):
    """One sequence; padding is set to zero before either convolution."""
    y = numpy_depthwise(p["first"]["kernel"], x * mask[:, None], causal) @ p["input"]["kernel"]
    y = NUMPY_ACTIVATIONS[activation](y + p["input"].get("bias", 0)) * mask[:, None]
    y = numpy_depthwise(p["second"]["kernel"], y, causal) @ p["output"]["kernel"]
    return y + p["output"].get("bias", 0)


OPTIONS = {
    "paper": {},
    "even sizes": {"first_kernel_size": 2, "second_kernel_size": 4},
    "longer than the sequence": {"first_kernel_size": 15, "second_kernel_size": 1},
    "plain": {"activation": "gelu", "bias": False, "inner_width": 5},
}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
def test_the_transition_is_its_loops(name, causal, padded, assert_close):
    definition, x = define(**OPTIONS[name]), normal(BATCH, LENGTH, WIDTH)
    parameters = drawn(definition)
    mask = np.random.default_rng(4).random((BATCH, LENGTH)) < (0.7 if padded else 2)
    context = Context(causal=causal, mask=jnp.asarray(mask) if padded else None)
    y = jax.jit(lambda p: definition.bind(p)(x, context))(parameters)
    p, activation = double(parameters), OPTIONS[name].get("activation", "relu")
    expected = [
        numpy_transition(p, row, causal, seen, activation)
        for row, seen in zip(double(x), mask, strict=True)
    ]
    assert_close(y, np.stack(expected))


@pytest.mark.parametrize(
    "causal, sizes, before, after",
    [
        (True, (3, 5), 6, 0),
        (False, (3, 5), 3, 3),
        (True, (1, 4), 3, 0),
        (False, (1, 4), 1, 2),
        (False, (1, 1), 0, 0),
    ],
)
def test_an_output_sees_as_far_as_both_sizes_reach_and_no_farther(causal, sizes, before, after):
    definition = define(first_kernel_size=sizes[0], second_kernel_size=sizes[1])
    sublayer, x = definition.bind(drawn(definition)), normal(1, LENGTH, WIDTH)
    context = Context(causal=causal)
    y = np.asarray(sublayer(x, context))
    times = np.arange(LENGTH)
    for t in range(LENGTH):
        other = np.asarray(sublayer(x.at[:, t].add(0.5), context))
        changed = np.abs(other - y).max((0, 2)) > 0
        np.testing.assert_array_equal(changed, (times - before <= t) & (t <= times + after))


@pytest.mark.parametrize("causal", [True, False])
def test_padding_at_the_end_is_the_end_of_the_sequence(causal, assert_close):
    definition, x = define(), normal(BATCH, LENGTH, WIDTH)
    sublayer = definition.bind(drawn(definition))
    mask = jnp.broadcast_to(jnp.arange(LENGTH)[None] < 7, (BATCH, LENGTH))
    y = sublayer(x, Context(causal=causal, mask=mask))
    assert_close(y[:, :7], sublayer(x[:, :7], Context(causal=causal)))


def test_with_sizes_of_one_and_kernels_of_one_it_is_feed_forward(same_bytes):
    x = normal(BATCH, LENGTH, WIDTH)
    narrow = define(first_kernel_size=1, second_kernel_size=1)
    plain = Definition(functools.partial(sublayers.get("feed_forward"), WIDTH))
    parameters = drawn(plain)
    ones = {name: {"kernel": jnp.ones((1, n))} for name, n in (("first", 6), ("second", 24))}
    y = narrow.bind(parameters | ones)(x, Context())
    assert same_bytes(y, plain.bind(parameters)(x, Context()))


def test_parameters_and_flops_are_those_of_two_depthwise_and_two_pointwise_products():
    assert count(define(8).shapes) == 3 * 8 + (8 * 32 + 32) + 5 * 32 + (32 * 8 + 8)
    unbiased = define(8, bias=False, inner_width=10, first_kernel_size=2, second_kernel_size=7)
    assert count(unbiased.shapes) == 2 * 8 + 8 * 10 + 7 * 10 + 10 * 8
    assert unbiased.module.flops(9) == 9 * 2 * count(unbiased.shapes)
    assert define(8).module.flops(9) == 9 * 2 * (3 * 8 + 8 * 32 + 5 * 32 + 32 * 8)


@pytest.mark.parametrize("size", [3, 5])
def test_a_depthwise_convolution_starts_with_the_variance_of_its_input(size):
    definition = Definition(functools.partial(Depthwise, size, 400))
    y = definition.bind(definition.init(jax.random.key(0)))(normal(4, 100, 400))
    assert y.shape == (4, 101 - size, 400)
    assert abs(float(np.var(y)) - 1) < 0.05


def test_the_given_deviation_is_that_of_the_pointwise_kernels():
    parameters = define(64, init_std=0.02).init(jax.random.key(0))
    for name in ("input", "output"):
        assert abs(float(np.std(parameters[name]["kernel"])) - 0.02) < 0.001
    assert float(np.std(parameters["second"]["kernel"])) > 0.3


def test_activation_dropout_drops_inner_channels_while_training_only(same_bytes):
    options = {"first_kernel_size": 1, "second_kernel_size": 1, "expand": 1.0}
    definition = define(32, activation_dropout=0.5, **options)
    parameters = jax.tree.map(jnp.zeros_like, drawn(definition))
    parameters["input"]["bias"] = jnp.ones(32)
    parameters["second"]["kernel"] = jnp.ones((1, 32))
    parameters["output"]["kernel"] = jnp.eye(32)
    x, sublayer = normal(8, LENGTH, 32), definition.bind(parameters)
    assert np.all(np.asarray(sublayer(x, Context())) == 1)
    y = np.asarray(sublayer(x, Context(key=jax.random.key(0), train=True)))
    assert set(np.unique(y)) == {0.0, 2.0}
    assert abs((y == 0).mean() - 0.5) < 5 * math.sqrt(0.25 / y.size)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"activation": "swiglu"}, "activation='swiglu': allowed are relu, gelu, gelu_tanh, silu"),
        ({"first_kernel_size": 0}, "first_kernel_size=0: allowed is 1 or more"),
        ({"second_kernel_size": -5}, "second_kernel_size=-5: allowed is 1 or more"),
        ({"activation_dropout": 1.0}, "activation_dropout=1.0: allowed is 0 to below 1"),
        ({"expand": 0.0}, "no inner width is left"),
        ({"init_std": -1.0}, "init_std=-1.0"),
    ],
)
def test_the_transition_refuses_what_it_cannot_do(options, message):
    with pytest.raises(ConfigurationError, match=message):
        define(**options)


def test_the_registered_kind_is_this_class():
    assert sublayers.get("separable_convolution") is SeparableConvolution
