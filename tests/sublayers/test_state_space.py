"""Mixers with a state of fixed size: against their recurrences in NumPy and against PyTorch's
modules, in chunks and in steps, at extreme decay, under every stack."""

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

WIDTH, LENGTH, BATCH = 8, 11, 2
FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures" / "state_space"
# the fixtures' sizes
OPTIONS = {
    "mamba2": {"head_width": 4, "groups": 2, "state": 6},
}
KINDS = tuple(OPTIONS)


def define(kind, width=WIDTH, **options) -> Definition:
    given = {**OPTIONS[kind], **options}
    return Definition(functools.partial(sublayers.get(kind), width, **given))


def normal(*shape, seed=0, dtype=jnp.float32):
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


# The recurrences, a position after the other


def silu(x):
    return x / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(x, 0)


def convolved(p, x):
    """silu(conv(x)), of zeros before the first position."""
    kernel, bias = p["taps"]["kernel"], p.get("bias", 0.0)
    padded = np.pad(x, ((0, 0), (len(kernel) - 1, 0), (0, 0)))
    rows = [
        sum(kernel[i] * padded[:, t + i] for i in range(len(kernel))) for t in range(x.shape[1])
    ]
    return silu(np.stack(rows, 1) + bias)


def rms(x):
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-5)


def numpy_mamba2(p, x, head_width, groups, state):
    inner = p["output"]["kernel"].shape[0]
    heads, batch = inner // head_width, len(x)
    z, u, dt = np.split(x @ p["input"]["kernel"], [inner, 2 * inner + 2 * groups * state], axis=-1)
    u, b, c = np.split(convolved(p["convolution"], u), [inner, inner + groups * state], -1)
    dt = softplus(dt + p["dt_bias"])
    h, y = np.zeros((batch, heads, head_width, state)), []
    for t in range(x.shape[1]):
        of_head = [
            np.repeat(part[:, t].reshape(batch, groups, state), heads // groups, axis=1)
            for part in (b, c)
        ]
        now = u[:, t].reshape(batch, heads, head_width)
        decay = np.exp(-np.exp(p["a_log"]) * dt[:, t])
        fresh = np.einsum("bh,bhp,bhn->bhpn", dt[:, t], now, of_head[0])
        h = decay[..., None, None] * h + fresh
        y.append(np.einsum("bhpn,bhn->bhp", h, of_head[1]) + p["skip"][:, None] * now)
    gated = np.stack(y, 1).reshape(batch, -1, inner) * silu(z)
    normed = rms(gated.reshape(batch, -1, groups, inner // groups)).reshape(gated.shape)
    return (normed * p["norm"]["scale"]) @ p["output"]["kernel"]


TRANSCRIPTIONS = {"mamba2": numpy_mamba2}


@pytest.mark.parametrize("chunk", [4, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_of_any_size_are_the_recurrence(kind, chunk, float64, assert_close):
    definition, x = define(kind, chunk=chunk), normal(BATCH, LENGTH, WIDTH, dtype=jnp.float64)
    parameters = drawn(definition, jnp.float64)
    y = jax.jit(lambda p: definition.bind(p)(x, Context()))(parameters)
    expected = TRANSCRIPTIONS[kind](
        jax.tree.map(np.asarray, parameters), np.asarray(x), **OPTIONS[kind]
    )
    assert_close(y, expected, 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_the_chunks_to_the_last_digits(kind, float64, assert_close):
    definition, x = define(kind, chunk=4), normal(BATCH, LENGTH, WIDTH, dtype=jnp.float64)
    sublayer = definition.bind(drawn(definition, jnp.float64))
    assert_close(stepped(sublayer, x), sublayer(x, Context()), 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_the_chunks_over_512_positions(kind, assert_close):
    definition, x = define(kind, chunk=48), normal(1, 512, WIDTH)
    sublayer = definition.bind(drawn(definition))
    y = jax.jit(lambda: sublayer(x, Context()))()
    assert_close(stepped(sublayer, x), y, 1e-4)


# PyTorch's modules


def torch_mamba2(w):
    return {
        "input": {"kernel": w["in_proj.weight"].T},
        "convolution": torch_convolution(w),
        "dt_bias": w["dt_bias"],
        "a_log": w["A_log"],
        "skip": w["D"],
        "norm": {"scale": w["norm.weight"]},
        "output": {"kernel": w["out_proj.weight"].T},
    }


def torch_convolution(w):
    taps = {"kernel": w["conv1d.weight"][:, 0].T}
    return {"taps": taps, "bias": w["conv1d.bias"]} if "conv1d.bias" in w else {"taps": taps}


# name of a fixture → our kind, its further options, our parameters of torch's
MODULES = {"mamba2": ("mamba2", {}, torch_mamba2)}


@pytest.mark.parametrize("name", MODULES)
def test_outputs_gradients_and_steps_are_those_of_transformers(name, assert_close):
    kind, options, ours = MODULES[name]
    with np.load(FIXTURES / f"{name}.npz") as loaded:
        given = {key: jnp.asarray(value) for key, value in loaded.items()}
    gradients = {k.removeprefix("gradient."): v for k, v in given.items() if "gradient." in k}
    definition, x = define(kind, chunk=4, **options), given["x"]

    @jax.jit
    def run(parameters, x):
        y, pull = jax.vjp(lambda p, x: definition.bind(p)(x, Context()), parameters, x)
        return y, pull(given["cotangent"])

    parameters = ours(given)
    assert jax.tree.map(jnp.shape, parameters) == jax.tree.map(jnp.shape, definition.shapes)
    y, (of_parameters, of_x) = run(parameters, x)
    assert_close(y, given["y"], 1e-4)
    assert_close(of_x, gradients["x"], 1e-4)
    assert_close(of_parameters, ours(gradients), 1e-4)
    steps = stepped(definition.bind(parameters), x)[:, -given["steps"].shape[1] :]
    assert_close(steps, given["steps"], 1e-4)


# What may go wrong


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_however_fast_or_slowly_the_state_decays(kind):
    definition, x = define(kind), 30 * normal(BATCH, 40, WIDTH)
    parameters = drawn(definition)

    @jax.jit
    def gradient(a_log):
        given = {**parameters, "a_log": jnp.full_like(parameters["a_log"], a_log)}
        return jax.grad(
            lambda p, x: jnp.sum(definition.bind(p)(x, Context()) ** 2), argnums=(0, 1)
        )(given, x)

    for a_log in (-40.0, 12.0):
        leaves = jax.tree.leaves(gradient(a_log))
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert np.abs(leaves[-1]).max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_padding_before_or_after_is_as_if_it_were_not_there(kind, assert_close):
    definition, x = define(kind, chunk=4), normal(BATCH, LENGTH, WIDTH)
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
    assert short["state"].dtype == jnp.float32 and short["convolution"].dtype == jnp.bfloat16


STACKS = {
    "halting, shared": {"kind": "universal", "steps": 2, "halting": "act"},
    "reversible, switch": {"kind": "reversible", "apply": "switch"},
}


@pytest.mark.parametrize("stack", STACKS)
def test_the_kinds_learn_under_every_stack(stack):
    letters = dict(zip("xyz", KINDS, strict=False))
    bindings = {x: {"kind": k, **OPTIONS[k], "chunk": 4} for x, k in letters.items()}
    model = {
        "width": WIDTH,
        "order": "".join(letters),
        "sublayers": bindings,
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
        assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient["stack"][letter]))


# Where they start, and what they cost


@pytest.mark.parametrize("kind", ["mamba2"])
def test_kernels_decays_and_time_steps_start_as_the_references(kind):
    parameters = define(kind, 64).init(jax.random.key(0))
    for name in ("input", "output"):
        kernel = parameters[name]["kernel"]
        limit = kernel.shape[0] ** -0.5
        assert 0.98 * limit < np.abs(kernel).max() <= limit
    taps = parameters["convolution"]["taps"]["kernel"]
    assert (
        0.48 < np.abs(taps).max() <= 0.5 and np.abs(parameters["convolution"]["bias"]).max() > 0.4
    )
    dt = softplus(np.asarray(parameters["dt_bias"]))
    assert 0.001 * 0.999 <= dt.min() < 0.01 < dt.max() <= 0.1 * 1.001
    decay = np.exp(np.asarray(parameters["a_log"]))
    assert 1 <= decay.min() < 4 and 12 < decay.max() <= 16
    assert (np.asarray(parameters["skip"]) == 1).all()


def test_mamba2s_parameters_and_flops_are_counted():
    d, inner, heads, n = 96, 192, 3, 128
    definition = Definition(functools.partial(sublayers.get("mamba2"), d))
    norm = d  # the stack's
    expected = d * (2 * inner + 2 * n + heads) + 5 * (inner + 2 * n) + 3 * heads + inner + inner * d
    assert count(definition.shapes) + norm == expected + d
    outer = 2 * d * (3 * inner + 2 * n + heads) + 2 * 4 * (inner + 2 * n)
    assert definition.module.flops(64) == 64 * (outer + 2 * 64 * (n + inner) + 4 * n * inner)


@pytest.mark.parametrize(
    "kind, options, message",
    [
        ("mamba2", {"head_width": 5}, "head_width=5 does not divide the inner width=16"),
        ("mamba2", {"groups": 3}, "groups=3 does not divide heads=4; near it do"),
        ("mamba2", {"a_min": 0.0}, "a_min=0.0: allowed is above 0"),
        ("mamba2", {"chunk": 0}, "chunk=0: allowed is 1 or more"),
        ("mamba2", {"dt_min": 0.5}, "dt_max=0.1: allowed is dt_min=0.5 or more"),
        ("mamba2", {"expand": 0.0}, "expand=0.0: allowed is"),
    ],
)
def test_a_kind_refuses_what_it_cannot_do(kind, options, message):
    with pytest.raises(ConfigurationError, match=message):
        define(kind, **options)
