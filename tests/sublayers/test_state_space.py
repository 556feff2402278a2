"""Mixers with a state of fixed size: against their recurrences in NumPy and against PyTorch's
modules, in chunks and in steps, at extreme decay, under every stack."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config, variants
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
    "mamba": {"state": 5, "rank": 2},
    "delta": {"heads": 2, "head_width": 4},
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


def numpy_mamba(p, x, state, rank):
    u, z = np.split(x @ p["input"]["kernel"], 2, -1)
    u = convolved(p["convolution"], u)
    r, b, c = np.split(u @ p["selection"]["kernel"], [rank, rank + state], -1)
    dt = softplus(r @ p["dt"]["kernel"] + p["dt"]["bias"])
    a = -np.exp(p["a_log"]).reshape(-1, state)
    h, y = np.zeros((len(x), *a.shape)), []
    for t in range(x.shape[1]):
        fresh = (dt[:, t] * u[:, t])[:, :, None] * b[:, t, None]
        h = np.exp(dt[:, t, :, None] * a) * h + fresh
        y.append(np.einsum("bdn,bn->bd", h, c[:, t]) + p["skip"] * u[:, t])
    return (np.stack(y, 1) * silu(z)) @ p["output"]["kernel"]


def numpy_delta(p, x, heads, head_width, strongest=1):
    batch, length = x.shape[:2]
    keys, values = heads * head_width, heads * 2 * head_width
    projected = x @ p["input"]["kernel"]
    seen, z = projected[..., : 2 * keys + values], projected[..., 2 * keys + values :]
    q, k, v = (
        part.reshape(batch, length, heads, -1)
        for part in np.split(convolved(p["convolution"], seen), [keys, 2 * keys], -1)
    )
    q, k = (y / np.sqrt(np.sum(y * y, -1, keepdims=True) + 1e-6) for y in (q, k))
    beta = strongest / (1 + np.exp(-(x @ p["beta"]["kernel"])))
    alpha = np.ones_like(beta)
    if "dt" in p:
        alpha = np.exp(-np.exp(p["a_log"]) * softplus(x @ p["dt"]["kernel"] + p["dt_bias"]))
    memory, y = np.zeros((batch, heads, head_width, 2 * head_width)), []
    for t in range(length):
        memory = alpha[:, t, :, None, None] * memory
        wrong = v[:, t] - np.einsum("bhk,bhkv->bhv", k[:, t], memory)
        memory = memory + np.einsum("bh,bhk,bhv->bhkv", beta[:, t], k[:, t], wrong)
        y.append(np.einsum("bhk,bhkv->bhv", q[:, t], memory) / np.sqrt(head_width))
    normed = rms(np.stack(y, 1)) * p["norm"]["scale"]
    return (normed.reshape(batch, length, -1) * silu(z)) @ p["output"]["kernel"]


TRANSCRIPTIONS = {"mamba2": numpy_mamba2, "mamba": numpy_mamba, "delta": numpy_delta}


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


def test_deltas_rule_without_a_gate_may_turn_around_what_it_holds(float64, assert_close):
    options = {"decay": False, "negative_eigenvalues": True, "chunk": 4}
    definition, x = define("delta", **options), normal(BATCH, LENGTH, WIDTH, dtype=jnp.float64)
    parameters = drawn(definition, jnp.float64)
    assert not {"dt", "dt_bias", "a_log"} & set(parameters)
    y = jax.jit(lambda p: definition.bind(p)(x, Context()))(parameters)
    given = jax.tree.map(np.asarray, parameters)
    assert_close(y, numpy_delta(given, np.asarray(x), 2, 4, strongest=2), 1e-9)


def test_mambas_associative_scan_is_its_scan_by_position(float64, assert_close):
    definition, x = define("mamba", chunk=4), normal(BATCH, LENGTH, WIDTH, dtype=jnp.float64)
    parameters = drawn(definition, jnp.float64)

    def pulled(platform):
        call = jax.jit(lambda p: definition.bind(p)(x, Context(platform=platform)))
        y, pull = jax.vjp(call, parameters)
        return y, pull(x)

    assert_close(pulled("gpu"), pulled("cpu"), 1e-9)


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


def torch_mamba(w):
    norms = {
        f"{x}_norm": {"scale": w[f"{x}_layernorm.weight"]}
        for x in ("dt", "b", "c")
        if f"{x}_layernorm.weight" in w
    }
    return {
        "input": {"kernel": w["in_proj.weight"].T},
        "convolution": torch_convolution(w),
        "selection": {"kernel": w["x_proj.weight"].T},
        **norms,
        "dt": {"kernel": w["dt_proj.weight"].T, "bias": w["dt_proj.bias"]},
        "a_log": w["A_log"].reshape(-1),
        "skip": w["D"],
        "output": {"kernel": w["out_proj.weight"].T},
    }


def torch_delta(w):
    """The Qwen3-Next module's, whose rows of q, k, v and z stand together for each head."""
    heads, sizes = 2, (4, 8, 16)  # where k, v and z start
    of_head = w["in_proj_qkvz.weight"].reshape(heads, -1, WIDTH)
    parts = [part.reshape(-1, WIDTH) for part in np.split(of_head, sizes, axis=1)]
    beta, dt = w["in_proj_ba.weight"].reshape(heads, 2, WIDTH).swapaxes(0, 1)
    return {
        "input": {"kernel": np.concatenate(parts).T},
        "convolution": torch_convolution(w),
        "beta": {"kernel": beta.T},
        "dt": {"kernel": dt.T},
        "dt_bias": w["dt_bias"],
        "a_log": w["A_log"],
        "norm": {"scale": w["norm.weight"]},
        "output": {"kernel": w["out_proj.weight"].T},
    }


def torch_convolution(w):
    taps = {"kernel": w["conv1d.weight"][:, 0].T}
    return {"taps": taps, "bias": w["conv1d.bias"]} if "conv1d.bias" in w else {"taps": taps}


# name of a fixture → our kind, its further options, our parameters of torch's
MODULES = {
    "mamba2": ("mamba2", {}, torch_mamba2),
    "mamba": ("mamba", {}, torch_mamba),
    "jamba": ("mamba", {"selection_norm": True}, torch_mamba),
    "delta": ("delta", {}, torch_delta),
}


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


@pytest.mark.parametrize(
    "stack", [pytest.param("halting, shared", marks=pytest.mark.slow), "reversible, switch"]
)
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


def test_mambas_states_decay_at_first_by_one_to_the_number_of_states():
    parameters = define("mamba", 64, rank=0).init(jax.random.key(0))
    expected = np.broadcast_to(np.arange(1, 6), (128, 5)).reshape(-1)
    np.testing.assert_allclose(np.exp(parameters["a_log"]), expected, rtol=1e-6)
    dt = softplus(np.asarray(parameters["dt"]["bias"]))
    assert 0.001 * 0.999 <= dt.min() < 0.003 and 0.05 < dt.max() <= 0.1 * 1.001
    kernel = parameters["dt"]["kernel"]
    assert kernel.shape == (4, 128) and 0.48 < np.abs(kernel).max() <= 0.5


def test_mambas_parameters_and_flops_are_counted():
    d, inner, n, rank = 40, 80, 16, 3
    definition = Definition(functools.partial(sublayers.get("mamba"), d))
    expected = 3 * d * inner + inner * (4 + 1 + rank + 2 * n + rank + 1 + n + 1)
    assert count(definition.shapes) == expected
    products = 3 * d * inner + inner * (2 * rank + 2 * n) + 4 * inner + 3 * n * inner
    assert definition.module.flops(64) == 64 * 2 * products


def test_deltas_heads_share_three_quarters_of_the_width_and_its_parameters_are_counted():
    d, heads, key, value = 64, 6, 8, 16
    definition = Definition(functools.partial(sublayers.get("delta"), d))
    inner = heads * (2 * key + 2 * value)
    taps = heads * (2 * key + value)
    expected = d * (inner + 2 * heads) + 4 * taps + 2 * heads + value + heads * value * d
    assert count(definition.shapes) == expected
    products = d * (inner + 2 * heads + heads * value) + 4 * taps
    chunk = heads * (64 * (2 * key + value) + 3 * key * value) + heads * 64 * value // 2
    assert definition.module.flops(64) == 64 * 2 * (products + chunk)
    start = definition.init(jax.random.key(0))
    assert 0 < np.exp(start["a_log"]).min() and np.exp(start["a_log"]).max() <= 16
    dt = softplus(np.asarray(start["dt_bias"]))
    assert 0.001 * 0.999 <= dt.min() < dt.max() <= 0.1 * 1.001


@pytest.mark.parametrize(
    "made, vocabulary, parameters",
    [
        (variants.mamba(size="130m"), 50280, 129_135_360),
        (variants.mamba(size="2.8b"), 50280, 2_768_345_600),
        (variants.mamba2(size="130m"), 50288, 128_989_632),
        (variants.mamba2(size="1.3b"), 50288, 1_343_757_312),
        (variants.jamba(), 65536, 51_570_323_328),
    ],
)
def test_the_variants_have_the_published_parameters(made, vocabulary, parameters):
    model = models.build(config.make(model=made).model, vocabulary, 1024)
    assert count(model.shapes) == parameters


def test_the_variant_gated_deltanet_has_the_references_shapes():
    model = models.build(config.make(model=variants.gated_deltanet()).model, 32000, 1024)
    d, key, value, inner = 2048, 6 * 256, 6 * 512, 5632
    mixer = d * (2 * key + 2 * value + 12) + 4 * (2 * key + value) + 12 + 512 + value * d
    assert count(model.shapes) == 2 * 32000 * d + 21 * (mixer + 3 * d * inner + 2 * d) + d
    with pytest.raises(ConfigurationError, match="allowed are 130m, 370m"):
        variants.mamba(size="7b")


def test_mamba2s_parameters_and_flops_are_counted():
    d, inner, heads, n = 96, 192, 3, 128
    definition = Definition(functools.partial(sublayers.get("mamba2"), d))
    expected = d * (2 * inner + 2 * n + heads) + 5 * (inner + 2 * n) + 3 * heads + inner + inner * d
    assert count(definition.shapes) == expected
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
        ("delta", {"heads": 0}, "heads=0: allowed is 1 or more"),
        ("delta", {"a_max": 0.0}, "a_max=0.0: allowed is above"),
        ("delta", {"expand": 0.1}, "expand=0.1: allowed is"),
        ("mamba", {"state": 0}, "state=0: allowed is 1 or more"),
        ("mamba", {"rank": -1}, "rank=-1: allowed is 0"),
        ("mamba", {"dt_min": 0.0}, "dt_min=0.0: allowed is above 0"),
    ],
)
def test_a_kind_refuses_what_it_cannot_do(kind, options, message):
    with pytest.raises(ConfigurationError, match=message):
        define(kind, **options)
