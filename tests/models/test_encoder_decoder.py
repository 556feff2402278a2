"""Encoders, and decoders that attend to them: what sees what, counts, refusals, optimisers."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from arch import config, optimizers
from arch import order as orders
from arch.context import Context
from arch.models import families as models
from arch.registry import ConfigurationError
from tests.families import always

WIDTH, LENGTH, VOCABULARY = 8, 6, 11
LETTERS = {
    "s": {"kind": "attention", "heads": 2},
    "c": {"kind": "attention", "heads": 2, "cross": True},
    "f": {"kind": "feed_forward", "expand": 2.0},
    "v": {"kind": "separable_convolution", "expand": 1.0},
}
UNIVERSAL = {"kind": "universal", "steps": 2, "halting": "act"}


def part(family="encoder_decoder", order="scf", encoder_order="sf", **model) -> dict:
    """The model's part of a configuration; its head is its own, as a tied one repeats its input."""
    if family != "encoder_decoder":
        encoder_order = ""
    small = {"width": WIDTH, "sublayers": LETTERS, "head": {"tie": False}}
    orders_of = {"family": family, "order": order, "encoder_order": encoder_order}
    return {**small, **orders_of, **model}


def built(*families, **model) -> Any:
    return models.build(config.make(model=part(*families, **model)).model, VOCABULARY, LENGTH)


def drawn(model, seed=0):
    """Parameters of the model's shapes, every one of them random."""
    source = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.5 * source.standard_normal(leaf.shape), jnp.float32), shapes
    )


def tokens(*shape, seed=0):
    """Token ids above padding and end."""
    return jnp.asarray(np.random.default_rng(seed).integers(2, VOCABULARY, shape))


def perturbed(row) -> jax.Array:
    """The row, then one copy for each place, in which another token stands there."""
    rows = np.tile(np.asarray(row), (len(row) + 1, 1))
    for place in range(len(row)):
        rows[place + 1, place] = 2 + (rows[place + 1, place] - 1) % (VOCABULARY - 2)
    return jnp.asarray(rows)


def reached(y, threshold=1e-5) -> np.ndarray:
    """[i, t]: whether the output at t is another where the token at i is."""
    return np.abs(np.asarray(y[1:]) - np.asarray(y[:1])).max(-1) > threshold


@functools.cache
def runner(model):
    return jax.jit(lambda p, inputs, context: model.hidden(p, inputs, context)[0])


def hidden(model, inputs, context=None):
    return runner(model)(drawn(model), inputs, context or Context())


# What sees what


@pytest.mark.parametrize("order", ["sf", "fv"])
def test_an_encoder_sees_both_ways_and_a_decoder_backwards_alone(order):
    rows = perturbed(tokens(LENGTH))
    encoder = reached(hidden(built("encoder", order=order), rows))
    decoder = reached(hidden(built("decoder", order=order), rows))
    assert np.array_equal(decoder, np.triu(np.ones((LENGTH, LENGTH), bool)))
    far = 3 if order == "fv" else LENGTH  # kernels of 3 and 5 see 1 + 2 places on either side
    apart = np.abs(np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH)))
    assert np.array_equal(encoder, apart <= far)


def test_an_encoders_tokens_do_not_see_padding(same_bytes):
    model, ids = built("encoder", order="sf"), tokens(2, LENGTH)
    mask = jnp.asarray([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], bool)
    other = jnp.where(mask, ids, 2 + (ids - 1) % (VOCABULARY - 2))
    y, changed = (np.asarray(hidden(model, x, Context(mask=mask))) for x in (ids, other))
    real = np.asarray(mask)
    assert same_bytes(y[real], changed[real]) and not same_bytes(y, changed)


@pytest.mark.parametrize("stack", always([{}, UNIVERSAL], [{}]))
def test_targets_see_those_before_them_and_all_of_the_source(stack):
    model = built(order="fcs", stack=stack)
    source, ids = tokens(LENGTH - 1, seed=1), tokens(LENGTH)
    rows = perturbed(ids)
    same_source = jnp.tile(source, (len(rows), 1))
    assert np.array_equal(
        reached(hidden(model, (same_source, rows))), np.triu(np.ones((LENGTH, LENGTH), bool))
    )
    sources = perturbed(source)
    same_ids = jnp.tile(ids, (len(sources), 1))
    assert reached(hidden(model, (sources, same_ids))).all()


@pytest.mark.parametrize(
    "model",
    always(
        [{"encoder_order": "svf", "order": "(scf)2"}, {"stack": UNIVERSAL}], [{"stack": UNIVERSAL}]
    ),
)
def test_the_sources_padding_has_no_influence(model, same_bytes, assert_close):
    model = built(**model)
    source, ids = tokens(3, 5, seed=1), tokens(3, LENGTH)
    mask = jnp.asarray([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]], bool)
    context = Context(memory_mask=mask)
    y = hidden(model, (jnp.where(mask, source, 0), ids), context)
    assert same_bytes(hidden(model, (source, ids), context), y)
    cut = hidden(model, (source[:, :3], ids), Context(memory_mask=mask[:, :3]))
    assert_close(cut, y)
    unmasked = hidden(model, (source, ids))
    assert np.abs(np.asarray(unmasked - y)).max() > 1e-3


def test_the_encoder_is_the_encoder_family_with_the_masks_of_the_source(same_bytes):
    """`encode` gives what a model of family='encoder' with the same weights gives."""
    model, alone = built(), built("encoder", order="sf")
    parameters, source = drawn(model), tokens(2, 5)
    mask = jnp.asarray([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], bool)
    memory = jax.jit(model.encode)(parameters, source, Context(memory_mask=mask))[0]
    own = {**parameters, "stack": parameters["encoder"]}
    assert same_bytes(memory, jax.jit(alone.hidden)(own, source, Context(mask=mask))[0])


def test_gradients_reach_the_encoder(same_bytes):
    model = built(order="(scf)2", encoder_order="(sf)2")
    source, ids, targets = tokens(3, 5, seed=1), tokens(3, LENGTH), tokens(3, LENGTH, seed=2)

    @jax.jit
    @jax.grad
    def gradient(parameters):
        return -model.score(parameters, (source, ids), targets, Context())[0].target.mean()

    found = gradient(drawn(model))
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        name = jax.tree_util.keystr(path)
        if "['key']['bias']" in name:  # adds the same to all scores of a query
            continue
        largest = np.abs(np.asarray(leaf)).max(tuple(range(1, leaf.ndim)))
        assert np.all(largest > 1e-6) or "embedding" in name, name  # of each owner
    assert np.abs(np.asarray(found["embedding"]["tokens"]["table"])).max() > 1e-6


def test_encoder_and_decoder_start_from_and_drop_out_by_keys_of_their_own():
    model = built(order="scf", encoder_order="sf")
    start = model.init(jax.random.key(0))
    for letter, part in (("s", "query"), ("f", "input")):
        ours, others = (start[k][letter]["sublayer"][part]["kernel"] for k in ("encoder", "stack"))
        assert ours.shape == others.shape and not np.allclose(ours, others)


def test_losses_and_statistics_of_the_encoder_have_names_of_their_own():
    model = built(stack=UNIVERSAL)
    source, ids = tokens(2, 5), tokens(2, LENGTH)
    mask = jnp.asarray([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
    context = Context(memory_mask=mask)
    extras = jax.jit(lambda p: model.hidden(p, (source, ids), context)[1])(drawn(model))
    assert set(extras.losses) == {"ponder_cost", "encoder_ponder_cost"}
    weights = {name: float(pair[1]) for name, pair in extras.losses.items()}
    assert weights == {"ponder_cost": 2 * LENGTH, "encoder_ponder_cost": 8}
    assert set(extras.statistics) == {
        f"{prefix}ponder_{what}" for prefix in ("", "encoder_") for what in ("time", "spread")
    }


# Refusals


@pytest.mark.parametrize(
    "model, message",
    [
        (("decoder", "scf"), r"model\.sublayers\.c\.cross=True: there is no memory"),
        (("encoder", "fc"), r"model\.sublayers\.c\.cross=True: there is no memory"),
        (("encoder_decoder", "scf", "cf"), r"model\.sublayers\.c\.cross=True: there is no memory"),
        (("encoder_decoder", "scf", ""), r"model\.encoder_order='': .* needs an order"),
        (("encoder_decoder", "scf", "  "), r"model\.encoder_order='': .* needs an order"),
        (("encoder_decoder", "sf", "sf"), r"model\.order='sf': no letter attends to the encoder"),
    ],
)
def test_an_order_that_does_not_suit_its_family_is_refused(model, message):
    with pytest.raises(ConfigurationError, match=message):
        built(*model)


@pytest.mark.parametrize("family", ["decoder", "encoder"])
def test_an_encoders_order_without_a_decoder_for_it_is_refused(family):
    model = {**part(family, "sf"), "encoder_order": "sf"}
    with pytest.raises(ConfigurationError, match=r"model\.encoder_order='sf': .*no encoder"):
        config.make(model=model)


def test_an_unbound_letter_of_the_encoder_is_refused_by_its_order():
    with pytest.raises(ConfigurationError, match=r"model\.encoder_order='sx': letter 'x'"):
        config.make(model=part(encoder_order="sx"))


# Figures


def test_the_order_is_encoder_bar_decoder():
    assert built(order="(scf)2", encoder_order="(sf)2").order == "sfsf|scfscf"
    assert built("encoder", order="(sf)2").order == "sfsf"


def test_parameters_are_those_of_the_closed_form():
    model, d, v = built(order="(scf)2", encoder_order="(sf)3"), WIDTH, VOCABULARY
    norm = 2 * d
    attention = 4 * (d * d + d) + norm
    feed_forward = 2 * d * 2 * d + 2 * d + d + norm
    counts = model.parameter_counts()
    assert counts["by_letter"] == {
        "encoder.s": 3 * attention,
        "encoder.f": 3 * feed_forward,
        "s": 2 * attention,
        "c": 2 * attention,
        "f": 2 * feed_forward,
    }
    assert counts["embedding"] == 2 * v * d
    total = 7 * attention + 5 * feed_forward + 2 * norm + 2 * v * d
    assert counts["unique"] == counts["applied"] == total
    held = jax.eval_shape(model.init, jax.random.key(0))
    assert total == sum(leaf.size for leaf in jax.tree.leaves(held))
    assert set(held) == {"embedding", "encoder", "stack", "head"}


def test_sharing_and_steps_count_in_both_halves():
    stack = {"kind": "universal", "steps": 3, "share": "s"}
    model = built(order="(scf)2", encoder_order="(sf)2", stack=stack)
    counts, outside = model.parameter_counts(), 2 * VOCABULARY * WIDTH + 4 * WIDTH
    own = counts["by_letter"]
    assert own["s"] == own["encoder.s"] == own["c"] // 2
    held = sum(own.values())
    assert counts["unique"] == outside + held
    assert counts["applied"] == outside + 3 * (held + own["s"] + own["encoder.s"])


def test_a_tokens_flops_are_of_both_halves():
    """The encoder's letters count as those of a decoder stack of the same letters."""
    both = built(order="scf", encoder_order="sf").flops_per_token(LENGTH)
    more = built(order="scf", encoder_order="(sf)2").flops_per_token(LENGTH)
    thrice = built("decoder", "(sf)3").flops_per_token(LENGTH)
    twice = built("decoder", "(sf)2").flops_per_token(LENGTH)
    assert more - both == thrice - twice > 0


# Training


@pytest.mark.slow
def test_a_sandwich_with_attentions_moved_as_one_unit_trains():
    order = orders.sandwich(2, 1, attention="sc")
    assert order == "scscff"
    model, plain = built(order=order), built(order="(scf)2")
    assert model.parameter_counts()["by_letter"] == plain.parameter_counts()["by_letter"]
    source = tokens(8, LENGTH, seed=1)
    inputs = jnp.pad(source, ((0, 0), (1, 0)))[:, :-1]  # what it copies, one later

    @jax.jit
    def trained(parameters):
        def loss(parameters):
            return -model.score(parameters, (source, inputs), source, Context())[0].target.mean()

        def step(parameters, _):
            value, gradient = jax.value_and_grad(loss)(parameters)
            return jax.tree.map(lambda a, g: a - 0.1 * g, parameters, gradient), value

        return jax.lax.scan(step, parameters, length=60)

    start = drawn(model)
    end, losses = trained(start)
    assert losses[-1] < 0.7 * losses[0]
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), start, end)
    assert min(jax.tree.leaves(jax.tree.map(lambda a: a > 1e-4, moved["encoder"]["f"])))


# Optimisers: an owner is a tensor in the encoder as well

NAMES = optimizers.optimizers.names()
PER_TENSOR = [name for name in NAMES if optimizers.optimizers.get(name).per_tensor]


def tree(width=8) -> dict:
    """An encoder-decoder's tree in little: both halves alike, two owners of different sizes."""
    source = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(source.standard_normal(shape), jnp.float32)

    def owned(*shape):
        return jnp.array([0.1, 5.0]).reshape(2, *[1] * len(shape)) * draw(2, *shape)

    sublayer = {"input": {"kernel": owned(width, width), "bias": owned(width)}}
    letter = {"norm_before": {"scale": owned(width)}, "sublayer": sublayer}
    half = {
        "f": letter,
        "final_norm": {"scale": draw(width)},
        "halting": {"kernel": draw(width, 1)},
    }
    return {"encoder": half, "stack": half, "head": {"matrix": {"kernel": draw(width, 5)}}}


def trainer(name, gradient, decay=0.1):
    """parameters → those after three updates"""
    own = optimizers.optimizers.options(name)
    chain = optimizers.build(
        {"name": name, **optimizers.SURROUNDINGS, **own}, 0.0, {"encoder": "f", "stack": "f"}
    )(0.02, decay)

    def step(index, carry):
        parameters, state = carry
        updates, state = chain.update(gradient(parameters, index), state, parameters)
        return optax.apply_updates(parameters, updates), state

    def train(parameters):
        return jax.lax.fori_loop(0, 3, step, (parameters, chain.init(parameters)))[0]

    return jax.jit(train)


def growing(parameters, index):
    """A gradient that grows from step to step, the more the larger the weight."""
    return jax.tree.map(lambda a: jnp.sin(3 * a) * (1 + index * jnp.abs(a)), parameters)


def test_the_little_tree_has_the_parts_of_a_models():
    model = built(stack=UNIVERSAL)
    held = jax.eval_shape(model.init, jax.random.key(0))
    assert model.letters == {"encoder": ("f", "s"), "stack": ("c", "f", "s")}
    assert set(tree()) < set(held)
    assert set(tree()["encoder"]) < set(held["encoder"]) == {"s", "f", "final_norm", "halting"}


@pytest.mark.parametrize("name", always(NAMES, ("adamw", "muon")))
def test_the_encoders_letters_move_as_the_decoders_do(name, assert_close):
    """The same weights and gradients in both halves."""
    moved = trainer(name, growing)(tree())
    assert set(moved) == set(tree())
    assert_close(moved["encoder"], moved["stack"], 1e-6)


@pytest.mark.parametrize("name", always(PER_TENSOR, ("lamb",)))
def test_an_owner_of_the_encoder_moves_as_if_it_were_alone(name, assert_close):
    parameters = tree(128 if name == "adafactor" else 8)  # where Adafactor begins to factor

    def alone(tree, index):
        own = jax.tree.map(lambda a: a[index : index + 1], tree["encoder"]["f"])
        return {**tree, "encoder": {**tree["encoder"], "f": own}}

    trained = trainer(name, growing)
    together = trained(parameters)
    for index in range(2):
        assert_close(alone(together, index), trained(alone(parameters, index)))


@pytest.mark.parametrize("name", ["adamw", "lamb"])  # elementwise, and a norm per tensor
def test_weight_decay_leaves_biases_and_norms_of_the_encoder_alone(name):
    start = tree()
    end = trainer(name, lambda p, _: jax.tree.map(jnp.zeros_like, p), decay=0.5)(start)
    moved = jax.tree.map(lambda a, b: bool(np.any(np.asarray(a != b))), start, end)
    for path, moves in jax.tree_util.tree_leaves_with_path(moved):
        assert moves == (path[-1].key == "kernel"), jax.tree_util.keystr(path)


# A head for the whole sequence


@pytest.mark.parametrize("masked", [False, True])
def test_a_pooling_head_reads_the_mean_over_the_tokens(masked, assert_close):
    model = built("encoder", order="sf", head={"tie": False, "pool": "mean"})
    parameters, ids, targets = drawn(model), tokens(3, LENGTH), tokens(3, 1, seed=4)
    mask = np.array([[1, 1, 1, 1, 0, 0], [0, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]], bool)
    context = Context(mask=jnp.asarray(mask) if masked else None)

    @jax.jit
    def run(parameters):
        found, _ = model.score(parameters, ids, targets, context)
        x, _ = model.hidden(parameters, ids, context)
        return found, x, model.logits(parameters, ids, context)

    found, x, logits = run(parameters)
    x, kernel = np.asarray(x, np.float64), parameters["head"]["matrix"]["kernel"]
    weights = (mask if masked else np.ones_like(mask)).astype(float)
    mean = np.stack([sum(w * y for w, y in zip(ws, ys, strict=True)) / sum(ws)
                     for ws, ys in zip(weights, x, strict=True)])  # fmt: skip
    expected = mean @ np.asarray(kernel, np.float64)
    assert logits.shape == (3, 1, VOCABULARY)
    assert_close(logits[:, 0], expected)
    logp = expected - np.log(np.exp(expected).sum(-1, keepdims=True))
    assert found.target.shape == found.mean.shape == found.best.shape == (3, 1)
    assert_close(found.target[:, 0], logp[np.arange(3), np.asarray(targets)[:, 0]])
    assert_close(found.mean[:, 0], logp.mean(-1))
    assert np.array_equal(found.best[:, 0], logp.argmax(-1))


def test_a_pooling_head_of_nothing_but_padding_is_finite():
    head = built("encoder", order="sf", head={"tie": False, "pool": "mean"}).head
    x, bound = jnp.ones((2, LENGTH, WIDTH)), head.bind(head.init(jax.random.key(0)))
    context = Context(mask=jnp.zeros((2, LENGTH), bool))
    found = bound.score(None, x, None, jnp.zeros((2, 1), jnp.int32), context)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))


def test_another_pool_is_refused():
    with pytest.raises(ConfigurationError, match=r"head\.pool='max': allowed are none, mean"):
        built("encoder", order="sf", head={"pool": "max"})
