"""LSH attention: against brute force from the equations, causality, cached decoding, options."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.context import Context
from arch.models import families as models
from arch.registry import ConfigurationError
from arch.stacks.parameters import Definition
from arch.sublayers.attention import dot_product, hashing
from arch.sublayers.attention.lsh import LSHAttention
from tests.families import always

ALONE = -1e5


def seen_in(buckets, chunk, causal, mask):
    """(group, rounds, query, key) by the words: same bucket, at most `chunk` places on."""
    groups, rounds, length = buckets.shape
    seen = np.zeros((groups, rounds, length, length), bool)
    for g, r, i in np.ndindex(groups, rounds, length):
        if mask[g, i]:
            mine = [j for j in range(length) if buckets[g, r, j] == buckets[g, r, i] and mask[g, j]]
            at = mine.index(i)
            seen[g, r, i, mine[max(0, at - chunk) : at + 1 + (0 if causal else chunk)]] = True
    return seen


def attention_over(q, k, v, times):
    """softmax(q k) v where `times` (group, query, key) is how often a pair counts, 0 never; itself
    where there is nothing else."""
    with np.errstate(divide="ignore"):
        logits = np.einsum("gid,gjd->gij", q, k) + np.log(times.astype(np.float64))
    logits = np.where(np.eye(q.shape[1], dtype=bool), ALONE, logits)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def drawn(length, rounds, kinds, groups=3, width=5, seed=0):
    rng = np.random.default_rng(seed)
    q, k, v = rng.standard_normal((3, groups, length, width))
    return q, k, v, rng.integers(0, kinds, (groups, rounds, length)).astype(np.int32)


def attend(q, k, v, buckets, *, chunk, causal, mask=None, remove_duplicates=True):
    return hashing.attend_within_buckets(
        *map(jnp.asarray, (q, k, v, buckets)),
        chunk=chunk,
        causal=causal,
        mask=None if mask is None else jnp.asarray(mask),
        dropping=None,
        remove_duplicates=remove_duplicates,
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("length", "chunk", "rounds", "kinds"),
    always(
        (
            (37, 8, 1, 4),  # no multiple of the chunk
            (64, 8, 3, 6),
            (40, 8, 2, 2),  # overfull buckets
            (24, 8, 2, 1),  # one bucket
            (8, 8, 2, 2),  # one chunk
            (16, 8, 4, 3),  # two chunks: the one before is the one after
            (9, 8, 3, 2),
        ),
        lambda case: case[0] in (16, 40),
    ),
)
def test_it_is_the_softmax_over_all_that_the_rounds_show(
    length, chunk, rounds, kinds, causal, masked, float64
):
    q, k, v, buckets = drawn(length, rounds, kinds)
    ends = np.array([length, length // 2, length - 3]) if masked else np.full(3, length)
    mask = np.arange(length)[None] < ends[:, None]
    ours = attend(q, k, v, buckets, chunk=chunk, causal=causal, mask=mask if masked else None)
    seen = seen_in(buckets, chunk, causal, mask)
    np.testing.assert_allclose(
        np.asarray(ours)[mask], attention_over(q, k, v, seen.any(1))[mask], rtol=0, atol=1e-12
    )
    again = attend(
        q, k, v, buckets, chunk=chunk, causal=causal, mask=mask if masked else None,
        remove_duplicates=False,
    )  # fmt: skip
    counted = attention_over(q, k, v, seen.sum(1))
    np.testing.assert_allclose(np.asarray(again)[mask], counted[mask], rtol=0, atol=1e-12)


@pytest.mark.parametrize("rounds", always([1, 4], (4,)))
def test_in_one_bucket_and_two_chunks_it_is_full_attention(rounds, float64):
    """Where all is seen: equality with shared queries and keys, several rounds included."""
    q, k, v, buckets = drawn(16, rounds, 1)
    ours = attend(q, k, v, buckets, chunk=8, causal=True)
    full = np.tri(16, dtype=bool)[None].repeat(3, 0)
    near = full & ~np.tri(16, k=-9, dtype=bool)[None]
    np.testing.assert_allclose(ours, attention_over(q, k, v, near), rtol=0, atol=1e-12)
    whole = attend(q, k, v, buckets, chunk=16, causal=True)
    np.testing.assert_allclose(whole, attention_over(q, k, v, full), rtol=0, atol=1e-12)
    twice = attend(q, k, v, buckets, chunk=16, causal=True, remove_duplicates=False)
    # every pair counts as often: the same, but for what sees nothing else than itself
    np.testing.assert_allclose(twice, whole, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_duplicates_matter_where_rounds_differ(float64):
    q, k, v, buckets = drawn(64, 3, 4)
    both = [attend(q, k, v, buckets, chunk=8, causal=True, remove_duplicates=d) for d in (0, 1)]
    assert np.abs(np.asarray(both[0]) - np.asarray(both[1])).max() > 0.1


@pytest.mark.parametrize("causal", always([True, False], [True]))
def test_gradients_are_those_of_the_dense_form(causal, float64):
    q, k, v, buckets = drawn(40, 2, 3)
    seen = seen_in(buckets, 8, causal, np.ones((3, 40), bool)).any(1)

    def dense(q, k, v):
        logits = jnp.where(seen, jnp.einsum("gid,gjd->gij", q, k), -jnp.inf)
        logits = jnp.where(jnp.eye(40, dtype=bool)[None], ALONE, logits)
        return jnp.sum(jnp.sin(jax.nn.softmax(logits) @ v))

    def ours(q, k, v):
        return jnp.sum(jnp.sin(attend(q, k, v, buckets, chunk=8, causal=causal)))

    inputs = tuple(map(jnp.asarray, (q, k, v)))
    for a, b in zip(*(jax.grad(f, (0, 1, 2))(*inputs) for f in (ours, dense)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


# The sublayer


def build(width=16, **options):
    return Definition(functools.partial(LSHAttention, width, **{"heads": 2, **options}))


def called(definition, parameters, x, context=None):
    """(y, extras) of a call, compiled."""
    run = jax.jit(lambda p, x, c: definition.bind(p)(x, c))
    return run(parameters, x, context or Context())


def inputs(length, width=16, batch=2, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((batch, length, width)), dtype)


@pytest.mark.parametrize("key_norm", ["unit", "rms"])
def test_the_sublayer_is_the_equations(key_norm, float64):
    """Projections, keys, scale, buckets by argmax([qR; -qR]), the rounds together."""
    length, chunk, rounds = 48, 8, 2
    definition = build(chunk=chunk, rounds=rounds, key_norm=key_norm)
    parameters = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float64), definition.init(jax.random.key(1))
    )
    x, context = inputs(length, dtype=jnp.float64), Context(key=jax.random.key(5))
    y, extras = called(definition, parameters, x, context)
    p = jax.tree.map(np.asarray, parameters)
    q, v = (
        (np.asarray(x) @ p[name]["kernel"])
        .reshape(2, length, 2, 8)
        .swapaxes(1, 2)
        .reshape(4, length, 8)
        for name in ("query", "value")
    )
    k = q / np.linalg.norm(q, axis=-1, keepdims=True)
    k = (
        k / np.sqrt(8)
        if key_norm == "unit"
        else q / np.sqrt((q**2).mean(-1, keepdims=True) + 1e-6) / np.sqrt(8)
    )
    buckets = np.asarray(extras.replay["buckets"])
    sizes = hashing.buckets_for(length, chunk)
    (matrix,) = hashing.rotations(hashing_key(context), 2, 8, rounds, sizes, jnp.float32)
    turned = np.einsum(
        "bhld,hdrn->bhrln", q.reshape(2, 2, length, 8), np.asarray(matrix, np.float64)
    )
    np.testing.assert_array_equal(buckets, np.argmax(np.concatenate([turned, -turned], -1), -1))
    assert buckets.max() < sizes[0] == 16
    seen = seen_in(buckets.reshape(4, rounds, length), chunk, True, np.ones((4, length), bool))
    wanted = attention_over(q, k, v, seen.any(1)).reshape(2, 2, length, 8)
    wanted = wanted.swapaxes(1, 2).reshape(2, length, 16) @ p["output"]["kernel"]
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-11)


def hashing_key(context):
    from arch.context import named

    return named(context.key, "rotations")


def test_a_sequence_of_one_chunk_is_exact_attention(float64):
    definition = build(chunk=32)
    parameters = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float64), definition.init(jax.random.key(1))
    )
    x = inputs(30, dtype=jnp.float64)
    y, extras = called(definition, parameters, x)
    assert extras.replay == {}
    p = jax.tree.map(np.asarray, parameters)
    q, v = (
        (np.asarray(x) @ p[name]["kernel"]).reshape(2, 30, 2, 8).swapaxes(1, 2).reshape(4, 30, 8)
        for name in ("query", "value")
    )
    k = q / np.linalg.norm(q, axis=-1, keepdims=True) / np.sqrt(8)
    wanted = attention_over(q, k, v, np.tri(30, dtype=bool)[None].repeat(4, 0)).reshape(2, 2, 30, 8)
    wanted = wanted.swapaxes(1, 2).reshape(2, 30, 16) @ p["output"]["kernel"]
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-11)
    # the longest sequence decides, not the one at hand
    _, extras = called(definition, parameters, x, Context(max_length=64))
    assert extras.replay["buckets"].shape == (2, 2, 2, 30)


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("rounds", always([1, 4], (4,)))
def test_no_past_output_changes_with_the_future(rounds, skewed):
    """By perturbation: no gradient flows through a sort. Skewed inputs overfill few buckets."""
    definition = build(chunk=8, rounds=rounds, buckets=(4,) if skewed else ())
    parameters = definition.init(jax.random.key(1))
    bound = definition.bind(parameters)
    x = inputs(96)
    x = x + 5.0 if skewed else x
    run = jax.jit(lambda x: bound(x, Context(key=jax.random.key(2)))[0])
    before = run(x)
    if skewed:
        context = Context(key=jax.random.key(2))
        buckets = called(definition, parameters, x, context)[1].replay["buckets"]
        assert np.bincount(np.asarray(buckets[0, 0, 0])).max() > 16  # two chunks do not hold it
    for at in (1, 17, 40, 64, 95):
        changed = run(x.at[:, at:].set(-2 * inputs(96, seed=at)[:, at:]))
        np.testing.assert_array_equal(changed[:, :at], before[:, :at])
        assert not np.allclose(changed[:, at:], before[:, at:])


def test_across_buckets_the_future_moves_the_past():
    """Why it is not the default, and why a decoder refuses it."""
    definition = build(chunk=8, rounds=2, attend_across_buckets=True)
    bound = definition.bind(definition.init(jax.random.key(1)))
    x = inputs(96)
    run = jax.jit(lambda x: bound(x, Context(key=jax.random.key(2)))[0])
    changed = run(x.at[:, 40:].set(inputs(96, seed=3)[:, 40:]))
    moved = np.abs(np.asarray(changed - run(x))).max(-1)[:, :40] > 1e-6
    assert moved.mean() > 0.3
    letters = {"s": {"kind": "lsh_attention", "attend_across_buckets": True, "heads": 2}}
    model = config.make(model={"width": 16, "order": "sf", "sublayers": letters}).model
    with pytest.raises(ConfigurationError, match="kind='lsh_attention' is not causal"):
        models.build(model, 32, 64)


@pytest.mark.parametrize(
    "options",
    always(
        (
            {}, {"rounds": 1}, {"remove_duplicates": False}, {"evaluate_rounds": 3},
            {"buckets": (2, 4)},
        ),
        ({"buckets": (2, 4)},),
    ),
)  # fmt: skip
def test_decoding_token_by_token_is_the_parallel_call(options):
    letters = {"s": {"kind": "lsh_attention", "heads": 2, "chunk": 8, **options}}
    model = config.make(
        model={
            "width": 16,
            "order": "(sf)2",
            "sublayers": {**letters, "f": {"kind": "feed_forward"}},
        }
    ).model
    built = models.build(model, 32, 48)
    parameters = built.init(jax.random.key(0))
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 32, (2, 41)))
    whole = jax.jit(lambda p: built.logits(p, ids, Context()))(parameters)
    cache = built.init_cache(parameters, 2, 48, Context())
    step = jax.jit(lambda p, t, c, at: built.step(p, t, c, Context(time=at)))
    for at in range(ids.shape[1]):
        logits, cache = step(parameters, ids[:, at], cache, jnp.int32(at))
        np.testing.assert_allclose(logits, whole[:, at], rtol=0, atol=2e-5)


def test_padding_changes_no_token_and_odd_lengths_run():
    definition = build(chunk=8)
    parameters = definition.init(jax.random.key(1))
    x = inputs(45)
    context = Context(key=jax.random.key(2), max_length=64, causal=False)
    short = called(definition, parameters, x[:, :29], context)[0]
    mask = jnp.broadcast_to(jnp.arange(45) < 29, (2, 45))
    padded = called(definition, parameters, x, context.replace(mask=mask))[0]
    np.testing.assert_allclose(padded[:, :29], short, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_more_rounds_come_nearer_to_full_attention():
    x, gaps = inputs(256, batch=4), []
    definition = build(chunk=8)
    parameters = definition.init(jax.random.key(1))
    bound = definition.bind(parameters)
    q, v = bound._split(bound.query(x)), bound._split(bound.value(x))
    full, _ = dot_product.attend(
        q, dot_product.keys_of(q, "unit"), v, causal=True, window=0, mask=None, dropping=None,
        want_weights=False, path="plain", platform="cpu", own=jnp.arange(256),
    )  # fmt: skip
    full = bound.output(full.reshape(4, 256, -1))
    for rounds in (1, 2, 6):
        context = Context(key=jax.random.key(3))
        near = called(build(chunk=8, rounds=rounds), parameters, x, context)[0]
        gaps.append(float(jnp.mean((near - full) ** 2)))
    assert gaps[0] > gaps[1] > gaps[2]


def test_evaluation_may_have_other_rounds():
    definition = build(chunk=8, rounds=1, evaluate_rounds=4)
    parameters, x = definition.init(jax.random.key(1)), inputs(48)
    for train, rounds in ((True, 1), (False, 4)):
        context = Context(key=jax.random.key(2), train=train)
        shapes = jax.eval_shape(lambda p, c: definition.bind(p)(x, c)[1], parameters, context)
        assert shapes.replay["buckets"].shape == (2, 2, rounds, 48)


@pytest.mark.parametrize("dtype", always(["float32", "bfloat16"], ("float32",)))
def test_it_trains_inside_jit_and_vmap(dtype):
    bound = build(chunk=8, attention_dropout=0.1)
    parameters = bound.init(jax.random.key(1))

    def loss(parameters, x, key):
        context = Context(key=key, train=True, has_dropout=True)
        return jnp.sum(bound.bind(parameters)(x, context)[0].astype(jnp.float32) ** 2)

    x = inputs(40, dtype=jnp.dtype(dtype))[None].repeat(3, 0)
    keys = jax.random.split(jax.random.key(0), 3)
    gradient = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))(parameters, x, keys)
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all() and np.abs(np.asarray(leaf)).max() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "rounds=0: allowed is 1 or more"),
        ({"chunk": 0}, "chunk=0: allowed is 1 or more"),
        ({"buckets": (3,)}, r"buckets=\(3,\): allowed are even numbers"),
        ({"heads": 3}, "heads=3 does not divide width=16"),
        ({"key_norm": "l1"}, "key_norm='l1': allowed are unit, rms"),
        ({"after": 1}, "after=1: allowed are 1 and 0 unless attend_across_buckets"),
        ({"attention_dropout": 1.0}, "attention_dropout=1.0"),
    ],
)
def test_bad_options_are_refused_by_name(options, message):
    with pytest.raises(ConfigurationError, match=message):
        build(**options)


def test_rotary_positions_are_refused():
    letters = {"s": {"kind": "lsh_attention", "heads": 2}}
    model = config.make(
        model={
            "width": 16,
            "order": "sf",
            "sublayers": letters,
            "embedding": {"positions": "rotary"},
        }
    ).model
    with pytest.raises(ConfigurationError, match="positions='rotary': lsh_attention has no place"):
        models.build(model, 32, 16)
