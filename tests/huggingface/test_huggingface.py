"""Weights of Hugging Face: what `transformers` computed (tests/fixtures/huggingface/make.py) is
computed here, what is read is written back to the bit, and what does not fit is refused."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from arch import config, variants
from arch.context import Context
from arch.huggingface import weights as huggingface
from arch.models import families as models
from arch.registry import ConfigurationError
from tests.draws import drawn
from tests.families import always
from tests.huggingface.checkpoints import FIXTURES, known, refused, same

NAMES = ("bert", "albert", "albert_groups", "albert_square", "gpt2")
ENCODERS = NAMES[:-1]


def build(read):
    """The model, as a scan: a third of the time to compile."""
    model = {**read.model, "stack": {**read.model["stack"], "apply": "scan"}}
    return models.build(config.make(model=model).model, read.vocabulary, read.max_length)


def context(expected) -> Context:
    return Context(mask=jnp.asarray(expected["mask"] == 1), segments=jnp.asarray(expected["types"]))


def loss(logits, labels):
    """Mean over the labels that are not -100."""
    chosen = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(chosen, jnp.maximum(labels, 0)[..., None], -1)[..., 0]
    return -jnp.sum(jnp.where(labels >= 0, picked, 0.0)) / jnp.sum(labels >= 0)


def computed(name, read, expected):
    """(hidden, logits), the loss of `make.py` and its gradient, in one program."""
    model = build(read)
    ids, mask = expected["ids"], expected["mask"]

    def objective(parameters):
        found = model.outputs(parameters, ids, context(expected))  # of one pass
        logits = found["logits"]
        if name == "gpt2":
            wanted = np.where(mask == 1, ids, -100)[:, 1:]
            return loss(logits[:, :-1], wanted), found
        return loss(logits, expected["labels"]), found

    run = jax.jit(jax.value_and_grad(objective, has_aux=True))
    (value, found), gradient = run(read.parameters)
    return (found["hidden"], found["logits"]), value, gradient


@pytest.fixture
def fixture():
    """name → (what was read, what is expected), each read once."""
    return known


@pytest.mark.parametrize("name", always(NAMES, ("bert", "albert", "gpt2")))
def test_hidden_states_logits_and_gradients_are_those_of_transformers(name, fixture):
    read, expected = fixture(name)
    (hidden, logits), value, gradient = computed(name, read, expected)
    np.testing.assert_allclose(hidden, expected["hidden"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(value, expected["loss"], rtol=1e-5)
    named = huggingface.as_tensors(read.model, gradient, read.vocabulary, read.max_length)
    theirs = {k.split(":")[1]: v for k, v in expected.items() if k.startswith("gradient:")}
    assert len(theirs) > 20
    largest = max(np.abs(v).max() for v in theirs.values())
    for tensor, wanted in theirs.items():
        assert np.abs(named[tensor] - wanted).max() < 1e-4 * largest, tensor
    for tensor in named.keys() - theirs.keys():  # the sentence's part, which this loss is not of
        assert not named[tensor].any(), tensor


@pytest.mark.parametrize("name", ["bert", "albert", "albert_square"])
def test_sentence_logits_are_those_of_transformers(name, fixture):
    read, expected = fixture(name)
    found = build(read).sentence_logits(read.parameters, jnp.asarray(expected["hidden"]))
    np.testing.assert_allclose(found, expected["sentence"], rtol=0, atol=1e-5)


OUTPUTS = {
    "bert": {"hidden", "logits", "pooler", "sentence_logits"},
    "albert": {"hidden", "logits", "pooler", "sentence_logits"},
    "albert_groups": {"hidden", "logits"},
    "gpt2": {"hidden", "logits"},
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_is_held_is_built_with_its_weights_and_gives_its_outputs_by_name(name, fixture):
    read, expected = fixture(name)
    model, ids = read.build(), expected["ids"]
    asked = context(expected)
    found = jax.jit(model)(ids, asked.mask, asked.segments)
    assert found.keys() == OUTPUTS[name]
    for part in found.keys() & {"hidden", "logits"}:
        np.testing.assert_allclose(found[part], expected[part], rtol=0, atol=1e-5)
    pure = jax.eval_shape(model.outputs, read.parameters, ids, asked)
    assert {k: v.shape for k, v in pure.items()} == {k: v.shape for k, v in found.items()}
    if "pooler" in found:
        head = read.parameters["head"]
        pooler = np.tanh(
            expected["hidden"][:, 0] @ head["pooler"]["kernel"] + head["pooler"]["bias"][None]
        )
        np.testing.assert_allclose(found["pooler"], pooler, rtol=0, atol=1e-5)
        np.testing.assert_allclose(
            found["sentence_logits"], expected["sentence"], rtol=0, atol=1e-5
        )


def test_a_model_without_weights_says_how_it_is_called(fixture):
    read, expected = fixture("gpt2")
    with pytest.raises(ConfigurationError, match=r"call model.with_weights\(parameters\)"):
        build(read)(expected["ids"])


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_padding_changes_no_token(name, fixture):
    read, expected = fixture(name)
    changed = np.where(expected["mask"] == 1, expected["ids"], 7)
    logits = jax.jit(build(read).logits)(read.parameters, changed, context(expected))
    tokens = expected["mask"] == 1
    assert (changed != expected["ids"]).any()
    np.testing.assert_allclose(logits[tokens], expected["logits"][tokens], rtol=0, atol=1e-5)


def test_gpt2_sees_nothing_ahead(fixture):
    read, expected = fixture("gpt2")
    ids = expected["ids"].copy()
    ids[0, 6:] = (ids[0, 6:] + 1) % read.vocabulary
    logits = jax.jit(build(read).logits)(read.parameters, ids[:1], Context())
    np.testing.assert_allclose(logits[0, :6], expected["logits"][0, :6], rtol=0, atol=1e-5)
    assert np.abs(logits[0, 6:] - expected["logits"][0, 6:]).max() > 0.1


def test_groups_and_inner_groups_have_owners_of_their_own(fixture):
    read, _ = fixture("albert_groups")
    assert read.model["stack"]["groups"] == read.model["stack"]["inner_groups"] == 2
    assert read.parameters["stack"]["s"]["sublayer"]["query"]["kernel"].shape == (4, 16, 16)
    assert "pooler" not in read.parameters["head"]  # AlbertForMaskedLM has none


def test_equal_widths_keep_the_map_that_hugging_face_builds(fixture):
    read, _ = fixture("albert_square")
    assert read.parameters["embedding"]["tokens"]["project"]["kernel"].shape == (16, 16)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_is_written_and_read_again_to_the_bit(name, fixture, tmp_path):
    read, _ = fixture(name)
    huggingface.write(tmp_path, read.model, read.parameters, read.vocabulary, read.max_length)
    again = huggingface.read(tmp_path)
    assert again[:3] == read[:3]
    same(again.parameters, read.parameters)
    ours, theirs = (load_file(f / "model.safetensors") for f in (tmp_path, FIXTURES / name))
    same(ours, theirs)
    ours, theirs = (
        json.loads((f / "config.json").read_text()) for f in (tmp_path, FIXTURES / name)
    )
    for attribute in ours.keys() - {"n_inner"}:
        assert ours[attribute] == theirs[attribute], attribute


NARROW = {"kind": "factorised", "size": 8, "early": True, "back": False}


@pytest.mark.parametrize(
    "name, model",
    [
        ("BertForPreTraining", variants.masked_encoder(2, 16, 2, "relu", {"kind": "plain"})),
        ("AlbertForPreTraining", variants.masked_encoder(2, 16, 2, "silu", NARROW)),
        ("GPT2LMHeadModel", variants.gpt2_like(2, 16, 2, dropout=0.1)),
        ("GPT2LMHeadModel", variants.gpt2_like(2, 16, 2, head={"tie": False})),
    ],
)
def test_a_model_of_ours_is_written_and_read(name, model, tmp_path):
    filled, folder = config.make(model=model).model, tmp_path / "new" / "folder"
    parameters = drawn(models.build(filled, 30, 9))
    huggingface.write(folder, filled, parameters, 30, 9)
    assert json.loads((folder / "config.json").read_text())["architectures"] == [name]
    same(huggingface.read(folder).parameters, parameters)


# Directories that others made


@pytest.fixture
def copy(tmp_path):
    """A function: a fixture's copy with attributes and tensors changed by functions of them."""

    def make(name, attributes=None, tensors=None):
        folder = tmp_path / name
        shutil.copytree(FIXTURES / name, folder)
        for change, file, load, save in (
            (attributes, "config.json", lambda f: json.loads(f.read_text()), None),
            (tensors, "model.safetensors", load_file, save_file),
        ):
            if change is not None:
                value = load(folder / file)
                value = change(value) or value
                if save is None:
                    (folder / file).write_text(json.dumps(value))
                else:
                    (folder / file).unlink()
                    save(value, folder / file)
        return folder

    return make


@pytest.mark.parametrize("name", ["bert", "albert", "gpt2"])
def test_a_model_without_heads_has_no_prefix(name, copy, fixture, tmp_path):
    base = "transformer." if name == "gpt2" else f"{name}."
    model = {"bert": "BertModel", "albert": "AlbertModel", "gpt2": "GPT2Model"}[name]
    folder = copy(
        name,
        lambda a: {**a, "architectures": [model]},
        lambda t: {k.removeprefix(base): v for k, v in t.items() if k.startswith(base)},
    )
    read, expected = huggingface.read(folder), fixture(name)[1]
    hidden, _ = jax.jit(build(read).hidden)(read.parameters, expected["ids"], context(expected))
    np.testing.assert_allclose(hidden, expected["hidden"], rtol=0, atol=1e-5)
    huggingface.write(tmp_path / "out", read.model, read.parameters, *read[1:3])
    same(huggingface.read(tmp_path / "out").parameters, read.parameters)
    if name != "gpt2":
        same(
            load_file(tmp_path / "out" / "model.safetensors"),
            load_file(folder / "model.safetensors"),
        )


def test_published_names_duplicates_and_buffers_are_understood(copy, fixture):
    """As in Google's and OpenAI's files: gamma and beta, tied decoders, positions, triangles."""

    def bert(t):
        t["cls.predictions.decoder.weight"] = t["bert.embeddings.word_embeddings.weight"]
        t["cls.predictions.decoder.bias"] = t["cls.predictions.bias"]
        t["bert.embeddings.position_ids"] = np.arange(20)[None]
        old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        for new in [k for k in t if k.endswith(tuple(old))]:
            name = next(n for n in old if new.endswith(n))
            t[new.removesuffix(name) + old[name]] = t.pop(new)

    def gpt2(t):
        t["lm_head.weight"] = t["transformer.wte.weight"]
        for layer in range(3):
            t[f"transformer.h.{layer}.attn.bias"] = np.tri(20, dtype=np.uint8)[None, None]
            t[f"transformer.h.{layer}.attn.masked_bias"] = np.array(-1e4, "f4")
        return {k.removeprefix("transformer."): v for k, v in t.items()}

    for name, change in (("bert", bert), ("gpt2", gpt2)):
        same(huggingface.read(copy(name, tensors=change)).parameters, fixture(name)[0].parameters)


def shard(folder):
    """Splits a copy's tensors over two files."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {}
    for i, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names}, folder / file)
        index |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def test_shards_are_read_together(copy, fixture):
    same(huggingface.read(shard(copy("bert"))).parameters, fixture("bert")[0].parameters)


def test_half_precision_is_read_as_float32(copy):
    half = huggingface.read(
        copy("gpt2", tensors=lambda t: {k: v.astype("f2") for k, v in t.items()})
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(half.parameters)} == {jnp.dtype("float32")}


# Bad inputs


def test_a_checkpoint_of_another_family(copy):
    folder = copy("bert")
    shutil.copy(FIXTURES / "gpt2" / "model.safetensors", folder)
    refused(folder, "model.safetensors", "not a checkpoint of bert", "looks like one of gpt2")
    refused(
        copy("gpt2", lambda a: {**a, "model_type": "t5"}), "'t5'", "known are bert, albert, gpt2"
    )


def test_a_missing_shard(copy):
    folder = shard(copy("bert"))
    (folder / "model-00002-of-00002.safetensors").unlink()
    refused(folder, "model-00002-of-00002.safetensors: missing")


def test_a_wrong_vocabulary(copy):
    refused(
        copy("albert", lambda a: {**a, "vocab_size": 51}),
        "model.safetensors",
        "word_embeddings.weight",
        "(51, 8), found (50, 8)",
    )


@pytest.mark.parametrize(
    "name, attribute, value, says",
    [
        ("bert", "hidden_act", "mish", "known are gelu, gelu_new"),
        ("bert", "position_embedding_type", "relative_key", "allowed is 'absolute'"),
        ("bert", "is_decoder", True, "allowed is False"),
        ("bert", "hidden_size", "wide", "expected a whole number"),
        ("bert", "num_attention_heads", 3, "does not divide"),
        ("bert", "num_hidden_layers", 0, "allowed is 1 to"),
        ("bert", "num_hidden_layer", 2, "did you mean 'num_hidden_layers'?"),
        ("bert", "architectures", ["BertForSequenceClassification"], "known of bert are"),
        ("albert", "num_hidden_groups", 4, "allowed is 1 to 3"),
        ("bert", "model_type", ["bert"], "known are bert"),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True, "allowed is False"),
        ("gpt2", "reorder_and_upcast_attn", True, "allowed is False"),
        ("gpt2", "embd_pdrop", 0.3, "differ"),
    ],
)
def test_an_attribute_that_is_not_supported(name, attribute, value, says, copy):
    refused(
        copy(name, lambda a: {**a, attribute: value}),
        "config.json",
        attribute.removeprefix("num_attention_"),
        says,
    )


def test_a_missing_tensor(copy):
    name = "bert.encoder.layer.1.intermediate.dense.weight"
    folder = copy("bert", tensors=lambda t: t.pop(name) is None)
    refused(folder, "model.safetensors", f"{name!r} is missing", "(40, 16)")


def test_a_head_that_the_class_must_have(copy):
    folder = copy(
        "bert", tensors=lambda t: {k: v for k, v in t.items() if not k.startswith("cls.pred")}
    )
    refused(folder, "'cls.predictions.transform.dense.weight' is missing")


def test_an_extra_tensor(copy):
    folder = copy("bert", tensors=lambda t: t.update(classifier=np.zeros((3, 16), "f4")))
    refused(folder, "model.safetensors", "'classifier' of shape (3, 16) is extra")


@pytest.mark.parametrize(
    "name, tensor, value",
    [
        ("gpt2", "lm_head.weight", np.zeros((50, 16), "f4")),
        ("bert", "bert.embeddings.position_ids", np.zeros((1, 20), "i8")),
    ],
)
def test_a_duplicate_that_is_none(name, tensor, value, copy):
    refused(copy(name, tensors=lambda t: t.update({tensor: value})), tensor)


def test_more_positions_than_were_learned(copy, fixture, tmp_path):
    refused(copy("gpt2", lambda a: {**a, "n_positions": 32}), "wpe", "(32, 16), found (20, 16)")
    read, _ = fixture("gpt2")
    with pytest.raises(ConfigurationError, match="length 21 exceeds the 20 learned positions"):
        build(read).hidden(read.parameters, jnp.zeros((1, 21), int), Context())
    with pytest.raises(ConfigurationError, match="embedding.learned"):
        huggingface.write(tmp_path / "out", read.model, read.parameters, read.vocabulary, 21)


def test_what_is_no_model_directory(tmp_path, copy):
    refused(tmp_path / "absent", "absent: not a directory")
    refused(tmp_path, "has no config.json")
    shutil.copy(FIXTURES / "bert" / "config.json", tmp_path)
    refused(tmp_path, "has no model.safetensors")
    folder = copy("bert")
    (folder / "config.json").write_text('{"model_type": "bert",')
    refused(folder, "config.json: not readable JSON")
    folder = copy("gpt2")
    (folder / "model.safetensors").write_bytes(b"not tensors")
    refused(folder, "model.safetensors: not readable as safetensors")


@pytest.mark.parametrize(
    "model, says",
    [
        (variants.sandwich(4, 2, width=16, heads=2), "model."),
        (variants.gpt2_like(2, 16, 2, order="s2f2"), "model.order='s2f2'"),
        (variants.gpt2_like(2, 16, 2, stack={"norm": "peri"}), "model.stack.norm='peri'"),
        (variants.gpt2_like(2, 16, 2, activation="swiglu"), "activation='swiglu'"),
        (variants.transformer(2, 16, 2), "model.family='encoder_decoder'"),
        (
            variants.masked_encoder(2, 16, 2, "gelu", {"kind": "plain"}, share="sf"),
            "model.stack.share='sf'",
        ),
    ],
)
def test_a_model_that_no_checkpoint_can_hold(model, says, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        huggingface.write(tmp_path / "out", model, {}, 30, 9)
    assert says in str(caught.value) and not (tmp_path / "out").exists()


def test_a_sentence_head_needs_a_pooler():
    head = {"pooler": False}
    model = variants.masked_encoder(1, 16, 2, "gelu", {"kind": "plain"}, head=head)
    with pytest.raises(ConfigurationError, match="head.pooler=False"):
        models.build(config.make(model=model).model, 30, 9)
