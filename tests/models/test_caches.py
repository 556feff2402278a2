"""Decoding a token at a time with a cache is the parallel call, whatever the kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch.context import Context
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition
from arch.sublayers.contract import Sublayer
from tests.draws import drawn
from tests.families import always

WIDTH, LENGTH, BATCH, ROOM = 32, 9, 3, 12  # the cache has room for more than is decoded
KINDS = sublayers.names()
POSITIONWISE = tuple(k for k in KINDS if sublayers.get(k).positionwise)
# by default: a mixture of experts has a cache where it has a capacity
STEPPING = tuple(kind for kind in KINDS if sublayers.get(kind).step is not Sublayer.step)
CACHED = tuple(kind for kind in STEPPING if kind not in POSITIONWISE)
# Beside each kind's defaults
OPTIONS = {
    "attention": (
        {"heads": 4, "kv_heads": 2},
        {"heads": 4, "kv_heads": 1, "window": 3},
        {"heads": 2, "head_width": 7, "window": 1, "bias": False},
        {"path": "blocks"},
        {"shared_qk": True},
        {"shared_qk": True, "heads": 4, "window": 3, "bias": False},
    ),
    "local_attention": (
        {"chunk": 2, "before": 2},
        {"chunk": 3, "before": 0, "heads": 4, "bias": False},
        {"chunk": 4, "heads": 2, "head_width": 7},
    ),
    "gru": ({"inner_width": 20},),
    "lstm": ({"inner_width": 20},),
    "delta": ({"heads": 2, "decay": False, "negative_eigenvalues": True, "chunk": 4},),
    "mamba": ({"state": 3, "rank": 1, "kernel_size": 2, "chunk": 4, "selection_norm": True},),
    "mamba2": ({"groups": 2, "head_width": 8, "state": 6, "kernel_size": 1, "chunk": 4},),
    "minlstm": ({"inner_width": 20, "chunk": 4, "bias": False},),
    "cgru": ({"kernel_size": 4, "cutoff": 1.2},),
    "separable_convolution": (
        {"first_kernel_size": 1, "second_kernel_size": 2, "bias": False},
        {"first_kernel_size": 11, "second_kernel_size": 1, "activation": "silu"},
    ),
}
CASES = [(kind, options) for kind in CACHED for options in ({}, *OPTIONS.get(kind, ()))]
USUAL = [  # every kind as it is by default, where a cache is used up, and with heads of their own
    (kind, options)
    for kind, options in CASES
    if not options or "window" in options or "before" in options or "groups" in options
]
PADDED = ("attention", "local_attention", "gru", "mamba2", "rwkv6", "separable_convolution")
MASK = np.array(
    [[1, 1, 1, 1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 0, 1, 1, 1, 1]], bool
)
ROOMY = np.pad(MASK, ((0, 0), (0, ROOM - LENGTH)), constant_values=True)


def normal(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32), dtype)


def made(kind, **options):
    """A sublayer with every parameter random."""
    definition = Definition(functools.partial(sublayers.get(kind), WIDTH, **options))
    return definition.bind(drawn(definition))


def parallel(sublayer, x, context=None):
    @jax.jit
    def run(x):
        y = sublayer(x, context or Context())
        return y[0] if isinstance(y, tuple) else y

    return run(x)


def decoded(sublayer, x, context=None, positions=None):
    """Outputs of one compiled loop over steps; positions (batch, length), a column a step."""
    context = context or Context()

    @jax.jit
    def run(x):
        def body(cache, time):
            token = jax.lax.dynamic_slice_in_dim(x, time, 1, axis=1)
            here = context.replace(time=time)
            if positions is not None:
                column = jax.lax.dynamic_slice_in_dim(positions, time, 1, axis=1)
                here = here.replace(positions=column)
            y, cache = sublayer.step(token, cache, here)
            return cache, y[:, 0]

        cache = sublayer.init_cache(len(x), ROOM, x.dtype, context)
        return jax.lax.scan(body, cache, jnp.arange(x.shape[1]))[1].swapaxes(0, 1)

    return run(x)


def case(kind, options):
    """(sublayer, inputs, its parallel call, its decoding by steps) of a kind and options. The last
    two are functions of whether the MASK is given, and are computed once for all tests."""
    return known(kind, tuple(options.items()))


@functools.cache
def known(kind, options):
    sublayer, x = made(kind, **dict(options)), normal(BATCH, LENGTH, WIDTH)

    @functools.cache
    def at_once(masked):
        return np.asarray(
            parallel(sublayer, x, Context(mask=jnp.asarray(MASK) if masked else None))
        )

    @functools.cache
    def by_steps(masked):
        return np.asarray(
            decoded(sublayer, x, Context(mask=jnp.asarray(ROOMY) if masked else None))
        )

    return sublayer, x, at_once, by_steps


def test_a_cache_comes_with_its_step_and_not_to_a_kind_that_needs_none():
    assert {"attention", "local_attention", "lstm", "separable_convolution"} <= set(CACHED)
    assert "feed_forward" in POSITIONWISE
    assert STEPPING == tuple(kind for kind in KINDS if made(kind).cached)
    assert set(STEPPING) - set(CACHED) == {"mixture_of_experts"}
    assert POSITIONWISE == tuple(kind for kind in KINDS if made(kind).positionwise)


@pytest.mark.parametrize("kind", always(POSITIONWISE, ("feed_forward",)))
def test_a_positionwise_kind_computes_a_token_alone(kind, assert_close):
    sublayer, x = made(kind), normal(BATCH, LENGTH, WIDTH)
    alone = [parallel(sublayer, x[:, t : t + 1]) for t in range(LENGTH)]
    assert_close(jnp.concatenate(alone, axis=1), parallel(sublayer, x))


@pytest.mark.parametrize("kind, options", always(CASES, USUAL))
def test_stepping_is_the_parallel_call(kind, options, assert_close):
    _, _, at_once, by_steps = case(kind, options)
    assert_close(by_steps(False), at_once(False))


SEVERAL = [(kind, options) for kind, options in CASES if made(kind, **options).several]


def test_every_kind_reads_a_prompt_at_once_but_these():
    assert set(CACHED) - {kind for kind, _ in SEVERAL} == {
        "fixed_window", "local_attention", "lsh_attention"
    }  # fmt: skip


@pytest.mark.parametrize(
    "kind, options", always(SEVERAL, lambda case: case[0] in PADDED and case in USUAL)
)
def test_a_step_of_several_tokens_is_as_many_steps(kind, options, assert_close):
    sublayer, x, _, by_steps = case(kind, options)
    for masked in (False, True)[: 1 + (kind in PADDED)]:
        mask = jnp.asarray(ROOMY) if masked else None

        @jax.jit
        def in_parts(x, mask=mask):
            cache = sublayer.init_cache(BATCH, ROOM, x.dtype, Context())
            parts = []
            for start, end in ((0, 4), (4, 5), (5, LENGTH)):
                now = Context(time=jnp.int32(start), mask=mask)
                y, cache = sublayer.step(x[:, start:end], cache, now)
                parts.append(y)
            return jnp.concatenate(parts, axis=1)

        where = MASK if masked else slice(None)
        assert_close(np.asarray(in_parts(x))[where], by_steps(masked)[where])


@pytest.mark.parametrize(
    "kind, options",
    always(
        [c for c in CASES if c[1].get("path") != "blocks"],
        lambda case: not case[1] and case[0] in PADDED,
    ),
)
def test_stepping_past_padding_is_the_parallel_call_with_its_mask(kind, options, assert_close):
    _, _, at_once, by_steps = case(kind, options)
    assert_close(by_steps(True)[MASK], at_once(True)[MASK])
    differs = np.abs(at_once(False)[MASK] - at_once(True)[MASK]).max() > 1e-3
    assert differs == (options.get("window") != 1)


@pytest.mark.parametrize(
    "kind", always(CACHED, ("attention", "lsh_attention", "lstm", "mamba2", "rwkv4"))
)
def test_stepping_is_the_parallel_call_in_bfloat16(kind, assert_close):
    sublayer, x, at_once, _ = case(kind, {})
    y = decoded(sublayer, x.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    assert_close(y, at_once(False), 0.05)


@pytest.mark.parametrize(
    "kind", always(CACHED, ("attention", "lsh_attention", "lstm", "mamba2", "rwkv4"))
)
def test_a_caches_rows_are_its_sequences_so_that_they_may_be_reordered(kind, same_bytes):
    sublayer, x = made(kind), normal(BATCH, LENGTH, WIDTH)
    cache = sublayer.init_cache(BATCH, ROOM, x.dtype, Context())
    leaves = jax.tree.leaves(cache)
    assert leaves and all(leaf.shape[0] == BATCH for leaf in leaves)
    step = jax.jit(lambda x, cache, time: sublayer.step(x, cache, Context(time=time)))
    x = np.asarray(x)
    for t in range(4):
        expected, after = step(x[:, t : t + 1], cache, t)
        turned = jax.tree.map(lambda leaf: np.asarray(leaf)[::-1], cache)
        y, _ = step(x[::-1, t : t + 1], turned, t)
        assert same_bytes(y[::-1], expected)
        cache = after


# Attention

ROTARY = Context(rotary_base=100.0)


@pytest.mark.parametrize(
    "kind, options",
    [
        ("attention", {}),
        ("attention", {"heads": 4, "kv_heads": 2, "window": 4}),
        ("local_attention", {"chunk": 2}),
    ],
)
def test_rotary_steps_are_turned_by_their_time(kind, options, assert_close):
    sublayer, x, at_once, _ = case(kind, options)
    expected = parallel(sublayer, x, ROTARY)
    assert_close(decoded(sublayer, x, ROTARY), expected)
    assert np.abs(np.asarray(expected) - at_once(False)).max() > 1e-2


@pytest.mark.parametrize("kind", ["attention", "local_attention"])
@pytest.mark.parametrize("rows", [1, BATCH])
def test_rotary_steps_are_turned_by_their_positions_where_these_are_given(rows, kind, assert_close):
    sublayer, x = made(kind), normal(BATCH, LENGTH, WIDTH)
    positions = np.random.default_rng(2).integers(0, 50, (rows, LENGTH))
    positions = jnp.asarray(positions, jnp.int32)
    expected = parallel(sublayer, x, ROTARY.replace(positions=positions))
    assert_close(decoded(sublayer, x, ROTARY, positions), expected)
    assert np.abs(np.asarray(expected - parallel(sublayer, x, ROTARY))).max() > 1e-2


@pytest.mark.parametrize("kind", ["attention", "local_attention"])
def test_what_stands_in_the_cache_after_a_token_is_not_seen(kind, same_bytes):
    sublayer, x = made(kind), normal(BATCH, 1, WIDTH)
    cache = sublayer.init_cache(BATCH, ROOM, x.dtype, Context())

    def harmed(leaf):
        later = np.arange(leaf.shape[1]).reshape(-1, *[1] * (leaf.ndim - 2)) >= 1
        return np.where(later, np.float32(100), leaf)

    rubbish = jax.tree.map(harmed, cache)
    assert any((leaf == 100).any() for leaf in jax.tree.leaves(rubbish))
    step = jax.jit(lambda cache: sublayer.step(x, cache, Context(time=jnp.int32(0)))[0])
    assert same_bytes(step(rubbish), step(cache))


@pytest.mark.parametrize("options", [{}, {"heads": 4, "kv_heads": 2}])
@pytest.mark.parametrize("masked", [False, True])
def test_steps_of_cross_attention_read_the_memory(options, masked, assert_close):
    sublayer, x = made("attention", cross=True, **options), normal(BATCH, LENGTH, WIDTH)
    memory = normal(BATCH, 5, WIDTH, seed=9)
    context = Context(memory=memory, rotary_base=100.0)  # which is for self-attention alone
    if masked:
        context = context.replace(memory_mask=jnp.asarray(MASK[:, :5]))
    expected = parallel(sublayer, x, context)
    assert_close(decoded(sublayer, x, context), expected)
    cut = parallel(sublayer, x, Context(memory=memory))
    assert (np.abs(np.asarray(expected - cut)).max() > 1e-2) == masked


def test_cross_attention_reads_the_memory_into_its_cache_once():
    sublayer = made("attention", cross=True, heads=4, kv_heads=2)
    context = Context(memory=normal(BATCH, 5, WIDTH, seed=9))
    cache = sublayer.init_cache(BATCH, ROOM, jnp.bfloat16, context)
    assert {(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(cache)} == {
        ((BATCH, 2, 5, 8), jnp.dtype("bfloat16"))
    }
    token = normal(BATCH, 1, WIDTH, dtype=jnp.bfloat16)
    y, after = sublayer.step(token, cache, Context(time=jnp.int32(3)))  # needs no memory any more
    assert y.shape == token.shape and after.k is cache.k and after.v is cache.v


def test_a_cache_of_cross_attention_without_a_memory_is_refused():
    with pytest.raises(ConfigurationError, match="needs a memory"):
        made("attention", cross=True).init_cache(BATCH, ROOM, jnp.float32, Context())
