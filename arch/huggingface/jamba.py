"""Jamba's tables: which tensor is which parameter, which attribute is which field.

The files hold each expert's projections apart, as published; transformers joins them in memory.
Its loss of the routers is of all layers together, and only with `output_router_logits`.
"""

import re
from collections.abc import Mapping
from typing import Any

from arch import order as orders
from arch import variants
from arch.huggingface.family import Family, Parts, Values, matrix, norm, same
from arch.huggingface.mamba import mixer
from arch.huggingface.rules import ANY
from arch.registry import ConfigurationError

_LAYER = "{base}layers.{layer}"
_MAMBA, _SELF, _FEED = f"{_LAYER}.mamba", f"{_LAYER}.self_attn", f"{_LAYER}.feed_forward"
_EXPERT = f"{_FEED}.experts.{{expert}}"
DEFAULTS: Values = {
    "vocab_size": 65536, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "initializer_range": 0.02,
    "router_aux_loss_coef": 0.001, "max_position_embeddings": 262144, "attention_dropout": 0.0,
    "num_experts_per_tok": 2, "num_experts": 16, "expert_layer_period": 2,
    "expert_layer_offset": 1, "attn_layer_period": 8, "attn_layer_offset": 4, "mamba_d_state": 16,
    "mamba_d_conv": 4, "mamba_expand": 2, "mamba_conv_bias": True, "mamba_proj_bias": False,
    "tie_word_embeddings": False,
    "mamba_dt_rank": 0,  # 0, null, or 'auto': a sixteenth of hidden_size, rounded up
}  # fmt: skip


def start(values: Values, parts: Parts) -> tuple[dict[str, Any], Values]:
    """The layers, each attention or Mamba, then a feed-forward or a mixture."""
    layers, experts = values["num_hidden_layers"], values["num_experts"]
    attention = _places(layers, *_of(values, "attn"))
    mixtures = _places(layers, *_of(values, "expert")) if experts > 1 else set()
    order = "".join("ms"[i in attention] + "fe"[i in mixtures] for i in range(layers))
    sizes = layers, values["hidden_size"], values["num_attention_heads"], experts
    model: dict[str, Any] = variants.jamba(*sizes)
    model["order"] = orders.compress(order)
    model["sublayers"] = {k: v for k, v in model["sublayers"].items() if k in order}
    return model, values


def _of(values: Values, part: str) -> tuple[int, int]:
    period, offset = values[f"{part}_layer_period"], values[f"{part}_layer_offset"]
    if offset >= period:
        raise ConfigurationError(
            f"{part}_layer_offset={offset}: allowed is 0 to {period - 1}, below "
            f"{part}_layer_period={period}"
        )
    return period, offset


def _places(layers: int, period: int, offset: int) -> set[int]:
    return set(range(offset, layers, period))


def example(filled: Mapping[str, Any]) -> Values:
    """Values with the same order.

    Raises ConfigurationError for an order that no Jamba has.
    """
    order = orders.expand(filled["order"])
    if not re.fullmatch("([ms][fe])+", order):
        raise ConfigurationError(
            f"model.order={filled['order']!r}: a checkpoint of jamba has a letter m (Mamba) or s "
            "(attention) before each f (feed-forward) or e (mixture of experts)"
        )
    layers = len(order) // 2
    values = {**DEFAULTS, "num_hidden_layers": layers}
    if "e" not in order:
        values |= {"num_experts": 1, "num_experts_per_tok": 1}
    for part, letter in (("attn", "s"), ("expert", "e")):
        found = {i // 2 for i, other in enumerate(order) if other == letter}
        if found or letter == "s":
            period, offset = _rule(layers, found, _of(DEFAULTS, part), letter, filled["order"])
            values |= {f"{part}_layer_period": period, f"{part}_layer_offset": offset}
    return values


def _rule(
    layers: int, found: set[int], usual: tuple[int, int], letter: str, order: str
) -> tuple[int, int]:
    """(period, offset) of the layers found: the usual ones if they fit, else the smallest."""
    pairs = ((period, at) for period in range(1, layers + 2) for at in range(period))
    for pair in (usual, *pairs):
        if _places(layers, *pair) == found:
            return pair
    raise ConfigurationError(
        f"model.order={order!r}: a checkpoint of jamba has {letter} in every n-th layer, from one "
        "of the first n on"
    )


def own(mine: Mapping[str, Any]) -> Values:
    """The heads of keys and values, where there is attention: as many as heads where 0 says so."""
    if "sublayers.s.heads" not in mine:
        return {}
    return {"num_key_value_heads": mine["sublayers.s.kv_heads"] or mine["sublayers.s.heads"]}


JAMBA = Family(
    base="model.",
    rules=(
        *same("embedding.tokens.table", "{base}embed_tokens.weight"),
        *norm("stack.m.norm_before", f"{_LAYER}.input_layernorm")[:1],
        *mixer(_MAMBA),
        *norm("stack.m.sublayer.dt_norm", f"{_MAMBA}.dt_layernorm")[:1],
        *norm("stack.m.sublayer.b_norm", f"{_MAMBA}.b_layernorm")[:1],
        *norm("stack.m.sublayer.c_norm", f"{_MAMBA}.c_layernorm")[:1],
        *norm("stack.s.norm_before", f"{_LAYER}.input_layernorm")[:1],
        *matrix("stack.s.sublayer.query", f"{_SELF}.q_proj"),
        *matrix("stack.s.sublayer.key", f"{_SELF}.k_proj"),
        *matrix("stack.s.sublayer.value", f"{_SELF}.v_proj"),
        *matrix("stack.s.sublayer.output", f"{_SELF}.o_proj"),
        *norm("stack.f.norm_before", f"{_LAYER}.pre_ff_layernorm")[:1],
        *matrix("stack.f.sublayer.gate", f"{_FEED}.gate_proj"),
        *matrix("stack.f.sublayer.input", f"{_FEED}.up_proj"),
        *matrix("stack.f.sublayer.output", f"{_FEED}.down_proj"),
        *norm("stack.e.norm_before", f"{_LAYER}.pre_ff_layernorm")[:1],
        *matrix("stack.e.sublayer.router", f"{_FEED}.router"),
        *matrix("stack.e.sublayer.gate", f"{_EXPERT}.gate_proj"),
        *matrix("stack.e.sublayer.input", f"{_EXPERT}.up_proj"),
        *matrix("stack.e.sublayer.output", f"{_EXPERT}.down_proj"),
        *norm("stack.final_norm", "{base}final_layernorm")[:1],
        *matrix("head.matrix", "lm_head"),
    ),
    tied={"lm_head.weight": "{base}embed_tokens.weight"},
    buffers={},
    start=start,
    example=example,
    own=own,
    letters="",
    kinds=frozenset({"mamba", "attention", "feed_forward", "mixture_of_experts"}),
    layers="num_hidden_layers",
    positions="max_position_embeddings",
    fields={
        "hidden_size": ("width",),
        "intermediate_size": ("sublayers.f.inner_width", "sublayers.e.inner_width"),
        "num_attention_heads": ("sublayers.s.heads",),
        "num_key_value_heads": ("sublayers.s.kv_heads",),
        "attention_dropout": ("sublayers.s.attention_dropout",),
        "initializer_range": (
            "sublayers.m.init_std", "sublayers.s.init_std", "sublayers.f.init_std",
            "sublayers.e.init_std", "embedding.init_std",
        ),
        "router_aux_loss_coef": ("sublayers.e.balance",),
        "num_experts_per_tok": ("sublayers.e.active",),
        "num_experts": ("sublayers.e.experts",),
        "mamba_d_state": ("sublayers.m.state",),
        "mamba_d_conv": ("sublayers.m.kernel_size",),
        "mamba_expand": ("sublayers.m.expand",),
        "mamba_dt_rank": ("sublayers.m.rank",),
        "mamba_conv_bias": ("sublayers.m.conv_bias",),
        "mamba_proj_bias": ("sublayers.m.bias",),
        "tie_word_embeddings": ("head.tie",),
    },
    defaults=DEFAULTS,
    fixed={
        **ANY,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,  # of the norms within Mamba, too, whose is fixed here
        "mamba_inner_layernorms": True,
    },
    architectures={"JambaForCausalLM": (), "JambaModel": ()},
    aliases={"num_local_experts": "num_experts"},
    automatic=frozenset({"mamba_dt_rank"}),
    zero=frozenset({"mamba_dt_rank", "attn_layer_offset", "expert_layer_offset"}),
    unread=frozenset(
        """use_mamba_kernels use_mambapy use_associative_scan output_router_logits
        num_logits_to_keep calc_logits_for_entire_prompt""".split()
    ),
)  # fmt: skip
