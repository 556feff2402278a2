"""What published files of config.json hold beside what a model computes; and what to do about a
directory that cannot be read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from arch.huggingface import attributes
from arch.huggingface import weights as huggingface
from arch.registry import ConfigurationError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "huggingface"

# What the published files hold that the fixtures' do not, by the model they are of
TEXT_GENERATION = {"text-generation": {"do_sample": True, "max_length": 50}}
SUMMARY = {
    "summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True,
    "summary_type": "cls_index", "summary_use_proj": True,
}  # fmt: skip
LABELS = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "_num_labels": 1}
POOLER = {
    "directionality": "bidi", "pooler_fc_size": 768, "pooler_num_attention_heads": 12,
    "pooler_num_fc_layers": 3, "pooler_size_per_head": 128, "pooler_type": "first_token_transform",
}  # fmt: skip
ALBERT = {"down_scale_factor": 1, "gap_size": 0, "net_structure_type": 0, "num_memory_blocks": 0}
PUBLISHED = {
    "gpt2": ("gpt2", {**SUMMARY, "n_ctx": 1024, "task_specific_params": TEXT_GENERATION}),
    "gpt2-medium": ("gpt2", {**SUMMARY, "n_special": 0, "predict_special_tokens": True}),
    "gpt2-xl": ("gpt2", {**SUMMARY, "output_past": True}),
    "distilgpt2": ("gpt2", {**SUMMARY, **LABELS}),
    "bert-base-uncased": ("bert", {"gradient_checkpointing": False, "use_cache": True}),
    "bert-base-multilingual": ("bert", {**POOLER, "language": None}),
    "albert-base-v2": ("albert", {**ALBERT, "classifier_dropout_prob": 0.1}),
    "reformer-enwik8": (
        "reformer",
        {"num_chunks_before": 1, "intermediate_size": 3072, "output_past": True},
    ),
    "saved by transformers 4": (
        "gpt2",
        {
            "_attn_implementation_autoset": True, "tokenizer_class": "GPT2Tokenizer",
            "_commit_hash": None, "_name_or_path": "gpt2", "torch_dtype": "float32",
            "bad_words_ids": None, "typical_p": 1.0, "early_stopping": False, "prefix": None,
            "cross_attention_hidden_size": None, "tf_legacy_loss": False, "pruned_heads": {},
            "exponential_decay_length_penalty": None, "unk_token_id": 0, "auto_map": None,
        },
    ),
    "null, and of no attribute": ("gpt2", {"rope_scaling": None, "quantization_config": None}),
    "the common names of GPT-2's attributes": ("gpt2", {"hidden_size": 16, "num_hidden_layers": 3}),
}  # fmt: skip


def written(folder, name, **change):
    """A fixture's config.json in a folder, changed; ... for an attribute that is taken out."""
    held = json.loads((FIXTURES / name / "config.json").read_text()) | change
    held = {attribute: value for attribute, value in held.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(held))
    return folder / "config.json"


@pytest.mark.parametrize("model", PUBLISHED)
def test_what_changes_nothing_is_ignored(model, tmp_path):
    name, extra = PUBLISHED[model]
    found = attributes.load(written(tmp_path, name, **extra))
    assert found == attributes.load(FIXTURES / name / "config.json")


def test_a_common_name_stands_for_the_family_s_own(tmp_path):
    changed = {"n_embd": ..., "hidden_size": 48, "n_head": ..., "num_attention_heads": 6}
    values = attributes.load(written(tmp_path, "gpt2", **changed))[1]
    assert (values["n_embd"], values["n_head"]) == (48, 6)


def refused(read, path, *says):
    with pytest.raises(ConfigurationError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    for text in says:
        assert text in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    "name, change, says",
    [
        ("gpt2", {"rope_theta": 1e4}, ("rope_theta=10000.0", "gpt2", "delete it")),
        ("gpt2", {"quantization_config": {"bits": 4}}, ("quantization_config={'bits': 4}",)),
        ("bert", {"layer_types": ["sliding"] * 40}, ("layer_types=['sliding', ", "…: unknown")),
        ("bert", {"num_hidden_layer": None}, ("did you mean 'num_hidden_layers'?",)),
        ("gpt2", {"hidden_size": 8}, ("hidden_size=8 and n_embd=16 differ",)),
        ("bert", {"model_type": ...}, ("those of bert: add the line", '"model_type": "bert"')),
        ("albert", {"model_type": ...}, ("those of albert",)),
        ("gpt2", {"model_type": ...}, ("those of gpt2",)),
        ("reformer", {"model_type": ...}, ("those of reformer",)),
        ("bert", {"model_type": "distilbert"}, ("'distilbert': known are bert, albert",)),
        (
            "bert",
            {"architectures": ["BertForQuestionAnswering"]},
            ("known of bert are", "import BertModel as M", "-BertModel')"),
        ),
        (
            "reformer",
            {"architectures": ["ReformerForQuestionAnswering"]},
            ("import ReformerModelWithLMHead as M", "drawn anew"),
        ),
    ],
)
def test_what_is_not_known_is_refused_with_what_to_do(name, change, says, tmp_path):
    file = written(tmp_path, name, **change)
    refused(attributes.load, file, str(file), *says)
    assert huggingface.is_checkpoint(tmp_path)


def test_a_run_s_configuration_is_no_checkpoint(tmp_path):
    for held in ({"hash": "1", "cell": "a", "config": {}}, {"seed": 1}, {}):
        (tmp_path / "config.json").write_text(json.dumps(held))
        assert not huggingface.is_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "file, says",
    [
        ("pytorch_model.bin", "torch.load(f, weights_only=True)"),
        ("pytorch_model-00001-of-00002.bin", "pytorch_model*.bin"),
        ("tf_model.h5", "from_tf=True"),
        ("flax_model.msgpack", "from_flax=True"),
    ],
)
def test_weights_in_another_format_are_refused_with_the_line_that_converts_them(
    file, says, tmp_path
):
    written(tmp_path, "gpt2")
    (tmp_path / file).write_bytes(b"")
    refused(huggingface.read, tmp_path, "has no model.safetensors", says, f"{tmp_path}")


def test_a_directory_that_names_its_model_by_the_added_line_is_read(tmp_path):
    shutil.copy(FIXTURES / "gpt2" / "model.safetensors", tmp_path)
    written(tmp_path, "gpt2", **PUBLISHED["gpt2-medium"][1])
    found = huggingface.read(tmp_path).parameters["embedding"]["tokens"]["table"]
    table = load_file(tmp_path / "model.safetensors")["transformer.wte.weight"]
    np.testing.assert_array_equal(found, table)
