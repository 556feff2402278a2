"""The convolutional gated recurrent unit against its equations in NumPy, and the Neural GPU, which
runs it for as many steps as there are symbols."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config, variants
from arch.context import Context
from arch.models import families as models
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition, count
from arch.training.program import Program, build
from arch.training.state import Swept
from tests.draws import drawn
from tests.recurrences import normal, sigmoid, stepped

WIDTH, LENGTH, BATCH = 8, 7, 2


def define(width=WIDTH, **options) -> Definition:
    return Definition(functools.partial(sublayers.get("cgru"), width, **options))


def convolved(p, x, size, before):
    """Σᵢ xₜ₊ᵢ₋before Kᵢ + B of each position, zeros outside of the sequence."""
    kernel, rows = p["kernel"].reshape(size, x.shape[-1], -1), []
    for t in range(x.shape[1]):
        row = np.zeros((len(x), kernel.shape[-1])) + p["bias"]
        for i in range(size):
            if 0 <= t + i - before < x.shape[1]:
                row = row + x[:, t + i - before] @ kernel[i]
        rows.append(row)
    return np.stack(rows, axis=1)


@pytest.mark.parametrize(
    "causal, size, cutoff, before", [(False, 3, 1.0, 1), (True, 3, 1.2, 2), (False, 4, 1.2, 1)]
)
def test_it_is_its_equations(causal, size, cutoff, before, float64, assert_close):
    definition = define(kernel_size=size, cutoff=cutoff)
    x, parameters = normal(BATCH, LENGTH, WIDTH, dtype=jnp.float64), drawn(definition, jnp.float64)
    mask = np.ones((BATCH, LENGTH), bool)
    mask[1, 5:] = False
    context = Context(causal=causal, mask=jnp.asarray(mask))
    y = jax.jit(lambda p: definition.bind(p)(x, context))(parameters)
    p, s = jax.tree.map(np.asarray, parameters), np.asarray(x) * mask[..., None]
    gates = sigmoid(convolved(p["gates"], s, size, before))
    gates = np.clip(cutoff * gates - (cutoff - 1) / 2, 0, 1)
    u, r = np.split(gates, 2, axis=-1)
    expected = u * s + (1 - u) * np.tanh(convolved(p["candidate"], r * s, size, before))
    assert_close(np.asarray(y)[mask], expected[mask], 1e-9)


def test_gates_of_the_paper_close_and_open_wholly():
    definition = define(cutoff=1.2)
    parameters = drawn(definition)
    x = normal(BATCH, LENGTH, WIDTH)
    for bias, same in ((30.0, True), (-30.0, False)):
        parameters["gates"]["bias"] = jnp.full((2 * WIDTH,), bias)
        y = definition.bind(parameters)(x, Context())
        assert bool((y == x).all()) == same
    assert np.abs(y - jnp.tanh(parameters["candidate"]["bias"])[None, None]).max() == 0


def test_steps_are_the_whole(assert_close):
    definition, x = define(cutoff=1.2), normal(BATCH, LENGTH, WIDTH)
    sublayer = definition.bind(drawn(definition))
    assert_close(stepped(sublayer, x), sublayer(x, Context()))


def test_gates_start_open_and_parameters_and_flops_are_counted():
    definition = define(kernel_size=3)
    start = definition.init(jax.random.key(0))
    assert (start["gates"]["bias"] == 1).all() and not start["candidate"]["bias"].any()
    assert count(definition.shapes) == 3 * (3 * WIDTH * WIDTH + WIDTH)
    assert definition.module.flops(LENGTH) == 2 * LENGTH * 3 * WIDTH * 3 * WIDTH
    with pytest.raises(ConfigurationError, match=r"cutoff=0.5: allowed is 1 .σ. or more"):
        define(cutoff=0.5)


def test_an_outer_symbol_is_seen_by_all_after_as_many_steps_as_symbols():
    """By nothing further than two layers of a kernel of three reach in one step."""
    ids = jnp.asarray(np.random.default_rng(0).integers(1, 5, (1, 9)))

    def reached(**stack):
        made = variants.neural_gpu(WIDTH, stack=stack)
        model = models.build(config.make(model=made).model, 5, 9)
        parameters = drawn(model)
        logits = jax.jit(lambda ids: model.logits(parameters, ids, Context()))
        moved = np.abs(logits(ids) - logits(ids.at[0, 0].set(0))).max(-1)[0] > 0
        return moved.tolist()

    assert all(reached())
    assert reached(steps_per_symbol=0, steps=1) == [True] * 5 + [False] * 4


@pytest.mark.slow
def test_the_neural_gpu_learns_to_reverse():
    made = config.make(
        model=variants.neural_gpu(24),
        task={"kind": "algorithmic_bins", "algorithm": "reverse", "base": 2, "bins": (4,),
              "lengths": (4, 8)},
        train={"steps": 150, "batch": 64, "clip": 1.0,
               "optimizer": {"name": "adamw", "learning_rate": 5e-3, "weight_decay": 0.0}},
    )  # fmt: skip
    task, model = build(made)
    program = Program(made, task, model)
    state = program.init(np.zeros(1, np.int32))
    _, metrics = program.train(state, Swept.of([(made, 0)]), task.source(), 0, 100)
    loss, right = (np.asarray(metrics[name])[0] for name in ("loss", "token_accuracy"))
    assert right[:10].mean() < 0.7 and right[-10:].mean() > 0.95
    assert loss[-10:].mean() < 0.2 * loss[:5].mean()
