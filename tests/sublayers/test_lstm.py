"""The LSTM: against its equations in NumPy, its gradient against differences, masks, numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch.context import Context
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition, count
from arch.sublayers.recurrent.lstm import LSTM

WIDTH, LENGTH, BATCH = 6, 7, 3


def define(width=WIDTH, **options) -> Definition:
    return Definition(functools.partial(sublayers.get("lstm"), width, **options))


def drawn(definition, seed=1):
    """Every parameter random, of order 1, so that every gate opens and closes."""
    source = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.7 * source.standard_normal(leaf.shape), jnp.float32),
        definition.shapes,
    )


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def double(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_lstm(parameters, x):
    """The equations, a sequence, a time and a gate after the other."""
    kernel, bias = parameters["input"]["kernel"], parameters["input"]["bias"]
    recurrent = parameters["recurrent"]
    inner = len(recurrent)
    y = np.zeros((*x.shape[:2], inner))
    for sequence in range(len(x)):
        h, c = np.zeros(inner), np.zeros(inner)
        for time in range(x.shape[1]):
            pre = {}
            for index, gate in enumerate("ifgo"):
                part = slice(index * inner, (index + 1) * inner)
                pre[gate] = x[sequence, time] @ kernel[:, part] + bias[part]
                pre[gate] = pre[gate] + h @ recurrent[:, part]
            c = sigmoid(pre["f"]) * c + sigmoid(pre["i"]) * np.tanh(pre["g"])
            h = sigmoid(pre["o"]) * np.tanh(c)
            y[sequence, time] = h
    if "output" in parameters:
        y = y @ parameters["output"]["kernel"] + parameters["output"]["bias"]
    return y


@pytest.mark.parametrize("inner", [0, 4, 9])
def test_lstm_is_its_equations(inner, assert_close):
    definition, x = define(inner_width=inner), normal(BATCH, LENGTH, WIDTH)
    parameters = drawn(definition)
    y = jax.jit(lambda p: definition.bind(p)(x, Context()))(parameters)
    assert_close(y, numpy_lstm(double(parameters), double(x)))


@pytest.mark.parametrize("inner", [0, 4])
def test_the_gradient_is_that_of_differences_in_double_precision(inner):
    definition, x = define(inner_width=inner), normal(BATCH, LENGTH, WIDTH)
    parameters, weights = drawn(definition), normal(BATCH, LENGTH, WIDTH, seed=5)

    def total(parameters, x):
        return jnp.sum(weights * definition.bind(parameters)(x, Context()))

    def numpy_total(leaves):
        parameters, x = jax.tree.unflatten(structure, leaves)
        return np.sum(double(weights) * numpy_lstm(parameters, x))

    gradient = jax.tree.leaves(jax.jit(jax.grad(total, argnums=(0, 1)))(parameters, x))
    leaves, structure = jax.tree.flatten(double((parameters, x)))
    source, epsilon = np.random.default_rng(3), 1e-5
    for index, leaf in enumerate(leaves):
        for _ in range(4):
            away = epsilon * source.standard_normal(leaf.shape)
            above, below = list(leaves), list(leaves)
            above[index], below[index] = leaf + away, leaf - away
            slope = (numpy_total(above) - numpy_total(below)) / 2
            found = np.sum(np.asarray(gradient[index], np.float64) * away)
            scale = epsilon * np.linalg.norm(gradient[index])
            assert abs(found - slope) < 1e-5 * scale


def test_an_output_depends_on_itself_and_the_inputs_before_it_even_where_not_causal(same_bytes):
    definition, x = define(), normal(1, LENGTH, WIDTH)
    sublayer = definition.bind(drawn(definition))
    before = np.asarray(sublayer(x, Context()))
    for t in range(LENGTH):
        after = np.asarray(sublayer(x.at[:, t].add(0.1), Context()))
        changed = np.abs(after - before).max((0, 2)) > 0
        assert changed.tolist() == [False] * t + [True] * (LENGTH - t)
    assert same_bytes(sublayer(x, Context(causal=False)), before)


# True where a token is: padding after, before and between
MASKS = {
    "after": [1, 1, 1, 1, 0, 0, 0],
    "before": [0, 0, 0, 1, 1, 1, 1],
    "between": [1, 0, 1, 1, 0, 0, 1],
}


@pytest.mark.parametrize("name", MASKS)
def test_padding_is_as_if_it_were_not_there(name, assert_close):
    definition, x = define(inner_width=4), normal(2, LENGTH, WIDTH)
    sublayer = definition.bind(drawn(definition))
    real = np.array(MASKS[name], bool)
    mask = jnp.asarray(np.stack([real, np.ones(LENGTH, bool)]))
    y = sublayer(x, Context(mask=mask))
    assert_close(y[:1, real], sublayer(x[:1, real], Context()))
    assert_close(y[1:], sublayer(x[1:], Context()))


def test_at_padding_the_output_is_that_of_the_last_token_before(same_bytes):
    definition, x = define(), normal(1, LENGTH, WIDTH)
    mask = jnp.array([MASKS["between"]], bool)
    y = definition.bind(drawn(definition))(x, Context(mask=mask))
    assert same_bytes(y[:, 1], y[:, 0]) and same_bytes(y[:, 5], y[:, 3])
    assert np.abs(np.asarray(y[:, 6] - y[:, 5])).max() > 0


def test_no_gradient_reaches_the_padding():
    definition, x = define(), normal(1, LENGTH, WIDTH)
    sublayer, mask = definition.bind(drawn(definition)), jnp.array([MASKS["between"]], bool)
    gradient = jax.grad(lambda x: sublayer(x, Context(mask=mask)).sum())(x)
    reached = np.abs(np.asarray(gradient)).max((0, 2)) > 0
    assert reached.tolist() == [bool(token) for token in MASKS["between"]]


def test_the_state_is_float32_in_bfloat16_so_that_small_inputs_add_up():
    definition = define(1)
    wide_open = jnp.array([20.0, 20.0, 0.001, 20.0])  # i, f, g, o: cₜ = t / 1000
    parameters = {
        "input": {"kernel": jnp.zeros((1, 4)), "bias": wide_open},
        "recurrent": jnp.zeros((1, 4)),
    }
    y = definition.bind(parameters)(jnp.zeros((1, 1000, 1), jnp.bfloat16), Context())
    assert y.dtype == jnp.bfloat16
    assert abs(float(y[0, -1, 0]) - np.tanh(1.0)) < 0.01  # a bfloat16 sum ends at 0.25


@pytest.mark.parametrize("bias", [1.0, -0.5, 0.0])
def test_the_forget_gates_bias_starts_where_it_is_set_and_the_others_at_zero(bias):
    parameters = define(forget_bias=bias).init(jax.random.key(0))
    expected = np.repeat([0.0, bias, 0.0, 0.0], WIDTH)
    np.testing.assert_array_equal(parameters["input"]["bias"], expected)


def test_the_classic_lstm_has_no_output_projection():
    assert set(define().shapes) == set(define(inner_width=WIDTH).shapes) == {"input", "recurrent"}
    assert set(define(inner_width=5).shapes) == {"input", "recurrent", "output"}


def test_parameters_and_flops_are_those_of_four_gates():
    assert count(define(10).shapes) == 4 * (10 * 10 + 10 * 10 + 10)
    assert count(define(10, inner_width=7).shapes) == 4 * (10 * 7 + 7 * 7 + 7) + 7 * 10 + 10
    assert define(10).module.flops(5) == 5 * 2 * 4 * (10 * 10 + 10 * 10)
    assert define(10, inner_width=7).module.flops(5) == 5 * 2 * (4 * (10 * 7 + 7 * 7) + 7 * 10)


@pytest.mark.parametrize("std", [0.0, 0.02])
def test_kernels_start_at_glorots_uniform_or_the_given_deviation(std):
    parameters = define(96, inner_width=64, init_std=std).init(jax.random.key(0))
    kernels = {"input": parameters["input"]["kernel"], "output": parameters["output"]["kernel"]}
    for kernel in [*kernels.values(), parameters["recurrent"]]:
        expected = std or (2 / sum(kernel.shape)) ** 0.5
        assert abs(float(np.std(kernel)) - expected) < 0.03 * expected


@pytest.mark.parametrize(
    "options, message",
    [
        ({"inner_width": -1}, "inner_width=-1: allowed is 0"),
        ({"init_std": -0.1}, "init_std=-0.1"),
    ],
)
def test_lstm_refuses_what_it_cannot_do(options, message):
    with pytest.raises(ConfigurationError, match=message):
        define(**options)


def test_the_registered_kind_is_this_class():
    assert sublayers.get("lstm") is LSTM
