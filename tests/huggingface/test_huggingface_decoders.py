"""Mamba, Mamba-2, RWKV-4 and Jamba of Hugging Face: what `transformers` computed
(tests/fixtures/huggingface/make_decoders.py) is computed here, at once and step by step; what is
read is written back to the bit, and what does not fit is refused."""

import copy as copies
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from arch import config, variants
from arch import order as orders
from arch.context import Context
from arch.huggingface import attributes
from arch.huggingface import configurations as configs
from arch.huggingface import weights as huggingface
from arch.huggingface.attributes import FAMILIES
from arch.models import families as models
from arch.models.parameters import flat
from arch.registry import ConfigurationError
from tests.draws import drawn
from tests.families import always
from tests.huggingface.checkpoints import FIXTURES, changed_copy, described, known, refused, same

NAMES = ("mamba", "mamba2", "rwkv", "jamba")
CLASSES = {name: next(iter(FAMILIES[name].architectures)) for name in NAMES}


@pytest.fixture
def fixture():
    """name → (what was read, what is expected), each read once."""
    return known


# Parity


@pytest.mark.parametrize("name", NAMES)
def test_hidden_states_logits_and_gradients_are_those_of_transformers(name, fixture):
    read, expected = fixture(name)
    model, ids = read.build(), jnp.asarray(expected["ids"])

    @jax.jit
    @lambda objective: jax.value_and_grad(objective, has_aux=True)
    def run(parameters):
        found = model.outputs(parameters, ids, Context())  # of one pass
        chosen = jax.nn.log_softmax(found["logits"][:, :-1])
        picked = jnp.take_along_axis(chosen, ids[:, 1:, None], -1)
        return -jnp.mean(picked), found

    (value, found), gradient = run(read.parameters)
    hidden, logits = found["hidden"], found["logits"]
    np.testing.assert_allclose(hidden, expected["hidden"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(logits, expected["evaluated"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(value, expected["loss"], rtol=1e-5)
    named = huggingface.as_tensors(read.model, gradient, read.vocabulary, read.max_length)
    theirs = {k.split(":")[1]: v for k, v in expected.items() if k.startswith("gradient:")}
    assert named.keys() == theirs.keys()
    for tensor, wanted in theirs.items():
        assert wanted.any(), tensor
        np.testing.assert_allclose(named[tensor], wanted, rtol=0, atol=1e-4, err_msg=tensor)


@pytest.mark.parametrize("name", NAMES)
def test_cached_steps_are_those_of_transformers(name, fixture):
    read, expected = fixture(name)
    model, ids = read.build(), jnp.asarray(expected["ids"])

    @jax.jit
    def steps(parameters):
        def body(cache, time):
            token = jax.lax.dynamic_index_in_dim(ids, time, 1, keepdims=False)
            y, cache = model.step(parameters, token, cache, Context(time=time))
            return cache, y

        cache = model.init_cache(parameters, *ids.shape, Context())
        return jax.lax.scan(body, cache, jnp.arange(ids.shape[1]))[1].swapaxes(0, 1)

    last = expected["steps"].shape[1]
    found = steps(read.parameters)[:, -last:]
    np.testing.assert_allclose(found, expected["steps"], rtol=0, atol=1e-4)


# Writing


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_is_written_and_read_again_to_the_bit(name, fixture, tmp_path):
    read, _ = fixture(name)
    huggingface.write(tmp_path, read.model, read.parameters, read.vocabulary, read.max_length)
    again = huggingface.read(tmp_path)
    assert again[:3] == read[:3]
    same(again.parameters, read.parameters)
    same(*(load_file(folder / "model.safetensors") for folder in (tmp_path, FIXTURES / name)))
    ours, theirs = described(tmp_path), described(FIXTURES / name)
    for attribute in ours.keys() - {"model_max_length", "rescale_every"}:
        assert ours[attribute] == theirs[attribute], attribute
    assert ours.get("rescale_every", 0) == 0  # the same function, to the norms' ε
    assert f"import {CLASSES[name]}" in (tmp_path / "README.md").read_text()


def test_reading_leaves_the_variants_as_they_are():
    before = copies.deepcopy(variants.mamba())
    huggingface.read(FIXTURES / "mamba")
    assert before == variants.mamba()
    assert before["embedding"] == {"positions": "none", "scale": False, "init_std": 0.02}


SMALL = {"state": 3, "conv_bias": False, "bias": True, "expand": 3.0}
OURS = [
    ("mamba", variants.mamba(2, 8)),
    ("mamba", variants.mamba(
        2, 8, head={"tie": False}, sublayers={"m": {"kind": "mamba", **SMALL}}
    )),
    ("mamba2", variants.mamba2(1, 8)),
    ("mamba2", variants.mamba2(
        2, 8, head={"tie": False}, sublayers={"m": {"kind": "mamba2", "head_width": 6, **SMALL}}
    )),
    ("rwkv", variants.rwkv4(3, 8)),
    ("rwkv", variants.rwkv4(2, 10, head={"tie": True}, sublayers={
        "r": {"kind": "rwkv4", "inner_width": 6}, "f": {"kind": "rwkv_channel_mix", "expand": 1.35},
    })),
    ("jamba", variants.jamba(8, 16, 4, 3)),
    ("jamba", variants.jamba(4, 16, 4, 3, order="(mf)2", head={"tie": True})),
    ("jamba", variants.jamba(4, 16, 4, 3, order="(mesf)3")),
    ("jamba", variants.jamba(4, 16, 4, 3, order="mese", sublayers={
        "s": {"kind": "attention", "heads": 4, "bias": False},
        "m": {"kind": "mamba", "selection_norm": True, **SMALL},
    })),
]  # fmt: skip


# the second of each family is further from the defaults
@pytest.mark.parametrize("name, model", always(OURS, [*OURS[1:6:2], OURS[-1]]))
def test_a_model_of_ours_is_written_and_read(name, model, tmp_path):
    filled = config.make(model=model).model
    parameters = drawn(models.build(filled, 30, 9))
    huggingface.write(tmp_path, filled, parameters, 30, 9)
    assert described(tmp_path)["architectures"] == [CLASSES[name]]
    found = huggingface.read(tmp_path)
    same(found.parameters, parameters)
    assert found[1:3] == (30, 9)
    huggingface.write(tmp_path / "again", found.model, found.parameters, *found[1:3])
    assert described(tmp_path / "again") == described(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_is_of_some_model(name):
    paths = set()
    for of, model in OURS:
        if of == name:
            built = models.build(config.make(model=model).model, 30, 9)
            paths |= flat(jax.eval_shape(built.init, jax.random.key(0))).keys()
    assert paths == {rule.path for rule in FAMILIES[name].rules}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_layers_of_a_jamba_go_there_and_back(data):
    layers = data.draw(st.integers(1, 9))
    own = {"num_hidden_layers": layers, "hidden_size": 8, "num_attention_heads": 2}
    for part in ("attn", "expert"):
        own[f"{part}_layer_period"] = period = data.draw(st.integers(1, 10))
        own[f"{part}_layer_offset"] = data.draw(st.integers(0, period - 1))
    own["num_key_value_heads"] = data.draw(st.sampled_from([1, 2]))
    own["num_experts"], own["num_experts_per_tok"] = data.draw(st.sampled_from([(1, 1), (4, 2)]))
    parts = configs.required("jamba", "")
    model = configs.model_of("jamba", {**FAMILIES["jamba"].defaults, **own}, parts)
    found = orders.expand(model["order"])
    for i, (mixer, feed) in enumerate(zip(found[::2], found[1::2], strict=True)):
        assert (mixer == "s") == (i % own["attn_layer_period"] == own["attn_layer_offset"])
        mixture = i % own["expert_layer_period"] == own["expert_layer_offset"]
        assert (feed == "e") == (mixture and own["num_experts"] > 1)
    assume(set(found) - {"s", "f"})  # which is GPT-2's order
    name, values, _ = configs.values_of(model, 30, 9)
    assert name == "jamba"
    again = configs.model_of(name, values, parts)
    assert again["order"] == model["order"]
    assert again["sublayers"].keys() == model["sublayers"].keys()


M = {"kind": "mamba", "selection_norm": True}


@pytest.mark.parametrize(
    "model, says",
    [
        (variants.mamba(2, 8, dropout=0.1), "model.dropout=0.1: a checkpoint of mamba has 0.0"),
        (variants.mamba(2, 8, stack={}), "model.stack.norm_kind='layer'"),
        (variants.mamba(2, 8, sublayers={"m": M}), "model.sublayers.m.selection_norm=True"),
        (
            variants.mamba(2, 8, sublayers={"m": {"kind": "mamba", "expand": 1.5}}),
            "model.sublayers.m.expand=1.5: a checkpoint of mamba has a whole number",
        ),
        (variants.mamba2(2, 8, stack={"norm_kind": "rms", "epsilon": 1e-6}), "stack.epsilon=1e-06"),
        (variants.rwkv4(2, 8, order="r2f2"), "model.order='r2f2': a checkpoint of rwkv has (rf)ⁿ"),
        (variants.rwkv4(1, 8), "model.order='rf': transformers builds rwkv of two layers or more"),
        (variants.rwkv4(2, 8, head={"bias": True, "tie": False}), "model.head.bias=True"),
        (variants.jamba(2, 8, 2, order="mfm"), "model.order='mfm': a checkpoint of jamba has a"),
        (variants.jamba(2, 8, 2, order="mfsfsfme"), "has s in every n-th layer"),
        (
            variants.jamba(2, 8, 2, stack={"norm_kind": "rms", "epsilon": 1e-5}),
            "model.stack.epsilon=1e-05: a checkpoint of jamba has 1e-06",
        ),
    ],
)
def test_a_model_that_no_checkpoint_can_hold(model, says, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        huggingface.write(tmp_path / "out", model, {}, 30, 9)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


# Directories that others made


@pytest.fixture
def copy(tmp_path):
    """A function: a fixture's copy with attributes and tensors changed; ... takes one out."""

    def make(name, tensors=None, **change):
        return changed_copy(name, tmp_path / "copy", tensors, **change)

    return make


# as published: state-spaces/mamba-130m-hf, Mamba-Codestral, RWKV/rwkv-4-169m-pile, Jamba 0.1
PUBLISHED = {
    "mamba": {
        "d_inner": 32, "d_model": 16, "n_layer": 3, "fused_add_norm": True, "rms_norm": True,
        "pad_vocab_size_multiple": 8, "ssm_cfg": {}, "problem_type": None, "_name_or_path": "/x",
        "use_mambapy": ..., "use_associative_scan": ...,
    },
    "mamba2": {
        "time_step_limit": [0.0, float("inf")], "norm_before_gate": True, "rms_norm": True,
        "time_step_init_scheme": "random", "time_step_scale": 1.0, "intermediate_size": 32,
    },
    "rwkv": {"rescale_every": 6, "torch_dtype": "float32"},
    "jamba": {
        "mamba_inner_layernorms": True, "num_logits_to_keep": 1, "n_ctx": 262144,
        "calc_logits_for_entire_prompt": False, "sliding_window": None, "use_mamba_kernels": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_published_files_say_beside_is_ignored(name, copy, fixture):
    found, (read, _) = huggingface.read(copy(name, **PUBLISHED[name])), fixture(name)
    assert found[:3] == read[:3]
    same(found.parameters, read.parameters)


@pytest.mark.parametrize("said", ["auto", None, ...])
def test_the_rank_of_time_steps_may_be_left_to_the_width(said, copy):
    name, values, _ = attributes.load(copy("mamba", time_step_rank=said) / "config.json")
    model = configs.model_of(name, values, configs.required(name, ""))
    assert model["sublayers"]["m"]["rank"] == 0


def test_inner_widths_of_rwkv_may_be_left_to_the_width(copy):
    folder = copy("rwkv", attention_hidden_size=None, intermediate_size=None)
    name, values, _ = attributes.load(folder / "config.json")
    letters = configs.model_of(name, values, configs.required(name, ""))["sublayers"]
    assert (letters["r"]["inner_width"], letters["f"]["expand"]) == (16, 4.0)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_without_heads_has_no_prefix(name, copy, fixture):
    base = FAMILIES[name].base
    bare = [c for c in FAMILIES[name].architectures if not c.endswith("CausalLM")]
    folder = copy(
        name,
        lambda t: {k.removeprefix(base): v for k, v in t.items() if k.startswith(base)},
        architectures=bare,
        tie_word_embeddings=True,
    )
    read, whole = huggingface.read(folder), fixture(name)[0]
    same(read.parameters["stack"], whole.parameters["stack"])
    assert not jax.tree.leaves(read.parameters["head"])


# Bad inputs


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_an_extra_and_another_family_s_tensor(name, copy, tmp_path):
    tensors = load_file(FIXTURES / name / "model.safetensors")
    last = sorted(tensors)[-1]
    refused(copy(name, lambda t: t.pop(last) is None or t), f"{last!r} is missing")
    shutil.rmtree(tmp_path / "copy")
    refused(copy(name, lambda t: {**t, "extra": np.zeros(3, "f4")}), "'extra' of shape (3,) is ext")
    shutil.rmtree(tmp_path / "copy")
    other = NAMES[NAMES.index(name) - 1]
    folder = copy(name)
    shutil.copy(FIXTURES / other / "model.safetensors", folder)
    refused(folder, f"not a checkpoint of {name}", f"it looks like one of {other}")


@pytest.mark.parametrize("name", ["mamba", "jamba"])
def test_a_tied_head_that_is_none(name, copy):
    folder = copy(
        name, lambda t: {**t, "lm_head.weight": np.zeros((50, 16), "f4")}, tie_word_embeddings=True
    )
    refused(folder, "'lm_head.weight' of shape (50, 16) differs from")


@pytest.mark.parametrize(
    "name, change, says",
    [
        ("mamba", {"hidden_act": "gelu"}, "hidden_act='gelu' is not supported; allowed is 'silu'"),
        ("mamba", {"rms_norm": False}, "rms_norm=False is not supported; allowed is True"),
        ("mamba", {"ssm_cfg": {"layer": "Mamba2"}}, "ssm_cfg={'layer': 'Mamba2'} is not supported"),
        ("mamba", {"d_model": 8}, "d_model=8 and hidden_size=16 differ"),
        ("mamba", {"expand": 2.5}, "expand=2.5"),
        ("mamba", {"model_type": ...}, '"model_type": "mamba"'),
        ("mamba2", {"model_type": ...}, '"model_type": "mamba2"'),
        ("rwkv", {"model_type": ...}, '"model_type": "rwkv"'),
        ("jamba", {"model_type": ...}, '"model_type": "jamba"'),
        ("mamba2", {"time_step_limit": [0.01, 0.1]}, "time_step_limit=[0.01, 0.1] is not"),
        ("mamba2", {"num_heads": 4}, "num_heads=4: with head_dim=4 the product is 16; allowed"),
        ("mamba2", {"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon=1e-06 is not supported"),
        ("rwkv", {"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon=1e-06 is not supported"),
        ("jamba", {"rms_norm_eps": 1e-5}, "rms_norm_eps=1e-05 is not supported; allowed is 1e-06"),
        ("jamba", {"mamba_inner_layernorms": False}, "mamba_inner_layernorms=False is not"),
        ("jamba", {"attn_layer_offset": 3}, "attn_layer_offset=3: allowed is 0 to 2"),
        ("jamba", {"sliding_window": 64}, "sliding_window=64: unknown attribute of jamba"),
        ("jamba", {"num_experts_per_tok": 4}, "active"),
    ],
)  # fmt: skip
def test_an_attribute_that_is_not_supported(name, change, says, copy):
    refused(copy(name, **change), "config.json", says)
