"""Stacks: one tree of parameters however it is walked, and what surrounds a sublayer in NumPy."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from arch.context import Context, Extras
from arch.layers import SLICE, dropout, norm, random_bits
from arch.registry import ConfigurationError, sublayers
from arch.stacks.depth import resolve
from arch.stacks.parameters import count
from arch.stacks.residual import SURROUNDINGS
from arch.stacks.schedule import make_schedule
from arch.stacks.sequential import Sequential
from arch.sublayers.feed_forward import FeedForward
from tests.families import always

WIDTH, BATCH, LENGTH = 16, 2, 6
LETTERS = {
    "s": {"kind": "attention", "heads": 2},
    "f": {"kind": "feed_forward", "expand": 2.0},
    "h": {"kind": "feed_forward", "expand": 1.0, "activation": "gelu", "scale": 0.5},
    "g": {"kind": "feed_forward", "inner_width": 24, "activation": "swiglu", "bias": False},
}


def build(order, letters=None, **options) -> Sequential:
    bindings = {}
    for letter in {x for x in order if x.isalpha()}:
        binding = {**LETTERS.get(letter, {}), **(letters or {}).get(letter, {})}
        bindings[letter] = SURROUNDINGS | sublayers.options(binding["kind"]) | binding
    return Sequential(WIDTH, order, bindings, **options)


def drawn(stack, seed=7):
    """Parameters of the stack's shapes in which no bias is 0 and no scale 1, to hide nothing."""
    source = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = source.standard_normal(leaf.shape, np.float32)
        if path[-1].key == "kernel":
            return noise / np.float32(math.sqrt(leaf.shape[-2]))
        return np.float32(path[-1].key == "scale") + np.float32(0.1) * noise

    shapes = jax.eval_shape(stack.init, jax.random.key(0))
    return jax.tree.map(jnp.asarray, jax.tree_util.tree_map_with_path(draw, shapes))


def inputs(seed=0, shape=(BATCH, LENGTH, WIDTH)):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def runner(stack):
    """A function: the output, and the gradients of a fixed projection of it.

    Unrolled stacks run operation by operation: the operations are compiled once for all tests.
    """

    def both(parameters, x, context):
        y, back = jax.vjp(lambda p, x: stack(p, x, context)[0], parameters, x)
        return y, back(inputs(1, x.shape).astype(x.dtype))

    return both if stack.apply == "unrolled" else jax.jit(both)


def run(stack, parameters):
    return runner(stack)(parameters, inputs(), Context())


# The walks


@pytest.mark.parametrize(
    "order, options",
    always(
        (
            ("(sf)2", {}),
            ("(hf)2", {"share": "hf", "norm": "none"}),
            ("(hgh)2", {"share": "h", "groups": 2, "norm": "peri", "norm_kind": "rms"}),
            ("h (fg)2 h", {"share": "h", "norm": "post", "final_norm": False}),
        ),
        lambda case: case[0] == "h (fg)2 h",
    ),
)
def test_scan_and_switch_equal_unrolled_in_outputs_and_gradients(
    order, options, assert_close, float64
):
    """In float64: the gradient of a key's bias is 0 but for the rounding of each walk."""
    unrolled = build(order, apply="unrolled", **options)
    parameters = jax.tree.map(lambda a: a.astype(jnp.float64), drawn(unrolled))
    x = inputs().astype(jnp.float64)
    expected = jax.jit(runner(unrolled))(parameters, x, Context())
    for apply, platform in (("scan", "cpu"), ("switch", "cpu"), ("switch", "gpu")):
        stack = build(order, apply=apply, **options)
        found = runner(stack)(parameters, x, Context(platform=platform))
        assert_close(found, expected, tolerance=1e-10)


def test_switch_given_a_schedule_as_data_is_the_stack_of_that_order(assert_close):
    host = build("(hf)2", apply="switch")
    parameters, hosted, outputs = drawn(host), runner(host), []
    for order in ("h2 f2", "fhfh", "h f2 h"):
        own = build(order, apply="unrolled")
        data = Context(schedule=jnp.asarray(own.schedule.as_data()))
        expected = run(own, parameters)
        assert_close(hosted(parameters, inputs(), data), expected)
        outputs.append(np.asarray(expected[0]))
    for first, second in itertools.combinations(outputs, 2):
        assert np.abs(first - second).max() > 1e-2, "the orders must differ for this to mean much"


@pytest.mark.parametrize(
    "apply, remat",
    always(
        [("unrolled", "full"), ("unrolled", "dots"), ("scan", "full"), ("switch", "dots")],
        [("unrolled", "dots"), ("scan", "full")],
    ),
)
def test_rematerialising_changes_no_gradient(apply, remat, assert_close):
    again = run(build("(hf)2", apply=apply, remat=remat), drawn(build("(hf)2")))
    assert_close(again, unrolled_plain())


@functools.cache
def unrolled_plain():
    """Output and gradients of an unrolled (hf)2."""
    stack = build("(hf)2", apply="unrolled")
    return run(stack, drawn(stack))


@pytest.mark.parametrize("apply", ["unrolled", "scan", "switch"])
def test_losses_statistics_and_records_of_every_position_come_out(apply, monkeypatch):
    monkeypatch.setattr(sublayers, "_kinds", dict(sublayers._kinds))

    @sublayers.register("says_its_mean")
    class Mean(FeedForward):
        def __call__(self, x, context):
            one, mean = jnp.ones(()), x.mean()
            record = {"mean": mean} if "mean" in context.record else {}
            return jnp.ones_like(x), Extras({"loss": (mean, one)}, {"time": (one, one)}, record)

    letters = {"m": {"kind": "says_its_mean", "norm": "none"}, "z": {"scale": 0.0, **LETTERS["f"]}}
    stack = build("m(zm)2", letters, apply=apply, norm="none", final_norm=False)
    parameters, x = drawn(stack), jnp.zeros((BATCH, LENGTH, WIDTH))
    for names, recorded in ((frozenset(), {}), (frozenset({"mean"}), {"mean": {0: 0, 2: 1, 4: 2}})):
        y, extras = stack(parameters, x, Context(record=names))
        assert np.all(np.asarray(y) == 3)
        assert jax.tree.map(float, extras.losses) == {"loss": (0 + 1 + 2, 3)}
        assert jax.tree.map(float, extras.statistics) == {"time": (3, 3)}
        assert jax.tree.map(float, extras.record) == recorded


@pytest.mark.parametrize(
    "apply, depth, platform, expected",
    [
        ("auto", 32, "cpu", "unrolled"),
        ("auto", 33, "cpu", "scan"),
        ("auto", 2, "gpu", "scan"),
        ("auto", 2, "tpu", "scan"),
        ("switch", 32, "cpu", "branched"),
        ("switch", 33, "cpu", "switch"),
        ("switch", 2, "gpu", "switch"),
    ],
)
def test_auto_is_what_suits_the_platform_that_the_context_names(apply, depth, platform, expected):
    assert resolve(apply, depth, platform) == expected


def test_a_stack_is_walked_as_suits_the_platform_of_its_context():
    stack = build("f2", apply="auto")
    x, parameters = inputs(), drawn(stack)

    def loops(platform):
        run = functools.partial(stack, context=Context(platform=platform))
        return "scan[" in str(jax.make_jaxpr(run)(parameters, x))

    assert loops("tpu") and not loops("cpu")


def products(jaxpr) -> int:
    """Matrix products in a program, those of its inner programs among them."""
    inner = [
        getattr(leaf, "jaxpr", leaf)
        for equation in jaxpr.eqns
        for leaf in jax.tree.leaves(equation.params)
        if hasattr(leaf, "jaxpr") or hasattr(leaf, "eqns")
    ]
    own = sum(equation.primitive.name == "dot_general" for equation in jaxpr.eqns)
    return own + sum(map(products, inner))


def test_the_backward_pass_recomputes_what_remat_says():
    def counted(remat):
        stack = build("(sf)2", apply="unrolled", remat=remat)
        gradient = jax.grad(lambda p, x: stack(p, x, Context())[0].sum())
        return products(jax.make_jaxpr(gradient)(drawn(stack), inputs()).jaxpr)

    # (sf)2 has 12 projections and 4 batched products; each has two in the backward pass
    assert counted("none") == 48
    assert counted("dots") == 48 + 4
    assert counted("full") == 48 + 16 - 4  # nothing needs the outputs of the last projections


@pytest.mark.parametrize(
    "options, message",
    [
        ({"apply": "rolled"}, "stack.apply='rolled': allowed are auto, unrolled, scan, switch"),
        ({"remat": "some"}, "stack.remat='some': allowed are none, full, dots"),
        ({"norm": "mid"}, "stack.norm='mid': allowed are pre, post, peri, none"),
        ({"norm_kind": "batch"}, "'batch': allowed are layer, rms"),
        ({"share": "x"}, "letter 'x' is not in the order"),
        ({"share": "s", "groups": 3}, "stack.groups=3"),
        ({"groups": 0}, "stack.groups=0"),
    ],
)
def test_a_stack_refuses_by_name_what_it_does_not_know(options, message):
    with pytest.raises(ConfigurationError, match=message.replace(".", r"\.")):
        build("(sf)2", **options)


# Whose weights stand where


def test_without_sharing_every_occurrence_has_an_owner_of_its_own():
    made = make_schedule("s2 (fs)2")
    assert made.positions == (("s", 0), ("s", 1), ("f", 0), ("s", 2), ("f", 1), ("s", 3))
    assert made.owners == {"s": 4, "f": 2}


def test_a_shared_letter_has_one_owner_and_the_others_their_own():
    made = make_schedule("(sf)3", share="f")
    assert made.positions == (("s", 0), ("f", 0), ("s", 1), ("f", 0), ("s", 2), ("f", 0))
    assert made.owners == {"s": 3, "f": 1}


@given(layers=st.integers(1, 48), data=st.data())
def test_groups_are_those_of_albert(layers, data):
    groups = data.draw(st.integers(1, layers))
    made = make_schedule(f"(sf){layers}", share="sf", groups=groups)
    expected = [i * groups // layers for i in range(layers)]  # int(i · G / L)
    for letter in "sf":
        assert [owner for name, owner in made.positions if name == letter] == expected
    assert made.owners == {"s": groups, "f": groups}


def test_twelve_layers_in_three_groups_are_four_fours():
    owners = [o for letter, o in make_schedule("(sf)12", "sf", 3).positions if letter == "s"]
    assert owners == [0] * 4 + [1] * 4 + [2] * 4


def test_the_schedule_as_data_numbers_letters_by_the_alphabet():
    assert make_schedule("s2 f s", share="s").as_data().tolist() == [[1, 1, 0, 1], [0, 0, 0, 0]]


# Parameters


def test_reordered_stacks_start_from_the_same_bits(same_bytes):
    key = jax.random.key(3)
    first = build("(sf)4").init(key)
    for order in ("s4 f4", "f4 s4", "s2 (sf)2 f2", "fsfsfsfs"):
        assert same_bytes(build(order).init(key), first)
    for apply in ("scan", "switch"):
        assert same_bytes(build("(sf)4", apply=apply).init(key), first)
    assert not same_bytes(build("(sf)4").init(jax.random.key(4)), first)


def test_an_owners_start_depends_on_its_letter_and_index_alone(same_bytes):
    key = jax.random.key(3)
    deep, shallow = build("s4 f4").init(key), build("f s2").init(key)
    for letter, owners in {"s": 2, "f": 1}.items():
        assert same_bytes(jax.tree.map(lambda a, n=owners: a[:n], deep[letter]), shallow[letter])
    kernel = np.asarray(deep["s"]["sublayer"]["query"]["kernel"])
    assert len({row.tobytes() for row in kernel}) == 4
    alike = build("ab", {letter: LETTERS["f"] for letter in "ab"}).init(key)
    assert not same_bytes(alike["a"], alike["b"])


def closed_form(order, owners, norms=1, final=True) -> int:
    """Scalars by hand, for the letters s and f of LETTERS with layer norms."""
    inner = 2 * WIDTH
    each = {
        "s": 4 * (WIDTH * WIDTH + WIDTH),
        "f": 2 * WIDTH * inner + inner + WIDTH,
    }
    total = sum(n * (each[letter] + norms * 2 * WIDTH) for letter, n in owners.items())
    return total + 2 * WIDTH * final


@pytest.mark.parametrize(
    "order, options, owners, norms",
    [
        ("(sf)4", {}, {"s": 4, "f": 4}, 1),
        ("s4 f4", {}, {"s": 4, "f": 4}, 1),
        ("s3 (sf) f3", {"apply": "switch"}, {"s": 4, "f": 4}, 1),
        ("(sf)4", {"share": "sf"}, {"s": 1, "f": 1}, 1),
        ("(sf)4", {"share": "f", "groups": 2}, {"s": 4, "f": 2}, 1),
        ("(sf)4", {"norm": "peri"}, {"s": 4, "f": 4}, 2),
        ("(sf)4", {"norm": "post"}, {"s": 4, "f": 4}, 1),
        ("(sf)4", {"norm": "none"}, {"s": 4, "f": 4}, 0),
    ],
)
def test_parameters_are_counted_by_hand_and_none_stands_twice(order, options, owners, norms):
    parameters = jax.eval_shape(build(order, **options).init, jax.random.key(0))
    assert count(parameters) == closed_form(order, owners, norms)
    for letter, n in owners.items():
        assert {leaf.shape[0] for leaf in jax.tree.leaves(parameters[letter])} == {n}


def test_rms_norm_has_a_scale_alone_and_the_final_norm_can_go():
    parameters = build("sf", norm_kind="rms", final_norm=False).init(jax.random.key(0))
    assert set(parameters) == {"s", "f"}
    assert set(parameters["s"]["norm_before"]) == {"scale"}
    assert set(build("sf").init(jax.random.key(0))["final_norm"]) == {"scale", "bias"}


def test_scaled_outputs_are_divided_by_the_root_of_the_depth(same_bytes):
    key = jax.random.key(0)
    plain, scaled = build("(sf)4").init(key), build("(sf)4", scale_output_init=True).init(key)
    for letter in "sf":
        ratio = plain[letter]["sublayer"]["output"]["kernel"] / np.float32(math.sqrt(8))
        assert same_bytes(ratio, scaled[letter]["sublayer"]["output"].pop("kernel"))
        plain[letter]["sublayer"]["output"].pop("kernel")
    assert same_bytes(plain, scaled)


def test_a_kind_says_which_of_its_parameters_make_its_output(monkeypatch, same_bytes):
    """Under any name; one that says nothing, or names what is not there, is refused."""
    monkeypatch.setattr(sublayers, "_kinds", dict(sublayers._kinds))

    class Linear(nnx.Module):
        causal = True

        def __init__(self, width, *, rngs):
            self.readout = nnx.Param(jnp.ones((width, width)))

        def __call__(self, x, context):
            return x @ self.readout[...]

        def flops(self, length):
            return 0

    letters = {"l": {"kind": "linear_of_test"}}
    sublayers.register("linear_of_test")(Linear)
    build("l4", letters)
    with pytest.raises(ConfigurationError, match="write residual_outputs = .* in class Linear"):
        build("l4", letters, scale_output_init=True)
    Linear.residual_outputs = ("output.kernel",)
    with pytest.raises(ConfigurationError, match="'output.kernel'.*expected one of readout"):
        build("l4", letters, scale_output_init=True)
    Linear.residual_outputs = ("readout",)
    parameters = build("l4", letters, scale_output_init=True).init(jax.random.key(0))
    assert same_bytes(parameters["l"]["sublayer"]["readout"], jnp.full((4, WIDTH, WIDTH), 0.5))


# One layer in NumPy, float64


def normalised(x, p, kind):
    if kind == "rms":
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * p["scale"]
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def affine(x, p):
    return x @ p["kernel"] + p["bias"]


def numpy_attention(x, p, heads=2):
    def split(y):
        return y.reshape(*y.shape[:-1], heads, -1)

    q, k, v = (split(affine(x, p[name])) for name in ("query", "key", "value"))
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    scores[..., np.triu(np.ones((x.shape[1], x.shape[1]), bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return affine(np.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape), p["output"])


def numpy_feed_forward(x, p):
    return affine(np.maximum(affine(x, p["input"]), 0), p["output"])


def numpy_layer(x, p, function, norm, kind, scale):
    y = normalised(x, p["norm_before"], kind) if norm in ("pre", "peri") else x
    y = function(y, p["sublayer"])
    y = normalised(y, p["norm_after"], kind) if norm == "peri" else y
    y = x + scale * y
    return normalised(y, p["norm_after"], kind) if norm == "post" else y


@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize("norm", ["pre", "post", "peri", "none"])
def test_a_layer_is_its_transcription_in_numpy(norm, kind):
    stack = build("sf", {"f": {"scale": 0.5}}, norm=norm, norm_kind=kind)
    parameters = drawn(stack)
    y, _ = stack(parameters, inputs(), Context())
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), parameters)
    first, second = (jax.tree.map(lambda a: a[0], p[letter]) for letter in "sf")
    x = np.asarray(inputs(), np.float64)
    x = numpy_layer(x, first, numpy_attention, norm, kind, 1.0)
    x = numpy_layer(x, second, numpy_feed_forward, norm, kind, 0.5)
    expected = normalised(x, p["final_norm"], kind)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["layer", "rms", "layer_no_bias"])
def test_a_norm_is_exact_far_from_zero(kind):
    """Where E[x²] - E[x]² would have lost the variance in float32."""
    x = inputs() + 300
    module = norm(kind, WIDTH, 1e-5, nnx.Rngs(0))
    assert set(nnx.state(module)) == ({"scale", "bias"} if kind == "layer" else {"scale"})
    p = {"scale": np.ones(WIDTH), "bias": np.zeros(WIDTH)}
    expected = normalised(np.asarray(x, np.float64), p, kind.removesuffix("_no_bias"))
    np.testing.assert_allclose(module(x), expected, atol=5e-4)


def test_a_letters_own_placement_goes_before_the_stacks():
    parameters = build("sf", {"f": {"norm": "none"}}, norm="pre").init(jax.random.key(0))
    assert set(parameters["s"]) == {"norm_before", "sublayer"}
    assert set(parameters["f"]) == {"sublayer"}


# Dropout

DROPOUT = jax.jit(functools.partial(dropout, platform="cpu"))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_with_a_traced_rate_drops_that_share_and_keeps_the_mean(rate):
    x = jnp.full((400, 500), 3.0)
    y = np.asarray(DROPOUT(x, jnp.float32(rate), jax.random.key(1)))
    deviation = math.sqrt(rate * (1 - rate) / x.size)
    assert abs((y == 0).mean() - rate) < 5 * deviation
    np.testing.assert_allclose(y[y != 0], 3 / (1 - rate), rtol=1e-4)
    assert abs(y.mean() - 3) < 5 * 3 * deviation / (1 - rate)


def test_dropout_at_rate_zero_is_the_identity(same_bytes):
    assert same_bytes(DROPOUT(inputs(), jnp.float32(0), jax.random.key(1)), inputs())


def ones(order, apply="unrolled", **options):
    """A stack whose every branch is 1 before dropout, and its parameters."""
    stack = build(order, norm="none", final_norm=False, apply=apply, **options)
    parameters = jax.tree.map(jnp.zeros_like, drawn(stack))
    bias = parameters["f"]["sublayer"]["output"]["bias"]
    parameters["f"]["sublayer"]["output"]["bias"] = jnp.ones_like(bias)
    return stack, parameters


TRAINING = Context(key=jax.random.key(5), dropout=0.5, train=True, has_dropout=True)


def test_each_position_drops_elements_of_its_own_also_where_weights_are_shared():
    zeros = jnp.zeros((8, 16, WIDTH))
    for options in ({}, {"share": "f"}):
        stack, parameters = ones("f3", **options)
        kept = np.asarray(stack(parameters, zeros, TRAINING)[0]) / 2  # of three branches of 2
        found = np.bincount(kept.astype(int).ravel(), minlength=4) / kept.size
        binomial = np.array([1, 3, 3, 1]) / 8
        assert np.abs(found - binomial).max() < 5 * math.sqrt(0.25 / kept.size)


def test_every_walk_drops_the_same_elements(same_bytes):
    zeros = jnp.zeros((2, 8, WIDTH))
    outputs = []
    for apply in ("unrolled", "scan", "switch"):
        stack, parameters = ones("f4", apply)
        outputs.append(stack(parameters, zeros, TRAINING)[0])
    assert same_bytes(outputs[0], outputs[1]) and same_bytes(outputs[0], outputs[2])


def test_dropout_is_off_at_evaluation_and_of_another_pattern_with_another_key(same_bytes):
    stack, parameters = ones("f2")
    zeros = jnp.zeros((2, 8, WIDTH))
    assert np.all(np.asarray(stack(parameters, zeros, TRAINING.replace(train=False))[0]) == 2)
    first = stack(parameters, zeros, TRAINING)[0]
    other = stack(parameters, zeros, TRAINING.replace(key=jax.random.key(6)))[0]
    assert same_bytes(first, stack(parameters, zeros, TRAINING)[0])
    assert not same_bytes(first, other)


def test_a_letters_own_rate_goes_before_the_models():
    zeros = jnp.zeros((8, 16, WIDTH))
    stack, parameters = ones("f", letters={"f": {"dropout": 0.0}})
    assert np.all(np.asarray(stack(parameters, zeros, TRAINING)[0]) == 1)
    stack, parameters = ones("f", letters={"f": {"dropout": 0.25}})
    none = TRAINING.replace(dropout=0.0, has_dropout=False)
    y = np.asarray(stack(parameters, zeros, none)[0])
    assert abs((y == 0).mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / y.size)


def test_a_letter_without_parameters_runs_however_it_is_applied():
    @sublayers.register("shift_of_test")
    class Shift(nnx.Module):
        causal = True

        def __init__(self, width, *, rngs):
            pass

        def __call__(self, x, context):
            return jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]

        def flops(self, length):
            return 0

    try:
        letters = {"z": {"kind": "shift_of_test", "norm": "none"}}
        found = []
        for apply in ("unrolled", "scan", "switch"):
            stack = build("zfz", letters, apply=apply)
            found.append(stack(drawn(stack), inputs(), Context())[0])
        for other in found[1:]:
            np.testing.assert_allclose(found[0], other, rtol=1e-5, atol=1e-6)
    finally:
        sublayers._kinds.pop("shift_of_test")


def test_many_random_numbers_are_as_random_as_few_and_replicas_have_their_own(same_bytes):
    shape = (5, SLICE // 2 + 7)  # some slices and a part of one
    keys = jax.random.split(jax.random.key(0), 2)
    together = jax.jit(jax.vmap(lambda key: random_bits(key, shape, "cpu")))(keys)
    assert same_bytes(together, jnp.stack([random_bits(key, shape, "cpu") for key in keys]))
    first, second = np.asarray(together, np.float64).reshape(2, -1) / 65536
    assert abs(first.mean() - 0.5) < 4 * 12**-0.5 * first.size**-0.5
    for a, b in ((first, second), (first[:SLICE], first[SLICE : 2 * SLICE])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 * a.size**-0.5
