"""The tables of BERT, ALBERT and GPT-2: which tensor is which parameter, which attribute is which
field. Other families have a file each, what may be ignored is in harmless.py; family.py says what a
table holds."""

from typing import Any

from arch import variants
from arch.huggingface.family import Family, Parts, Rule, Values, conv1d, linear, norm, same
from arch.registry import ConfigurationError

# hidden_act → activation; of those that are one function the first is written
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "gelu_python": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "swish": "silu",
}
# Part of the head `masked` → a parameter that is there only with this part.
PARTS = {
    "pooler": "head.pooler.kernel",
    "predict": "head.transform.kernel",
    "sentence": "head.sentence.kernel",
}
ANY = {"is_encoder_decoder": False, "tie_encoder_decoder": False, "pruned_heads": {}}
DECODER = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}

ENCODER_EMBEDDING = (
    *same("embedding.tokens.table", "{base}embeddings.word_embeddings.weight"),
    *same("embedding.learned", "{base}embeddings.position_embeddings.weight"),
    *same("embedding.types", "{base}embeddings.token_type_embeddings.weight"),
    *norm("embedding.norm", "{base}embeddings.LayerNorm"),
)
ENCODER_BUFFERS = {
    "{base}embeddings.position_ids": "positions",
    "{base}embeddings.token_type_ids": "zeros",
}
INIT_STD = ("sublayers.s.init_std", "sublayers.f.init_std", "embedding.init_std")
ENCODER_FIELDS = {
    "hidden_size": ("width",),
    "num_attention_heads": ("sublayers.s.heads",),
    "intermediate_size": ("sublayers.f.inner_width",),
    "hidden_act": ("sublayers.f.activation", "head.activation"),
    "hidden_dropout_prob": ("dropout",),
    "attention_probs_dropout_prob": ("sublayers.s.attention_dropout",),
    "type_vocab_size": ("embedding.types",),
    "initializer_range": (*INIT_STD, "head.init_std"),
    "layer_norm_eps": ("stack.epsilon", "embedding.epsilon", "head.epsilon"),
}

BERT_DEFAULTS = {
    "vocab_size": 30522, "num_hidden_layers": 12, "max_position_embeddings": 512,
    "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072,
    "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    "type_vocab_size": 2, "initializer_range": 0.02, "layer_norm_eps": 1e-12,
}  # fmt: skip
ALBERT_DEFAULTS = {
    **BERT_DEFAULTS,
    "vocab_size": 30000, "hidden_size": 4096, "num_attention_heads": 64,
    "intermediate_size": 16384, "hidden_act": "gelu_new", "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0, "embedding_size": 128, "num_hidden_groups": 1,
    "inner_group_num": 1,
}  # fmt: skip
GPT2_DEFAULTS = {
    "vocab_size": 50257, "n_layer": 12, "n_positions": 1024, "n_embd": 768, "n_head": 12,
    "n_inner": 0,  # 0, or null: four times n_embd
    "activation_function": "gelu_new", "resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1,
    "layer_norm_epsilon": 1e-5, "initializer_range": 0.02, "tie_word_embeddings": True,
}  # fmt: skip


def bert_start(values: Values, parts: Parts) -> tuple[dict[str, Any], Values]:
    """A masked encoder."""
    return encoder(values, parts, {"kind": "plain"}), values


def albert_start(values: Values, parts: Parts) -> tuple[dict[str, Any], Values]:
    """A masked encoder whose layers share, and whose tokens are narrow."""
    _check_groups(values["num_hidden_layers"], values["num_hidden_groups"])
    embedding = {"kind": "factorised", "early": True, "back": False}
    shared = {"share": "sf", "inner_groups": values["inner_group_num"]}
    return encoder(values, parts, embedding, **shared), values


def encoder(values: Values, parts: Parts, embedding: dict, **shared: Any) -> dict[str, Any]:
    """A masked encoder with the parts of a head."""
    sizes = (values["num_hidden_layers"], values["hidden_size"], values["num_attention_heads"])
    head = {"classes": 2 if parts["sentence"] else 0, "predict": parts["predict"]}
    head["pooler"] = parts["pooler"]
    return variants.masked_encoder(*sizes, "gelu", embedding, head=head, **shared)


def _check_groups(layers: int, groups: int) -> None:
    """Refuses groups that Hugging Face finds differently: it computes them in floating point."""
    if groups > layers:
        raise ConfigurationError(
            f"num_hidden_groups={groups}: allowed is 1 to {layers}, the layers"
        )
    for layer in range(layers):
        if int(layer / (layers / groups)) != layer * groups // layers:
            raise ConfigurationError(
                f"num_hidden_groups={groups} of {layers} layers: rounding puts layer {layer} into "
                "another group there than here"
            )


def gpt2_start(values: Values, parts: Parts) -> tuple[dict[str, Any], Values]:
    """GPT-2 at any size."""
    model = variants.gpt2_like(values["n_layer"], values["n_embd"], values["n_head"])
    return model, {**values, "n_inner": values["n_inner"] or 4 * values["n_embd"]}


_BERT, _SELF = "{base}encoder.layer.{layer}", "{base}encoder.layer.{layer}.attention.self"
BERT = Family(
    base="bert.",
    rules=(
        *ENCODER_EMBEDDING,
        *linear("stack.s.sublayer.query", f"{_SELF}.query"),
        *linear("stack.s.sublayer.key", f"{_SELF}.key"),
        *linear("stack.s.sublayer.value", f"{_SELF}.value"),
        *linear("stack.s.sublayer.output", f"{_BERT}.attention.output.dense"),
        *norm("stack.s.norm_after", f"{_BERT}.attention.output.LayerNorm"),
        *linear("stack.f.sublayer.input", f"{_BERT}.intermediate.dense"),
        *linear("stack.f.sublayer.output", f"{_BERT}.output.dense"),
        *norm("stack.f.norm_after", f"{_BERT}.output.LayerNorm"),
        *linear("head.pooler", "{base}pooler.dense"),
        *linear("head.transform", "cls.predictions.transform.dense"),
        *norm("head.norm", "cls.predictions.transform.LayerNorm"),
        *same("head.bias", "cls.predictions.bias"),
        *linear("head.sentence", "cls.seq_relationship"),
    ),
    tied={
        "cls.predictions.decoder.weight": "{base}embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    buffers=ENCODER_BUFFERS,
    start=bert_start,
    layers="num_hidden_layers",
    positions="max_position_embeddings",
    activation="hidden_act",
    fields=ENCODER_FIELDS,
    defaults=BERT_DEFAULTS,
    fixed={**ANY, **DECODER, "tie_word_embeddings": True},
    architectures={
        "BertForPreTraining": ("pooler", "predict", "sentence"),
        "BertForMaskedLM": ("predict",),
        "BertForNextSentencePrediction": ("pooler", "sentence"),
        "BertModel": (),
    },
)

_ALBERT = "{base}encoder.albert_layer_groups.{group}.albert_layers.{turn}"
ALBERT = Family(
    base="albert.",
    rules=(
        *ENCODER_EMBEDDING,
        *linear("embedding.tokens.project", "{base}encoder.embedding_hidden_mapping_in"),
        *linear("stack.s.sublayer.query", f"{_ALBERT}.attention.query"),
        *linear("stack.s.sublayer.key", f"{_ALBERT}.attention.key"),
        *linear("stack.s.sublayer.value", f"{_ALBERT}.attention.value"),
        *linear("stack.s.sublayer.output", f"{_ALBERT}.attention.dense"),
        *norm("stack.s.norm_after", f"{_ALBERT}.attention.LayerNorm"),
        *linear("stack.f.sublayer.input", f"{_ALBERT}.ffn"),
        *linear("stack.f.sublayer.output", f"{_ALBERT}.ffn_output"),
        *norm("stack.f.norm_after", f"{_ALBERT}.full_layer_layer_norm"),
        *linear("head.pooler", "{base}pooler"),
        *linear("head.transform", "predictions.dense"),
        *norm("head.norm", "predictions.LayerNorm"),
        *same("head.bias", "predictions.bias"),
        *linear("head.sentence", "sop_classifier.classifier"),
    ),
    tied={
        "predictions.decoder.weight": "{base}embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
    buffers=ENCODER_BUFFERS,
    start=albert_start,
    layers="num_hidden_layers",
    positions="max_position_embeddings",
    activation="hidden_act",
    fields={
        **ENCODER_FIELDS,
        "embedding_size": ("embedding.size",),
        "num_hidden_groups": ("stack.groups",),
        "inner_group_num": ("stack.inner_groups",),
    },
    defaults=ALBERT_DEFAULTS,
    fixed={
        **BERT.fixed,
        "down_scale_factor": 1,
        "gap_size": 0,
        "net_structure_type": 0,
        "num_memory_blocks": 0,
        "layers_to_keep": [],
    },
    architectures={
        "AlbertForPreTraining": ("pooler", "predict", "sentence"),
        "AlbertForMaskedLM": ("predict",),
        "AlbertModel": (),
    },
)

_GPT2 = "{base}h.{layer}"
GPT2 = Family(
    base="transformer.",
    rules=(
        *same("embedding.tokens.table", "{base}wte.weight"),
        *same("embedding.learned", "{base}wpe.weight"),
        *norm("stack.s.norm_before", f"{_GPT2}.ln_1"),
        *conv1d("stack.s.sublayer.query", f"{_GPT2}.attn.c_attn", 0, 3),
        *conv1d("stack.s.sublayer.key", f"{_GPT2}.attn.c_attn", 1, 3),
        *conv1d("stack.s.sublayer.value", f"{_GPT2}.attn.c_attn", 2, 3),
        *conv1d("stack.s.sublayer.output", f"{_GPT2}.attn.c_proj"),
        *norm("stack.f.norm_before", f"{_GPT2}.ln_2"),
        *conv1d("stack.f.sublayer.input", f"{_GPT2}.mlp.c_fc"),
        *conv1d("stack.f.sublayer.output", f"{_GPT2}.mlp.c_proj"),
        *norm("stack.final_norm", "{base}ln_f"),
        Rule("head.matrix.kernel", "lm_head.weight", transposed=True),
    ),
    tied={"lm_head.weight": "{base}wte.weight"},
    buffers={
        "{base}h.{layer}.attn.bias": "causal",
        "{base}h.{layer}.attn.masked_bias": "never",
    },
    start=gpt2_start,
    layers="n_layer",
    positions="n_positions",
    activation="activation_function",
    fields={
        "n_embd": ("width",),
        "n_head": ("sublayers.s.heads",),
        "n_inner": ("sublayers.f.inner_width",),
        "activation_function": ("sublayers.f.activation",),
        "resid_pdrop": ("dropout",),
        "embd_pdrop": ("dropout",),
        "attn_pdrop": ("sublayers.s.attention_dropout",),
        "layer_norm_epsilon": ("stack.epsilon",),
        "initializer_range": INIT_STD,
        "tie_word_embeddings": ("head.tie",),
    },
    defaults=GPT2_DEFAULTS,
    fixed={
        **ANY,
        **DECODER,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
    },
    architectures={"GPT2LMHeadModel": (), "GPT2Model": ()},
    aliases={
        "hidden_size": "n_embd",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
        "max_position_embeddings": "n_positions",
    },
    automatic=frozenset({"n_inner"}),
    zero=frozenset({"n_inner"}),
    kinds=frozenset({"attention", "feed_forward"}),
    said={"bos_token_id": None, "eos_token_id": None},  # they would lie outside a small vocabulary
)
