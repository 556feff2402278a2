"""A feed-forward computed in slices of positions is the one computed at once."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.context import Context
from arch.models import families as models
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition
from tests.draws import drawn
from tests.families import always

WIDTH, BATCH = 16, 2


def define(width=WIDTH, **options) -> Definition:
    return Definition(functools.partial(sublayers.get("feed_forward"), width, **options))


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def applied(definition, parameters, x, context=None):
    return definition.bind(parameters)(x, context or Context())


def both(definition, parameters, x, context=None):
    """Output and gradients."""

    def objective(parameters, x):
        y = applied(definition, parameters, x, context)
        return (y * normal(*x.shape, seed=3).astype(x.dtype)).sum().astype(jnp.float32), y

    return jax.jit(jax.grad(objective, (0, 1), has_aux=True))(parameters, x)


def training(seed=0):
    return Context(key=jax.random.key(seed), train=True)


@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
@pytest.mark.parametrize(
    "length, chunk", always([(12, 4), (13, 4), (7, 1), (4, 8), (9, 8)], [(13, 4), (9, 8)])
)
def test_slices_have_the_outputs_and_gradients_of_all_at_once(
    activation, length, chunk, assert_close
):
    whole, sliced = define(activation=activation), define(activation=activation, chunk=chunk)
    assert whole.shapes == sliced.shapes
    parameters, x = drawn(whole), normal(BATCH, length, WIDTH)
    expected = both(whole, parameters, x)
    assert_close(both(sliced, parameters, x), expected, 1e-6)
    assert sliced.module.flops(length) == whole.module.flops(length)


def test_dropout_is_the_keys_alone_and_replayed_in_the_backward_pass(same_bytes):
    definition, x = define(activation_dropout=0.5, chunk=3), normal(BATCH, 8, WIDTH)
    parameters = drawn(definition)
    gradient, y = both(definition, parameters, x, training())
    again = applied(definition, parameters, x, training())
    np.testing.assert_allclose(again, y, atol=1e-6)
    other = applied(definition, parameters, x, training(1))
    assert np.abs(np.asarray(other - y)).max() > 0.1
    assert same_bytes(applied(definition, parameters, x), applied(define(chunk=3), parameters, x))
    # the output is linear in its kernel: the gradient's product with it is the objective itself,
    # only where the backward pass drops the same elements
    kernel, towards = parameters["output"]["kernel"], np.asarray(normal(*x.shape, seed=3))
    bias = np.asarray(parameters["output"]["bias"])[None, None]
    along = np.sum(np.asarray(gradient[0]["output"]["kernel"]) * np.asarray(kernel))
    np.testing.assert_allclose(along, np.sum((np.asarray(y) - bias) * towards), rtol=1e-4)


def test_every_slice_drops_elements_of_its_own():
    definition = define(expand=1.0, activation_dropout=0.5, chunk=8)
    parameters = jax.tree.map(jnp.zeros_like, drawn(definition))
    parameters["input"]["bias"] = jnp.ones(WIDTH)
    parameters["output"]["kernel"] = jnp.eye(WIDTH)
    y = np.asarray(applied(definition, parameters, normal(BATCH, 40, WIDTH), training()))
    assert set(np.unique(y)) == {0.0, 2.0}
    assert abs(y.mean() - 1) < 6 / math.sqrt(y.size)
    slices = y.reshape(BATCH, 5, 8, WIDTH).swapaxes(0, 1)
    assert len({part.tobytes() for part in slices}) == 5


def test_gradients_with_dropout_are_finite_differences(float64):
    definition = define(4, activation="silu", activation_dropout=0.3, chunk=2)
    parameters = jax.tree.map(lambda a: a.astype(jnp.float64), drawn(definition))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 5, 4)))

    @jax.jit
    def objective(x):
        return jnp.sin(applied(definition, parameters, x, training())).sum()

    gradient, step = jax.grad(objective)(x), 1e-6
    for index in np.ndindex(1, 5, 4):
        up, down = (objective(x.at[index].add(sign * step)) for sign in (1, -1))
        np.testing.assert_allclose((up - down) / (2 * step), gradient[index], atol=1e-8)


def test_it_runs_replicated_and_in_bfloat16(assert_close):
    definition, x = define(chunk=4, activation_dropout=0.2), normal(BATCH, 10, WIDTH)
    replicas = [drawn(definition, seed=seed) for seed in (1, 2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *replicas)
    contexts = [training(seed) for seed in (1, 2)]
    keys = jnp.stack([context.key for context in contexts])

    def run(parameters, key):
        return both(definition, parameters, x, Context(key=key, train=True))

    together = jax.vmap(run)(stacked, keys)
    alone = [both(definition, p, x, c) for p, c in zip(replicas, contexts, strict=True)]
    assert_close(together, jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone))
    gradient, half = both(definition, replicas[0], x.astype(jnp.bfloat16), contexts[0])
    assert half.dtype == jnp.bfloat16
    assert_close(half, alone[0][1], 0.05)
    assert_close(gradient[0], alone[0][0][0], 0.1)


@pytest.mark.parametrize("apply", always(["unrolled", "scan", "switch"], ("switch",)))
def test_a_model_computes_the_same_whatever_the_chunk(apply, assert_close):
    def gradients(chunk):
        made = config.make(
            model={
                "width": WIDTH,
                "order": "(sf)2",
                "sublayers": {
                    "s": {"kind": "attention", "heads": 2},
                    "f": {"kind": "feed_forward", "chunk": chunk},
                },
                "stack": {"apply": apply, "remat": "full" if apply == "switch" else "none"},
            }
        )
        model = models.build(made.model, 11, 20)
        ids = jnp.asarray(np.random.default_rng(0).integers(0, 11, (2, 10)))

        def loss(parameters):
            return -model.score(parameters, ids[:, :-1], ids[:, 1:], Context())[0].target.mean()

        return jax.jit(jax.value_and_grad(loss))(model.init(jax.random.key(0)))

    assert_close(gradients(4), gradients(0), 1e-5)


def test_the_inner_activations_of_one_slice_are_kept_instead_of_all():
    def temporary(chunk):
        definition = define(32, inner_width=1024, chunk=chunk)
        x = jax.ShapeDtypeStruct((1, 2048, 32), jnp.float32)

        def objective(parameters, x):
            return applied(definition, parameters, x).sum()

        compiled = jax.jit(jax.grad(objective)).lower(definition.shapes, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(128) < temporary(0) / 3


def test_a_negative_chunk_is_refused():
    with pytest.raises(ConfigurationError, match="chunk=-1: allowed is 0"):
        define(chunk=-1)
