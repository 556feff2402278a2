"""Reformer's tables: which tensor is which parameter, which attribute is which field."""

from arch.huggingface import reformer
from arch.huggingface.family import Family, Rule, linear, matrix, norm, same
from arch.huggingface.rules import ANY, INIT_STD

_AXIAL = "{base}embeddings.position_embeddings.weights"
_LAYER = "{base}encoder.layers.{layer}"
_SELF = f"{_LAYER}.attention.self_attention"
_INNER = f"{_LAYER}.feed_forward"
REFORMER = Family(
    base="reformer.",
    rules=(
        *same("embedding.tokens.table", "{base}embeddings.word_embeddings.weight"),
        Rule("embedding.axial.tables.0", f"{_AXIAL}.0", units=(1,)),
        Rule("embedding.axial.tables.1", f"{_AXIAL}.1", units=(0,)),
        *same("embedding.learned", "{base}embeddings.position_embeddings.embedding.weight"),
        *norm("stack.s.norm_before", f"{_LAYER}.attention.layer_norm"),
        *matrix("stack.s.sublayer.query", f"{_SELF}.query"),
        *matrix("stack.s.sublayer.key", f"{_SELF}.key"),
        *matrix("stack.s.sublayer.value", f"{_SELF}.value"),
        *matrix("stack.s.sublayer.output", f"{_LAYER}.attention.output.dense"),
        *norm("stack.l.norm_before", f"{_LAYER}.attention.layer_norm"),
        *matrix("stack.l.sublayer.query", f"{_SELF}.query_key"),
        *matrix("stack.l.sublayer.value", f"{_SELF}.value"),
        *matrix("stack.l.sublayer.output", f"{_LAYER}.attention.output.dense"),
        *norm("stack.f.norm_before", f"{_INNER}.layer_norm"),
        *linear("stack.f.sublayer.input", f"{_INNER}.dense.dense"),
        *linear("stack.f.sublayer.output", f"{_INNER}.output.dense"),
        *norm("stack.final_norm", "{base}encoder.layer_norm"),
        *matrix("head.matrix", "lm_head.decoder"),
        *same("head.bias", "lm_head.decoder.bias"),
    ),
    tied={},
    older={"lm_head.decoder.bias": "lm_head.bias"},
    buffers={
        f"{_SELF}.mask_value_float16": "never",
        f"{_SELF}.mask_value_float32": "never",
        f"{_SELF}.self_mask_value_float16": "hardly",
        f"{_SELF}.self_mask_value_float32": "hardly",
    },
    start=reformer.start,
    explicit=reformer.explicit,
    example=reformer.example,
    own=reformer.own_values,
    letters="",
    layers="attn_layers",
    positions="max_position_embeddings",
    activation="hidden_act",
    fields={
        "hidden_size": ("width",),
        "num_attention_heads": ("sublayers.s.heads", "sublayers.l.heads"),
        "attention_head_size": ("sublayers.s.head_width", "sublayers.l.head_width"),
        "feed_forward_size": ("sublayers.f.inner_width",),
        "chunk_size_feed_forward": ("sublayers.f.chunk",),
        "hidden_act": ("sublayers.f.activation",),
        "hidden_dropout_prob": ("dropout", "sublayers.f.activation_dropout"),
        "local_attention_probs_dropout_prob": ("sublayers.s.attention_dropout",),
        "local_attn_chunk_length": ("sublayers.s.chunk",),
        "local_num_chunks_before": ("sublayers.s.before",),
        "local_num_chunks_after": ("sublayers.s.after",),
        "lsh_attention_probs_dropout_prob": ("sublayers.l.attention_dropout",),
        "lsh_attn_chunk_length": ("sublayers.l.chunk",),
        "lsh_num_chunks_before": ("sublayers.l.before",),
        "lsh_num_chunks_after": ("sublayers.l.after",),
        "num_hashes": ("sublayers.l.rounds",),
        "num_buckets": ("sublayers.l.buckets",),
        "initializer_range": (*INIT_STD, "sublayers.l.init_std"),
        "layer_norm_eps": ("stack.epsilon",),
    },
    defaults=reformer.DEFAULTS,
    fixed={
        **ANY,
        "add_cross_attention": False,
        "tie_word_embeddings": False,
        "sinusoidal_pos_embds": False,
    },
    architectures={"ReformerModelWithLMHead": ("causal",), "ReformerForMaskedLM": ()},
    automatic=frozenset({"num_buckets", "hash_seed"}),
    zero=frozenset(
        """chunk_size_feed_forward local_num_chunks_before local_num_chunks_after
        lsh_num_chunks_before lsh_num_chunks_after""".split()
    ),
    # the layers are counted in attn_layers; older files have some of a model without LSH
    unread=frozenset(
        """num_hidden_layers axial_norm_std chunk_size_lm_head intermediate_size
        attention_probs_dropout_prob num_chunks_before num_chunks_after""".split()
    ),
)  # fmt: skip
