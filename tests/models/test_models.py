"""Models: published counts, embeddings and heads in NumPy, chunks, types, one order and another."""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config, variants
from arch import order as orders
from arch.context import Context
from arch.models import families as models
from arch.models.embeddings.embedding import sinusoid
from arch.registry import ConfigurationError
from arch.stacks.parameters import Definition
from tests.families import always

WIDTH, LENGTH, VOCABULARY = 16, 8, 50


def build(vocabulary=VOCABULARY, length=LENGTH, **model) -> models.Decoder:
    return models.build(config.make(model=model).model, vocabulary, length)


def tiny(order="sf", **model) -> models.Decoder:
    letters = {"s": {"kind": "attention", "heads": 2}, "f": {"kind": "feed_forward"}}
    return build(width=WIDTH, order=order, sublayers=letters, **model)


def drawn(model, seed=0):
    """Parameters of the model's shapes, every one of them random."""
    source = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * source.standard_normal(leaf.shape), jnp.float32), shapes
    )


def tokens(*shape, vocabulary=VOCABULARY, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, vocabulary, shape))


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def as_float64(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


# Published counts


def paper_sandwich(coefficient: int) -> models.Decoder:
    """Press et al. 2020 on WikiText-103: fairseq's adaptive_lm_wiki103 with 16 layers."""
    return build(
        267_744,
        3072,
        **variants.sandwich(
            16,
            coefficient,
            width=1024,
            heads=8,
            embedding={"kind": "adaptive", "cutoffs": (20000, 60000), "factor": 4},
            head={"kind": "adaptive"},
            stack={"final_norm": False},
        ),
    )


@pytest.mark.parametrize("coefficient", range(16))
def test_every_sandwich_has_the_papers_parameters(coefficient):
    model = paper_sandwich(coefficient)
    counts = model.parameter_counts()
    assert orders.counts(orders.sandwich(16, coefficient)) == {"s": 16, "f": 16}
    assert sum(counts["by_letter"].values()) == 201_539_584
    assert counts["unique"] == counts["applied"] == 246_933_504
    assert counts["embedding"] == 246_933_504 - 201_539_584


def test_reordering_changes_no_flops():
    flops = {k: paper_sandwich(k).flops_per_token(3072) for k in (0, 6, 15)}
    assert len(set(flops.values())) == 1
    # two a weight of the layers, without norms and biases, and the scores and sums of 3072 keys
    layers = 2 * 16 * (4 * 1024**2 + 8 * 1024**2) + 16 * 2 * 2 * 3072 * 1024
    bands = 20000 * 1024 + 40000 * 256 + 207_744 * 64
    projections = 1024 * (1024 + 256 + 64)
    head = 2 * (bands + 2 * 1024 + projections - 1024 * 1024)
    assert flops[0] == layers + 2 * projections + head


@pytest.mark.parametrize(
    "size, parameters",
    [
        ("small", 124_439_808),
        ("medium", 354_823_168),
        ("large", 774_030_080),
        ("xl", 1_557_611_200),
    ],
)
def test_gpt2_has_the_parameters_of_the_released_weights(size, parameters):
    counts = build(50257, 1024, **variants.gpt2(size)).parameter_counts()
    assert counts["unique"] == counts["applied"] == parameters


def test_sharing_applies_more_parameters_than_it_holds():
    layers = {letter: 8 for letter in "sf"}
    counts = tiny("(sf)8", stack={"share": "sf"}).parameter_counts()
    alone = tiny("sf").parameter_counts()
    assert counts["unique"] == alone["unique"]
    assert counts["applied"] - counts["unique"] == sum(
        (uses - 1) * alone["by_letter"][letter] for letter, uses in layers.items()
    )


def test_macaron_layers_have_vanillas_parameters_but_for_a_norm_and_a_bias():
    vanilla = build(**variants.vanilla(2, width=WIDTH, heads=2)).parameter_counts()
    macaron = build(**variants.macaron(2, width=WIDTH, heads=2)).parameter_counts()
    assert macaron["unique"] - vanilla["unique"] == 2 * (2 * WIDTH + WIDTH)


# Embeddings


def embedded(model, parameters, ids, context=None):
    return _embedded(model, parameters["embedding"], ids, context or Context())


@functools.partial(jax.jit, static_argnums=0)
def _embedded(model, parameters, ids, context):
    embedding = model.embedding.bind(parameters)
    where = context.positions if context.positions is not None else jnp.arange(ids.shape[1])[None]
    return embedding(ids, embedding.signal(where), context, jnp.float32)


def outputs(model, parameters, ids):
    """hidden and logits, of one program."""
    return jax.jit(model.outputs)(parameters, ids, Context())


@pytest.mark.parametrize("width", [16, 7])
def test_sinusoids_are_those_of_the_paper(width):
    where = np.array([[0, 1, 2, 700], [5, 3, 2, 100_000]])
    half = width // 2
    expected = np.zeros((2, 4, width))
    for i in range(half):
        wavelength = 10000 ** (i / (half - 1))
        expected[..., i] = np.sin(where / wavelength)
        expected[..., half + i] = np.cos(where / wavelength)
    # angles are float32: at position 100,000 the last digit is 0.008 radians
    actual = np.asarray(sinusoid(jnp.asarray(where), width))
    np.testing.assert_allclose(actual[0], expected[0], atol=2e-4)
    np.testing.assert_allclose(actual[1], expected[1], atol=2e-2)


def test_embeddings_are_scaled_rows_plus_a_signal(assert_close):
    ids = tokens(2, LENGTH)
    for scale, factor in ((True, 4.0), (False, 1.0)):
        model = tiny(embedding={"scale": scale})
        parameters = drawn(model)
        table = as_float64(parameters["embedding"]["tokens"]["table"])
        signal = np.asarray(sinusoid(jnp.arange(LENGTH)[None], WIDTH), np.float64)
        assert_close(embedded(model, parameters, ids), factor * table[np.asarray(ids)] + signal)


def test_learned_positions_are_rows_of_their_table_and_refuse_longer_sequences(assert_close):
    model = tiny(embedding={"positions": "learned", "scale": False})
    parameters, ids = drawn(model), tokens(2, 5)
    p = as_float64(parameters["embedding"])
    assert p["learned"].shape == (LENGTH, WIDTH)
    expected = p["tokens"]["table"][np.asarray(ids)] + p["learned"][None, :5]
    assert_close(embedded(model, parameters, ids), expected)
    with pytest.raises(ConfigurationError, match="length 9 exceeds the 8 learned positions"):
        model.logits(parameters, tokens(1, LENGTH + 1), Context())


def test_positions_in_the_context_go_before_the_place_in_the_sequence(same_bytes):
    model = tiny()
    parameters, ids = drawn(model), jnp.zeros((1, 4), jnp.int32)
    where = jnp.array([[0, 2, 4, 6]])
    told = embedded(model, parameters, ids, Context(positions=where))
    longer = embedded(model, parameters, jnp.zeros((1, 7), jnp.int32))
    assert same_bytes(told, longer[:, ::2])


def test_embedding_dropout_is_for_training_only(same_bytes):
    model = tiny()
    parameters, ids = drawn(model), tokens(2, LENGTH)
    context = Context(key=jax.random.key(0), dropout=0.5, has_dropout=True)
    plain = np.asarray(embedded(model, parameters, ids))
    assert same_bytes(embedded(model, parameters, ids, context), plain)
    dropped = np.asarray(embedded(model, parameters, ids, context.replace(train=True)))
    kept = dropped != 0
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_allclose(dropped[kept], 2 * plain[kept], rtol=1e-6)


def test_a_factorised_embedding_goes_up_and_the_tied_head_back(assert_close):
    embedding = {"kind": "factorised", "size": 4, "positions": "none", "scale": False}
    model = tiny(embedding=embedding)
    parameters, ids = drawn(model), tokens(2, LENGTH)
    p = as_float64(parameters["embedding"]["tokens"])
    rows = p["table"][np.asarray(ids)]
    assert_close(
        embedded(model, parameters, ids), rows @ p["project"]["kernel"] + p["project"]["bias"]
    )
    found = outputs(model, parameters, ids)
    back = np.asarray(found["hidden"], np.float64) @ p["back"]["kernel"] + p["back"]["bias"]
    assert_close(found["logits"], back @ p["table"].T)
    held = VOCABULARY * 4 + 2 * 4 * WIDTH + WIDTH + 4
    assert model.parameter_counts()["embedding"] == held
    assert model.flops_per_token(LENGTH) - tiny().flops_per_token(LENGTH) == (
        2 * 4 * WIDTH + 2 * 4 * (WIDTH + VOCABULARY) - 2 * WIDTH * VOCABULARY
    )


ADAPTIVE = {
    "embedding": {"kind": "adaptive", "cutoffs": (10, 30), "factor": 2},
    "head": {"kind": "adaptive"},
}


def test_an_adaptive_embedding_projects_each_band_from_its_own_width(assert_close):
    model = tiny(embedding={**ADAPTIVE["embedding"], "positions": "none"}, head=ADAPTIVE["head"])
    parameters, ids = drawn(model), jnp.arange(VOCABULARY)[None]
    p = as_float64(parameters["embedding"]["tokens"])
    expected = [4.0 * p["tables"][i] @ p["projections"][i]["kernel"] for i in range(3)]
    assert [p["tables"][i].shape for i in range(3)] == [(10, 16), (20, 8), (20, 4)]
    assert_close(embedded(model, parameters, ids)[0], np.concatenate(expected))


@pytest.mark.parametrize(
    "model, message",
    [
        ({"embedding": {"kind": "adaptive", "cutoffs": (30, 10)}}, "embedding.cutoffs"),
        ({"embedding": {"kind": "adaptive", "cutoffs": (10, 60)}}, "embedding.cutoffs"),
        ({"embedding": {**ADAPTIVE["embedding"], "factor": 3}}, "embedding.factor=3: width 16"),
        ({"embedding": ADAPTIVE["embedding"]}, "cannot tie an adaptive embedding"),
        ({"head": {"kind": "adaptive"}}, "is tied to embedding.kind='adaptive' only"),
        ({**ADAPTIVE, "head": {"kind": "adaptive", "tail_dropout": 1.0}}, "tail_dropout=1.0"),
        ({"embedding": {"kind": "factorised", "size": 0}}, "embedding.size=0"),
        ({"embedding": {"positions": "relative"}}, "positions='relative': allowed are"),
        ({"head": {"chunk": -1}}, "head.chunk=-1"),
        ({"dtype": "float16"}, "model.dtype='float16': allowed are float32, bfloat16"),
        ({"dropout": 1.0}, "model.dropout=1.0"),
        ({"family": "gpt"}, "model.family='gpt': allowed are decoder, encoder, encoder_decoder"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused_by_the_fields_name(model, message):
    with pytest.raises(ConfigurationError, match=message):
        tiny(**model)


# Heads


def numpy_adaptive(parameters, x, edges=(0, 10, 30, 50)):
    """log p of every token (Grave et al. 2017), float64: (rows, vocabulary)."""
    p, head = as_float64(parameters["embedding"]["tokens"]), as_float64(parameters["head"])
    first = np.concatenate([x @ p["tables"][0].T, x @ head["classes"]["kernel"]], -1)
    top = log_softmax(first)
    columns = [top[:, : edges[1]]]
    for band in (1, 2):
        down = x @ p["projections"][band]["kernel"].T
        inside = log_softmax(down @ p["tables"][band].T)
        columns.append(inside + top[:, edges[1] + band - 1, None])
    return np.concatenate(columns, -1)


def head_of(model, parameters):
    return model.bound_head(parameters)


def test_adaptive_probabilities_are_the_transcription_and_sum_to_one(assert_close):
    model = tiny(**ADAPTIVE)
    parameters, ids = drawn(model), tokens(2, LENGTH)
    found = {k: np.asarray(v, np.float64) for k, v in outputs(model, parameters, ids).items()}
    logits = found["logits"]
    np.testing.assert_allclose(np.exp(logits).sum(-1), 1, rtol=1e-5)
    expected = numpy_adaptive(parameters, found["hidden"].reshape(-1, WIDTH))
    assert_close(logits.reshape(-1, VOCABULARY), expected)


HEADS = {
    "tied": {},
    "untied": {"head": {"tie": False, "bias": True}},
    "factorised": {"embedding": {"kind": "factorised", "size": 4}},
    "adaptive": ADAPTIVE,
}


@pytest.mark.parametrize("name", always(HEADS, ["adaptive"]))
def test_scores_are_read_off_the_log_probabilities(name, assert_close):
    model = tiny(**HEADS[name])
    parameters = drawn(model)
    if name == "adaptive":  # so that the most probable tokens lie in every band
        parameters["head"]["classes"]["kernel"] *= 10
    ids, targets = tokens(5, 10), jnp.arange(VOCABULARY).reshape(5, 10)  # every token a target
    logits = jax.jit(model.logits)(parameters, ids, Context())
    log_p = log_softmax(np.asarray(logits, np.float64))
    found, _ = jax.jit(model.score)(parameters, ids, targets, Context())
    picked = np.take_along_axis(log_p, np.asarray(targets)[..., None], -1)[..., 0]
    assert_close(found.target, picked)
    assert_close(found.mean, log_p.mean(-1))
    best = log_p.argmax(-1)
    np.testing.assert_array_equal(found.best, best)
    bands = ((0, 10), (10, 30), (30, 50)) if name == "adaptive" else ((0, 50),)
    assert all(((best >= low) & (best < high)).any() for low, high in bands)


@pytest.mark.parametrize("name", always(HEADS, ("tied", "adaptive")))
def test_a_chunked_head_has_the_scores_and_gradients_of_one_that_is_not(name, assert_close):
    model, x = tiny(**HEADS[name]), normal(3, LENGTH, WIDTH)
    targets, parameters = tokens(3, LENGTH), drawn(model)

    def scored(chunk):
        def objective(parameters, x):
            head, tables = head_of(model, parameters)
            head.chunk = chunk
            found = head.score(tables, x, None, targets, Context())
            return (found.target * normal(3, LENGTH, seed=1)).sum() + found.mean.sum(), found

        gradients, found = jax.jit(jax.grad(objective, (0, 1), has_aux=True))(parameters, x)
        return found, gradients

    whole, gradients = scored(0)
    assert head_of(model, parameters)[0].chunk == 0
    for chunk in (7, 24):  # 24 rows: three chunks and a rest, and one of all
        part, others = scored(chunk)
        np.testing.assert_array_equal(part.best, whole.best)
        assert_close([part.target, part.mean], [whole.target, whole.mean])
        assert_close(others, gradients)


def test_the_chunk_of_the_configuration_reaches_the_head():
    assert tiny(head={"chunk": 5}).head.module.chunk == 5


def test_tail_dropout_acts_in_training_on_the_tails_alone(same_bytes):
    model = tiny(embedding=ADAPTIVE["embedding"], head={"kind": "adaptive", "tail_dropout": 0.5})
    parameters, ids = drawn(model), tokens(4, LENGTH)
    targets = tokens(4, LENGTH, seed=1)
    score = jax.jit(model.score)
    plain, _ = score(parameters, ids, targets, Context())
    context = Context(key=jax.random.key(0), train=True)
    dropped, _ = score(parameters, ids, targets, context)
    same = np.asarray(plain.target) == np.asarray(dropped.target)
    np.testing.assert_array_equal(same, np.asarray(targets) < 10)
    other, _ = score(parameters, ids, targets, context.replace(key=jax.random.key(1)))
    assert not same_bytes(other.target, dropped.target)
    off = jax.jit(tiny(**ADAPTIVE).score)(parameters, ids, targets, context)[0]
    assert same_bytes(off.target, plain.target)


# Types, variants


@pytest.mark.parametrize("name", ["tied", "adaptive"])
def test_a_bfloat16_model_is_near_the_float32_one(name):
    ids, targets = tokens(4, LENGTH), tokens(4, LENGTH, seed=1)
    whole = tiny("(sf)2", **HEADS[name])
    half = tiny("(sf)2", dtype="bfloat16", **HEADS[name])
    parameters = drawn(whole)
    hidden, _ = jax.eval_shape(half.hidden, parameters, ids, Context())
    assert hidden.dtype == jnp.bfloat16
    shapes = jax.tree.leaves(jax.eval_shape(half.init, jax.random.key(0)))
    assert {leaf.dtype for leaf in shapes} == {jnp.dtype("float32")}
    exact, near = (
        np.asarray(jax.jit(model.score)(parameters, ids, targets, Context())[0].target)
        for model in (whole, half)
    )
    assert near.dtype == np.float32
    apart = np.abs(near - exact)
    assert 0 < apart.max() < 0.1 * np.abs(exact).max()
    assert apart.mean() < 0.02 * np.abs(exact).mean()


def test_gpt2_starts_from_normal_kernels_scaled_at_the_outputs():
    model = build(VOCABULARY, LENGTH, **variants.gpt2_like(2, 64, 4))
    parameters = jax.jit(model.init)(jax.random.key(0))
    for letter, names in {"s": ("query", "key", "value"), "f": ("input",)}.items():
        sublayer = parameters["stack"][letter]["sublayer"]
        for name in names:
            assert np.std(sublayer[name]["kernel"]) == pytest.approx(0.02, rel=0.05)
        assert np.std(sublayer["output"]["kernel"]) == pytest.approx(0.01, rel=0.05)  # 0.02 / √4
    assert np.std(parameters["embedding"]["tokens"]["table"]) == pytest.approx(0.02, rel=0.1)
    assert np.std(parameters["embedding"]["learned"]) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    "made, order",
    [
        (variants.vanilla(16), "(sf)16"),
        (variants.sandwich(16, 6), "s6 (sf)10 f6"),
        (variants.sandwich(16, 0), "(sf)16"),
        (variants.macaron(3), "(hsh)3"),
        (variants.par(16), "(s f3)6 f8"),
        (variants.gpt2("medium"), "(sf)24"),
    ],
)
def test_variants_have_their_orders(made, order):
    assert orders.expand(made["order"]) == orders.expand(order)


def emptied(model):
    """Every section of a model, inner ones too, is emptied."""
    for value in model.values():
        if isinstance(value, dict):
            emptied(value)
    model.clear()


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_what_a_user_changes_of_a_variant_changes_no_other_one(name):
    made = {other: copy.deepcopy(make()) for other, make in variants.VARIANTS.items()}
    emptied(variants.VARIANTS[name]())
    assert {other: make() for other, make in variants.VARIANTS.items()} == made


def test_an_unknown_size_of_gpt2_is_refused():
    with pytest.raises(ConfigurationError, match="allowed are small, medium, large, xl"):
        variants.gpt2("huge")


def test_sandwich_with_coefficient_zero_is_vanilla(tiny_config, train, same_bytes):
    runs = []
    for variant, options in ((variants.sandwich, {"coefficient": 0}), (variants.vanilla, {})):
        model = variant(layers=2, width=WIDTH, heads=2, **options)
        run = train([(tiny_config(model=model), 0)], (10,))
        assert int(run.state.step[0]) == 10 and run.metrics["loss"][0, -1] < 3.2
        runs.append(run)
    assert same_bytes(runs[0].state, runs[1].state)
    assert same_bytes(runs[0].metrics, runs[1].metrics)


def test_a_module_with_state_that_is_no_parameter_is_refused():
    from flax import nnx

    class Counting(nnx.Module):
        def __init__(self, rngs):
            self.weight = nnx.Param(jnp.zeros(3))
            self.seen = nnx.BatchStat(jnp.zeros(()))

    with pytest.raises(ConfigurationError, match="Counting keeps seen as BatchStat"):
        Definition(Counting)
