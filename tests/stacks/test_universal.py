"""The Universal Transformer's recurrence: halting in NumPy as the paper's notes have it, the
sequential stack as a special case, early stopping, masks, signals, records, numbers."""

import itertools
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from arch import config
from arch.context import Context, Extras, Spread, figure
from arch.layers import sinusoid
from arch.models import families as models
from arch.registry import ConfigurationError, stacks, sublayers
from arch.stacks.residual import SURROUNDINGS
from arch.stacks.sequential import Sequential
from arch.stacks.universal import Universal
from tests.families import always

WIDTH, BATCH, LENGTH, HEADS = 8, 2, 5, 2
LETTERS = {
    "s": {"kind": "attention", "heads": HEADS},
    "f": {"kind": "feed_forward", "inner_width": 4, "activation": "silu"},  # smooth
    "g": {"kind": "feed_forward", "inner_width": 6, "activation": "gelu"},
    "v": {"kind": "separable_convolution", "inner_width": 6},
    "w": {"kind": "counts_its_walks"},
}
BOTH = Context(causal=False)  # positions see each other both ways


def build(order, stack=Universal, **options):
    bindings = {
        letter: SURROUNDINGS | sublayers.options(LETTERS[letter]["kind"]) | LETTERS[letter]
        for letter in {x for x in order if x.isalpha()}
    }
    return stack(WIDTH, order, bindings, **options)


def drawn(stack, seed=7):
    """Parameters of the stack's shapes as NumPy has them in float64, none of them 0 or 1.

    The halting unit is drawn wide: positions that halt at once, later and never.
    """
    source = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = source.standard_normal(leaf.shape)
        if path[0].key == "halting":
            return noise if path[-1].key == "kernel" else 0 * noise
        if path[-1].key == "kernel":
            return noise / math.sqrt(leaf.shape[-2])
        return float(path[-1].key == "scale") + 0.3 * noise

    shapes = jax.eval_shape(stack.init, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(draw, shapes)


def single(tree):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), tree)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


X = normal(BATCH, LENGTH, WIDTH)


# What the notes say, in NumPy, float64


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_signal(positions):
    """Sines, then cosines, of wavelengths 2π to 10000 · 2π."""
    half = WIDTH // 2
    angle = np.asarray(positions)[..., None] * 10000.0 ** (-np.arange(half) / (half - 1))
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=-1)


def pondered(transform, signal, kernel, bias, s, *, steps, mix, freeze, threshold=0.99):
    """The pseudo-code of the reference code: h is the halting probability spent, R the remainder,
    N the number of updates. `signal(t)` is what step t adds. `freeze`, which is the paper's: the
    state of a position that had halted is copied. `margin`: how far from the threshold any
    decision was."""
    h, R, N = (np.zeros(s.shape[:2]) for _ in range(3))
    previous, margin, step = np.zeros_like(s), np.inf, 0
    while not (np.all(h >= threshold) or step >= steps):
        entered = s + signal(step)
        p = sigmoid(entered @ kernel + bias)[..., 0]
        running = h < 1
        halts_now = running & (h + p > threshold)
        still = running & (h + p <= threshold)
        margin = min(margin, np.abs(h + p - threshold)[running].min())
        h = h + p * still
        R = R + halts_now * (1 - h)
        h = h + R * halts_now
        N = N + still + halts_now
        weight = (p * still + R * halts_now)[..., None]
        t = transform(entered)
        out = t * weight + previous * (1 - weight if mix == "basic" else 1)
        s = np.where(running[..., None], t, s) if freeze else t
        previous, step = out, step + 1
    return SimpleNamespace(output=previous, h=h, R=R, N=N, steps=step, margin=margin)


def affine(x, p):
    return x @ p["kernel"][0] + p["bias"][0]


def normalised(x, scale, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + bias


def numpy_attention(x, p, seen):
    def split(y):
        return y.reshape(BATCH, -1, HEADS, WIDTH // HEADS)

    q, k, v = (split(affine(x, p[name])) for name in ("query", "key", "value"))
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(WIDTH // HEADS)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    seen.append(weights)
    return affine(np.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape), p["output"])


def numpy_feed_forward(x, p, _):
    inner = affine(x, p["input"])
    return affine(inner * sigmoid(inner), p["output"])


def numpy_order(letters, parameters, seen):
    """x + F(norm(x)) of each letter; without the norm where the parameters have none. Attention
    weights are appended to `seen`."""
    functions = {"s": numpy_attention, "f": numpy_feed_forward}

    def transform(x):
        for letter in letters:
            p, y = parameters[letter], x
            if "norm_before" in p:
                y = normalised(y, p["norm_before"]["scale"][0], p["norm_before"]["bias"][0])
            x = x + functions[letter](y, p["sublayer"], seen)
        return x

    return transform


def central_differences(function, array, width=1e-5):
    """∂function / ∂array, where the function reads the array."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + width
        above = function()
        array[index] = kept - width
        below = function()
        array[index] = kept
        gradient[index] = (above - below) / (2 * width)
    return gradient


# Adaptive computation time


def drawn_case(case):
    """The case's order and options, and parameters with its halting bias."""
    order, options, bias, seed = ACT[case]
    parameters = drawn(build(order, halting="act", **options), seed)
    parameters["halting"]["bias"][:] = bias
    return order, options, parameters


def positions(length=LENGTH):
    """The signal of the positions, as an embedding hands it to a stack that adds it."""
    return sinusoid(jnp.arange(length)[None], WIDTH)


class Watched(Universal):
    """Keeps what the recurrence carries at its end."""

    def recur(self, parameters, x, context):
        end, extras = super().recur(parameters, x, context)
        return end, Extras(extras.losses, extras.statistics, {**extras.record, "end": end})


# order, options of the stack, halting bias, seed: of the ten positions some halt at the first step,
# some later, at the last one too, and some never
ACT = {
    "position-wise": ("f", {"norm": "none", "final_norm": False, "steps": 4}, -2.5, 12),
    "attention": ("sf", {"steps": 4}, -2.5, 9),
}
PONDER_COST = 0.3


def transcribed(order, parameters, x, halting, options):
    """The notes' run of the stack."""
    seen = []
    run = pondered(
        numpy_order(order, parameters, seen),
        lambda step: numpy_signal(np.arange(LENGTH)) + numpy_signal(step),
        parameters["halting"]["kernel"],
        parameters["halting"]["bias"],
        x,
        steps=options["steps"],
        **halting,
    )
    run.attention = seen
    if "final_norm" in parameters:
        run.output = normalised(run.output, **parameters["final_norm"])
    return run


@pytest.mark.parametrize(
    "case, mix, freeze",
    always(
        (
            ("position-wise", "basic", True),
            ("position-wise", "accumulated", False),
            ("attention", "basic", False),
            ("attention", "basic", True),
            ("attention", "accumulated", False),
            ("attention", "accumulated", True),
        ),
        lambda case: (
            case[0] == "position-wise" or case[1:] in (("basic", True), ("accumulated", False))
        ),
    ),
)
def test_halting_is_its_pseudo_code_in_outputs_remainders_updates_and_gradients(
    case, mix, freeze, assert_close
):
    order, options, parameters = drawn_case(case)
    halting, x, direction = {"mix": mix, "freeze": freeze}, X.copy(), normal(*X.shape, seed=1)
    stack = build(order, Watched, halting="act", ponder_cost=PONDER_COST, **options, **halting)

    def objective(parameters, x):
        y, extras = stack(parameters, x, BOTH.replace(signal=positions()))
        total, weight = extras.losses["ponder_cost"]
        return jnp.sum(y * direction) + total / weight, (y, extras)

    with jax.enable_x64(True):
        run = jax.jit(jax.value_and_grad(objective, argnums=(0, 1), has_aux=True))
        leaves = jax.tree.map(jnp.asarray, (parameters, x))
        (value, (y, extras)), (by_parameters, by_x) = jax.device_get(run(*leaves))
    end = extras.record["end"]

    expected = transcribed(order, parameters, x, halting, options)
    at_once, never = expected.N == 1, expected.R == 0
    assert at_once.any() and never.any() and (~at_once & ~never).any(), "each kind must occur"
    assert (expected.R[at_once] == 1).all() and (expected.N[never] == options["steps"]).all()
    assert expected.margin > 1e-3, "a decision within the rounding of another precision"

    np.testing.assert_array_equal(end.updates, expected.N)
    np.testing.assert_array_equal(end.running, expected.h < 1)
    assert_close(
        {"output": y, "spent": end.spent, "remainder": end.remainder},
        {"output": expected.output, "spent": expected.h, "remainder": expected.R},
        tolerance=1e-6,
    )
    loss, n = extras.losses["ponder_cost"]
    assert n == BATCH * LENGTH
    np.testing.assert_allclose(loss / n, PONDER_COST * (expected.N + expected.R).mean(), rtol=1e-6)
    time, spread = (figure(extras.statistics[f"ponder_{x}"]) for x in ("time", "spread"))
    np.testing.assert_allclose((time, spread), (expected.N.mean(), expected.N.std()), rtol=1e-6)

    def scalar():
        run = transcribed(order, parameters, x, halting, options)
        return (run.output * direction).sum() + PONDER_COST * (run.N + run.R).mean()

    def chosen(parameters, x):
        letter, name = ("s", "key") if "s" in order else ("f", "input")
        weight = parameters[letter]["sublayer"][name]["kernel"]
        return {**parameters["halting"], "x": x, "weight": weight}

    np.testing.assert_allclose(value, scalar(), atol=1e-5)
    differences = {k: central_differences(scalar, a) for k, a in chosen(parameters, x).items()}
    assert min(np.abs(a).max() for a in differences.values()) > 1e-2
    assert_close(chosen(by_parameters, by_x), differences)


def test_the_cases_of_mix_and_freeze_are_told_apart():
    """Where the above could pass for one in the place of another."""
    order, options, parameters = drawn_case("attention")
    outputs = [
        transcribed(order, parameters, X, {"mix": mix, "freeze": freeze}, options).output
        for mix in ("basic", "accumulated")
        for freeze in (False, True)
    ]
    for first, second in itertools.combinations(outputs, 2):
        assert np.abs(first - second).max() > 1e-2


@pytest.mark.parametrize("inference", [False, True])
def test_updates_and_the_attention_of_every_step_are_recorded(inference, assert_close):
    order, options, parameters = drawn_case("attention")
    halting = {"mix": "basic", "freeze": True}
    expected = transcribed(order, parameters, X, halting, options)
    names = frozenset({"halting.steps", "attention.weights"})
    context = BOTH.replace(signal=positions(), record=names, inference=inference)
    stack = build(order, halting="act", **options, **halting)
    y, extras = stack(single(parameters), single(X), context)
    assert_close(y, expected.output)
    assert set(extras.record) == names and set(extras.record["halting.steps"]) == {0}
    np.testing.assert_array_equal(extras.record["halting.steps"][0], expected.N)
    places = {0: 0, 2: 1, 4: 2, 6: 3}  # step · depth + position of s → step
    recorded = extras.record["attention.weights"]
    assert_close(recorded, {place: expected.attention[step] for place, step in places.items()})
    assert not stack(single(parameters), single(X), BOTH)[1].record


@pytest.mark.parametrize("bias", [1.0, -3.0])
def test_the_halting_unit_starts_at_the_given_bias(bias):
    parameters = build("f", halting="act", halting_bias=bias).init(jax.random.key(0))
    assert parameters["halting"]["kernel"].shape == (WIDTH, 1)
    assert parameters["halting"]["bias"].tolist() == [bias]


# The sequential stack as a special case

PLAIN = {"halting": "none", "step_signal": "none", "signal_each_step": False}


def outputs_and_gradients(stack):
    def both(parameters, x, context):
        def scalar(parameters, x):
            y, extras = stack(parameters, x, context)
            losses = sum(total / weight for total, weight in extras.losses.values())
            return jnp.sum(y * single(normal(*x.shape, seed=1))) + losses, (y, extras.statistics)

        gradients, seen = jax.grad(scalar, argnums=(0, 1), has_aux=True)(parameters, x)
        return seen, gradients

    return jax.jit(both)


def test_one_step_without_signals_is_the_sequential_stack_to_the_bit(full_compile, same_bytes):
    context = BOTH.replace(signal=positions())  # which neither adds
    sequential = build("sf", Sequential)
    universal = build("sf", steps=1, **PLAIN)
    parameters = single(drawn(sequential))
    expected = outputs_and_gradients(sequential)(parameters, single(X), context)
    assert same_bytes(outputs_and_gradients(universal)(parameters, single(X), context), expected)


def test_three_steps_are_the_sequential_stack_with_shared_letters(assert_close):
    sequential = build("f3", Sequential, share="f")
    parameters = single(drawn(sequential))
    expected = outputs_and_gradients(sequential)(parameters, single(X), BOTH)
    universal = outputs_and_gradients(build("f", steps=3, **PLAIN))
    assert_close(universal(parameters, single(X), BOTH), expected)


def model_of(order, vocabulary=11, **options) -> models.Model:
    letters = {letter: LETTERS[letter] for letter in order if letter.isalpha()}
    made = config.make(
        model={"width": WIDTH, "order": order, "sublayers": letters, "stack": options}
    )
    return models.build(made.model, vocabulary, LENGTH)


def test_a_model_adds_its_positions_once_or_at_each_step_and_never_twice(assert_close, same_bytes):
    sequential = model_of("f")
    parameters = single(drawn(sequential))
    ids = jnp.arange(BATCH * LENGTH).reshape(BATCH, LENGTH)
    options = PLAIN | {"kind": "universal", "steps": 1}
    expected = sequential.hidden(parameters, ids, Context())[0]
    for each in (False, True):
        universal = model_of("f", **options | {"signal_each_step": each})
        assert universal.stack.adds_signal == each
        assert_close(universal.hidden(parameters, ids, Context())[0], expected, tolerance=1e-6)
    again = model_of("f", **options | {"signal_each_step": True, "steps": 2})
    with_second = again.hidden(parameters, ids, Context())[0]
    assert np.abs(with_second - expected).max() > 1e-2


def test_a_sandwich_is_run_from_end_to_end_at_each_step(assert_close):
    stack = build("ss(sf)2ff", steps=2, step_signal="learned")
    parameters = drawn(stack)
    expected, signals = X, parameters["step_signal"]
    for step in range(2):
        entered = expected + numpy_signal(np.arange(LENGTH)) + signals[step]
        expected = entered
        owners = dict.fromkeys("sf", 0)
        for letter in "sssfsfff":
            owned = jax.tree.map(lambda a, i=owners[letter]: a[i : i + 1], parameters[letter])
            expected = numpy_order(letter, {letter: owned}, [])(expected)
            owners[letter] += 1
    expected = normalised(expected, **parameters["final_norm"])
    y, _ = stack(single(parameters), single(X), BOTH.replace(signal=positions()))
    assert_close(y, expected)


# Leaving early


class Counted(nnx.Module):
    """Adds nothing and counts how often it is run."""

    causal = True

    def __init__(self, width, *, rngs):
        self.unused = nnx.Param(jnp.zeros(1))

    def __call__(self, x, context):
        return jnp.zeros_like(x), Extras(statistics={"walks": (jnp.ones(()), jnp.ones(()))})

    def flops(self, length):
        return 0


@pytest.mark.parametrize("freeze", [False, True])
def test_at_inference_the_loop_ends_with_the_last_position_and_changes_nothing(
    freeze, monkeypatch, assert_close
):
    monkeypatch.setattr(sublayers, "_kinds", dict(sublayers._kinds))
    sublayers.register("counts_its_walks")(Counted)
    stack = build("sfw", Watched, steps=9, halting="act", freeze=freeze)
    parameters = single(drawn(stack))
    parameters["halting"]["kernel"] *= 0.1
    run = jax.jit(stack)
    found = {}
    for bias in (30.0, 0.0, -30.0):
        parameters["halting"]["bias"] = jnp.full(1, bias)
        y, extras = run(parameters, single(X), BOTH)
        early, others = run(parameters, single(X), BOTH.replace(inference=True))
        assert_close(early, y, tolerance=1e-6)
        assert extras.statistics.pop("walks")[0] == 9
        found[bias] = int(others.statistics.pop("walks")[0])
        assert found[bias] == extras.record["end"].updates.max()
        assert_close(
            (others.losses, others.statistics, others.record["end"]._replace(state=0)),
            (extras.losses, extras.statistics, extras.record["end"]._replace(state=0)),
            tolerance=1e-6,
        )
    assert found[30.0] == 1 and 1 < found[0.0] < 9 and found[-30.0] == 9


# Walks, rematerialisation, masks, decoding


def test_every_walk_is_the_same_recurrence(assert_close):
    halting = {"halting": "act", "steps": 3, "step_signal": "learned", "freeze": True}
    unrolled = build("(fg)2", apply="unrolled", **halting)
    parameters, context = single(drawn(unrolled)), BOTH.replace(signal=positions())
    expected = outputs_and_gradients(unrolled)(parameters, single(X), context)
    for options in ({"apply": "scan"}, {"apply": "switch"}, {"remat": "full"}):
        walked = outputs_and_gradients(build("(fg)2", **halting, **options))
        assert_close(walked(parameters, single(X), context), expected)


MASK = jnp.arange(LENGTH)[None] < jnp.array([LENGTH, 3])[:, None]


@pytest.mark.parametrize("freeze", always([False, True], [True]))
def test_padding_is_not_counted_and_changes_nothing(freeze, assert_close, same_bytes):
    stack = build("svf", Watched, steps=4, halting="act", halting_threshold=0.9, freeze=freeze)
    parameters, x = single(drawn(stack)), single(X)
    parameters["halting"]["kernel"] *= 0.3
    run = jax.jit(lambda x: stack(parameters, x, BOTH.replace(mask=MASK)))
    y, extras = run(x)
    other, others = run(jnp.where(MASK[..., None], x, 1e3))
    assert same_bytes(other[MASK], y[MASK])
    assert same_bytes(
        (others.losses, others.statistics, others.record["end"].updates),
        (extras.losses, extras.statistics, extras.record["end"].updates),
    )
    end = extras.record["end"]
    assert not end.updates[~MASK].any() and not end.remainder[~MASK].any()

    short, short_extras = stack(parameters, x[1:, :3], BOTH)
    assert_close(y[1:, :3], short)
    assert_close(end.updates[1:, :3], short_extras.record["end"].updates)
    n, r = np.asarray(end.updates)[MASK], np.asarray(end.remainder)[MASK]
    assert len(set(n.tolist())) > 1
    assert_close(extras.losses, {"ponder_cost": (0.01 * (n + r).sum(), 8.0)})
    spread = Spread((n * n).sum(), n.sum(), 8.0)
    statistics = {"ponder_time": (n.sum(), 8.0), "ponder_spread": spread}
    assert_close(extras.statistics, statistics)


@pytest.mark.parametrize(
    "halting",
    always([{"halting": "none"}, {"freeze": False}, {"freeze": True}], [{"freeze": True}]),
)
def test_decoding_by_steps_is_the_parallel_call(halting, assert_close):
    stack = build("sf", steps=3, step_signal="learned", **{"halting": "act", **halting})
    parameters, x = single(drawn(stack)), single(X)
    expected, _ = stack(parameters, x, Context(signal=positions()))
    cache = stack.init_cache(parameters, BATCH, LENGTH, x.dtype, Context())

    @jax.jit
    def step(x, cache, signal, time):
        return stack.step(parameters, x, cache, Context(signal=signal, time=time))

    outputs = []
    for time in range(LENGTH):
        here = slice(time, time + 1)
        y, cache = step(x[:, here], cache, positions()[:, here], jnp.asarray(time))
        outputs.append(y)
    assert_close(jnp.concatenate(outputs, axis=1), expected)


# Signals


def sum_of_signals(stack, parameters, context=BOTH):
    """What is added over the steps where every branch is 0."""
    return stack(parameters, jnp.zeros_like(single(X)), context)[0]


def still(**options):
    """A stack whose branches are 0, and its parameters: 0 but for the learned signals."""
    stack = build("f", norm="none", final_norm=False, **options)
    parameters = single(drawn(stack))
    return stack, {**parameters, "f": jax.tree.map(jnp.zeros_like, parameters["f"])}


@pytest.mark.parametrize("steps", [1, 3])
def test_the_signal_of_a_step_is_the_sinusoid_at_its_number_from_0(steps, assert_close):
    added = sum_of_signals(*still(steps=steps, signal_each_step=False))
    expected = sum(np.asarray(sinusoid(jnp.full((1, 1), t), WIDTH)) for t in range(steps))
    assert_close(added, np.broadcast_to(expected, X.shape), tolerance=1e-6)
    numpy = sum(numpy_signal(np.full((1, 1), t)) for t in range(steps))
    assert_close(expected, numpy, tolerance=1e-6)


def test_a_learned_signal_has_a_row_a_step(assert_close):
    stack, parameters = still(steps=3, step_signal="learned", signal_each_step=False)
    table = parameters["step_signal"]
    assert table.shape == (3, WIDTH)
    added = sum_of_signals(stack, parameters)
    assert_close(added, np.broadcast_to(table.sum(0), X.shape), tolerance=1e-6)
    assert "step_signal" not in build("f", steps=3).init(jax.random.key(0))


def test_every_row_of_a_learned_signal_is_learned():
    stack = build("f", steps=3, step_signal="learned")
    parameters = single(drawn(stack))

    def scalar(parameters):
        return jnp.sum(stack(parameters, single(X), BOTH)[0] * single(X))

    rows = np.asarray(jax.grad(scalar)(parameters)["step_signal"])
    assert (np.abs(rows).max(1) > 1e-2).all()


@pytest.mark.parametrize("each, times", [(True, 3), (False, 0)])
def test_the_positions_are_added_at_each_step_or_left_to_the_embedding(each, times, assert_close):
    options = {"steps": 3, "step_signal": "none", "signal_each_step": each}
    added = sum_of_signals(*still(**options), BOTH.replace(signal=positions()))
    assert_close(1 + added, np.broadcast_to(1 + times * positions(), X.shape), tolerance=1e-6)


# Figures


def scalars(order, inner_feed_forward=4, inner_convolution=6):
    """Of the order's letters by hand, each with a layer norm of scale and bias."""
    d, f, v = WIDTH, inner_feed_forward, inner_convolution
    each = {
        "s": 4 * (d * d + d),
        "f": d * f + f + f * d + d,
        "v": 3 * d + d * v + v + 5 * v + v * d + d,
    }
    return sum(each[letter] + 2 * d for letter in order)


@pytest.mark.parametrize("order, letters", [("sf", "sf"), ("ss(sf)2ff", "ssfsfsff"), ("sv", "sv")])
def test_parameters_are_held_once_and_applied_at_every_step(order, letters):
    for halting, more in (("none", 0), ("act", WIDTH + 1)):
        for signal, rows in (("sinusoidal", 0), ("learned", 5)):
            options = {"steps": 5, "halting": halting, "step_signal": signal}
            counts = model_of(order, kind="universal", **options).parameter_counts()
            outside = 11 * WIDTH + 2 * WIDTH + more + rows * WIDTH  # table, final norm
            assert counts["unique"] == outside + scalars(letters)
            assert counts["applied"] == outside + 5 * scalars(letters)
            assert sum(counts["by_letter"].values()) == scalars(letters)


@pytest.mark.parametrize("order", ["ss(sf)2ff", "sv"])
def test_flops_are_those_of_an_order_times_the_steps(order):
    head, length = 2 * 11 * WIDTH, 5
    once = model_of(order).flops_per_token(length) - head
    for steps in (1, 6):
        universal = model_of(order, kind="universal", steps=steps, halting="act")
        assert universal.flops_per_token(length) - head == steps * once
    per_letter = {
        "s": 2 * 4 * WIDTH**2 + 2 * 2 * length * WIDTH,
        "f": 2 * 2 * WIDTH * 4,
        "v": 2 * (2 * WIDTH * 6 + 3 * WIDTH + 5 * 6),
    }
    expanded = {"ss(sf)2ff": "sssfsfff", "sv": "sv"}[order]
    assert once == sum(per_letter[letter] for letter in expanded)


def base(bias, **head):
    """The paper's base model for translation."""
    attention = {"kind": "attention", "heads": 16, "bias": bias}
    made = config.make(
        model={
            "family": "encoder_decoder",
            "width": 1024,
            "encoder_order": "sf",
            "order": "scf",
            "sublayers": {
                "s": attention,
                "c": {**attention, "cross": True},
                "f": {"kind": "feed_forward", "inner_width": 4096, "bias": bias},
            },
            "stack": {"kind": "universal", "steps": 6},
            "head": head,
        }
    )
    return models.build(made.model, 60_000, 256).parameter_counts()


def test_the_papers_base_model_has_its_29_and_with_two_tables_its_152_million():
    d, table = 1024, 60_000 * 1024
    matrices = 28 * d * d  # encoder 4 + 8, decoder 4 + 4 + 8
    norms = 5 * 2 * d
    counts = base(bias=False, tie=False)
    assert sum(counts["by_letter"].values()) == matrices + norms == 29_370_368
    assert counts["embedding"] == 2 * table
    assert counts["unique"] == matrices + norms + 2 * 2 * d + 2 * table == 152_254_464
    assert counts["applied"] == counts["unique"] + 5 * (matrices + norms)

    biases = 3 * 4 * d + 2 * (4 * d + d)
    counts = base(bias=True, tie=True)
    assert sum(counts["by_letter"].values()) == matrices + norms + biases == 29_392_896
    assert counts["unique"] == matrices + norms + biases + 2 * 2 * d + table


# As many steps as symbols


def test_a_row_takes_steps_for_each_of_its_symbols_and_none_for_padding(assert_close):
    """As if it stood alone, in a stack of so many steps."""
    halting = {"halting": "act", "halting_bias": -3.0}
    for options in ({}, halting):
        stack = build("sf", steps_per_symbol=2, **options)
        parameters, x = single(drawn(stack)), single(X)
        mask = jnp.arange(LENGTH)[None] < jnp.array([LENGTH, 3])[:, None]
        both, extras = stack(parameters, x, BOTH.replace(mask=mask))
        for row, length in ((0, LENGTH), (1, 3)):
            alone = build("sf", steps=2 * length, **options)
            expected, _ = alone(parameters, x[row : row + 1, :length], BOTH)
            assert_close(both[row : row + 1, :length], expected)
        assert ("ponder_time" in extras.statistics) == bool(options)
    more = build("sf", steps=2 * LENGTH)(parameters, x, BOTH.replace(mask=mask))[0]
    padded = build("sf", steps_per_symbol=2)(parameters, x, BOTH.replace(mask=mask))[0]
    assert_close(more[0], padded[0])
    assert np.abs(more[1, :3] - padded[1, :3]).max() > 1e-4


def test_flops_and_uses_grow_with_the_symbols():
    by_symbol = model_of("f", kind="universal", steps_per_symbol=3)
    for length in (2, 5):
        fixed = model_of("f", kind="universal", steps=3 * length)
        assert by_symbol.flops_per_token(length) == fixed.flops_per_token(length)
    fixed = model_of("f", kind="universal", steps=3 * by_symbol.max_length)
    assert by_symbol.parameter_counts() == fixed.parameter_counts()


# Refusals


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 0}, "stack.steps=0: allowed is 1 or more"),
        ({"halting": "ponder"}, "stack.halting='ponder': allowed are none, act"),
        ({"mix": "x"}, "stack.mix='x': allowed are basic, accumulated"),
        ({"step_signal": "rotary"}, "stack.step_signal='rotary': allowed are sinusoidal, learned"),
        ({"halting_threshold": 1.0}, "stack.halting_threshold=1.0: allowed is between 0 and 1"),
        ({"halting_threshold": 0.0}, "stack.halting_threshold=0.0: allowed is between 0 and 1"),
        ({"ponder_cost": -1}, "stack.ponder_cost=-1: allowed is 0 or more"),
        ({"steps_per_symbol": -1}, "stack.steps_per_symbol=-1: allowed is 0"),
        (
            {"steps_per_symbol": 1, "step_signal": "learned"},
            "stack.step_signal='learned': allowed is sinusoidal or none with steps_per_symbol",
        ),
        ({"remat": "some"}, "stack.remat='some'"),
    ],
)
def test_the_stack_refuses_by_name_what_it_cannot_do(options, message):
    with pytest.raises(ConfigurationError, match="model." + message.replace(".", r"\.")):
        build("sf", **options)


def test_the_registered_kind_is_this_class():
    assert stacks.get("universal") is Universal
