"""Beneš blocks: wiring, both switch units against NumPy, padding, what is refused, models."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from arch import config, variants
from arch.context import Context
from arch.models import families as models
from arch.models import padding
from arch.models.embeddings.plain import Squashed
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition, count
from arch.sublayers.benes import network as benes
from arch.sublayers.benes.switches import GatedUnit, ResidualUnit
from tests.families import always

WIDTH = 6
UNITS = {
    "gated": {"unit": "gated"},
    "gated alone": {"unit": "gated", "skips": False},
    "sequence": {"unit": "residual", "normalisation": "sequence"},
    "features": {"unit": "residual", "normalisation": "features"},
}
CONTEXT = Context(causal=False)


def define(width=WIDTH, **options) -> Definition:
    return Definition(functools.partial(sublayers.get("benes"), width, **options))


def drawn(definition, seed=1, scale=0.4):
    source = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(scale * source.standard_normal(leaf.shape), jnp.float32),
        definition.shapes,
    )


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def double(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


# Wiring


def turned_left(x, bits):
    return ((x << 1) & ((1 << bits) - 1)) | (x >> (bits - 1))


def turned_right(x, bits):
    return (x >> 1) | ((x & 1) << (bits - 1))


def identity_switches(width=1, blocks=1):
    """A sublayer of residual units that let everything through as it is."""
    definition = define(width, blocks=blocks)
    parameters = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), definition.shapes)
    for unit in (*parameters["forward"].values(), *parameters["reverse"].values()):
        unit["strength"] += 60.0  # σ(120) is 1
    parameters["last"]["strength"] += 60.0
    return definition.bind(parameters)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("bits", always(range(1, 11), (1, 3)))
def test_a_block_of_identity_switches_turns_bits_left_and_back_right(bits, blocks):
    n, order = 1 << bits, np.arange(1 << bits)
    expected = order
    for turn in ([turned_left] * (bits - 1) + [turned_right] * (bits - 1)) * blocks:
        expected = expected[turn(order, bits)]
    x = jnp.arange(n, dtype=jnp.float32)[None, :, None]
    y = identity_switches(blocks=blocks)(x, CONTEXT)
    np.testing.assert_array_equal(y[0, :, 0], expected)
    # as often left as right: in the end everything is where it was
    np.testing.assert_array_equal(expected, order)


@pytest.mark.parametrize("bits", range(1, 11))
def test_either_shuffle_is_a_rotation_of_the_index(bits):
    x = np.arange(1 << bits)
    pairs = jnp.asarray(x.reshape(1, -1, 2))
    forward, reverse = benes.forward_shuffle(pairs), benes.reverse_shuffle(pairs)
    np.testing.assert_array_equal(forward.reshape(-1), turned_left(x, bits))
    np.testing.assert_array_equal(reverse.reshape(-1), turned_right(x, bits))


def test_one_block_and_the_last_layer_reach_every_permutation_of_eight_positions():
    """All 2²⁰ settings of the 20 switches that pass or cross, through the sublayer's own walk."""
    settings = jnp.arange(1 << 20, dtype=jnp.int32)
    layers = benes.layers_of_half(8)
    assert 4 * (2 * layers + 1) == 20

    def setting(first):
        def switch(pairs, layer, earlier):
            bits = settings[:, None] >> (4 * (first + layer) + jnp.arange(4)[None])
            return jnp.where((bits & 1)[..., None] == 1, pairs[..., ::-1], pairs)

        return switch

    @jax.jit
    def reached():
        pairs = jnp.broadcast_to(jnp.arange(8, dtype=jnp.int8).reshape(1, 4, 2), (1 << 20, 4, 2))
        pairs, _ = benes.walk(pairs, layers, setting(0), setting(layers))
        return setting(2 * layers)(pairs, 0, None).reshape(-1, 8)

    places = np.asarray(reached()).astype(np.int64)
    assert np.all(np.sort(places, axis=1) == np.arange(8))
    assert len(np.unique(places @ 8 ** np.arange(8))) == math.factorial(8)


# Units, in NumPy and float64, a pair after the other


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_gated(p, pairs, earlier=None):
    """(pairs, 2m) of one sequence."""
    m = pairs.shape[1] // 2
    kernel, bias = p["gates"]["kernel"], p["gates"]["bias"]
    y = []
    for place, pair in enumerate(pairs):
        s = pair.copy()
        if "skip" in p and earlier is not None:
            s += np.concatenate([p["skip"], p["skip"]]) * earlier[place]
        r1, r2, u = (
            sigmoid(s @ kernel[:, i * 2 * m : (i + 1) * 2 * m] + bias[i * 2 * m : (i + 1) * 2 * m])
            for i in range(3)
        )
        c1 = np.tanh((r1 * s) @ p["first"]["kernel"] + p["first"]["bias"])
        c2 = np.tanh((r2 * s) @ p["second"]["kernel"] + p["second"]["bias"])
        swapped = pair.copy()
        for channel in range(m // 2):
            swapped[channel], swapped[m + channel] = pair[m + channel], pair[channel]
        y.append(u * swapped + (1 - u) * np.concatenate([c1, c2]))
    return np.stack(y)


def numpy_residual(p, pairs, normalisation):
    axis = {"sequence": 0, "features": 1}[normalisation]
    z = pairs @ p["expand"]["kernel"]
    z = z - z.mean(axis, keepdims=True) + p["centre"]
    z = z / np.sqrt((z**2).mean(axis, keepdims=True) + 1e-10)
    c = (z * sigmoid(1.702 * z)) @ p["contract"]["kernel"] + p["contract"]["bias"]
    return sigmoid(2 * p["strength"]) * pairs + math.sqrt(1 - 0.9**2) * 0.25 * c


def unit_and_reference(name, width=4):
    """(definition, what it computes in NumPy, of a sequence and what is skipped to it)."""
    options = UNITS[name]
    if options["unit"] == "gated":
        create = functools.partial(GatedUnit, width, skips=options.get("skips", True))
        return Definition(create), numpy_gated
    normalisation = options["normalisation"]
    create = functools.partial(ResidualUnit, width, normalisation=normalisation)
    return Definition(create), lambda p, x, earlier: numpy_residual(p, x, normalisation)


@pytest.mark.parametrize("width", [1, 4, 5])
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_its_equations(name, width, assert_close):
    definition, reference = unit_and_reference(name, width)
    parameters = drawn(definition)
    x, earlier = normal(2, 8, 2 * width), normal(2, 8, 2 * width, seed=5)
    y = definition.bind(parameters)(x, earlier)
    p = double(parameters)
    expected = [reference(p, *pair) for pair in zip(double(x), double(earlier), strict=True)]
    assert_close(y, np.stack(expected))


@pytest.mark.parametrize("name", UNITS)
def test_the_gradients_of_a_unit_are_its_differences(name, assert_close):
    """Against central differences of the NumPy unit in float64."""
    definition, reference = unit_and_reference(name, 3)
    parameters = drawn(definition)
    x, earlier, weight = (normal(5, 6, seed=seed) for seed in range(3))

    def total(parameters, x, earlier):
        y = definition.bind(parameters)(x[None], earlier[None])[0]
        return jnp.sum(weight * y)

    inputs = parameters, x, earlier
    gradients = jax.jit(jax.grad(total, (0, 1, 2)))(*inputs)

    leaves, tree = jax.tree.flatten(double(inputs))
    found = []
    for place, leaf in enumerate(leaves):
        slopes = np.zeros_like(leaf)
        for index in np.ndindex(leaf.shape):
            sides = []
            for step in (1e-6, -1e-6):
                moved = leaf.copy()
                moved[index] += step
                p, xs, before = tree.unflatten([*leaves[:place], moved, *leaves[place + 1 :]])
                sides.append(np.sum(double(weight) * reference(p, xs, before)))
            slopes[index] = (sides[0] - sides[1]) / 2e-6
        found.append(slopes)
    assert_close(gradients, tree.unflatten(found))


def test_units_start_as_the_authors_start_them():
    gated = Definition(functools.partial(GatedUnit, 64, skips=True)).init(jax.random.key(0))
    assert np.all(gated["gates"]["bias"] == 0.5) and np.all(gated["skip"] == 0.5)
    limit = math.sqrt(6 / (128 + 128))  # Glorot's bound of each of its kernels
    largest = np.abs(gated["gates"]["kernel"]).reshape(128, 3, 128).max((0, 2))
    assert np.all(largest <= limit) and np.all(largest > 0.99 * limit)
    residual = Definition(functools.partial(ResidualUnit, 64)).init(jax.random.key(0))
    np.testing.assert_allclose(sigmoid(2 * np.asarray(residual["strength"])), 0.9, rtol=1e-6)
    bias = np.asarray(residual["contract"]["bias"])
    assert 0 <= bias.min() < 0.001 and 0.009 < bias.max() < 0.01
    assert not residual["centre"].any()


# The sublayer


def numpy_benes(p, x, unit, blocks, skips, switch=None):
    """One sequence of a power of two, (n, m), by gathers of rotated indices."""
    n, m = x.shape
    bits, order = n.bit_length() - 1, np.arange(n)

    def run(p, x, earlier):
        earlier = None if earlier is None else earlier.reshape(n // 2, 2 * m)
        return unit(p, x.reshape(n // 2, 2 * m), earlier).reshape(n, m)

    before, entered = None, x
    for block in range(blocks):
        entered, given = x, []
        for half, turn in (("forward", turned_left), ("reverse", turned_right)):
            for _ in range(bits - 1):
                earlier = before[len(given)] if skips and before else None
                given.append(x)
                x = run(p[half][block], x, earlier)[turn(order, bits)]
        before = given
    return run(p["last"], x, entered if skips else None)


@pytest.mark.parametrize(
    "blocks, length",
    always([(2, 1), (2, 2), (3, 3), (1, 8), (2, 13), (3, 64)], [(2, 1), (3, 3), (2, 13)]),
)
@pytest.mark.parametrize("name", UNITS)
def test_the_sublayer_is_its_loops_with_zeros_up_to_a_power_of_two(
    name, blocks, length, assert_close
):
    definition, x = define(blocks=blocks, **UNITS[name]), normal(2, length, WIDTH)
    parameters = drawn(definition)
    y = jax.jit(lambda p: definition.bind(p)(x, CONTEXT))(parameters)
    assert y.shape == x.shape
    padded = max(2, 2 ** math.ceil(math.log2(length)))
    filled = np.pad(double(x), ((0, 0), (0, padded - length), (0, 0)))
    _, unit = unit_and_reference(name)
    skips, p = name == "gated" and blocks > 1, double(parameters)
    expected = np.stack([numpy_benes(p, row, unit, blocks, skips) for row in filled])
    assert_close(y, expected[:, :length], 5e-5)


@pytest.mark.parametrize("name", UNITS)
def test_every_output_sees_every_input(name):
    definition = define(blocks=1, **UNITS[name])
    sublayer, x = definition.bind(drawn(definition)), normal(1, 8, WIDTH)

    def total(x, t):
        return jnp.sum(sublayer(x, CONTEXT)[0, t])

    gradient = jax.jit(jax.vmap(jax.grad(total), (None, 0)))(x, jnp.arange(8))
    assert np.all(np.abs(np.asarray(gradient)).max((1, 3)) > 0)


@pytest.mark.parametrize("name", always(UNITS, list(UNITS)[:2]))
def test_what_stands_at_the_padding_reaches_others_as_far_as_wires_and_the_means_go(
    name, assert_close, same_bytes
):
    """One layer of switches: with means over features, or gates, a pair is the same bit by bit
    whatever stands at the padding, and the same but for rounding without it, since a CPU may add up
    another shape in another order; with means over the sequence it changes by the means alone."""
    definition, reference = unit_and_reference(name, WIDTH)
    parameters = drawn(definition)
    unit = jax.jit(definition.bind(parameters))
    x = normal(1, 8, 2 * WIDTH)  # the last three pairs are padding
    y, other = (unit(x.at[:, 5:].set(at)) for at in (0.0, 3.0))
    if name != "sequence":
        assert same_bytes(y[:, :5], other[:, :5])
        assert_close(y[:, :5], unit(x[:, :5]), tolerance=1e-6)
        return
    assert np.abs(y - other)[:, :5].max() > 1e-3
    filled = double(x.at[:, 5:].set(3.0))[0]
    expected = reference(double(parameters), filled, None)
    assert_close(other[0, :5], expected[:5])


@pytest.mark.parametrize("name", always(UNITS, ("gated", "sequence")))
def test_a_mask_changes_nothing_since_padding_is_input(name, same_bytes):
    definition, x = define(**UNITS[name]), normal(2, 16, WIDTH)
    sublayer = definition.bind(drawn(definition))
    mask = jnp.broadcast_to(jnp.arange(16)[None] < 9, (2, 16))
    assert same_bytes(sublayer(x, Context(mask=mask)), sublayer(x, CONTEXT))


def test_dropout_is_of_training_alone_and_shared_out_over_the_depth():
    """At a rate r a layer drops r / k of what leaves it: of two blocks' 4k - 3 layers an input
    comes through all with a probability of (1 - r / k)^(4k - 3)."""
    rate, bits = 0.9, 5
    definition = define(8, switch_dropout=rate)
    parameters = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), definition.shapes)
    for unit in (*parameters["forward"].values(), *parameters["reverse"].values()):
        unit["strength"] += 60.0
    parameters["last"]["strength"] += 60.0
    sublayer, x = definition.bind(parameters), jnp.ones((64, 1 << bits, 8))
    assert np.all(np.asarray(sublayer(x, CONTEXT)) == 1)
    train = Context(causal=False, train=True, key=jax.random.key(0))
    kept = np.asarray(sublayer(x, train)) != 0
    expected = (1 - rate / bits) ** (4 * bits - 3)
    assert abs(kept.mean() - expected) < 5 * math.sqrt(expected * (1 - expected) / kept.size)
    # no two layers drop the same elements, nor two steps
    again = np.asarray(sublayer(x, train.replace(key=jax.random.key(1)))) != 0
    assert abs((kept & again).mean() - expected**2) < 0.01


@pytest.mark.parametrize("width", [192, 384])
def test_residual_switches_have_the_parameters_of_the_paper(width):
    unit = 16 * width**2 + 8 * width
    assert count(define(width, blocks=2).shapes) == 5 * unit
    assert 5 * unit == {192: 2_956_800, 384: 11_811_840}[width]
    assert count(define(width, blocks=1).shapes) == 3 * unit
    gated = functools.partial(define, width, unit="gated")
    assert count(gated(blocks=2, skips=False).shapes) == 5 * unit
    assert count(gated(blocks=2).shapes) == 5 * unit + 3 * width
    assert count(gated(blocks=1).shapes) == 3 * unit


@pytest.mark.parametrize("unit", benes.UNITS)
@pytest.mark.parametrize("length, layers, pairs", [(1, 1, 1), (2, 1, 1), (8, 9, 4), (9, 13, 8)])
def test_flops_are_those_of_the_products_of_all_switches(unit, length, layers, pairs):
    module = define(10, unit=unit).module
    assert module.flops(length) == layers * pairs * 2 * 16 * 10**2


@pytest.mark.parametrize("length, padded", [(1, 2), (2, 2), (3, 4), (64, 64), (65, 128)])
def test_the_length_it_wishes_is_the_next_power_of_two(length, padded):
    assert define(4).module.padded_length(length) == padded


def test_it_is_one_compiled_layer_a_half_whatever_the_length():
    definition = define()
    shapes = definition.shapes

    def lines(length):
        x = jax.ShapeDtypeStruct((1, length, WIDTH), jnp.float32)
        lowered = jax.jit(lambda p, x: definition.bind(p)(x, CONTEXT)).lower(shapes, x)
        return len(lowered.as_text().splitlines())

    assert lines(64) == lines(65536)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"unit": "swap"}, "unit='swap': allowed are residual, gated"),
        ({"normalisation": "layer"}, "normalisation='layer': allowed are sequence, features"),
        ({"blocks": 0}, "blocks=0: allowed is 1 or more"),
        ({"switch_dropout": 1.0}, "switch_dropout=1.0: allowed is 0 to below 1"),
        ({"switch_dropout": -0.1}, "switch_dropout=-0.1: allowed is 0 to below 1"),
    ],
)
def test_it_refuses_what_it_cannot_do(options, message):
    with pytest.raises(ConfigurationError, match=message):
        define(**options)


# In a model


def model(order="x", family="encoder", stack=(), embedding=(), **binding):
    made = config.make(
        model={
            "family": family,
            "width": 16,
            "order": order,
            "dropout": 0.1,
            "sublayers": {
                "x": {"kind": "benes", **binding},
                "s": {"kind": "attention", "heads": 2},
                "f": {"kind": "feed_forward", "expand": 2.0},
            },
            "stack": dict(stack),
            "embedding": {"positions": "none", **dict(embedding)},
        }
    )
    return models.build(made.model, 7, 16)


def test_a_decoder_is_refused_and_told_why():
    with pytest.raises(
        ConfigurationError, match="x.kind='benes' is not causal: .*, since its shuffles carry every"
    ):
        model("xsf", family="decoder")


def test_a_reversible_stack_refuses_it_by_name():
    for norm in ("pre", "post"):
        with pytest.raises(ConfigurationError, match="x.kind='benes' brings its own residual"):
            model("xf" if norm == "pre" else "x", stack={"kind": "reversible", "norm": norm})


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scale": 0.5}, "sublayers.x: scale=0.5: kind='benes' brings its own residual"),
        ({"dropout": 0.1}, "sublayers.x: dropout=0.1: .* the whole stream; allowed is 0"),
        ({"norm": "pre"}, "sublayers.x: norm='pre': .* allowed is none and post"),
        ({"norm": "peri"}, "sublayers.x: norm='peri'"),
    ],
)
def test_nothing_is_done_to_the_whole_stream(options, message):
    with pytest.raises(ConfigurationError, match=message):
        model(**options)


@pytest.mark.parametrize("norm", always(["pre", "post", "peri", "none"], ("pre",)))
def test_around_it_there_is_no_norm_no_sum_and_no_dropout(norm, same_bytes):
    definition = model("xf", stack={"norm": norm}, switch_dropout=0.0).stack.letters["x"]
    assert set(definition.shapes) == {"sublayer"}
    parameters = drawn(definition)
    branch, x = definition.bind(parameters), normal(2, 16, 16)
    train = Context(causal=False, train=True, has_dropout=True, dropout=0.5, key=jax.random.key(0))
    y = branch.sublayer(x, CONTEXT)
    assert same_bytes(branch(x, train)[0], y)


def test_after_it_there_is_a_norm_if_its_binding_says_so():
    definition = model("x", norm="post").stack.letters["x"]
    parameters = definition.init(jax.random.key(0))
    y = np.asarray(definition.bind(parameters)(normal(2, 16, 16), CONTEXT)[0])
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(-1), 1, rtol=1e-3)


def ids_of(length, batch=2):
    return jnp.asarray(np.random.default_rng(0).integers(1, 7, (batch, length)))


def random_parameters(built):
    return drawn_like(jax.eval_shape(built.init, jax.random.key(0)))


def drawn_like(shapes):
    source = np.random.default_rng(2)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * source.standard_normal(leaf.shape), jnp.float32), shapes
    )


@pytest.mark.parametrize(
    "positions", always(["none", "learned", "sinusoidal", "axial"], ("axial",))
)
def test_as_the_whole_model_ids_are_filled_up_with_0(positions, assert_close):
    built = model(blocks=1, embedding={"positions": positions})
    parameters, ids = random_parameters(built), ids_of(11)
    logits = jax.jit(lambda ids: built.logits(parameters, ids, CONTEXT))
    y, whole = logits(ids), logits(jnp.pad(ids, ((0, 0), (0, 5))))
    assert y.shape == (2, 11, 7)
    assert_close(y, whole[:, :11])
    score, _ = built.score(parameters, ids, ids, CONTEXT)
    assert score.target.shape == score.best.shape == (2, 11)


@pytest.mark.slow
def test_beside_other_letters_it_fills_up_with_zeros_itself(assert_close):
    built = model("xf")
    parameters, ids = random_parameters(built), ids_of(11)
    y = built.logits(parameters, ids, CONTEXT)
    whole = built.logits(parameters, jnp.pad(ids, ((0, 0), (0, 5))), CONTEXT)
    assert y.shape == (2, 11, 7)
    assert np.abs(y - whole[:, :11]).max() > 1e-3
    # in the order xf the block is given embedded tokens, then zeros
    embedded = built.embedding.bind(parameters["embedding"])(ids, None, CONTEXT, jnp.float32)
    own = jax.tree.map(lambda a: a[0], parameters["stack"]["x"])
    x = jnp.pad(embedded, ((0, 0), (0, 5), (0, 0)))
    x = built.stack.letters["x"].bind(own)(x, CONTEXT)[0][:, :11]
    x = built.stack.letters["f"].bind(jax.tree.map(lambda a: a[0], parameters["stack"]["f"]))(
        x, CONTEXT
    )[0]
    x = built.stack.normalise(parameters["stack"], x)
    head, tokens = built.bound_head(parameters)
    assert_close(y, head.logits(tokens, x.reshape(-1, 16)).reshape(2, 11, 7))


def test_what_is_given_with_the_ids_is_filled_up_with_them():
    ids = ids_of(3)
    context = Context(
        positions=jnp.array([[4, 5, 6]]), segments=jnp.ones((2, 3), jnp.int32),
        mask=jnp.array([[True, True, False], [True, True, True]]),
    )  # fmt: skip
    wider, filled = padding.filled(ids, context, 5)
    assert wider[:, 3:].tolist() == [[0, 0], [0, 0]] and (wider[:, :3] == ids).all()
    assert filled.positions.tolist() == [[4, 5, 6, 7, 8]]
    assert filled.segments.tolist() == [[1, 1, 1, 0, 0]] * 2
    assert filled.mask.tolist() == [[True, True, False, False, False], [True] * 3 + [False] * 2]
    _, alone = padding.filled(ids, Context(), 4)
    assert alone.mask.tolist() == [[True, True, True, False]] * 2 and alone.positions is None
    assert padding.filled(ids, context, 3) == (ids, context)


@pytest.mark.slow
def test_a_memory_is_as_long_as_its_source():
    made = config.make(
        model={
            "family": "encoder_decoder",
            "width": 16,
            "encoder_order": "x",
            "order": "scf",
            "sublayers": {
                "x": {"kind": "benes"},
                **{x: {"kind": "attention", "heads": 2, "cross": x == "c"} for x in "sc"},
            },
        }
    )
    built = models.build(made.model, 7, 12)
    parameters = random_parameters(built)
    memory, _ = built.encode(parameters, ids_of(11), Context())
    assert memory.shape == (2, 11, 16)
    assert built.logits(parameters, (ids_of(11), ids_of(5)), Context()).shape == (2, 5, 7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "unit"),
    [
        ("xsf", "residual"),
        pytest.param("x", "gated", marks=pytest.mark.slow),
        pytest.param("sxf", "gated", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_it_learns_beside_attention_and_feed_forward(order, unit):
    """To reverse twelve symbols, in an encoder with dropout: the loss falls to less than half."""
    built = model(order, unit=unit, embedding={"positions": "sinusoidal"})
    parameters = built.init(jax.random.key(0))
    source = np.random.default_rng(0)
    ids = jnp.asarray(source.integers(1, 7, (32, 12)))

    def loss(parameters, key):
        context = Context(causal=False, train=True, has_dropout=True, dropout=0.1, key=key)
        return -built.score(parameters, ids, ids[:, ::-1], context)[0].target.mean()

    chain = optax.adam(1e-2)

    @jax.jit
    def steps(parameters):
        def step(carry, key):
            parameters, state = carry
            value, gradient = jax.value_and_grad(loss)(parameters, key)
            updates, state = chain.update(gradient, state)
            return (optax.apply_updates(parameters, updates), state), value

        keys = jax.random.split(jax.random.key(1), 60)
        return jax.lax.scan(step, (parameters, chain.init(parameters)), keys)[1]

    values = np.asarray(steps(parameters))
    assert np.all(np.isfinite(values)) and values[-5:].mean() < 0.5 * values[:5].mean()


# Variants


def build(variant, size, vocabulary=13, **more):
    return models.build(config.make(model=variant(size, **more)).model, vocabulary, 64)


@pytest.mark.parametrize("size", variants.RESIDUAL_SHUFFLE_EXCHANGE)
def test_residual_shuffle_exchange_has_the_switches_of_the_paper(size):
    width, blocks = variants.RESIDUAL_SHUFFLE_EXCHANGE[size]
    built = build(variants.residual_shuffle_exchange, size)
    counts = built.parameter_counts()
    switches = (2 * blocks + 1) * (16 * width**2 + 8 * width)
    assert counts["by_letter"] == {"x": switches}
    around = {
        "lambada": 13 * 300 + 300 * width + width + width,
        # two convolutions, a map to the width, and an output
        "musicnet": 5 * 96 + 4 * 96 * 384 + 384 + 385 * width + 13 * width + 13,
    }.get(size, 26 * width + 13)
    assert counts["unique"] == counts["applied"] == switches + around
    assert built.order == "x" and not built.causal


def test_the_sizes_of_lambada_and_musicnet_are_those_printed():
    for size, switches, printed in (("lambada", 11_811_840, 11.38), ("musicnet", 2_956_800, 3.06)):
        built = build(variants.residual_shuffle_exchange, size)
        assert built.parameter_counts()["by_letter"] == {"x": switches}
        assert switches < printed * 2**20
    musicnet = build(variants.residual_shuffle_exchange, "musicnet", vocabulary=128)
    # the authors calibrate each note's logit by a scale and an offset, which learn nothing else
    held = musicnet.parameter_counts()["unique"] + 2 * 128
    assert held == 3_204_000 and round(held / 2**20, 2) == 3.06
    # with the map of words to the width, and the authors' three outputs
    assert round((11_811_840 + 300 * 384 + 384 + 3 * 384 + 3) / 2**20, 2) == 11.38


@pytest.mark.parametrize("size", variants.SHUFFLE_EXCHANGE)
def test_neural_shuffle_exchange_has_gated_switches(size):
    width, blocks = variants.SHUFFLE_EXCHANGE[size]
    counts = build(variants.shuffle_exchange, size).parameter_counts()
    switches = (2 * blocks + 1) * (16 * width**2 + 8 * width)
    assert counts["by_letter"] == {"x": switches + 3 * width * (blocks == 2)}


def test_a_variant_of_another_size_is_refused():
    with pytest.raises(ConfigurationError, match="size 'musicnet': allowed are algorithmic, multi"):
        variants.shuffle_exchange("musicnet")


@pytest.mark.slow
def test_a_variant_takes_what_a_model_is_given():
    switch, words = {"normalisation": "features"}, {"word_dropout": 0.5}
    made = variants.residual_shuffle_exchange(
        "sorting", switch=switch, embedding=words, dtype="bfloat16"
    )
    built = models.build(config.make(model=made).model, 12, 32)
    assert built.dtype == jnp.bfloat16
    assert built.stack.sublayer("x").last.normalisation == "features"
    parameters = built.init(jax.random.key(0))
    ids = jnp.arange(20).reshape(2, 10) % 12
    assert np.all(np.isfinite(built.logits(parameters, ids, CONTEXT)))


def test_squashed_embeddings_are_tanh_of_thirty_times_a_small_table(assert_close):
    definition = Definition(functools.partial(Squashed, 50, 40))
    parameters = definition.init(jax.random.key(0))
    table = np.asarray(parameters["table"], np.float64)
    assert -0.01 <= table.min() < -0.0099 and 0.0099 < table.max() <= 0.01
    ids = jnp.array([[3, 0, 49]])
    assert_close(definition.bind(parameters)(ids), np.tanh(30 * table[np.asarray(ids)]))
    with pytest.raises(ConfigurationError, match="embedding.factor=0: allowed is above 0"):
        Definition(functools.partial(Squashed, 5, 4, factor=0))


def test_word_dropout_drops_whole_words_in_training_alone(same_bytes):
    built = model(embedding={"word_dropout": 0.25})
    embedding = built.embedding.bind(built.init(jax.random.key(0))["embedding"])
    ids = jnp.ones((64, 64), jnp.int32)
    whole = embedding(ids, None, CONTEXT, jnp.float32)
    train = Context(causal=False, train=True, key=jax.random.key(0))
    y = np.asarray(embedding(ids, None, train, jnp.float32))
    gone = np.all(y == 0, axis=-1)
    assert np.all(gone == np.any(y == 0, axis=-1))
    assert abs(gone.mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / gone.size)
    np.testing.assert_allclose(y[~gone], np.asarray(whole)[~gone] / 0.75, rtol=1e-5)
    message = "embedding.word_dropout=1.0: allowed is 0 to below 1"
    with pytest.raises(ConfigurationError, match=message):
        model(embedding={"word_dropout": 1.0})
