"""The reversible stack: against a plain loop that autodiff goes through, and in memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.context import Context, Extras
from arch.models import families as models
from arch.registry import ConfigurationError, stacks, sublayers
from arch.sublayers.feed_forward import FeedForward
from tests.families import always

APPLIES = ("unrolled", "scan", "switch")
LETTERS = {
    "s": {"kind": "attention", "heads": 2, "attention_dropout": 0.2},
    "f": {"kind": "feed_forward", "expand": 2.0, "activation": "gelu", "activation_dropout": 0.1},
    "g": {"kind": "feed_forward", "expand": 1.0, "activation": "silu"},
    "l": {"kind": "lsh_attention", "heads": 2, "chunk": 8, "attention_dropout": 0.1},
    "c": {"kind": "attention", "heads": 2, "cross": True},
    "e": {"kind": "mixture_of_experts", "experts": 3, "expand": 1.0, "capacity": 1.0},
}
TRAINING = Context(key=jax.random.key(3), train=True, has_dropout=True, dropout=0.1)
STILL = TRAINING.replace(train=False)  # without dropout
# stack by stack; a loop that autodiff goes through is compiled once, whatever it is compared with
KNOWN: dict = {}


def build(order, width=16, **options):
    """A stack of filled options, outside of a model."""
    used = {k: LETTERS[k] for k in order if k in LETTERS}
    stack = {"kind": "reversible", **options}
    filled = config.make(model={"width": width, "order": order, "sublayers": used, "stack": stack})
    options = dict(filled.model.stack)
    kind = stacks.get(options.pop("kind"))
    return kind(width, order, filled.model.sublayers, **options)


def inputs(length=24, width=16, batch=2, dtype=jnp.float32, seed=0):
    x = np.random.default_rng(seed).standard_normal((batch, length, width))
    return jnp.asarray(x, dtype)


def plainly(stack, parameters, x, context):
    """The equations as they stand, for autodiff: x1, x2 = x2, x1 + F(x2)."""
    first = second = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    losses = {}
    bound = stack.branches(parameters)
    for position, branch in enumerate(bound):
        y, extras = branch.branch(second.astype(x.dtype), context.at(position))
        for name, pair in extras.losses.items():
            losses[name] = [a + b for a, b in zip(losses.get(name, (0, 0)), pair, strict=True)]
        first, second = second, first + y
    y = (first + second) / 2
    if stack.merge == "concatenate":
        y = jnp.concatenate([first, second], axis=-1)
    return stack.normalise(parameters, y.astype(x.dtype)), losses


def gradients(run, parameters, x, context):
    """(loss, gradients of parameters, x and memory) of `run`, which returns (y, losses)."""

    def loss(parameters, x, memory):
        y, losses = run(parameters, x, context.replace(memory=memory))
        total = jnp.sum(jnp.sin(y.astype(jnp.promote_types(y.dtype, jnp.float32))))
        return total + sum(jnp.sum(a) / jnp.sum(b) for a, b in losses.values())

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(parameters, x, context.memory)


def both(order, context=TRAINING, dtype=jnp.float32, apply="switch", **options):
    """((loss, gradients of parameters, x and memory) of the stack, the same of the plain loop)."""
    stack, x = build(order, apply=apply, **options), inputs(dtype=dtype)
    parameters = jax.tree.map(lambda a: a.astype(dtype), stack.init(jax.random.key(0)))

    def ours(parameters, x, context):
        y, extras = stack(parameters, x, context)
        return y, extras.losses

    key = (order, jnp.dtype(dtype), tuple(options.items()))
    if key not in KNOWN:
        KNOWN[key] = gradients(functools.partial(plainly, stack), parameters, x, context)
    return gradients(ours, parameters, x, context), KNOWN[key]


def assert_equal(ours, wanted, tolerance):
    """Relative to the largest gradient."""
    np.testing.assert_allclose(ours[0], wanted[0], rtol=max(tolerance, 1e-6))
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(wanted[1]))
    for a, b in zip(jax.tree.leaves(ours[1]), jax.tree.leaves(wanted[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize(
    "order, apply",
    always(
        (
            *(("s(sf)2", apply) for apply in APPLIES),
            *(("(lf)2", "scan"), ("(lf)2", "switch"), ("(ge)2", "switch")),
        ),
        (("(lf)2", "switch"),),
    ),
)
def test_gradients_are_autodiffs_in_float64(order, apply, float64):
    """With dropout in all places, hashes, and experts that are chosen."""
    assert_equal(*both(order, dtype=jnp.float64, apply=apply), 1e-10)


@pytest.mark.slow
def test_gradients_are_autodiffs_in_float32():
    assert_equal(*both("lsf", STILL), 1e-5)


SHARED = (
    {"share": "g", "norm": "peri", "norm_kind": "rms"},
    {"share": "gf", "groups": 2, "merge": "concatenate"},
    {"norm": "none", "final_norm": False},
)


@pytest.mark.parametrize(
    "options, apply",
    always(
        [(options, apply) for options in SHARED for apply in ("scan", "switch")],
        [(SHARED[0], "scan"), (SHARED[1], "switch")],
    ),
)
def test_sharing_norms_and_merges(options, apply, float64):
    assert_equal(*both("(gf)3", STILL, jnp.float64, apply, **options), 1e-10)


@pytest.mark.parametrize("apply", always(APPLIES, ("switch",)))
def test_gradients_flow_into_a_memory(apply, float64):
    context = STILL.replace(memory=inputs(length=7, dtype=jnp.float64, seed=1))
    ours, wanted = both("(cf)2", context, jnp.float64, apply)
    assert_equal(ours, wanted, 1e-10)
    assert float(jnp.max(jnp.abs(ours[1][2]))) > 1e-3


@pytest.mark.parametrize("apply", always(APPLIES, ("switch",)))
def test_losses_of_sublayers_feed_their_gradients_in(apply, monkeypatch, float64):
    monkeypatch.setattr(sublayers, "_kinds", dict(sublayers._kinds))

    @sublayers.register("heavy")
    class Heavy(FeedForward):
        def __call__(self, x, context):
            y = super().__call__(x, context)
            return y, Extras({"weight": (jnp.sum(y**2), jnp.float64(y.size))})

    monkeypatch.setitem(LETTERS, "h", {"kind": "heavy"})
    assert_equal(*both("(gh)2f", STILL, jnp.float64, apply), 1e-10)


@pytest.mark.parametrize("apply", APPLIES)
def test_records_are_kept_by_position(apply):
    stack = build("(gs)2", apply=apply)
    parameters, x = stack.init(jax.random.key(0)), inputs()
    context = Context(record=frozenset({"attention.weights"}))
    y, extras = jax.jit(lambda p, x: stack(p, x, context))(parameters, x)
    first, second, expected = x, x, {}
    for position, branch in enumerate(stack.branches(parameters)):
        added, own = branch.branch(second, context)
        first, second = second, first + added
        if own.record:
            expected[position] = own.record["attention.weights"]
    assert list(extras.record["attention.weights"]) == list(expected) == [1, 3]
    for position, weights in expected.items():
        found = extras.record["attention.weights"][position]
        np.testing.assert_allclose(found, weights, rtol=0, atol=1e-5)
    merged = stack.normalise(parameters, (first + second) / 2)
    np.testing.assert_allclose(y, merged, rtol=0, atol=1e-5)


def test_the_order_is_data_under_switch():
    """One program, another order of equal counts: as the stack that was built for it."""
    here, there = build("(gf)2"), build("g2f2")
    parameters = here.init(jax.random.key(0))
    x = inputs()

    def loss(parameters, schedule):
        return jnp.sum(jnp.sin(here(parameters, x, Context(schedule=schedule))[0]))

    run = jax.jit(jax.value_and_grad(loss))
    found = run(parameters, jnp.asarray(there.schedule.as_data()))
    wanted = jax.jit(jax.value_and_grad(lambda p: jnp.sum(jnp.sin(there(p, x, Context())[0]))))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted(parameters)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    own = run(parameters, jnp.asarray(here.schedule.as_data()))
    assert abs(float(own[0] - found[0])) > 1e-3, "the orders must differ for this to mean much"


def test_attention_and_feed_forward_are_the_papers_layer():
    """y1 = x1 + A(x2), y2 = x2 + F(y1)."""
    stack = build("sf", final_norm=False, merge="concatenate")
    parameters, x = stack.init(jax.random.key(0)), inputs()
    a, f = stack.branches(parameters)
    y1 = x + a.branch(x, Context())[0]
    y2 = x + f.branch(y1, Context())[0]
    y, _ = jax.jit(lambda p: stack(p, x, Context()))(parameters)
    np.testing.assert_allclose(y, jnp.concatenate([y1, y2], -1), rtol=0, atol=1e-5)


def test_replicas_have_the_gradients_of_one():
    stack = build("l2")
    keys = jax.random.split(jax.random.key(0), 3)
    parameters, x = jax.vmap(stack.init)(keys), inputs()

    def gradient(parameters, key):
        context = STILL.replace(key=key)
        return jax.grad(lambda p: jnp.sum(jnp.sin(stack(p, x, context)[0])))(parameters)

    alone = jax.jit(gradient)(jax.tree.map(lambda a: a[1], parameters), keys[1])
    mapped = jax.jit(lambda p, k: jax.lax.map(lambda given: gradient(*given), (p, k)))
    for together in (jax.jit(jax.vmap(gradient)), mapped):
        found = jax.tree.map(lambda a: a[1], together(parameters, keys))
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-5)


def reconstruction(dtype):
    """How far 24 sublayers taken back are from the streams they started as, to their size."""
    stack = build("(sf)12", width=64, final_norm=False, merge="concatenate")
    parameters, x = stack.init(jax.random.key(0)), inputs(width=64, dtype=dtype)

    def added(letter, owned, stream):
        branch = stack.letters[letter].bind(owned[letter])
        return branch.branch(stream.astype(x.dtype), Context())[0]

    def there(streams, owned):
        first, second = streams
        for letter in "sf":
            first, second = second, first + added(letter, owned, second)
        return (first, second), None

    def back(streams, owned):
        first, second = streams
        for letter in "fs":
            first, second = second - added(letter, owned, first), first
        return (first, second), None

    @jax.jit
    def there_and_back(x):
        streams = (x.astype(jnp.float32),) * 2
        streams, _ = jax.lax.scan(there, streams, parameters)
        return jax.lax.scan(back, streams, parameters, reverse=True)[0][0]

    start = np.asarray(x, np.float32)
    return float(np.abs(there_and_back(x) - start).max() / np.abs(start).max())


def test_the_streams_come_back():
    assert reconstruction(jnp.float32) < 3e-6
    # the streams are float32, and what a sublayer of equal input adds is equal, but for the
    # rounding of the input, so that the error is not that of bfloat16's sums
    assert reconstruction(jnp.bfloat16) < 0.05


@pytest.mark.slow
def test_bfloat16_gradients_are_near_float32s():
    stack, x = build("(sf)12"), inputs()
    parameters = stack.init(jax.random.key(0))

    def gradient(dtype):
        def loss(parameters):
            return jnp.sum(jnp.sin(stack(parameters, x.astype(dtype), Context())[0].astype(float)))

        return jax.jit(jax.grad(loss))(parameters)

    half, whole = gradient(jnp.bfloat16), gradient(jnp.float32)
    first = [jax.tree.leaves(g["s"])[0][0] for g in (half, whole)]
    assert float(jnp.linalg.norm(first[0] - first[1]) / jnp.linalg.norm(first[1])) < 0.1


def test_a_whole_model_trains_and_decodes():
    letters = {"s": {"kind": "attention", "heads": 2}, "f": {"kind": "feed_forward"}}
    for merge, tie in (("average", True), ("concatenate", False)):
        model = config.make(
            model={
                "width": 16,
                "order": "sf",
                "sublayers": letters,
                "stack": {"kind": "reversible", "merge": merge},
                "head": {"tie": tie},
            }
        ).model
        built = models.build(model, 32, 8)
        parameters = built.init(jax.random.key(0))
        ids = jnp.asarray(np.random.default_rng(0).integers(0, 32, (2, 8)))
        whole = jax.jit(lambda p, ids, b=built: b.logits(p, ids, Context()))(parameters, ids)
        cache = built.init_cache(parameters, 2, 8, Context())
        step = jax.jit(lambda p, t, c, at, b=built: b.step(p, t, c, Context(time=at)))
        for at in range(8):
            logits, cache = step(parameters, ids[:, at], cache, jnp.int32(at))
            np.testing.assert_allclose(logits, whole[:, at], rtol=0, atol=2e-5)


@functools.cache
def activations(order, **options):
    """Bytes of temporary memory of loss and gradient; the gradients are its outputs."""
    stack = build(order, width=64, **options)
    shapes = jax.eval_shape(stack.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((2, 256, 64), jnp.float32)

    def loss(parameters, x):
        return jnp.sum(stack(parameters, x, Context())[0] ** 2)

    compiled = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(shapes, x).compile()
    analysis = compiled.memory_analysis()
    gradients = sum(int(np.prod(a.shape)) * 4 for a in jax.tree.leaves((shapes, x)))
    assert analysis.output_size_in_bytes >= gradients
    return analysis.temp_size_in_bytes


@pytest.mark.parametrize("apply", always(("switch", "scan"), ("switch",)))
def test_activation_memory_does_not_grow_with_depth(apply):
    shallow, deep = activations("(gf)6", apply=apply), activations("(gf)24", apply=apply)
    assert deep < 1.25 * shallow
    plain = [activations(f"(gf){n}", kind="sequential", apply="scan") for n in (6, 24)]
    assert plain[1] > 2.5 * plain[0]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"stack": {"norm": "post"}}, "norm='post', of letter 'f': a sum that is normalised"),
        ({"stack": {"remat": "full"}}, "remat='full': the reversible stack keeps no activations"),
        ({"stack": {"merge": "sum"}}, "merge='sum': allowed are average, concatenate"),
        ({"stack": {"merge": "concatenate"}}, "merge='concatenate' has outputs of width 32"),
        (
            {"family": "encoder_decoder", "encoder_order": "sf", "order": "scf",
             "stack": {"merge": "concatenate"}, "head": {"tie": False}},
            "merge='concatenate': the encoder's memory",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_back_is_refused(model, message):
    stack = {"kind": "reversible", **model.pop("stack")}
    letters = {
        "s": {"kind": "attention", "heads": 2},
        "c": {"kind": "attention", "heads": 2, "cross": True},
    }
    filled = config.make(
        model={"width": 16, "order": "sf", "sublayers": letters, **model, "stack": stack}
    )
    with pytest.raises(ConfigurationError, match=message):
        models.build(filled.model, 32, 16)


def test_a_kind_with_a_residual_of_its_own_is_refused(monkeypatch):
    monkeypatch.setattr(sublayers, "_kinds", dict(sublayers._kinds))

    @sublayers.register("own")
    class Own(FeedForward):
        own_residual = True

    monkeypatch.setitem(LETTERS, "o", {"kind": "own"})
    with pytest.raises(ConfigurationError, match="kind='own' brings its own residual"):
        build("so")
