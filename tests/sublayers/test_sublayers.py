"""Sublayers: what every kind must keep, then attention and feed-forward against other codes."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from arch import config
from arch.context import Context, Extras
from arch.models import families as models
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition, count
from arch.sublayers.attention import dot_product
from arch.sublayers.attention.full import Attention, rotate
from arch.sublayers.feed_forward import ACTIVATIONS, GATED, FeedForward
from tests.draws import drawn
from tests.families import always

WIDTH, LENGTH = 32, 8
KINDS = sublayers.names()
CAUSAL = tuple(kind for kind in KINDS if sublayers.get(kind).causal)
LONG = {"delta", "gated_linear_attention", "mamba2", "rwkv4", "rwkv6"}  # seconds to compile


def normal(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32), dtype)


def define(kind, width=WIDTH, **options) -> Definition:
    return Definition(functools.partial(sublayers.get(kind), width, **options))


def output(y):
    return y[0] if isinstance(y, tuple) else y


def compiled(definition, seed=1):
    """x → the sublayer's output, of parameters drawn with the seed."""
    run = jax.jit(lambda parameters, x: output(definition.bind(parameters)(x, Context())))
    return functools.partial(run, drawn(definition, seed=seed))


@functools.cache
def by_default(kind):
    """`compiled` of a kind as it is by default, traced and compiled once for all tests."""
    return compiled(define(kind))


def decoder(order="x", *, apply="unrolled", dtype="float32", positions="sinusoidal", **binding):
    """A Decoder of width 32 over 11 tokens, whose letter x is bound as said."""
    made = config.make(
        model={
            "width": WIDTH,
            "order": order,
            "sublayers": {"x": binding},
            "dtype": dtype,
            "stack": {"apply": apply},
            "embedding": {"positions": positions},
        }
    )
    return models.build(made.model, 11, 64)


def random_model(model, seed=2):
    """Parameters of a model's shapes, with nothing left at zero or one."""
    source = np.random.default_rng(seed)

    def draw(leaf):
        return jnp.asarray(0.3 * source.standard_normal(leaf.shape), jnp.float32)

    return jax.tree.map(draw, jax.eval_shape(model.init, jax.random.key(0)))


# Every kind


def test_there_are_kinds_to_test():
    assert {"attention", "feed_forward"} <= set(KINDS) and set(CAUSAL) <= set(KINDS)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_dtype_are_those_of_the_input(kind, dtype):
    x = normal(2, LENGTH, WIDTH, dtype=dtype)
    y = by_default(kind)(x)
    assert (y.shape, y.dtype) == (x.shape, dtype)
    assert np.all(np.isfinite(np.asarray(y, np.float32)))


@pytest.mark.parametrize("kind", KINDS)
def test_state_is_float32_parameters_alone(kind):
    definition = define(kind)  # refuses whatever is not an nnx.Param
    leaves = jax.tree.leaves(definition.shapes)
    assert leaves and {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_of_a_batch_do_not_meet(kind, assert_close):
    run, x = by_default(kind), normal(2, LENGTH, WIDTH)
    assert_close(run(x)[1:], run(x[1:]))


@pytest.mark.parametrize("kind", KINDS)
def test_flops_are_a_whole_number_that_grows_with_the_length(kind):
    flops = [define(kind).module.flops(length) for length in (8, 16, 64, 256)]
    assert all(type(value) is int and value > 0 for value in flops)
    assert flops == sorted(set(flops))


def sums_of(kind):
    """name → (sum, weight): all losses and statistics that a sublayer of the kind returns."""
    definition = define(kind)

    def sums(x):
        y = definition.bind(drawn(definition))(x, Context())
        return y[1].losses | y[1].statistics if isinstance(y, tuple) else {}

    return jax.eval_shape(sums, normal(2, LENGTH, WIDTH))


def are_pairs_of_scalars(sums):
    return all(total.shape == weight.shape == () for total, weight in sums.values())


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_statistics_are_pairs_of_scalars(kind):
    assert are_pairs_of_scalars(sums_of(kind))


@pytest.mark.parametrize("emitted, fine", [((), True), ((2,), False)])
def test_a_kind_that_emits_losses_and_statistics_is_held_to_pairs_of_scalars(
    emitted, fine, monkeypatch
):
    monkeypatch.setattr(sublayers, "_kinds", dict(sublayers._kinds))

    @sublayers.register("emits")
    class Emits(FeedForward):
        def __call__(self, x, context):
            pair = (jnp.ones(emitted), jnp.ones(()))
            return super().__call__(x, context), Extras({"loss": pair}, {"time": pair})

    sums = sums_of("emits")
    assert set(sums) == {"loss", "time"} and are_pairs_of_scalars(sums) == fine


@pytest.mark.parametrize("kind", CAUSAL)
def test_no_gradient_flows_back_from_a_later_position(kind):
    model = decoder(kind=kind)
    parameters = random_model(model)["stack"]

    def total(x, t):
        return model.stack(parameters, x, Context(causal=True))[0][0, t].sum()

    x = normal(1, LENGTH, WIDTH)
    gradient = jax.jit(jax.vmap(jax.grad(total), (None, 0)))(x, jnp.arange(LENGTH))
    reached = np.abs(np.asarray(gradient)).max((1, 3)) > 0  # (output position, input position)
    assert not np.triu(reached, 1).any(), "an output depends on a later input"
    assert np.diag(reached).all(), "every output depends on its own input"


@pytest.mark.parametrize("kind", CAUSAL)
def test_changing_a_token_changes_no_output_before_it(kind):
    model = decoder(kind=kind)
    parameters = random_model(model)
    logits = jax.jit(lambda ids: model.logits(parameters, ids, Context()))
    ids = np.random.default_rng(0).integers(0, 11, (1, LENGTH))
    before = np.asarray(logits(ids))
    for t in range(LENGTH):
        changed = ids.copy()
        changed[:, t:] = (changed[:, t:] + 1 + np.arange(LENGTH - t)) % 11
        after = np.asarray(logits(changed))
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert np.abs(after[:, t] - before[:, t]).max() > 0


def test_a_decoder_refuses_every_kind_that_does_not_promise_causality(monkeypatch):
    monkeypatch.setattr(sublayers, "_kinds", dict(sublayers._kinds))

    @sublayers.register("of_both_directions")
    class OfBothDirections(FeedForward):
        causal = False

    for kind in {OfBothDirections.kind, *KINDS} - set(CAUSAL):
        with pytest.raises(ConfigurationError, match=f"x.kind='{kind}' is not causal"):
            decoder(kind=kind)


@pytest.mark.parametrize("apply", ["scan", "switch"])
@pytest.mark.parametrize("kind", always(CAUSAL, set(CAUSAL) - LONG))
def test_every_kind_runs_in_a_scan(kind, apply, assert_close):
    unrolled, other = decoder("x3", kind=kind), decoder("x3", kind=kind, apply=apply)
    parameters, x = random_model(unrolled)["stack"], normal(2, LENGTH, WIDTH)

    def walked(model):
        return jax.jit(lambda parameters, x: model.stack(parameters, x, Context())[0])

    assert_close(walked(other)(parameters, x), walked(unrolled)(parameters, x))


@pytest.mark.parametrize("kind", CAUSAL)
def test_every_kind_computes_nearly_the_same_in_bfloat16(kind, assert_close):
    run, x = by_default(kind), normal(2, LENGTH, WIDTH)
    assert_close(run(x.astype(jnp.bfloat16)), run(x), 0.05)


# Attention: the paths


def heads_of(length, heads=4, kv_heads=2, width=8, batch=2, dtype=jnp.float32):
    return (
        normal(batch, length, heads, width, seed=1, dtype=dtype),
        normal(batch, length, kv_heads, width, seed=2, dtype=dtype),
        normal(batch, length, kv_heads, width, seed=3, dtype=dtype),
    )


def attended(q, k, v, path, window=0, causal=True, mask=None):
    """Output and gradients by one of our paths, or by jax's own ('xla')."""

    def function(q, k, v):
        if path == "xla":
            side = {"local_window_size": (window - 1, 0 if causal else window - 1)}
            return jax.nn.dot_product_attention(
                q, k, v, is_causal=causal, implementation="xla",
                mask=None if mask is None else mask[:, None, None, :],
                **(side if window else {}),
            )  # fmt: skip
        return dot_product.attend(
            q, k, v, causal=causal, window=window, mask=mask, dropping=None, want_weights=False,
            path=path, platform="cpu",
        )[0]  # fmt: skip

    def both(q, k, v):
        y, back = jax.vjp(function, q, k, v)
        return y, back(normal(*y.shape, seed=4, dtype=y.dtype))

    with jax.numpy_rank_promotion("allow"):  # jax's own attention promotes
        return jax.jit(both)(q, k, v)


@pytest.mark.parametrize("window", [0, 100])
@pytest.mark.parametrize("length", [256, 300, 512])
def test_both_paths_are_the_attention_of_jax(length, window, assert_close):
    inputs = heads_of(length, batch=1)
    expected = attended(*inputs, "xla", window)
    assert_close(attended(*inputs, "plain", window), expected)
    assert_close(attended(*inputs, "blocks", window), expected)


@pytest.mark.parametrize("heads, kv_heads", [(2, 2), (4, 1)])
def test_both_paths_serve_every_grouping_of_heads(heads, kv_heads, assert_close):
    inputs = heads_of(260, heads, kv_heads, batch=2)
    expected = attended(*inputs, "xla")
    assert_close(attended(*inputs, "plain"), expected)
    assert_close(attended(*inputs, "blocks"), expected)


def test_both_paths_are_near_in_bfloat16(assert_close):
    exact = attended(*heads_of(256, batch=1), "xla")
    inputs = heads_of(256, batch=1, dtype=jnp.bfloat16)
    for path in ("plain", "blocks"):
        y = attended(*inputs, path)
        assert {leaf.dtype for leaf in jax.tree.leaves(y)} == {jnp.dtype("bfloat16")}
        assert_close(y, exact, 0.03)


@pytest.mark.parametrize("window", [0, 5])
def test_attention_in_both_directions_with_padding_is_that_of_jax(window, assert_close):
    inputs = heads_of(12)
    mask = jnp.arange(12)[None] < jnp.array([12, 7])[:, None]
    options = {"causal": False, "mask": mask, "window": window}
    actual, expected = (attended(*inputs, path, **options)[0] for path in ("plain", "xla"))
    real = np.asarray(mask)  # what stands at the padding is nobody's
    assert_close(np.asarray(actual)[real], np.asarray(expected)[real])


@pytest.mark.parametrize("causal", [True, False])
def test_a_window_sees_the_positions_less_than_it_away(causal):
    away = np.arange(9)[None, :] - np.arange(9)[:, None]
    expected = (away <= 0) & (away > -3) if causal else np.abs(away) < 3
    allowed = dot_product.visible(jnp.asarray(away), causal, 3)
    np.testing.assert_array_equal(allowed, expected)


def test_a_query_that_may_see_nothing_averages_all_values(assert_close):
    q, k, v = heads_of(6, 2, 2)
    nothing = jnp.zeros((2, 6), bool)
    y = attended(q, k, v, "plain", causal=False, mask=nothing)[0]
    assert_close(y, np.broadcast_to(np.asarray(v).mean(1, keepdims=True), v.shape))


def test_auto_takes_blocks_for_long_causal_self_attention_only():
    q, k, _ = heads_of(256)
    short = heads_of(255)[0]
    mask = jnp.ones((2, 256), bool)

    def chosen(*inputs, causal=True, mask=None, weights=False, platform="cpu"):
        return dot_product.choose("auto", *inputs, causal, mask, weights, platform)

    assert chosen(q, k) == chosen(q, k, platform="tpu") == chosen(q, k, platform="gpu") == "blocks"
    half = q.astype(jnp.bfloat16)
    assert chosen(half, half) == "blocks" and chosen(half, half, platform="gpu") == "cudnn"
    assert chosen(short, short) == "plain"
    assert chosen(q, k, causal=False) == "plain"
    assert chosen(q, k, mask=mask) == "plain"
    assert chosen(q, k, weights=True) == "plain"


@pytest.mark.parametrize(
    "options, message",
    [
        ({"heads": 5}, "heads=5 does not divide width=32; near it do 2, 4, 8, 16"),
        ({"kv_heads": 3}, "kv_heads=3 does not divide heads=8"),
        ({"path": "fast"}, "path='fast': allowed are auto, plain, blocks, cudnn"),
        ({"path": "blocks", "attention_dropout": 0.1}, "path='blocks' has no attention_dropout"),
        ({"attention_dropout": 1.0}, "attention_dropout=1.0: allowed is 0 to below 1"),
        ({"window": -1}, "window=-1: allowed is 0"),
        ({"init_std": -0.1}, "init_std=-0.1"),
    ],
)
def test_attention_refuses_what_it_cannot_do(options, message):
    with pytest.raises(ConfigurationError, match=message):
        define("attention", **options)


# Attention: the sublayer


def apply_attention(x, context=None, seed=1, **options):
    definition = define("attention", **{"heads": 4, **options})
    return definition.bind(drawn(definition, seed=seed))(x, context or Context())


def test_grouped_queries_are_attention_with_repeated_key_and_value_heads(assert_close):
    x, heads, kv_heads, width = normal(2, LENGTH, WIDTH), 4, 2, 8
    grouped = define("attention", heads=heads, kv_heads=kv_heads)
    parameters = drawn(grouped)
    full = dict(parameters)
    for name in ("key", "value"):  # head h of 4 uses head h // 2 of 2
        full[name] = {
            part: jnp.repeat(a.reshape(*a.shape[:-1], kv_heads, width), 2, axis=-2).reshape(
                *a.shape[:-1], heads * width
            )
            for part, a in parameters[name].items()
        }
    expected = define("attention", heads=heads).bind(full)(x, Context())[0]
    assert_close(grouped.bind(parameters)(x, Context())[0], expected)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, 4 * (32 * 32 + 32)),
        ({"bias": False}, 4 * 32 * 32),
        ({"kv_heads": 1}, 2 * (32 * 32 + 32) + 2 * (32 * 8 + 8)),
        ({"head_width": 16}, 3 * (32 * 64 + 64) + 64 * 32 + 32),
    ],
)
def test_attention_has_the_parameters_of_its_projections(options, expected):
    assert count(define("attention", heads=4, **options).shapes) == expected


def test_attention_flops_are_its_products_multiply_and_add():
    attention = define("attention", heads=4, kv_heads=2).module
    length, inner, shared = 10, 32, 16
    projections = 2 * length * WIDTH * (2 * inner + 2 * shared)
    assert attention.flops(length) == projections + 2 * (2 * length * length * inner)
    windowed = define("attention", heads=4, window=3).module
    assert windowed.flops(length) == 2 * length * WIDTH * 4 * inner + 2 * (2 * length * 3 * inner)


def test_cross_attention_reads_all_of_the_memory_whatever_the_causality(assert_close, same_bytes):
    x, memory = normal(2, LENGTH, WIDTH), normal(2, 5, WIDTH, seed=9)
    seen = functools.partial(apply_attention, x, cross=True)
    causal = seen(Context(memory=memory, causal=True))[0]
    assert same_bytes(causal, seen(Context(memory=memory, causal=False))[0])
    for t in range(5):  # the first query depends on every place of the memory
        other = seen(Context(memory=memory.at[:, t].add(1.0)))[0]
        assert np.abs(np.asarray(other - causal))[:, 0].max() > 1e-4
    turned = seen(Context(memory=memory[:, ::-1]))[0]
    assert_close(turned, causal)  # keys and values are a set


def test_cross_attention_skips_the_memorys_padding(assert_close):
    x, memory = normal(2, LENGTH, WIDTH), normal(2, 5, WIDTH, seed=9)
    mask = jnp.broadcast_to(jnp.arange(5)[None] < 3, (2, 5))
    padded = apply_attention(x, Context(memory=memory, memory_mask=mask), cross=True)[0]
    cut = apply_attention(x, Context(memory=memory[:, :3]), cross=True)[0]
    assert_close(padded, cut)


def test_cross_attention_without_a_memory_is_refused():
    with pytest.raises(ConfigurationError, match="needs a memory"):
        apply_attention(normal(1, 4, WIDTH), cross=True)


def test_padding_is_not_seen(assert_close):
    x = normal(2, LENGTH, WIDTH)
    mask = jnp.broadcast_to(jnp.arange(LENGTH)[None] < 5, (2, LENGTH))
    masked = apply_attention(x, Context(causal=False, mask=mask))[0]
    cut = apply_attention(x[:, :5], Context(causal=False))[0]
    assert_close(masked[:, :5], cut)


def test_recorded_weights_are_the_softmax_of_what_may_be_seen(assert_close):
    x = normal(2, LENGTH, WIDTH)
    definition = define("attention", heads=4)
    parameters = drawn(definition)
    context = Context(record=frozenset({"attention.weights"}))
    y, extras = definition.bind(parameters)(x, context)
    weights = np.asarray(extras.record["attention.weights"])
    assert weights.shape == (2, 4, LENGTH, LENGTH)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert np.all(np.triu(weights, 1) == 0) and np.all(weights[..., -1, :] > 0)
    p = jax.tree.map(np.asarray, parameters)
    values = (np.asarray(x) @ p["value"]["kernel"] + p["value"]["bias"]).reshape(2, LENGTH, 4, 8)
    mixed = np.einsum("bhqk,bkhd->bqhd", weights, values).reshape(2, LENGTH, WIDTH)
    assert_close(y, mixed @ p["output"]["kernel"] + p["output"]["bias"])
    assert definition.bind(parameters)(x, Context())[1].record == {}


def test_a_stack_keeps_records_by_position():
    model = decoder("x (sx)2", kind="attention")
    asked = Context(record=frozenset({"attention.weights"}))
    ids = jnp.zeros((1, LENGTH), jnp.int32)
    _, extras = model.hidden(random_model(model), ids, asked)
    found = extras.record["attention.weights"]
    assert list(found) == [0, 1, 2, 3, 4]
    for weights in found.values():
        np.testing.assert_allclose(np.asarray(weights).sum(-1), 1, rtol=1e-5)


def test_attention_dropout_keeps_the_mean_and_is_off_at_evaluation(same_bytes):
    x, options = normal(1, LENGTH, WIDTH), {"attention_dropout": 0.4}
    expected = apply_attention(x)[0]
    assert same_bytes(apply_attention(x, Context(), **options)[0], expected)

    @jax.jit
    @jax.vmap
    def dropped(seed):
        return apply_attention(x, Context(key=jax.random.key(seed), train=True), **options)[0]

    samples = np.asarray(dropped(jnp.arange(3000)))
    error = samples.std(0) / math.sqrt(len(samples))
    assert error.min() > 0, "a dropout that drops nothing has the right mean too"
    assert np.all(np.abs(samples.mean(0) - np.asarray(expected)) < 6 * error + 1e-5)


# Rotary positions


def numpy_rotated(x, positions, base):
    """Su et al. 2021 in complex numbers: channel i and i + d/2 are one number, turned."""
    half = x.shape[-1] // 2
    number = x[..., :half] + 1j * x[..., half : 2 * half]
    frequency = base ** (-np.arange(half) / half)
    turned = number * np.exp(1j * positions[:, :, None, None] * frequency)
    return np.concatenate([turned.real, turned.imag, x[..., 2 * half :]], -1)


@pytest.mark.parametrize("width", [8, 7])
def test_rotation_turns_pairs_of_channels_as_complex_numbers(width, assert_close):
    x = normal(2, 5, 3, width)
    positions = np.array([[0, 1, 2, 3, 4], [7, 3, 900, 0, 2]])
    expected = numpy_rotated(np.asarray(x, np.float64), positions, 10000.0)
    assert_close(rotate(x, jnp.asarray(positions), 10000.0), expected, 1e-4)
    counted = numpy_rotated(np.asarray(x, np.float64), np.arange(5)[None].repeat(2, 0), 10000.0)
    assert_close(rotate(x, None, 10000.0), counted)


def test_scores_depend_on_relative_positions_only(assert_close):
    context = Context(rotary_base=10000.0, causal=False)
    x = normal(2, LENGTH, WIDTH)
    here = jnp.broadcast_to(jnp.arange(LENGTH)[None], (2, LENGTH))
    first = apply_attention(x, context.replace(positions=here))[0]
    shifted = apply_attention(x, context.replace(positions=here + 100))[0]
    assert_close(shifted, first, 1e-4)
    stretched = apply_attention(x, context.replace(positions=2 * here))[0]
    assert np.abs(np.asarray(stretched - first)).max() > 1e-2
    plain = apply_attention(x, Context(causal=False))[0]
    assert np.abs(np.asarray(plain - first)).max() > 1e-2


def test_a_rotary_decoder_tells_orders_of_tokens_apart_and_one_without_positions_does_not():
    ids, swapped = jnp.array([[3, 5, 7]]), jnp.array([[5, 3, 7]])
    for positions, differs in {"rotary": True, "none": False}.items():
        model = decoder(kind="attention", positions=positions)
        parameters = random_model(model)
        a, b = (model.logits(parameters, i, Context())[0, -1] for i in (ids, swapped))
        assert (np.abs(np.asarray(a - b)).max() > 1e-3) == differs


# Feed-forward


def numpy_activation(name, x):
    return {
        "relu": np.maximum(x, 0),
        "gelu": 0.5 * x * (1 + erf(x / math.sqrt(2))),
        "gelu_tanh": 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "silu": x / (1 + np.exp(-x)),
        "relu2": np.maximum(x, 0) ** 2,
    }[name]


@pytest.mark.parametrize("activation", [*ACTIVATIONS, *GATED])
@pytest.mark.parametrize("bias", [True, False])
def test_feed_forward_is_its_equation(activation, bias, assert_close):
    definition = define("feed_forward", activation=activation, bias=bias, expand=1.5)
    parameters, x = drawn(definition), normal(2, LENGTH, WIDTH)
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), parameters)

    def project(name, y):
        return y @ p[name]["kernel"] + (p[name]["bias"] if bias else 0)

    inner = project("input", np.asarray(x, np.float64))
    if activation in GATED:
        plain = {"swiglu": "silu", "geglu": "gelu"}[activation]
        inner = numpy_activation(plain, project("gate", np.asarray(x, np.float64))) * inner
    else:
        inner = numpy_activation(activation, inner)
    assert inner.shape[-1] == 48
    assert_close(definition.bind(parameters)(x, Context()), project("output", inner))


def test_every_activation_has_a_transcription():
    assert set(ACTIVATIONS) == {"relu", "gelu", "gelu_tanh", "silu", "relu2"}
    assert set(GATED) == {"swiglu", "geglu"}


def test_swiglu_at_eight_thirds_has_the_parameters_of_relu_at_four():
    gated = define("feed_forward", 48, activation="swiglu", expand=8 / 3, bias=False)
    plain = define("feed_forward", 48, expand=4.0, bias=False)
    assert count(gated.shapes) == count(plain.shapes) == 8 * 48 * 48
    assert gated.module.flops(10) == plain.module.flops(10) == 2 * 10 * 8 * 48 * 48
    biased = define("feed_forward", 48, activation="swiglu", inner_width=100)
    assert count(biased.shapes) == 3 * 48 * 100 + 2 * 100 + 48


def test_activation_dropout_drops_inner_channels_while_training_only(same_bytes):
    definition = define("feed_forward", expand=1.0, activation_dropout=0.5)
    parameters = jax.tree.map(jnp.zeros_like, drawn(definition))
    parameters["input"]["bias"] = jnp.ones(WIDTH)
    parameters["output"]["kernel"] = jnp.eye(WIDTH)
    x, sublayer = normal(8, LENGTH, WIDTH), definition.bind(parameters)
    assert np.all(np.asarray(sublayer(x, Context())) == 1)
    y = np.asarray(sublayer(x, Context(key=jax.random.key(0), train=True)))
    assert set(np.unique(y)) == {0.0, 2.0}
    assert abs((y == 0).mean() - 0.5) < 5 * math.sqrt(0.25 / y.size)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"activation": "tanh"}, "activation='tanh': allowed are relu, gelu, gelu_tanh, silu"),
        ({"activation_dropout": -0.1}, "activation_dropout=-0.1"),
        ({"expand": 0.0}, "no inner width is left"),
    ],
)
def test_feed_forward_refuses_what_it_cannot_do(options, message):
    with pytest.raises(ConfigurationError, match=message):
        define("feed_forward", **options)


def test_the_registered_kinds_are_these_classes():
    assert sublayers.get("attention") is Attention
    assert sublayers.get("feed_forward") is FeedForward
