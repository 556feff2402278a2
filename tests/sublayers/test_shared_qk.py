"""Shared-QK attention against its equations in NumPy, and what it cannot be combined with."""

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
from arch.stacks.parameters import Definition, count
from arch.sublayers.attention import dot_product
from tests.draws import drawn

WIDTH, HEADS, LENGTH = 24, 3, 11
MASK = np.ones((2, LENGTH), bool)
MASK[0, 8:] = MASK[1, :2] = MASK[1, 5] = False


def define(width=WIDTH, **options) -> Definition:
    options = {"heads": HEADS, "shared_qk": True, **options}
    return Definition(functools.partial(sublayers.get("attention"), width, **options))


def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def transcribed(p, x, causal, mask=None, window=0, heads=HEADS):
    """Kitaev et al. 2020, §2, a query at a time in float64: softmax over what it may see of the
    others, itself where there are none; also the weights."""
    batch, length, _ = x.shape

    def project(name, y):
        return y @ np.asarray(p[name]["kernel"], np.float64) + (
            np.asarray(p[name]["bias"], np.float64) if "bias" in p[name] else 0
        )

    q, v = (project(n, x).reshape(batch, length, heads, -1) for n in ("query", "value"))
    k = q / np.sqrt((q**2).sum(-1, keepdims=True))
    mixed, weights = np.zeros_like(v), np.zeros((batch, heads, length, length))
    for b, t, h in np.ndindex(batch, length, heads):
        seen = [
            s
            for s in range(length)
            if (s <= t or not causal)
            and (mask is None or mask[b, s])
            and (not window or abs(s - t) < window)
        ]
        others = [s for s in seen if s != t] or seen
        if not others:
            continue
        logits = np.array([q[b, t, h] @ k[b, s, h] / math.sqrt(q.shape[-1]) for s in others])
        w = np.exp(logits - logits.max())
        weights[b, h, t, others] = w / w.sum()
        mixed[b, t, h] = weights[b, h, t] @ v[b, :, h]
    return project("output", mixed.reshape(batch, length, -1)), weights


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("masked, window", [(False, 0), (True, 0), (False, 3), (True, 1)])
def test_it_is_its_equations_to_the_last_digits(causal, bias, masked, window, float64):
    definition = define(bias=bias, window=window)
    parameters = drawn(definition, jnp.float64)
    x, mask = normal(2, LENGTH, WIDTH, dtype=np.float64), MASK if masked else None
    context = Context(causal=causal, mask=mask if mask is None else jnp.asarray(mask))
    context = context.replace(record=frozenset({"attention.weights"}))
    run = jax.jit(lambda x: definition.bind(parameters)(x, context))
    y, extras = run(jnp.asarray(x))
    expected, weights = transcribed(parameters, x, causal, mask, window)
    real = MASK if masked else np.ones_like(MASK)
    np.testing.assert_allclose(np.asarray(y)[real], expected[real], atol=1e-10, rtol=0)
    actual = np.asarray(extras.record["attention.weights"]).swapaxes(1, 2)
    expected = weights.swapaxes(1, 2)
    np.testing.assert_allclose(actual[real], expected[real], atol=1e-10, rtol=0)


def test_gradients_are_finite_differences(float64):
    definition = define()
    parameters = drawn(definition, jnp.float64)
    x, towards = jnp.asarray(normal(1, 5, WIDTH, dtype=np.float64)), normal(1, 5, WIDTH, seed=3)

    @jax.jit
    def objective(parameters, x):
        y, _ = definition.bind(parameters)(x, Context())
        return (y * towards).sum()

    gradient = jax.grad(objective, (0, 1))(parameters, x)
    for seed in range(3):
        source = np.random.default_rng(seed)
        aside = jax.tree.map(lambda a: source.standard_normal(a.shape), (parameters, x))  # noqa: B023
        ahead, behind = (
            objective(*jax.tree.map(lambda a, d: a + s * d, (parameters, x), aside))  # noqa: B023
            for s in (1e-6, -1e-6)
        )
        along = sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), gradient, aside)))
        np.testing.assert_allclose((ahead - behind) / 2e-6, along, rtol=1e-7)


def test_keys_are_of_unit_length_in_every_dtype():
    q = jnp.asarray(normal(5, 8))
    for dtype, tolerance in ((jnp.float32, 1e-6), (jnp.bfloat16, 1e-2)):
        keys = dot_product.keys_of(q.astype(dtype), "unit")
        assert keys.dtype == dtype
        lengths = np.linalg.norm(np.asarray(keys, np.float64), axis=-1)
        np.testing.assert_allclose(lengths, 1, atol=tolerance)
    zero, back = jax.value_and_grad(lambda q: dot_product.keys_of(q, "unit").sum())(
        jnp.zeros((1, 8))
    )
    assert zero == 0 and np.all(np.isfinite(back))


def test_the_first_position_of_a_causal_model_sees_itself():
    definition = define(bias=False)
    p, x = drawn(definition), normal(1, LENGTH, WIDTH)
    y, _ = definition.bind(p)(jnp.asarray(x), Context())
    expected = x[:, 0] @ np.asarray(p["value"]["kernel"]) @ np.asarray(p["output"]["kernel"])
    np.testing.assert_allclose(y[:, 0], expected, atol=1e-5)


def test_it_has_three_projections_and_their_products():
    assert set(define().shapes) == {"query", "value", "output"}
    assert count(define(bias=False).shapes) == 3 * WIDTH * WIDTH
    expected = 2 * LENGTH * WIDTH * 3 * WIDTH + 2 * (2 * LENGTH * LENGTH * WIDTH)
    assert define().module.flops(LENGTH) == expected


def test_it_runs_replicated_and_in_bfloat16(assert_close):
    definition, x = define(), jnp.asarray(normal(2, LENGTH, WIDTH))
    replicas = [drawn(definition, seed=seed) for seed in (1, 2)]

    def run(parameters, x):
        return definition.bind(parameters)(x, Context())[0]

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *replicas)
    together = jax.jit(jax.vmap(run, (0, None)))(stacked, x)
    assert_close(together, jnp.stack([run(p, x) for p in replicas]))
    half = run(replicas[0], x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    assert_close(half, together[0], 0.05)


@pytest.mark.parametrize("apply", ["unrolled", "switch"])
def test_a_decoder_of_it_does_not_see_ahead(apply):
    letters = {"s": {"kind": "attention", "heads": HEADS, "shared_qk": True}}
    made = config.make(
        model={"width": WIDTH, "order": "(sf)2", "sublayers": letters, "stack": {"apply": apply}}
    )
    model = models.build(made.model, 11, LENGTH)
    parameters = model.init(jax.random.key(0))
    logits = jax.jit(lambda ids: model.logits(parameters, ids, Context()))
    ids = np.random.default_rng(0).integers(0, 11, (2, LENGTH))
    before = np.asarray(logits(ids))
    for t in range(LENGTH):
        changed = ids.copy()
        changed[:, t:] = (changed[:, t:] + 1 + np.arange(LENGTH - t)) % 11
        after = np.asarray(logits(changed))
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert np.abs(after[:, t] - before[:, t]).max() > 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"cross": True}, "shared_qk=True: allowed is False with cross=True"),
        ({"kv_heads": 1}, "kv_heads=1: allowed is 0 or heads=3 with shared_qk=True"),
        ({"path": "blocks"}, "path='blocks': allowed are auto, plain with shared_qk=True"),
    ],
)
def test_what_it_cannot_be_combined_with_is_refused_by_name(options, message):
    with pytest.raises(ConfigurationError, match=message):
        define(**options)


def test_rotary_positions_are_refused_by_name():
    definition = define()
    sublayer, x = definition.bind(drawn(definition)), jnp.asarray(normal(1, 4, WIDTH))
    message = "model.embedding.positions='rotary': attention with shared_qk=True"
    with pytest.raises(ConfigurationError, match=message):
        sublayer(x, Context(rotary_base=100.0))
    cache = sublayer.init_cache(1, 4, x.dtype, Context())
    with pytest.raises(ConfigurationError, match=message):
        sublayer.step(x[:, :1], cache, Context(rotary_base=100.0, time=jnp.int32(0)))


def test_a_cache_keeps_keys_at_unit_length():
    definition = define()
    sublayer, x = definition.bind(drawn(definition)), jnp.asarray(normal(1, 1, WIDTH))
    cache = sublayer.init_cache(1, 4, x.dtype, Context())
    _, cache = sublayer.step(x, cache, Context(time=jnp.int32(2)))
    lengths = np.linalg.norm(np.asarray(cache.k), axis=-1)[0]
    np.testing.assert_allclose(lengths, [[0, 0, 1, 0]] * 3, atol=1e-6)
