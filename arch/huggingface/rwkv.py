"""RWKV-4's tables: which tensor is which parameter, which attribute is which field.

Where transformers evaluates with `rescale_every` above 0, it halves the stream after every so many
layers, and the weights that add to it: the same function but for the norms' ε. The files hold the
weights as they are before that, which needs a `save_pretrained` before the first evaluation; ours
are written with rescale_every=0.
"""

from collections.abc import Mapping
from typing import Any

from arch import variants
from arch.huggingface.family import Family, Parts, Rule, Values, matrix, norm, same
from arch.huggingface.rules import ANY
from arch.registry import ConfigurationError

_BLOCK = "{base}blocks.{layer}"
_TIME, _CHANNEL = f"{_BLOCK}.attention", f"{_BLOCK}.feed_forward"
_OURS, _MIX = "stack.r.sublayer", "stack.f.sublayer"


def share(path: str, name: str) -> tuple[Rule, ...]:
    """A number per channel, as (1, 1, width)."""
    return (Rule(path, name, units=(0, 1)),)


def start(values: Values, parts: Parts) -> tuple[dict[str, Any], Values]:
    """(rf)ⁿ of RWKV-4."""
    width = values["hidden_size"]
    values = {**values, "attention_hidden_size": values["attention_hidden_size"] or width}
    expand = (values["intermediate_size"] or 4 * width) / width
    letters = {"f": {"kind": "rwkv_channel_mix", "expand": expand}}
    return variants.rwkv4(values["num_hidden_layers"], width, sublayers=letters), values


def own(mine: Mapping[str, Any]) -> Values:
    """The inner width of the channel mix. Raises ConfigurationError for a single layer."""
    if mine["order"] == "rf":
        raise ConfigurationError("model.order='rf': transformers builds rwkv of two layers or more")
    return {"intermediate_size": round(mine["sublayers.f.expand"] * mine["width"])}


RWKV = Family(
    base="rwkv.",
    rules=(
        *same("embedding.tokens.table", "{base}embeddings.weight"),
        *norm("embedding.norm", "{base}blocks.0.pre_ln"),
        *norm("stack.r.norm_before", f"{_BLOCK}.ln1"),
        *same(f"{_OURS}.decay", f"{_TIME}.time_decay"),
        *same(f"{_OURS}.bonus", f"{_TIME}.time_first"),
        *share(f"{_OURS}.mix_key", f"{_TIME}.time_mix_key"),
        *share(f"{_OURS}.mix_value", f"{_TIME}.time_mix_value"),
        *share(f"{_OURS}.mix_receptance", f"{_TIME}.time_mix_receptance"),
        *matrix(f"{_OURS}.key", f"{_TIME}.key"),
        *matrix(f"{_OURS}.value", f"{_TIME}.value"),
        *matrix(f"{_OURS}.receptance", f"{_TIME}.receptance"),
        *matrix(f"{_OURS}.output", f"{_TIME}.output"),
        *norm("stack.f.norm_before", f"{_BLOCK}.ln2"),
        *share(f"{_MIX}.mix_key", f"{_CHANNEL}.time_mix_key"),
        *share(f"{_MIX}.mix_receptance", f"{_CHANNEL}.time_mix_receptance"),
        *matrix(f"{_MIX}.key", f"{_CHANNEL}.key"),
        *matrix(f"{_MIX}.value", f"{_CHANNEL}.value"),
        *matrix(f"{_MIX}.receptance", f"{_CHANNEL}.receptance"),
        *norm("stack.final_norm", "{base}ln_out"),
        *matrix("head.matrix", "head"),
    ),
    tied={"head.weight": "{base}embeddings.weight"},
    buffers={},
    start=start,
    own=own,
    letters="rf",
    kinds=frozenset({"rwkv4", "rwkv_channel_mix"}),
    layers="num_hidden_layers",
    positions="context_length",
    fields={
        "hidden_size": ("width",),
        "attention_hidden_size": ("sublayers.r.inner_width",),
        "tie_word_embeddings": ("head.tie",),
    },
    defaults={
        "vocab_size": 50277, "context_length": 1024, "hidden_size": 4096, "num_hidden_layers": 32,
        "attention_hidden_size": 0,  # 0, or null: hidden_size
        "intermediate_size": 0,  # 0, or null: four times hidden_size
        "tie_word_embeddings": False,
    },
    fixed={**ANY, "layer_norm_epsilon": 1e-5},  # of the final norm, whatever this says
    architectures={"RwkvForCausalLM": (), "RwkvModel": ()},
    aliases={"max_position_embeddings": "context_length"},
    automatic=frozenset({"attention_hidden_size", "intermediate_size"}),
    zero=frozenset({"attention_hidden_size", "intermediate_size"}),
    unread=frozenset({"rescale_every"}),
    said={"rescale_every": 0},
)  # fmt: skip
