"""Local attention against the full score matrix with a mask, in NumPy and in gradients."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.context import Context
from arch.models import families as models
from arch.models import generation
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition, count
from arch.sublayers.attention.full import rotate
from tests.draws import drawn
from tests.families import always

WIDTH, HEADS, BATCH = 24, 3, 2
CASES = [  # length, chunk, before, after, causal
    (12, 4, 1, 0, True),
    (13, 4, 1, 0, True),
    (13, 4, 1, 1, False),
    (11, 3, 0, 0, True),
    (11, 3, 2, 1, False),
    (10, 1, 3, 0, True),
    (7, 4, 5, 2, False),  # more chunks asked for than there are
    (6, 64, 1, 0, True),
    (1, 4, 1, 0, True),
    (5, 2, 1, 0, False),
]


def define(kind="local_attention", **options) -> Definition:
    return Definition(functools.partial(sublayers.get(kind), WIDTH, heads=HEADS, **options))


def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def padding(length):
    mask = np.ones((BATCH, length), bool)
    mask[0, length - length // 3 :] = mask[1, : length // 4] = mask[1, length // 2] = False
    return mask


def seen(length, chunk, before, after, causal):
    """Which key every query sees, from the definition."""
    allowed = np.zeros((length, length), bool)
    for query, key in np.ndindex(length, length):
        chunks_away = key // chunk - query // chunk
        allowed[query, key] = -before <= chunks_away <= after and (key <= query or not causal)
    return allowed


def by_the_full_matrix(p, x, allowed, turn=lambda y: y, maths=np):
    """Masked attention over all keys: allowed (batch or 1, queries, keys)."""

    def project(name, y):
        y = y @ p[name]["kernel"]
        return y + p[name]["bias"][None, None] if "bias" in p[name] else y

    q, k, v = (project(n, x).reshape(*x.shape[:2], HEADS, -1) for n in ("query", "key", "value"))
    scores = maths.einsum("bqhd,bkhd->bhqk", turn(q), turn(k)) / math.sqrt(q.shape[-1])
    scores = maths.where(allowed[:, None], scores, -1e30)
    weights = maths.exp(scores - scores.max(-1, keepdims=True))
    mixed = maths.einsum("bhqk,bkhd->bqhd", weights / weights.sum(-1, keepdims=True), v)
    return project("output", mixed.reshape(*x.shape[:2], -1))


def local(definition, parameters, x, **context):
    return definition.bind(parameters)(jnp.asarray(x), Context(**context))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length, chunk, before, after, causal", CASES)
def test_it_is_the_full_matrix_masked(length, chunk, before, after, causal, masked, float64):
    definition = define(chunk=chunk, before=before, after=after, bias=length % 2 > 0)
    p, x = drawn(definition, jnp.float64), normal(BATCH, length, WIDTH, dtype=np.float64)
    allowed, mask = seen(length, chunk, before, after, causal)[None], padding(length)
    if masked:
        allowed = allowed & mask[:, None]
    run = functools.partial(local, definition, causal=causal)
    y = jax.jit(run)(p, x, mask=jnp.asarray(mask) if masked else None)
    expected = by_the_full_matrix(jax.tree.map(np.asarray, p), x, allowed)
    somewhere = np.broadcast_to(allowed.any(-1), x.shape[:2])
    assert masked or somewhere.all()
    close = functools.partial(np.testing.assert_allclose, atol=1e-10, rtol=0)
    close(np.asarray(y)[somewhere], expected[somewhere])
    assert np.all(np.isfinite(y))


@pytest.mark.parametrize("case", [1, 4, 6])
def test_gradients_are_those_of_the_full_matrix(case, assert_close):
    length, chunk, before, after, causal = CASES[case]
    definition = define(chunk=chunk, before=before, after=after)
    p, x = drawn(definition), jnp.asarray(normal(BATCH, length, WIDTH))
    mask, towards = padding(length), jnp.asarray(normal(BATCH, length, WIDTH, seed=3))
    allowed = jnp.asarray(seen(length, chunk, before, after, causal)[None] & mask[:, None])
    towards = towards * allowed.any(-1)[..., None]

    def gradients(run):
        return jax.jit(jax.grad(lambda p, x: (run(p, x) * towards).sum(), (0, 1)))(p, x)

    actual = gradients(functools.partial(local, definition, causal=causal, mask=jnp.asarray(mask)))
    expected = gradients(functools.partial(by_the_full_matrix, allowed=allowed, maths=jnp))
    assert_close(actual, expected)


def test_a_chunk_as_long_as_the_sequence_is_full_attention(assert_close):
    definition, full = define(chunk=16), define("attention")
    p, x = drawn(definition), jnp.asarray(normal(BATCH, 9, WIDTH))
    for context in (Context(), Context(causal=False), Context(rotary_base=100.0)):
        assert_close(definition.bind(p)(x, context), full.bind(p)(x, context)[0])


def test_rotary_positions_are_those_of_the_sequence(assert_close):
    definition = define(chunk=4)
    p, x = drawn(definition), jnp.asarray(normal(BATCH, 10, WIDTH))
    where = jnp.asarray(np.random.default_rng(2).integers(0, 90, (BATCH, 10)))
    turn = functools.partial(rotate, positions=where, base=100.0)
    allowed = jnp.asarray(seen(10, 4, 1, 0, True)[None])
    expected = by_the_full_matrix(p, x, allowed, turn, jnp)
    assert_close(local(definition, p, x, positions=where, rotary_base=100.0), expected)


def test_changing_a_token_changes_what_sees_it_and_nothing_else():
    chunk, length = 3, 11
    definition = define(chunk=chunk)
    p, x = drawn(definition), normal(1, length, WIDTH)
    run = jax.jit(functools.partial(local, definition, p))
    before = np.asarray(run(x))
    for t in range(length):
        changed = x.copy()
        changed[:, t] += 1
        differs = np.any(np.asarray(run(changed)) != before, axis=-1)[0]
        np.testing.assert_array_equal(differs, seen(length, chunk, 1, 0, True)[:, t])


def test_no_chunk_stands_before_the_first_or_after_the_last():
    definition = define(chunk=3, before=1, after=1)
    p, x = drawn(definition), normal(1, 12, WIDTH)
    run = jax.jit(functools.partial(local, definition, p, causal=False))
    before, changed = np.asarray(run(x)), x.copy()
    changed[:, 9:] += 1
    after = np.asarray(run(changed))
    np.testing.assert_array_equal(after[:, :6], before[:, :6])
    changed = x.copy()
    changed[:, :3] += 1
    np.testing.assert_array_equal(np.asarray(run(changed))[:, 6:], before[:, 6:])


@pytest.mark.slow
def test_a_sequence_that_is_all_padding_gets_finite_outputs_and_gradients():
    definition, x = define(chunk=3), jnp.asarray(normal(BATCH, 8, WIDTH))
    mask = jnp.zeros((BATCH, 8), bool).at[0].set(True)

    def total(p, x):
        return local(definition, p, x, mask=mask).sum()

    found = jax.value_and_grad(total, (0, 1))(drawn(definition), x)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))


def test_it_runs_replicated_and_in_bfloat16(assert_close):
    definition, x = define(chunk=4), jnp.asarray(normal(BATCH, 10, WIDTH))
    replicas = [drawn(definition, seed=seed) for seed in (1, 2)]
    run = functools.partial(local, definition)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *replicas)
    together = jax.jit(jax.vmap(run, (0, None)))(stacked, x)
    assert_close(together, jnp.stack([run(p, x) for p in replicas]))
    half = run(replicas[0], x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    assert_close(half, together[0], 0.05)


def test_dropout_keeps_the_mean_and_is_off_at_evaluation(same_bytes):
    definition, x = define(chunk=2, attention_dropout=0.4), normal(1, 5, WIDTH)
    p = drawn(definition)
    expected = np.asarray(local(definition, p, x))
    assert same_bytes(local(define(chunk=2), p, x), expected)

    @jax.jit
    @jax.vmap
    def dropped(seed):
        return local(definition, p, x, key=jax.random.key(seed), train=True)

    samples = np.asarray(dropped(jnp.arange(2000)))
    error = samples.std(0) / math.sqrt(len(samples))
    assert error.min() > 0
    assert np.all(np.abs(samples.mean(0) - expected) < 6 * error + 1e-5)


def test_its_parameters_are_those_of_attention_and_its_flops_are_linear():
    assert define(chunk=4).shapes == define("attention").shapes
    assert count(define(bias=False).shapes) == 4 * WIDTH * WIDTH
    module = define(chunk=4, before=2).module
    assert module.flops(100) == 100 * (4 * 2 * WIDTH**2 + 2 * 2 * WIDTH * 12)
    assert module.flops(10) == 10 * (4 * 2 * WIDTH**2 + 2 * 2 * WIDTH * 10)


def test_its_memory_is_linear_in_the_length():
    definition = define(chunk=16)

    def largest(length):
        x = jax.ShapeDtypeStruct((1, length, WIDTH), jnp.float32)
        jaxpr = jax.make_jaxpr(functools.partial(local, definition))(definition.shapes, x)
        return max(v.aval.size for e in jaxpr.jaxpr.eqns for v in e.outvars)

    assert largest(1024) == 2 * largest(512)


def test_a_ring_is_as_long_as_what_a_query_sees():
    sublayer = define(chunk=4, before=2).module
    shapes = jax.eval_shape(lambda: sublayer.init_cache(5, 100, jnp.bfloat16, Context()))
    assert {(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(shapes)} == {
        ((5, HEADS, 12, WIDTH // HEADS), jnp.dtype("bfloat16"))
    }
    short = jax.eval_shape(lambda: sublayer.init_cache(5, 7, jnp.float32, Context()))
    assert short.room == 7


@pytest.mark.parametrize("positions", always(["sinusoidal", "rotary"], ("rotary",)))
def test_a_decoder_speaks_the_same_with_a_cache_and_without(positions):
    letters = {
        "l": {"kind": "local_attention", "heads": HEADS, "chunk": 3},
        "s": {"kind": "attention", "heads": HEADS, "shared_qk": positions != "rotary"},
    }
    made = config.make(
        model={
            "width": WIDTH,
            "order": "(lf)2 sf",
            "sublayers": letters,
            "embedding": {"positions": positions},
        }
    )
    model = models.build(made.model, 11, 20)
    assert generation.can_cache(model)
    parameters = jax.tree.map(lambda a: 3 * a, model.init(jax.random.key(0)))
    prompt = generation.Prompt(None, jnp.array([[3, 5], [7, 0]]), jnp.array([2, 1]), 14, -1)
    cached, anew = (
        jax.jit(lambda p, c=cached: generation.decode(model, p, prompt, cached=c))(parameters)
        for cached in (True, False)
    )
    np.testing.assert_array_equal(cached, anew)
    assert len(np.unique(cached)) > 2


@pytest.mark.parametrize(
    "options, message",
    [
        ({"chunk": 0}, "chunk=0: allowed is 1 or more"),
        ({"before": -1}, "before=-1: allowed is 0 or more"),
        ({"after": -1}, "after=-1: allowed is 0 or more"),
        ({"head_width": -1}, "head_width=-1: allowed is 0"),
        ({"attention_dropout": 1.0}, "attention_dropout=1.0: allowed is 0 to below 1"),
        ({"init_std": -0.1}, "init_std=-0.1"),
    ],
)
def test_it_refuses_what_it_cannot_do(options, message):
    with pytest.raises(ConfigurationError, match=message):
        define(**options)


def test_a_causal_model_refuses_chunks_after():
    definition = define(chunk=3, after=1)
    with pytest.raises(ConfigurationError, match="after=1: allowed is 0 in a causal model"):
        local(definition, drawn(definition), normal(1, 5, WIDTH))
    letters = {"l": {"kind": "local_attention", "heads": HEADS, "after": 1}}
    model = {"width": WIDTH, "order": "lf", "sublayers": letters}
    with pytest.raises(ConfigurationError, match="l.kind='local_attention' is not causal"):
        models.build(config.make(model=model).model, 11, 20)
    assert models.build(config.make(model={**model, "family": "encoder"}).model, 11, 20)
