"""Reformers of Hugging Face: what `transformers` computed (fixtures/huggingface/make_reformer.py)
is computed here, is read and written to the bit, and what does not fit is refused.

The fixture is of transformers 5.23, which keeps the head's bias and does not add it; earlier and
later ones do, and so does this. Where results are compared it is zero here.
"""

import ast
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from arch import config
from arch.context import Context
from arch.huggingface import reformer as huggingface_reformer
from arch.huggingface import weights as huggingface
from arch.models import families as models
from arch.registry import ConfigurationError
from arch.sublayers.attention import hashing
from arch.sublayers.attention.lsh import LSHAttention
from tests.draws import drawn
from tests.families import always
from tests.huggingface.checkpoints import FIXTURES, changed_copy, described, refused, same

FIXTURE = FIXTURES / "reformer"
HEADS, WIDTH, ROUNDS, BUCKETS = 2, 8, 2, (2, 4)


@pytest.fixture(scope="module")
def read():
    return huggingface.read(FIXTURE)


@pytest.fixture(scope="module")
def expected():
    with np.load(FIXTURE / "expected.npz") as file:
        return dict(file)


@pytest.fixture
def theirs(monkeypatch, expected):
    """Their rotations, which one seed makes the same in all layers, instead of ours."""

    def rotations(key, heads, width, rounds, buckets, dtype):
        assert (heads, width, rounds, buckets) == (HEADS, WIDTH, ROUNDS, BUCKETS)
        halves = np.split(expected["rotations"], [buckets[0] // 2], axis=-1)
        return [jnp.asarray(half, dtype) for half in halves]

    monkeypatch.setattr(hashing, "rotations", rotations)


def build(read, apply="switch"):
    """The model as the checkpoint computes it. No decoder may, since it is not causal."""
    stack = {**read.model["stack"], "apply": apply}
    model = {**read.model, "family": "encoder", "stack": stack}
    built = models.build(config.make(model=model).model, read.vocabulary, read.max_length)
    built.causal = True
    return built


def without_bias(parameters):
    head = parameters["head"]
    return {**parameters, "head": {**head, "bias": jnp.zeros_like(head["bias"])}}


def computed(read, expected, apply="switch"):
    """(hidden, logits), the loss of `make_reformer.py` and its gradient."""
    model = build(read, apply)
    ids, real = expected["ids"], expected["mask"] == 1
    context = Context(mask=jnp.asarray(real))

    def objective(parameters):
        outputs = model.outputs(parameters, ids, context)  # of one pass
        shown, wanted = jax.nn.log_softmax(outputs["logits"][:, :-1]), ids[:, 1:, None]
        found = jnp.take_along_axis(shown, jnp.asarray(wanted), -1)[..., 0]
        loss = -jnp.sum(jnp.where(real[:, 1:], found, 0.0)) / real[:, 1:].sum()
        return loss, outputs

    run = jax.jit(jax.value_and_grad(objective, has_aux=True))
    (value, outputs), gradient = run(without_bias(read.parameters))
    return (outputs["hidden"], outputs["logits"]), value, gradient


@pytest.mark.usefixtures("theirs")
def test_hidden_states_logits_and_gradients_are_those_of_transformers(read, expected):
    (hidden, logits), value, gradient = computed(read, expected)
    real = expected["mask"] == 1
    np.testing.assert_allclose(hidden[real], expected["hidden"][real], rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits[real], expected["logits"][real], rtol=0, atol=1e-5)
    np.testing.assert_allclose(value, expected["loss"], rtol=1e-5)
    named = huggingface.as_tensors(read.model, gradient, read.vocabulary, read.max_length)
    theirs = {k.split(":")[1]: v for k, v in expected.items() if k.startswith("gradient:")}
    assert named.keys() - theirs.keys() == {"lm_head.decoder.bias"}
    assert not theirs.keys() - named.keys()
    largest = max(np.abs(v).max() for v in theirs.values())
    for tensor, wanted in theirs.items():
        assert named[tensor].shape == wanted.shape
        assert np.abs(named[tensor] - wanted).max() < 1e-4 * largest, tensor


@pytest.mark.usefixtures("theirs")
@pytest.mark.slow
def test_the_biases_of_the_head_are_added(read, expected):
    context = Context(mask=jnp.asarray(expected["mask"] == 1))
    model = build(read)
    hidden, _ = model.hidden(read.parameters, expected["ids"], context)
    logits = model.logits(read.parameters, expected["ids"], context)
    head = read.parameters["head"]
    assert np.abs(head["bias"]).max() > 0.5
    wanted = hidden @ head["matrix"]["kernel"] + head["bias"][None, None]
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("theirs")
@pytest.mark.parametrize("apply", always(("scan", "unrolled"), ("scan",)))
def test_gradients_are_the_same_however_the_stack_is_applied(apply, read, expected):
    (hidden, _), value, gradient = computed(read, expected)
    (other, _), again, found = computed(read, expected, apply)
    np.testing.assert_allclose(hidden, other, rtol=0, atol=1e-5)
    np.testing.assert_allclose(value, again, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), gradient, found)


@pytest.mark.usefixtures("theirs")
def test_what_stands_at_padding_changes_no_token(read, expected):
    real, model = expected["mask"] == 1, build(read)
    context = Context(mask=jnp.asarray(real))
    changed = np.where(real, expected["ids"], 7)
    hidden, _ = jax.jit(model.hidden)(read.parameters, changed, context)
    assert (changed != expected["ids"]).any()
    np.testing.assert_allclose(hidden[real], expected["hidden"][real], rtol=0, atol=1e-5)


def test_a_sequence_of_one_chunk_is_attended_in_full_as_transformers_does(read):
    x = jax.random.normal(jax.random.key(0), (1, 8, 16))
    causal = huggingface_reformer.causally(read.model)
    exact = models.build(config.make(model=causal).model, read.vocabulary, max_length=8)
    wanted, _ = exact.stack(read.parameters["stack"], x, Context(max_length=8))
    found, _ = build(read).stack(read.parameters["stack"], x, Context(max_length=48))
    np.testing.assert_array_equal(found, wanted)


def test_as_transformers_computes_it_a_decoder_is_refused_and_causally_it_is_not(read):
    with pytest.raises(ConfigurationError, match="model.sublayers.l.kind='lsh_attention' is not c"):
        models.build(config.make(model=read.model).model, read.vocabulary, read.max_length)
    causal = huggingface_reformer.causally(read.model)
    built = models.build(config.make(model=causal).model, read.vocabulary, read.max_length)
    shapes = jax.eval_shape(built.init, jax.random.key(0))
    assert jax.tree.structure(shapes) == jax.tree.structure(read.parameters)
    assert read.model["sublayers"]["l"]["attend_across_buckets"] is True


# Writing


def test_what_is_read_is_written_and_read_again_to_the_bit(read, tmp_path):
    huggingface.write(tmp_path, read.model, read.parameters, read.vocabulary, read.max_length)
    again = huggingface.read(tmp_path)
    assert again[:3] == read[:3]
    same(again.parameters, read.parameters)
    written, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path, FIXTURE))
    same(written, {**theirs, "lm_head.decoder.bias": theirs["lm_head.bias"]})
    ours, theirs = described(tmp_path), described(FIXTURE)
    for attribute in ours.keys() - {"chunk_size_feed_forward"}:  # 0, which theirs leaves out
        assert ours[attribute] == theirs[attribute], attribute


def reformer(order="(sflf)2", family="decoder", **letter):
    across = {"key_norm": "rms", "attend_across_buckets": True, "remove_duplicates": False}
    letters = {
        "s": {"kind": "local_attention", "heads": 2, "bias": False, "chunk": 4},
        "l": {"kind": "lsh_attention", "heads": 2, "chunk": 4, **across, **letter},
    }
    return {
        "family": family,
        "width": 16,
        "order": order,
        "sublayers": letters,
        "embedding": {"positions": "axial", "scale": False},
        "stack": {"kind": "reversible", "merge": "concatenate"},
        "head": {"tie": False, "bias": True},
    }


@pytest.mark.parametrize("seed, said", [(None, None), (0, 0), (7, 7), (2**31 - 1, 2**31 - 1)])
def test_a_copy_keeps_the_seed_of_the_rotations(seed, said, copy, tmp_path):
    found = huggingface.read(copy(hash_seed=seed))
    assert found.model["sublayers"]["l"].get("hash_seed") == said
    huggingface.write(tmp_path / "again", found.model, found.parameters, *found[1:3])
    assert described(tmp_path / "again")["hash_seed"] == said


@pytest.mark.parametrize("seed", [-1, 2**31, [1, 2], True, "3"])
def test_a_seed_of_the_rotations_that_is_none(seed, copy):
    refused(copy(hash_seed=seed), "hash_seed=")


def test_with_a_seed_the_rotations_are_the_same_at_every_call():
    x = jax.random.normal(jax.random.key(0), (1, 12, 16))
    for seed, repeated in ((-1, False), (3, True)):
        letter = LSHAttention(16, heads=2, chunk=4, hash_seed=seed, rngs=nnx.Rngs(0))
        buckets = [letter._hashed(letter._split(x), Context(key=jax.random.key(k))) for k in (1, 2)]
        assert np.array_equal(*buckets) == repeated


LEARNED = {"positions": "learned", "scale": False}


@pytest.mark.parametrize(
    "model, architecture, attributes",
    [
        (
            reformer(),
            "ReformerModelWithLMHead",
            {"num_buckets": 8, "axial_pos_shape": [4, 4], "axial_pos_embds_dim": [8, 8]},
        ),
        (
            {**reformer(), "embedding": {**LEARNED, "positions": "axial", "axial_shape": (4, 5)}},
            "ReformerModelWithLMHead",
            {"max_position_embeddings": 20, "axial_pos_shape": [4, 5]},  # room beyond 16
        ),
        (reformer(buckets=(4, 2)), "ReformerModelWithLMHead", {"num_buckets": [4, 2]}),
        (
            {**reformer("lf(sf)2"), "embedding": LEARNED},
            "ReformerModelWithLMHead",
            {"axial_pos_embds": False, "attn_layers": ["lsh", "local", "local"]},
        ),
        (reformer("(sf)2"), "ReformerModelWithLMHead", {"num_buckets": None}),
        (reformer("lf", "encoder", after=1), "ReformerForMaskedLM", {"lsh_num_chunks_after": 1}),
    ],
)
def test_a_model_of_ours_is_written_and_read(model, architecture, attributes, tmp_path):
    causal = config.make(model=huggingface_reformer.causally(model)).model
    parameters = drawn(models.build(causal, 30, 16))
    huggingface.write(tmp_path, model, parameters, 30, 16)
    found = huggingface.read(tmp_path)
    same(found.parameters, parameters)
    huggingface.write(tmp_path / "again", found.model, found.parameters, 30, 16)
    assert described(tmp_path / "again") == described(tmp_path)
    for attribute, value in {**attributes, "architectures": [architecture]}.items():
        assert described(tmp_path)[attribute] == value, attribute


def test_the_decoder_of_the_readme_goes_there_and_back(tmp_path):
    text = Path(__file__).resolve().parents[2].joinpath("README.md").read_text()
    (block,) = re.findall(r"```python\nmodel = ({.*?\n})\n```", text, re.S)
    model = config.make(model=ast.literal_eval(block)).model
    built = models.build(model, 30, 128)
    parameters = drawn(built)
    huggingface.write(tmp_path, model, parameters, 30, 128)
    found = huggingface.read(tmp_path)
    same(found.parameters, parameters)
    ids, read = np.random.default_rng(1).integers(0, 30, (2, 40)), found.build()
    same(read.parameters, parameters)
    run = jax.jit(lambda parameters, ids: read.with_weights(parameters)(ids)["logits"])
    logits = run(parameters, ids)
    assert np.array_equal(logits, jax.jit(built.logits)(parameters, ids, Context()))
    later = run(parameters, np.where(np.arange(40) < 20, ids, 0))
    assert np.array_equal(later[:, :20], logits[:, :20])


@pytest.mark.parametrize(
    "model, says",
    [
        (huggingface_reformer.causally(reformer()), "l.attend_across_buckets=False"),
        (reformer(key_norm="unit"), "model.sublayers.l.key_norm='unit'"),
        (reformer(bias=True), "model.sublayers.l.bias=True"),
        (reformer(heads=4, head_width=8), "model.sublayers.l.heads=4"),
        (reformer("s2f2"), "model.order='s2f2'"),
        ({**reformer(), "stack": {"kind": "reversible"}}, "model.stack.merge='average'"),
        ({**reformer(), "embedding": {"positions": "axial"}}, "model.embedding.scale=True"),
        ({**reformer(), "embedding": {"scale": False}}, "model.embedding.positions='sinusoidal'"),
        (reformer("(sflf)2", "encoder"), "local_num_chunks_before=1: allowed is 0"),
    ],
)
def test_a_model_that_no_checkpoint_can_hold(model, says, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        huggingface.write(tmp_path / "out", model, {}, 30, 16)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


# Directories that others made


@pytest.fixture
def copy(tmp_path):
    """A function: the fixture's copy with attributes and tensors changed."""

    def make(tensors=None, **attributes):
        return changed_copy("reformer", tmp_path / "copy", tensors, **attributes)

    return make


def test_published_buffers_and_duplicates_are_understood(copy, read):
    def older(tensors):
        values = {"mask_value_float16": -1e4, "mask_value_float32": -1e9}
        values |= {"self_mask_value_float16": -1e3, "self_mask_value_float32": -1e5}
        for name, value in values.items():
            layer = "reformer.encoder.layers.3.attention.self_attention"
            tensors[f"{layer}.{name}"] = np.array(value, "f4")
        return {**tensors, "lm_head.decoder.bias": tensors["lm_head.bias"]}

    folder = copy(older, attention_probs_dropout_prob=0.1, num_chunks_after=0, output_past=True)
    same(huggingface.read(folder).parameters, read.parameters)


OTHER = np.arange(40, dtype="f4")


@pytest.mark.parametrize(
    "named",
    [
        {"lm_head.bias": OTHER},  # transformers before 5
        {"lm_head.decoder.bias": OTHER},
        {"lm_head.decoder.bias": OTHER, "lm_head.bias": np.zeros(40, "f4")},  # trained in 5.24
    ],
)
def test_the_bias_that_transformers_adds_counts(named, copy, tmp_path):
    def change(tensors):
        tensors.pop("lm_head.bias")
        return {**tensors, **named}

    found = huggingface.read(copy(change))
    np.testing.assert_array_equal(found.parameters["head"]["bias"], OTHER)
    huggingface.write(tmp_path, found.model, found.parameters, *found[1:3])
    written = load_file(tmp_path / "model.safetensors")
    for name in ("lm_head.bias", "lm_head.decoder.bias"):
        np.testing.assert_array_equal(written[name], OTHER)


def test_a_head_without_its_bias(copy):
    def change(tensors):
        return {k: v for k, v in tensors.items() if k != "lm_head.bias"}

    refused(copy(change), "'lm_head.decoder.bias' is missing")


@pytest.mark.parametrize(
    "chunk, buckets",
    [(8, (8,)), (48, (2,)), (64, (2,)), (5, (4, 4)), (1, (8, 8))],
)
def test_null_buckets_are_those_that_transformers_chooses(chunk, buckets, copy):
    """By its `_set_num_buckets(48)`; where the length is at most a chunk it never hashes."""
    model = huggingface.read(copy(num_buckets=None, lsh_attn_chunk_length=chunk)).model
    assert model["sublayers"]["l"]["buckets"] == buckets


def test_a_size_and_no_list_of_buckets(copy):
    model = huggingface.read(copy(num_buckets=6, chunk_size_feed_forward=4)).model
    assert model["sublayers"]["l"]["buckets"] == (6,)
    assert model["sublayers"]["f"]["chunk"] == 4


# Bad inputs


@pytest.mark.parametrize(
    "attributes, says",
    [
        ({"attn_layers": ["local", "full"] * 2}, "'full' is no attention; known are local, lsh"),
        ({"attn_layers": []}, "attn_layers=[]"),
        ({"attn_layers": "local"}, "attn_layers='local'"),
        ({"axial_pos_shape": [8, 7]}, "axial_pos_shape=[8, 7]: the product is 56; allowed is 48"),
        ({"axial_pos_shape": [48]}, "axial_pos_shape=[48]: allowed are two whole numbers"),
        ({"axial_pos_shape": [-8, -6]}, "axial_pos_shape=[-8, -6]: allowed are two whole numbers"),
        ({"axial_pos_embds_dim": [6, 6]}, "axial_pos_embds_dim=[6, 6]: the sum is 12; allowed is"),
        ({"num_buckets": 3}, "num_buckets=[3]: allowed are null, an even number"),
        ({"num_buckets": [2, 5]}, "num_buckets=[2, 5]: allowed are null, an even number"),
        ({"num_buckets": "many"}, "num_buckets='many'"),
        ({"num_buckets": True}, "num_buckets=True"),
        ({"lsh_num_chunks_after": 1}, "lsh_num_chunks_after=1: allowed is 0 with is_decoder=True"),
        ({"local_num_chunks_before": -1}, "local_num_chunks_before=-1: allowed is 0 to"),
        ({"lsh_attn_chunk_length": 0}, "lsh_attn_chunk_length=0: allowed is 1 to"),
        ({"is_decoder": False}, "is_decoder=False: ReformerModelWithLMHead"),
        ({"architectures": ["ReformerForMaskedLM"]}, "is_decoder=True: ReformerForMaskedLM"),
        ({"architectures": ["ReformerForQuestionAnswering"]}, "known of reformer are"),
        ({"architectures": ["ReformerModel"]}, "known of reformer are ReformerModelWithLMHead"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings=True is not supported"),
        ({"sinusoidal_pos_embds": True}, "sinusoidal_pos_embds=True is not supported"),
        ({"hidden_act": "mish"}, "hidden_act='mish'"),
        ({"num_hashs": 2}, "num_hashs=2: unknown attribute of reformer; did you mean 'num_hashes'"),
        ({"num_attention_heads": 3}, "query.weight': expected shape (24, 16), found (16, 16)"),
        (
            {"attn_layers": ["local", "lsh"]},
            "layers.2.attention.layer_norm.bias' of shape (16,) is",
        ),
        ({"axial_pos_embds": False}, "position_embeddings.embedding.weight' is missing"),
    ],
)
def test_an_attribute_that_does_not_fit(attributes, says, copy):
    refused(copy(**attributes), says)


def test_local_layers_that_see_around_the_ends_are_refused(copy):
    folder = copy(is_decoder=False, architectures=["ReformerForMaskedLM"])
    refused(folder, "local_num_chunks_before=1: allowed is 0 with is_decoder=False")


def test_a_buffer_of_another_value(copy):
    name = "reformer.encoder.layers.1.attention.self_attention.self_mask_value_float32"
    refused(copy(lambda t: {**t, name: np.array(-1.0, "f4")}), name, "is a buffer, but")


def test_a_missing_and_a_flat_table(copy):
    name = "reformer.embeddings.position_embeddings.weights.0"
    folder = copy(lambda t: {**t, name: t[name].reshape(8, 6)})
    refused(folder, name, "expected shape (8, 1, 6), found (8, 6)")
