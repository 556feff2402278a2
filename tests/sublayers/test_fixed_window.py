"""The feed-forward language model: its equation in NumPy, its parameters, its steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config, variants
from arch.context import Context
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition
from arch.training.program import build

WIDTH, LENGTH, BATCH = 6, 7, 2


def define(**options) -> Definition:
    return Definition(functools.partial(sublayers.get("fixed_window"), WIDTH, **options))


@pytest.mark.parametrize(("tokens", "direct"), [(1, False), (3, True), (9, False)])
def test_it_is_its_equation_and_steps_give_its_rows(tokens, direct, assert_close):
    definition = define(tokens=tokens, direct=direct)
    random = np.random.default_rng(tokens)
    parameters = jax.tree.map(
        lambda leaf: jnp.asarray(random.normal(0, 0.5, leaf.shape), jnp.float32), definition.shapes
    )
    x = random.normal(size=(BATCH, LENGTH, WIDTH)).astype(np.float32)
    expected = np.zeros(x.shape)
    for row, time in np.ndindex(BATCH, LENGTH):
        back = [x[row, time - i] if time >= i else np.zeros(WIDTH) for i in range(tokens)]
        seen = np.concatenate(back)
        hidden = parameters["hidden"]
        expected[row, time] = np.tanh(seen @ hidden["kernel"] + hidden["bias"])
        if direct:
            expected[row, time] += seen @ parameters["direct"]["kernel"]
    y = jax.jit(lambda p, x: definition.bind(p)(x, Context()))(parameters, x)
    assert_close(y, expected)

    @jax.jit
    def stepped(parameters, x):
        layer = definition.bind(parameters)
        cache, rows = layer.init_cache(BATCH, LENGTH, x.dtype, Context()), []
        for time in range(LENGTH):
            row, cache = layer.step(x[:, time : time + 1], cache, Context())
            rows.append(row)
        return jnp.concatenate(rows, axis=1)

    assert_close(stepped(parameters, x), expected)


@pytest.mark.parametrize("direct", [False, True])
def test_the_variant_has_the_papers_parameters(direct):
    n, m = 5, 8
    made = config.make(
        model=variants.feed_forward_lm(n, m, direct), task={"corpus": "stdlib", "length": 16}
    )
    _, model = build(made)
    # |V| (1 + m + h) + h (1 + (n - 1) m), h = m; W is (n - 1) m × m before U
    v, hidden = 256, m * (1 + (n - 1) * m)
    expected = v * (1 + m + m) + hidden + direct * (n - 1) * m * m
    assert model.parameter_counts()["unique"] == expected


def test_a_window_without_tokens_is_refused():
    with pytest.raises(ConfigurationError, match="tokens=0"):
        _ = define(tokens=0).shapes
