"""Adaptive spans: against their equations in NumPy, in every path, from a cache, what they cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.context import Context, figure
from arch.models import families as models
from arch.optimizers.per_owner import matrices
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition
from arch.sublayers.attention import dot_product
from tests.draws import drawn
from tests.recurrences import normal, stepped

WIDTH, HEADS, LENGTH, SPAN, RAMP = 12, 3, 11, 8, 3
SHARES = (0.05, 0.4, 0.99)


def define(heads=HEADS, **options) -> Definition:
    options = {"span": SPAN, "span_ramp": RAMP, **options}
    return Definition(functools.partial(sublayers.get("attention"), WIDTH, heads=heads, **options))


def parameters_of(definition, shares: object = SHARES, dtype=jnp.float32):
    return {**drawn(definition, dtype), "span": {"share": jnp.asarray(shares, dtype)}}


def run(definition, parameters, x, context=None):
    context = context or Context()
    return jax.jit(lambda p, x: definition.bind(p)(x, context))(parameters, x)


def one_head(p, x, z, causal):
    """Sukhbaatar et al. 2019, §3, of one head and one sequence, a query at a time."""

    def project(name, y):
        return y @ np.asarray(p[name]["kernel"]) + np.asarray(p[name]["bias"])

    q, k, v = (project(name, x) for name in ("query", "key", "value"))
    y = np.zeros_like(v)
    for t in range(len(x)):
        seen = range(max(0, t - SPAN + 1), t + 1 if causal else min(len(x), t + SPAN))
        weights = {
            r: min(max((RAMP + z - abs(t - r)) / RAMP, 0), 1)
            * np.exp(q[t] @ k[r] / np.sqrt(q.shape[-1]))
            for r in seen
        }
        y[t] = sum(weight * v[r] for r, weight in weights.items()) / sum(weights.values())
    return project("output", y)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("share", SHARES)
def test_one_head_is_the_papers_equations(share, causal, float64, assert_close):
    definition = define(heads=1)
    p, x = parameters_of(definition, [share], jnp.float64), normal(2, LENGTH, WIDTH, dtype=float)
    y, _ = run(definition, p, x, Context(causal=causal))
    expected = [one_head(p, row, share * SPAN, causal) for row in np.asarray(x)]
    assert_close(y, np.stack(expected), 1e-9)


def test_each_head_has_a_span_of_its_own(assert_close):
    definition, x = define(), normal(1, LENGTH, WIDTH)
    context = Context(record=frozenset({"attention.weights"}))
    _, extras = run(definition, parameters_of(definition), x, context)
    far = [int((w > 0).sum(-1).max()) for w in np.asarray(extras.record["attention.weights"])[0]]
    # distances 0 … z + R - 1, as far as the largest span goes
    assert far == [4, 7, 8]


@pytest.mark.parametrize("largest, window", [(LENGTH, 0), (LENGTH + 20, 0), (4, 4)])
@pytest.mark.parametrize("causal", [True, False])
def test_at_its_largest_it_is_plain_attention(largest, window, causal, assert_close):
    definition, plain = define(span=largest), define(span=0, window=window)
    p, x = parameters_of(definition, [1.0] * HEADS), normal(2, LENGTH, WIDTH)
    expected, _ = run(plain, {k: v for k, v in p.items() if k != "span"}, x, Context(causal=causal))
    assert_close(run(definition, p, x, Context(causal=causal))[0], expected, 1e-6)


def test_it_is_causal_and_sees_no_further_than_its_span():
    definition, x = define(), normal(1, LENGTH, WIDTH)
    sublayer = definition.bind(parameters_of(definition, [0.0, 0.25, 0.0]))  # z = 2, then the ramp
    slopes = jax.jit(jax.jacobian(lambda x: sublayer(x, Context())[0][0].sum(-1)))(x)[:, 0]
    seen = np.abs(slopes).max(-1) > 0
    behind = np.arange(LENGTH)[:, None] - np.arange(LENGTH)[None]
    np.testing.assert_array_equal(seen, (behind >= 0) & (behind < 2 + RAMP))


def test_padding_is_not_seen(assert_close):
    definition, x = define(), normal(2, LENGTH, WIDTH)
    p, mask = parameters_of(definition), jnp.broadcast_to(jnp.arange(LENGTH)[None] < 5, (2, LENGTH))
    masked, _ = run(definition, p, x, Context(causal=False, mask=mask))
    assert_close(masked[:, :5], run(definition, p, x[:, :5], Context(causal=False))[0])


def test_the_gradient_of_a_span_is_that_of_finite_differences(float64):
    definition, x = define(span_penalty=0.01), normal(2, LENGTH, WIDTH, dtype=float)
    p, towards = parameters_of(definition, dtype=jnp.float64), normal(2, LENGTH, WIDTH, seed=3)

    @jax.jit
    def objective(share):
        y, extras = definition.bind({**p, "span": {"share": share}})(x, Context())
        return (y * towards).sum() + figure(extras.losses["span_cost"])

    share = p["span"]["share"]
    slope = np.asarray(jax.grad(objective)(share))
    assert np.abs(slope[:2]).min() > 1e-2
    for head in range(HEADS):
        step = 1e-6 * jnp.eye(HEADS)[head]
        expected = float(objective(share + step) - objective(share - step)) / 2e-6
        assert slope[head] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"heads": 4, "kv_heads": 2, "positions": "alibi"}, {"positions": "t5"}]
)
def test_blocks_give_the_plain_paths_values_and_gradients(options, monkeypatch, assert_close):
    monkeypatch.setattr(dot_product, "BLOCK", 4)
    x, towards = normal(2, LENGTH, WIDTH), normal(2, LENGTH, WIDTH, seed=1)
    plain, blocks = (define(path=path, bias=False, **options) for path in ("plain", "blocks"))
    p = parameters_of(plain, [*SHARES, 0.2][: options.get("heads", HEADS)])

    def objective(definition, p, x):
        return (definition.bind(p)(x, Context())[0] * towards).sum()

    expected, actual = (
        jax.jit(jax.value_and_grad(functools.partial(objective, one), (0, 1)))(p, x)
        for one in (plain, blocks)
    )
    assert_close(actual, expected)
    assert np.abs(np.asarray(expected[1][0]["span"]["share"])).max() > 1e-2


@pytest.mark.parametrize(
    "options", [{}, {"kv_heads": 1, "positions": "t5"}, {"shared_qk": True}, {"positions": "alibi"}]
)
def test_steps_from_a_cache_give_the_whole(options, assert_close):
    definition, x = define(**options), normal(2, LENGTH, WIDTH)
    p = parameters_of(definition)
    assert_close(stepped(definition.bind(p), x), run(definition, p, x)[0])


@pytest.mark.parametrize("share, expected", [(-0.25, 2.0), (0.0, 0.0), (1.25, 6.0), (2.25, 2.0)])
def test_a_span_that_an_update_takes_out_of_its_range_is_reflected(share, expected):
    def reach(share):
        span = define().bind(parameters_of(define(), [share] * HEADS)).span
        return span.reaches()[0]

    assert reach(share) == pytest.approx(expected)
    assert abs(jax.grad(reach)(share)) == SPAN  # and goes on learning


# What it costs


def built(order="(sf)2", **options):
    letters = {"s": {"kind": "attention", "heads": HEADS, **options}}
    model = {"width": WIDTH, "order": order, "sublayers": letters, "head": {"tie": False}}
    return models.build(config.make(model=model).model, 7, LENGTH)


@pytest.mark.parametrize("apply", ["unrolled", "switch"])
def test_the_cost_is_the_mean_span_of_all_heads_of_a_model(apply):
    letters = {
        "s": {"kind": "attention", "heads": HEADS, "span": SPAN, "span_penalty": 0.5},
        "a": {"kind": "attention", "heads": HEADS, "span": 4, "span_penalty": 0.5},
    }
    given = {"width": WIDTH, "order": "sfasf", "sublayers": letters, "stack": {"apply": apply}}
    model = models.build(config.make(model=given).model, 7, LENGTH)
    p = model.init(jax.random.key(0))
    assert not np.asarray(p["stack"]["s"]["sublayer"]["span"]["share"]).any()
    p["stack"]["s"]["sublayer"]["span"]["share"] = jnp.array([[0.5, 0, 0], [0, 0, 1]])
    p["stack"]["a"]["sublayer"]["span"]["share"] = jnp.array([[0.75, 0.75, 0.75]])
    ids = jnp.zeros((2, LENGTH), jnp.int32)
    _, extras = jax.jit(lambda p: model.hidden(p, ids, Context()))(p)
    mean = (0.5 * SPAN + SPAN + 3 * 3) / 9
    assert figure(extras.statistics["span"]) == pytest.approx(mean)
    assert figure(extras.losses["span_cost"]) == pytest.approx(0.5 * mean)


def test_without_a_penalty_there_is_no_cost_and_without_a_span_nothing():
    x = normal(1, LENGTH, WIDTH)
    free, off = define(span_penalty=0.0), define(span=0)
    extras = run(free, parameters_of(free), x)[1]
    assert not extras.losses and "span" in extras.statistics
    extras = run(off, drawn(off), x)[1]
    assert not extras.losses and not extras.statistics and "span" not in off.shapes
    assert off.module.flops(100) > define(span=50).module.flops(100)


def test_spans_do_not_decay():
    shapes = built(span=SPAN).shapes["stack"]["s"]["sublayer"]
    assert shapes["span"]["share"].shape == (2, HEADS)
    assert not matrices(shapes["span"], owners=True)["share"]
    assert matrices(shapes["query"], owners=True)["kernel"]


def test_the_option_leaves_the_hash_of_what_does_not_use_it():
    letters = {"s": {"kind": "attention", "heads": 2}, "f": {"kind": "feed_forward"}}

    def identity(**options):
        chosen = {**letters, "s": {**letters["s"], **options}}
        return config.identity(config.make(model={"order": "sf", "sublayers": chosen}), "")

    assert identity() == identity(span=0, span_ramp=32) != identity(span=64)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"span": -1}, "span=-1: allowed is 0 (none is learned) or more"),
        ({"span_ramp": 0}, "span_ramp=0: allowed is 1 or more"),
        ({"span_penalty": -1.0}, "span_penalty=-1.0: allowed is 0 or more"),
        ({"cross": True}, "span=8: allowed is 0 with cross=True; places in a memory"),
        ({"window": 4}, "window=4: allowed is 0 with span=8"),
        ({"path": "cudnn", "head_width": 8}, "path='cudnn': allowed are auto, plain, blocks with"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, message):
    with pytest.raises(ConfigurationError) as error:
        assert define(**options).module
    assert message in str(error.value) and "\n" not in str(error.value)
