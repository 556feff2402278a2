"""Position kinds of attention: against transformers, against their definitions, in every path."""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.context import Context, Rotary
from arch.models import families as models
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition
from arch.sublayers.attention import dot_product
from arch.sublayers.attention.positions import BIASES, buckets_of, rotate, slopes
from tests.draws import drawn
from tests.families import always

FIXTURES = Path(__file__).parents[1] / "fixtures" / "positions" / "positions.npz"
FOUND = dict(np.load(FIXTURES))
turn = jax.jit(rotate, static_argnums=(2, 3))
WIDTH, HEADS, BATCH, LENGTH = 16, 4, 2, 10


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def define(kind="attention", **options) -> Definition:
    options = {"heads": HEADS, "relative_buckets": 6, "relative_distance": 7, **options}
    return Definition(functools.partial(sublayers.get(kind), WIDTH, **options))


# Against transformers


@pytest.mark.parametrize("name", [name for name in FOUND if name.startswith("buckets/")])
def test_buckets_are_those_of_t5(name):
    _, buckets, distance, bidirectional = name.split("/")
    ahead = jnp.arange(-400, 401)
    buckets_in = jax.jit(buckets_of, static_argnums=(1, 2, 3))
    mine = buckets_in(ahead, int(buckets), int(distance), bidirectional == "False")
    np.testing.assert_array_equal(mine, FOUND[name])


@pytest.mark.parametrize("name", [name for name in FOUND if name[:3] in ("blo", "mpt")])
def test_slopes_are_those_of_bloom_and_mpt(name):
    source, heads = name.split("/")
    mine = slopes(int(heads))
    # BLOOM adds slope · place of the key, MPT the place relative to the last: equal under softmax
    expected = mine[:, None] * np.arange(7)[None] if source == "bloom" else (
        mine[:, None] * np.arange(-6, 1)[None]
    )  # fmt: skip
    np.testing.assert_allclose(FOUND[name], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "name, rotary",
    [
        ("quarter", Rotary(share=0.25)),
        ("third", Rotary(share=1 / 3)),
        ("linear", Rotary(share=0.5, scaling="linear", factor=4.0)),
    ],
)
def test_partial_and_scaled_rotary_positions_are_those_of_gpt_neox(name, rotary, assert_close):
    turned = turn(jnp.asarray(FOUND["q"]), jnp.asarray(FOUND["where"]), 1000.0, rotary)
    assert_close(turned, FOUND[f"rotary/{name}"], tolerance=1e-5)


def test_ntk_scaling_divides_the_slowest_angle_by_the_factor_and_keeps_the_fastest(assert_close):
    x, where = normal(1, 1, 1, 8), jnp.array([[30]])
    plain, ntk, linear = (
        np.asarray(turn(x, where, 50.0, Rotary(scaling=scaling, factor=factor)))[0, 0, 0]
        for scaling, factor in (("none", 1.0), ("ntk", 4.0), ("linear", 4.0))
    )
    assert_close(ntk[[0, 4]], plain[[0, 4]])
    assert_close(ntk[[3, 7]], linear[[3, 7]])
    assert np.abs(ntk[[1, 5]] - plain[[1, 5]]).max() > 1e-2


def test_half_of_the_channels_are_not_turned_at_a_share_of_a_half(same_bytes):
    x = normal(2, 5, 2, 8)
    turned = turn(x, None, 100.0, Rotary(share=0.5))
    assert same_bytes(turned[..., 4:], x[..., 4:])
    assert same_bytes(turned[..., :4], turn(x[..., :4], None, 100.0))


# Against the definition


def by_definition(p, x, bias, allowed):
    """(outputs, weights) of attention with bias (heads, queries, keys), in NumPy."""

    def project(name, y):
        return y @ p[name]["kernel"] + p[name]["bias"]

    q = project("query", x).reshape(*x.shape[:2], HEADS, -1)
    k, v = (project(n, x).reshape(*x.shape[:2], -1, q.shape[-1]) for n in ("key", "value"))
    k, v = (np.repeat(y, HEADS // y.shape[2], axis=2) for y in (k, v))
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1]) + bias
    scores = np.where(allowed, scores, -1e30)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights = weights / weights.sum(-1, keepdims=True)
    y = np.einsum("bhqk,bkhd->bqhd", weights, v).reshape(*x.shape[:2], -1)
    return project("output", y)


CASES = [  # kind, options, which keys a query sees
    ("attention", {}, lambda q, k: k <= q),
    ("attention", {"kv_heads": 2, "window": 3}, lambda q, k: (k <= q) & (k > q - 3)),
    ("local_attention", {"chunk": 3}, lambda q, k: (k <= q) & (k // 3 >= q // 3 - 1)),
]


@pytest.mark.parametrize("positions", BIASES)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind, options, seen", CASES)
def test_a_bias_is_added_to_the_scores(kind, options, seen, causal, positions, assert_close):
    definition = define(kind, positions=positions, **options)
    p, x = drawn(definition), normal(BATCH, LENGTH, WIDTH)
    y = jax.jit(lambda p, x: definition.bind(p)(x, Context(causal=causal)))(p, x)
    y = y[0] if isinstance(y, tuple) else y
    ahead = np.arange(LENGTH)[None] - np.arange(LENGTH)[:, None]
    if positions == "alibi":
        bias = -slopes(HEADS)[:, None, None] * np.abs(ahead)
    else:
        table = np.asarray(p["places"]["table"])
        bias = np.moveaxis(table[np.asarray(buckets_of(jnp.asarray(ahead), 6, 7, causal))], -1, 0)
    q, k = np.arange(LENGTH)[:, None], np.arange(LENGTH)[None]
    allowed = seen(q, k)
    if not causal:
        allowed = {
            0: np.ones_like(allowed),
            1: np.abs(ahead) < 3,
            2: (k // 3 >= q // 3 - 1) & (k // 3 <= q // 3),
        }[CASES.index((kind, options, seen))]
    assert_close(y, by_definition(jax.tree.map(np.asarray, p), np.asarray(x), bias, allowed))


@pytest.mark.parametrize(
    "positions, options", [("alibi", {}), ("t5", {"kv_heads": 2, "window": 5})]
)
def test_blocks_give_the_plain_paths_values_and_gradients(
    positions, options, monkeypatch, assert_close
):
    monkeypatch.setattr(dot_product, "BLOCK", 4)
    x, towards = normal(BATCH, LENGTH, WIDTH), normal(BATCH, LENGTH, WIDTH, seed=1)
    plain, blocks = (
        define(positions=positions, path=path, **options) for path in ("plain", "blocks")
    )
    p = drawn(plain)

    def run(definition, p, x):
        return (definition.bind(p)(x, Context())[0] * towards).sum()

    expected, actual = (
        jax.jit(jax.value_and_grad(functools.partial(run, one), (0, 1)))(p, x)
        for one in (plain, blocks)
    )
    assert_close(actual, expected)
    if positions == "t5":
        assert np.abs(np.asarray(expected[1][0]["places"]["table"])).max() > 1e-2


STEPS = [
    *((*case[:2], bias) for case in CASES for bias in BIASES),
    *((*case[:2], "rotary") for case in CASES[1:]),
    ("attention", {"shared_qk": True}, "alibi"),
]


@pytest.mark.parametrize("kind, options, positions", always(STEPS, STEPS[::3]))
def test_steps_from_a_cache_give_the_whole(kind, options, positions, assert_close):
    norm = "" if options.get("shared_qk") else "rms"
    definition = define(kind, positions=positions, qk_norm=norm, **options)
    sublayer, x = definition.bind(drawn(definition)), normal(BATCH, LENGTH, WIDTH)
    context = Context(rotary_base=50.0, rotary=Rotary(50.0, "ntk", 2.0, 0.5))
    if options.get("shared_qk"):
        context = Context()

    @jax.jit
    def both(x):
        def body(cache, time):
            token = jax.lax.dynamic_slice_in_dim(x, time, 1, axis=1)
            y, cache = sublayer.step(token, cache, context.replace(time=time))
            return cache, y[:, 0]

        cache = sublayer.init_cache(BATCH, LENGTH + 2, x.dtype, context)
        whole = sublayer(x, context)
        steps = jax.lax.scan(body, cache, jnp.arange(LENGTH))[1].swapaxes(0, 1)
        return whole[0] if isinstance(whole, tuple) else whole, steps

    whole, steps = both(x)
    assert_close(steps, whole)


def test_a_letter_may_have_a_kind_of_its_own(same_bytes):
    x, rotary = normal(1, LENGTH, WIDTH), Context(rotary_base=50.0, rotary=Rotary(50.0))
    p = drawn(define())
    run = jax.jit(
        lambda kind, context: define(positions=kind).bind(p)(x, context)[0], static_argnums=0
    )
    assert same_bytes(run("none", rotary), run("", Context()))
    assert same_bytes(run("rotary", rotary.replace(rotary_base=0.0)), run("", rotary))


# In a model


def built(order="sf", positions="alibi", letters=None, **embedding):
    letters = {"s": {"kind": "attention", "heads": 2}, "l": {"kind": "lstm"}, **(letters or {})}
    model = {
        "width": WIDTH,
        "order": order,
        "sublayers": letters,
        "embedding": {"positions": positions, **embedding},
    }
    return models.build(config.make(model=model).model, 11, LENGTH)


def test_the_models_kind_reaches_the_letters_that_leave_it_open():
    letters = {"a": {"kind": "local_attention", "heads": 2, "positions": "none"}}
    model = built("salf", "t5", letters)
    assert model.stack.sublayer("s").places.kind == "t5"
    assert model.stack.sublayer("a").places.kind == "none"
    shapes = model.shapes["stack"]
    assert shapes["s"]["sublayer"]["places"]["table"].shape == (1, 32, 2)
    assert "places" not in shapes["a"]["sublayer"]
    assert "table" not in {name for name in shapes["l"]["sublayer"]}


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: built(letters={"s": {"kind": "lsh_attention", "heads": 2}}),
            "model.embedding.positions='alibi': lsh_attention has no place for it",
        ),
        (
            lambda: built("lf", "t5"),
            "model.embedding.positions='t5': none of feed_forward, lstm adds a bias",
        ),
        (
            lambda: built(letters={"s": {"kind": "attention", "heads": 2, "path": "cudnn"}}),
            "model.sublayers.s: path='cudnn': allowed are auto, plain, blocks with",
        ),
        (lambda: built(positions="alibis"), "model.embedding.positions='alibis': allowed are"),
        (lambda: built(positions="rotary", rotary_share=0.0), "rotary_share=0.0: allowed is above"),
        (lambda: built(positions="rotary", rotary_factor=2.0), "rotary_factor=2.0: allowed is 1"),
        (lambda: built(positions="rotary", rotary_scaling="yarn"), "rotary_scaling='yarn'"),
        (lambda: define(positions="learned").module, "positions='learned': allowed are"),
        (lambda: define(positions="alibi", cross=True).module, "positions='alibi': allowed are ''"),
        (lambda: define(positions="rotary", shared_qk=True).module, "positions='rotary': allowed"),
        (lambda: define(relative_buckets=5).module, "relative_buckets=5: allowed is an even"),
        (lambda: define(relative_distance=3).module, "relative_distance=3: allowed is above"),
        (lambda: rotate(normal(1, 2, 1, 8), None, 10.0, Rotary(share=0.2)), "rotary_share=0.2: of"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(make, message):
    with pytest.raises(ConfigurationError) as error:
        make()
    assert message in str(error.value) and "\n" not in str(error.value)


# Norms of queries and keys


@pytest.mark.parametrize("kind", ["rms", "layer", "layer_no_bias", "unit"])
def test_queries_and_keys_are_normalised_a_head_at_a_time(kind, assert_close):
    definition = define(qk_norm=kind, bias=False)
    p, x = drawn(definition), normal(BATCH, LENGTH, WIDTH)
    context = Context(record=frozenset(["attention.weights"]))
    weights = definition.bind(p)(x, context)[1].record["attention.weights"]

    def normalised(name):
        y = (np.asarray(x) @ np.asarray(p[name]["kernel"])).reshape(BATCH, LENGTH, HEADS, -1)
        if kind == "unit":
            return y / np.linalg.norm(y, axis=-1, keepdims=True)
        y = y - y.mean(-1, keepdims=True) * kind.startswith("layer")
        y = y / np.sqrt((y * y).mean(-1, keepdims=True) + 1e-6)
        own = p["norms"][name]
        return y * np.asarray(own["scale"]) + np.asarray(own.get("bias", 0.0))

    scores = np.einsum("bqhd,bkhd->bhqk", normalised("query"), normalised("key"))
    scores = scores * (10 if kind == "unit" else (WIDTH // HEADS) ** -0.5)
    scores = np.where(np.tril(np.ones((LENGTH, LENGTH), bool)), scores, -1e30)
    expected = np.exp(scores - scores.max(-1, keepdims=True))
    assert_close(weights, expected / expected.sum(-1, keepdims=True))


def test_shared_keys_have_a_norm_of_their_own():
    with pytest.raises(ConfigurationError, match="qk_norm='rms': allowed is '' with shared_qk"):
        assert define(qk_norm="rms", shared_qk=True).module
