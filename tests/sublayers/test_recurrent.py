"""Recurrent mixers: against their recurrences in NumPy and against PyTorch, in chunks and in steps,
at extreme decay, under every stack."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.context import Context
from arch.models import families as models
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition, count
from tests.draws import drawn
from tests.recurrences import normal, sigmoid, stepped

WIDTH, LENGTH, BATCH = 8, 11, 2
FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures" / "recurrent"
KINDS = {"gru": {"inner_width": 6}, "mingru": {"inner_width": 6}, "minlstm": {}}
CHUNKED = {kind for kind in KINDS if kind != "gru"}


def define(kind, width=WIDTH, **options) -> Definition:
    given = {**KINDS[kind], **options}
    return Definition(functools.partial(sublayers.get(kind), width, **given))


def in_chunks(kind, chunk):
    """A definition that runs in chunks of this size, where the kind has chunks."""
    return define(kind, **({"chunk": chunk} if kind in CHUNKED else {}))


# The recurrences, a position after the other


def looped(p, x, inner, advance):
    """Outputs of h = advance(h, x at the position), through W₂ where there is one."""
    h, y = np.zeros((len(x), inner)), []
    for t in range(x.shape[1]):
        h = advance(h, x[:, t])
        y.append(h)
    y = np.stack(y, 1)
    return y @ p["output"]["kernel"] + p["output"].get("bias", 0) if "output" in p else y


def numpy_gru(p, x):
    inner = len(p["recurrent"])
    pre = x @ p["input"]["kernel"] + p["input"]["bias"]

    def advance(h, pre):
        (r, z, n), (s, w, m) = np.split(pre, 3, -1), np.split(h @ p["recurrent"], 3, -1)
        new = np.tanh(n + sigmoid(r + s) * (m + p["candidate_bias"]))
        return (1 - sigmoid(z + w)) * new + sigmoid(z + w) * h

    return looped(p, pre, inner, advance)


def numpy_mingru(p, x):
    pre = x @ p["input"]["kernel"] + p["input"]["bias"]

    def advance(h, pre):
        z, n = np.split(pre, 2, -1)
        return (1 - sigmoid(z)) * h + sigmoid(z) * np.where(n >= 0, n + 0.5, sigmoid(n))

    return looped(p, pre, pre.shape[-1] // 2, advance)


def numpy_minlstm(p, x):
    pre = x @ p["input"]["kernel"] + p["input"]["bias"]

    def advance(h, pre):
        f, i, n = np.split(pre, 3, -1)
        f, i = sigmoid(f), sigmoid(i)
        return (f * h + i * np.where(n >= 0, n + 0.5, sigmoid(n))) / (f + i)

    return looped(p, pre, pre.shape[-1] // 3, advance)


TRANSCRIPTIONS = {"gru": numpy_gru, "mingru": numpy_mingru, "minlstm": numpy_minlstm}


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_and_the_steps_are_the_recurrence(kind, float64, assert_close):
    x = normal(BATCH, LENGTH, WIDTH, dtype=jnp.float64)
    parameters = drawn(define(kind), jnp.float64)
    expected = TRANSCRIPTIONS[kind](jax.tree.map(np.asarray, parameters), np.asarray(x))
    for chunk in (4, 64) if kind in CHUNKED else (0,):
        definition = in_chunks(kind, chunk)
        y = jax.jit(lambda p, d=definition: d.bind(p)(x, Context()))(parameters)
        assert_close(y, expected, 1e-9)
    assert_close(stepped(definition.bind(parameters), x), expected, 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_the_whole_over_512_positions(kind, assert_close):
    definition, x = in_chunks(kind, 48), normal(1, 512, WIDTH)
    sublayer = definition.bind(drawn(definition))
    y = jax.jit(lambda: sublayer(x, Context()))()
    assert_close(stepped(sublayer, x), y, 1e-4)


# PyTorch


def torch_gru(w):
    sums = w["bias_hh_l0"].at[2 * WIDTH :].set(0)  # the candidate keeps its own
    return {
        "input": {"kernel": w["weight_ih_l0"].T, "bias": w["bias_ih_l0"] + sums},
        "recurrent": w["weight_hh_l0"].T,
        "candidate_bias": w["bias_hh_l0"][2 * WIDTH :],
    }


def test_the_gru_is_pytorchs_and_so_are_its_gradients(assert_close):
    with np.load(FIXTURES / "gru.npz") as loaded:
        given = {key: jnp.asarray(value) for key, value in loaded.items()}
    gradients = {k.removeprefix("gradient."): v for k, v in given.items() if "gradient." in k}
    definition = define("gru", inner_width=0)

    @jax.jit
    def run(parameters, x):
        y, pull = jax.vjp(lambda p, x: definition.bind(p)(x, Context()), parameters, x)
        return y, pull(given["cotangent"])

    y, (of_parameters, of_x) = run(torch_gru(given), given["x"])
    assert_close(y, given["y"], 1e-5)
    assert_close(of_x, gradients["x"], 1e-4)
    # both of PyTorch's biases have the gradient of their sum
    bias = gradients["bias_ih_l0"]
    expected = torch_gru(gradients) | {
        "input": {"kernel": gradients["weight_ih_l0"].T, "bias": bias}
    }
    assert_close(of_parameters, expected, 1e-4)


# What may go wrong


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_however_fast_or_slowly_the_state_decays(kind):
    definition = define(kind)
    gradient = jax.jit(
        jax.grad(lambda p, x: jnp.sum(definition.bind(p)(x, Context()) ** 2), argnums=(0, 1))
    )
    for factor in (1.0, 1e3):
        leaves = jax.tree.leaves(gradient(drawn(definition), factor * normal(BATCH, 40, WIDTH)))
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert np.abs(leaves[-1]).max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_padding_before_or_after_is_as_if_it_were_not_there(kind, assert_close):
    definition, x = in_chunks(kind, 4), normal(BATCH, LENGTH, WIDTH)
    sublayer = definition.bind(drawn(definition))
    mask = np.ones((BATCH, LENGTH), bool)
    mask[0, :4], mask[1, 7:] = False, False
    run = jax.jit(lambda x, mask: sublayer(x, Context(mask=mask)))
    y = run(x, jnp.asarray(mask))
    assert_close(y[0, 4:], run(x[:1, 4:], None)[0])
    assert_close(y[1, :7], run(x[1:, :7], None)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_float32_in_bfloat16_and_of_one_size(kind):
    sublayer = define(kind).module
    short, long = (sublayer.init_cache(3, n, jnp.bfloat16, Context()) for n in (4, 4000))
    assert jax.tree.map(jnp.shape, short) == jax.tree.map(jnp.shape, long)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(short))


STACKS = {
    "halting, shared": {"kind": "universal", "steps": 2, "halting": "act"},
    "reversible, switch": {"kind": "reversible", "apply": "switch"},
}


@pytest.mark.parametrize("stack", STACKS)
def test_the_kinds_learn_under_every_stack(stack):
    letters = dict(zip("abcdefghijk", KINDS, strict=False))
    model = {
        "width": WIDTH,
        "order": "".join(letters),
        "sublayers": {x: {"kind": k, **KINDS[k]} for x, k in letters.items()},
        "stack": STACKS[stack],
        "embedding": {"positions": "none"},
    }
    model = models.build(config.make(model=model).model, 7, LENGTH)
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 7, (BATCH, LENGTH)))

    def loss(parameters):
        logits = model.logits(parameters, ids, Context())
        return -jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), ids[:, 1:, None], -1).mean()

    gradient = jax.jit(jax.grad(loss))(model.init(jax.random.key(0)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    for letter in letters:
        leaves = jax.tree.leaves(gradient["stack"][letter]["sublayer"])
        assert any(np.abs(leaf).max() > 0 for leaf in leaves)


# Where they start, and what they cost


def test_the_minimal_kinds_start_as_pytorchs_linear():
    parameters = define("mingru", 64, inner_width=48).init(jax.random.key(0))
    for name in ("input", "output"):
        kernel = parameters[name]["kernel"]
        limit = kernel.shape[0] ** -0.5
        assert 0.98 * limit < np.abs(kernel).max() <= limit
    assert not np.asarray(parameters["input"]["bias"]).any() and "bias" not in parameters["output"]


def test_the_grus_gates_start_where_they_are_set():
    parameters = define("gru", keep_bias=2.0).init(jax.random.key(0))
    np.testing.assert_array_equal(parameters["input"]["bias"], np.repeat([0.0, 2.0, 0.0], 6))
    kernel = define("gru", 96, inner_width=0).init(jax.random.key(0))["recurrent"]
    assert abs(float(np.std(kernel)) - (2 / (4 * 96)) ** 0.5) < 0.03 * (2 / (4 * 96)) ** 0.5


@pytest.mark.parametrize(
    "kind, parameters, flops",
    [
        ("gru", 3 * (10 * 7 + 7 * 7 + 7) + 7 + 7 * 10 + 10, 3 * (10 * 7 + 7 * 7) + 7 * 10),
        ("mingru", 2 * (10 * 7 + 7) + 7 * 10, 2 * 10 * 7 + 7 * 10),
        ("minlstm", 3 * (10 * 7 + 7) + 7 * 10, 3 * 10 * 7 + 7 * 10),
    ],
)
def test_parameters_and_flops_are_counted(kind, parameters, flops):
    definition = define(kind, 10, inner_width=7)
    assert count(definition.shapes) == parameters
    assert definition.module.flops(5) == 5 * 2 * flops


@pytest.mark.parametrize(
    "kind, options, message",
    [
        ("gru", {"inner_width": -1}, "inner_width=-1: allowed is 0"),
        ("mingru", {"chunk": 0}, "chunk=0: allowed is 1 or more"),
        ("minlstm", {"init_std": -0.1}, "init_std=-0.1"),
    ],
)
def test_a_kind_refuses_what_it_cannot_do(kind, options, message):
    with pytest.raises(ConfigurationError, match=message):
        define(kind, **options)
