"""Recurrent mixers: against their recurrences in NumPy and against PyTorch, in chunks and in steps,
at extreme decay, under every stack."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config, variants
from arch.context import Context
from arch.models import families as models
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition, count
from arch.sublayers.recurrent import linear
from tests.draws import drawn
from tests.families import always
from tests.recurrences import normal, sigmoid, stepped

WIDTH, LENGTH, BATCH = 8, 11, 2
FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures" / "recurrent"
KINDS = {
    "gru": {"inner_width": 6},
    "mingru": {"inner_width": 6},
    "minlstm": {"inner_width": 0},
    "rwkv4": {"inner_width": 6},
    "rwkv_channel_mix": {"expand": 1.5},
    "gated_linear_attention": {"heads": 2, "rank": 3, "temperature": 2.0},
    "rwkv6": {"head_width": 4, "mix_rank": 3, "decay_rank": 2},
}
CHUNKED = set(KINDS) - {"gru", "rwkv_channel_mix"}


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


def before(x):
    return np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], 1)


def mixes(p, x, *names):
    """W (μ xₜ + (1 - μ) xₜ₋₁) of each name."""
    for name in names:
        share = p[f"mix_{name}"]
        yield (share * x + (1 - share) * before(x)) @ p[name]["kernel"]


def numpy_rwkv4(p, x):
    k, v, r = mixes(p, x, "key", "value", "receptance")
    w, u = -np.exp(p["decay"]), p["bonus"]
    above = below = np.zeros_like(k[:, 0])
    y = []
    for t in range(x.shape[1]):
        now = np.exp(u + k[:, t])
        y.append((above + now * v[:, t]) / (below + now))
        above = np.exp(w) * above + np.exp(k[:, t]) * v[:, t]
        below = np.exp(w) * below + np.exp(k[:, t])
    return (sigmoid(r) * np.stack(y, 1)) @ p["output"]["kernel"]


def numpy_channel_mix(p, x):
    k, r = mixes(p, x, "key", "receptance")
    return sigmoid(r) * (np.maximum(k, 0) ** 2 @ p["value"]["kernel"])


def by_head(x, heads):
    return x.reshape(*x.shape[:2], heads, -1)


def numpy_gated_linear(p, x):
    q, k, v, g = np.split(x @ p["input"]["kernel"], [4, 8, 16], -1)
    low = x @ p["decay_in"]["kernel"] @ p["decay_out"]["kernel"] + p["decay_out"]["bias"]
    q, k, v, alpha = (by_head(part, 2) for part in (q, k, v, sigmoid(low) ** 0.5))
    state, o = np.zeros((len(x), 2, 2, 4)), []
    for t in range(x.shape[1]):
        state = alpha[:, t, :, :, None] * state + k[:, t, :, :, None] * v[:, t, :, None]
        o.append(np.einsum("bhd,bhde->bhe", q[:, t] / np.sqrt(2), state))
    o = np.stack(o, 1)
    o = o / np.sqrt(np.mean(o * o, -1, keepdims=True) + 1e-5) * p["norm"]["scale"]
    return (o.reshape(g.shape) * g * sigmoid(g)) @ p["output"]["kernel"]


def numpy_rwkv6(p, x):
    away = before(x) - x
    low = np.tanh((x + away * p["mix"]) @ p["mix_in"])
    names = ("decay", "key", "value", "receptance", "gate")
    of = {
        name: x + away * (p["mixes"][i] + low[..., 3 * i : 3 * i + 3] @ p["mix_out"][i])
        for i, name in enumerate(names)
    }
    k, v, r, g = (of[name] @ p[name]["kernel"] for name in names[1:])
    decay = np.exp(-np.exp(p["decay"] + np.tanh(of["decay"] @ p["decay_in"]) @ p["decay_out"]))
    k, v, r, decay = (by_head(part, 2) for part in (k, v, r, decay))
    u, state, o = p["bonus"].reshape(2, 4, 1), np.zeros((len(x), 2, 4, 4)), []
    for t in range(x.shape[1]):
        now = k[:, t, :, :, None] * v[:, t, :, None]
        o.append(np.einsum("bhd,bhde->bhe", r[:, t], state + u * now))
        state = decay[:, t, :, :, None] * state + now
    o = np.stack(o, 1)
    o = o - o.mean(-1, keepdims=True)
    o = (o / np.sqrt(np.mean(o * o, -1, keepdims=True) + 64e-5)).reshape(x.shape)
    o = o * p["norm_scale"] + p["norm_bias"]
    return (o * g * sigmoid(g)) @ p["output"]["kernel"]


TRANSCRIPTIONS = {
    "gated_linear_attention": numpy_gated_linear,
    "rwkv6": numpy_rwkv6,
    "gru": numpy_gru,
    "mingru": numpy_mingru,
    "minlstm": numpy_minlstm,
    "rwkv4": numpy_rwkv4,
    "rwkv_channel_mix": numpy_channel_mix,
}


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


@pytest.mark.parametrize("kind", always(KINDS, ("mingru", "gated_linear_attention")))
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


def torch_rwkv4(w):
    """Our tree of transformers' names; vectors of RWKV's are (1, 1, width)."""

    def norm(name):
        return {"scale": w[f"{name}.weight"], "bias": w[f"{name}.bias"]}

    def layers(make):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[make(i) for i in range(2)])

    def part(name, vectors, kernels):
        found = {ours: w[f"{name}.{theirs}"].reshape(-1) for ours, theirs in vectors.items()}
        return found | {k: {"kernel": w[f"{name}.{k}.weight"].T} for k in kernels}

    def mixing(*names):
        return {f"mix_{name}": f"time_mix_{name}" for name in names}

    time = mixing("key", "value", "receptance") | {"decay": "time_decay", "bonus": "time_first"}
    kernels = ("key", "value", "receptance")
    block = "rwkv.blocks.{}.{}".format
    return {
        "embedding": {
            "tokens": {"table": w["rwkv.embeddings.weight"]},
            "norm": norm(block(0, "pre_ln")),
        },
        "head": {"matrix": {"kernel": w["head.weight"].T}},
        "stack": {
            "r": layers(lambda i: {
                "norm_before": norm(block(i, "ln1")),
                "sublayer": part(block(i, "attention"), time, (*kernels, "output")),
            }),
            "f": layers(lambda i: {
                "norm_before": norm(block(i, "ln2")),
                "sublayer": part(block(i, "feed_forward"), mixing("key", "receptance"), kernels),
            }),
            "final_norm": norm("rwkv.ln_out"),
        },
    }  # fmt: skip


def test_the_variant_rwkv4_is_that_of_transformers_with_gradients_and_steps(assert_close):
    with np.load(FIXTURES / "rwkv4.npz") as loaded:
        given = {key: jnp.asarray(value) for key, value in loaded.items()}
    gradients = {k.removeprefix("gradient."): v for k, v in given.items() if "gradient." in k}
    ids, parameters = given["x"].astype(jnp.int32), torch_rwkv4(given)
    chosen = variants.rwkv4(2, WIDTH, sublayers={"r": {"kind": "rwkv4", "chunk": 4}})
    model = models.build(config.make(model=chosen).model, 13, LENGTH)
    assert jax.tree.map(jnp.shape, parameters) == jax.tree.map(jnp.shape, model.shapes)

    @jax.jit
    def run(parameters):
        y, pull = jax.vjp(lambda p: model.logits(p, ids, Context()), parameters)
        return y, pull(given["cotangent"])[0]

    y, of_parameters = run(parameters)
    assert_close(y, given["y"], 1e-4)
    assert_close(of_parameters, torch_rwkv4(gradients), 1e-4)

    @jax.jit
    def steps(parameters):
        def body(cache, time):
            token = jax.lax.dynamic_index_in_dim(ids, time, 1, keepdims=False)
            y, cache = model.step(parameters, token, cache, Context(time=time))
            return cache, y

        cache = model.init_cache(parameters, BATCH, LENGTH, Context())
        return jax.lax.scan(body, cache, jnp.arange(LENGTH))[1].swapaxes(0, 1)

    assert_close(steps(parameters)[:, -given["steps"].shape[1] :], given["steps"], 1e-4)


@pytest.mark.parametrize(
    "layers, width, parameters", [(12, 768, 169_342_464), (32, 4096, 7_392_649_216)]
)
def test_the_variant_rwkv4_has_the_published_parameters(layers, width, parameters):
    model = config.make(model=variants.rwkv4(layers, width)).model
    assert count(models.build(model, 50277, 1024).shapes) == parameters


# What may go wrong


@pytest.mark.parametrize("kind", always(KINDS, ("gru", "rwkv4", "gated_linear_attention")))
def test_gradients_are_finite_however_fast_or_slowly_the_state_decays(kind):
    definition = define(kind)
    gradient = jax.jit(
        jax.grad(lambda p, x: jnp.sum(definition.bind(p)(x, Context()) ** 2), argnums=(0, 1))
    )
    for factor in (1.0, 1e3):
        leaves = jax.tree.leaves(gradient(drawn(definition), factor * normal(BATCH, LENGTH, WIDTH)))
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert np.abs(leaves[-1]).max() > 0


@pytest.mark.parametrize("kind", always(KINDS, ("rwkv6", "mingru")))
def test_padding_before_or_after_is_as_if_it_were_not_there(kind, assert_close):
    definition, x = in_chunks(kind, 4), normal(BATCH, LENGTH, WIDTH)
    sublayer = definition.bind(drawn(definition))
    mask = np.ones((BATCH, LENGTH), bool)
    mask[0, :4], mask[1, 7:] = False, False
    run = jax.jit(lambda x, mask: sublayer(x, Context(mask=mask)))
    y = run(x, jnp.asarray(mask))
    assert_close(y[0, 4:], run(x[:1, 4:], None)[0])
    assert_close(y[1, :7], run(x[1:, :7], None)[0])


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"rwkv_channel_mix"}))
def test_the_state_is_float32_in_bfloat16_and_of_one_size(kind):
    sublayer = define(kind).module
    short, long = (sublayer.init_cache(3, n, jnp.bfloat16, Context()) for n in (4, 4000))
    assert jax.tree.map(jnp.shape, short) == jax.tree.map(jnp.shape, long)
    if "rwkv" in kind:
        assert short["before"].dtype == jnp.bfloat16  # a token is kept as it came
        short = short["state"]
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(short))


STACKS = {
    "halting, shared": {"kind": "universal", "steps": 2, "halting": "act"},
    "reversible, switch": {"kind": "reversible", "apply": "switch"},
}


@pytest.mark.parametrize(
    "stack", [pytest.param(name, marks=pytest.mark.slow) for name in STACKS]
)  # of the state spaces one is run always
def test_the_kinds_learn_under_every_stack(stack):
    letters = dict(zip("abcdefghijk", KINDS, strict=False))
    model = {
        "width": WIDTH,
        "order": "".join(letters),
        "sublayers": {x: {"kind": k, **KINDS[k]} for x, k in letters.items()},
        "stack": STACKS[stack],
        "embedding": {"positions": "none"},
    }
    model: Any = models.build(config.make(model=model).model, 7, LENGTH)
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 7, (BATCH, 4)))

    def loss(parameters):
        logits = model.logits(parameters, ids, Context())
        return -jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), ids[:, 1:, None], -1).mean()

    gradient = jax.jit(jax.grad(loss))(drawn(model))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    for letter in letters:
        leaves = jax.tree.leaves(gradient["stack"][letter]["sublayer"])
        assert any(np.abs(leaf).max() > 0 for leaf in leaves)


# Where they start, and what they cost


def test_rwkv4_starts_as_rwkv_lm_by_the_place_of_a_layer():
    model = models.build(config.make(model=variants.rwkv4(3, WIDTH)).model, 13, LENGTH)
    stack = model.init(jax.random.key(0))["stack"]
    time, channel = stack["r"]["sublayer"], stack["f"]["sublayer"]
    i = np.arange(WIDTH)
    for layer in range(3):
        up, down = layer / 2, 1 - layer / 3
        expected = {
            "decay": -5 + 8 * (i / (WIDTH - 1)) ** (0.7 + 1.3 * up),
            "bonus": np.log(0.3) + 0.5 * ((i + 1) % 3 - 1),
            "mix_key": (i / WIDTH) ** down,
            "mix_value": (i / WIDTH) ** down + 0.3 * up,
            "mix_receptance": (i / WIDTH) ** (0.5 * down),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(time[name][layer], value, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(channel["mix_key"][layer], (i / WIDTH) ** down, atol=1e-6)
        value, key = time["value"]["kernel"][layer], channel["key"]["kernel"][layer]
        np.testing.assert_allclose(value @ value.T, np.eye(WIDTH), atol=1e-5)
        np.testing.assert_allclose(key @ key.T, 4 * np.eye(WIDTH), atol=1e-4)
    zero = [time[n] for n in ("key", "receptance", "output")]
    zero += [channel[n] for n in ("value", "receptance")]
    assert not any(np.asarray(kernel["kernel"]).any() for kernel in zero)


@pytest.mark.parametrize("kind", ["rwkv4", "rwkv6"])
def test_gradients_are_finite_at_extreme_decay_and_keys(kind):
    definition, x = define(kind), 300 * normal(BATCH, LENGTH, WIDTH)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(definition.bind(p)(x, Context()) ** 2)))
    for decay in (-40.0, 12.0):
        parameters = drawn(definition)
        parameters["decay"] = jnp.full_like(parameters["decay"], decay)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient(parameters)))


def test_one_fast_decay_does_not_blur_the_slow_ones_after_it(assert_close):
    a = jnp.full((1, 40, 1, 2), -0.01).at[:, 5].set(-1e6)
    terms = (*(normal(1, 40, 1, 2, seed=i) for i in range(3)), a)
    state, o = jax.jit(linear.decaying())(jnp.ones((1, 1, 2, 2)), terms)
    alone, tail = jnp.zeros((1, 1, 2, 2)), [term[:, 5:] for term in terms]
    again, expected = jax.jit(linear.decaying())(alone, tail)
    assert_close(o[:, 5:], expected, 1e-6)
    assert_close(state, again, 1e-6)


def test_rwkv6_starts_as_rwkv_lm_by_the_place_of_a_layer():
    layers = 3
    model = models.build(config.make(model=variants.rwkv6(layers, WIDTH)).model, 13, LENGTH)
    stack = model.init(jax.random.key(0))["stack"]["r"]["sublayer"]
    i = np.arange(WIDTH)
    for layer in range(layers):
        up, down = layer / 2, 1 - layer / 3
        along = i / (WIDTH - 1)
        usual, slow = 1 - (i / WIDTH) ** down, 1 - (i / WIDTH) ** (0.5 * down)
        expected = {
            "decay": -6 + 5 * along ** (0.7 + 1.3 * up),
            "bonus": up * (1 - along) + 0.1 * ((i + 1) % 3 - 1),
            "mix": usual,
            "mixes": np.stack([usual, usual, usual - 0.3 * up, slow, slow]),
            "norm_scale": np.full(WIDTH, ((1 + layer) / 3) ** 0.7),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(stack[name][layer], value, rtol=1e-5, atol=1e-6)
        key = stack["key"]["kernel"][layer]
        np.testing.assert_allclose(key @ key.T, 0.01 * np.eye(WIDTH), atol=1e-5)
    assert not np.asarray(stack["output"]["kernel"]).any()


def test_the_variant_rwkv6_has_the_published_parameters():
    model = config.make(model=variants.rwkv6(24, 2048)).model
    assert count(models.build(model, 65536, 1024).shapes) == 1_599_873_024


def test_the_variant_lstm_lm_has_the_parameters_of_zarembas_medium_size():
    model = models.build(config.make(model=variants.lstm_lm()).model, 10_000, 35)
    layer = 4 * 650 * (650 + 650 + 1)
    assert count(model.shapes) == 2 * 10_000 * 650 + 10_000 + 2 * layer


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
        ("rwkv4", 4 * 10 * 7 + 2 * 7 + 3 * 10, 4 * 10 * 7),
        ("rwkv_channel_mix", 2 * 10 * 15 + 10 * 10 + 2 * 10, 2 * 10 * 15 + 10 * 10),
        # in chunks of 5, made up to 8: scores of three lengths of runs, and two products with S
        (
            "gated_linear_attention",
            10 * (2 * 6 + 3 * 10 + 3) + 3 * 6 + 6 + 5,
            10 * (2 * 6 + 3 * 10 + 3) + 3 * 6 + 2 * (8 * (3 * 3 + 5) + 2 * 3 * 5),
        ),
    ],
)
def test_parameters_and_flops_are_counted(kind, parameters, flops):
    more = {"inner_width": 7} if "inner_width" in KINDS[kind] else {}
    more |= {"expand_k": 0.6} if kind == "gated_linear_attention" else {}
    definition = define(kind, 10, **more)
    assert count(definition.shapes) == parameters
    assert definition.module.flops(5) == 5 * 2 * flops


@pytest.mark.parametrize(
    "kind, options, message",
    [
        ("gru", {"inner_width": -1}, "inner_width=-1: allowed is 0"),
        ("mingru", {"chunk": 0}, "chunk=0: allowed is 1 or more"),
        ("minlstm", {"init_std": -0.1}, "init_std=-0.1"),
        ("gated_linear_attention", {"heads": 3}, "heads=3 does not divide the width of the keys"),
        ("gated_linear_attention", {"temperature": 0.0}, "temperature=0.0: allowed is above 0"),
        ("rwkv6", {"head_width": 3}, "head_width=3 does not divide width=8"),
        ("rwkv4", {"chunk": 0}, "chunk=0: allowed is 1 or more"),
        ("rwkv_channel_mix", {"expand": 0.0}, "expand=0.0: allowed is"),
    ],
)
def test_a_kind_refuses_what_it_cannot_do(kind, options, message):
    with pytest.raises(ConfigurationError, match=message):
        define(kind, **options)
