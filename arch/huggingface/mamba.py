"""Mamba's tables and Mamba-2's: which tensor is which parameter, which attribute is which field.

transformers has no longest sequence for them: `model_max_length`, which it reads past, keeps ours.
"""

from collections.abc import Mapping
from typing import Any

from arch import variants
from arch.huggingface.family import Family, Parts, Rule, Values, linear, matrix, norm, same
from arch.huggingface.rules import ANY
from arch.registry import ConfigurationError

_LAYER = "{base}layers.{layer}"
OURS = "stack.m.sublayer"


def convolution(name: str) -> tuple[Rule, ...]:
    """PyTorch's depthwise convolution, whose weight is (channels, 1, size)."""
    taps = Rule(f"{OURS}.convolution.taps.kernel", f"{name}.weight", transposed=True, units=(1,))
    return taps, Rule(f"{OURS}.convolution.bias", f"{name}.bias")


def mixer(name: str) -> tuple[Rule, ...]:
    """Mamba's sublayer."""
    return (
        *linear(f"{OURS}.input", f"{name}.in_proj"),
        *convolution(f"{name}.conv1d"),
        *matrix(f"{OURS}.selection", f"{name}.x_proj"),
        *linear(f"{OURS}.dt", f"{name}.dt_proj"),
        Rule(f"{OURS}.a_log", f"{name}.A_log", rows=f"{OURS}.skip"),
        *same(f"{OURS}.skip", f"{name}.D"),
        *linear(f"{OURS}.output", f"{name}.out_proj"),
    )


def around(of_a_layer: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The rules of a model of such layers."""
    return (
        *same("embedding.tokens.table", "{base}embeddings.weight"),
        *norm("stack.m.norm_before", f"{_LAYER}.norm")[:1],
        *of_a_layer,
        *norm("stack.final_norm", "{base}norm_f")[:1],
        *matrix("head.matrix", "lm_head"),
    )


def mamba_start(values: Values, parts: Parts) -> tuple[dict[str, Any], Values]:
    """mⁿ of Mamba."""
    return variants.mamba(values["num_hidden_layers"], values["hidden_size"]), values


def mamba2_start(values: Values, parts: Parts) -> tuple[dict[str, Any], Values]:
    """mⁿ of Mamba-2. Raises ConfigurationError where the heads do not make the inner width."""
    inner = values["expand"] * values["hidden_size"]
    if values["num_heads"] * values["head_dim"] != inner:
        raise ConfigurationError(
            f"num_heads={values['num_heads']}: with head_dim={values['head_dim']} the product is "
            f"{values['num_heads'] * values['head_dim']}; allowed is {inner}, expand · hidden_size"
        )
    return variants.mamba2(values["num_hidden_layers"], values["hidden_size"]), values


def mamba2_example(filled: Mapping[str, Any]) -> Values:
    """Values of one layer whose heads fit."""
    return {**MAMBA2_DEFAULTS, "num_hidden_layers": 1}


def mamba2_own(mine: Mapping[str, Any]) -> Values:
    """The number of heads."""
    inner = round(mine["sublayers.m.expand"] * mine["width"])
    return {"num_heads": inner // mine["sublayers.m.head_width"]}


FIELDS = {
    "hidden_size": ("width",),
    "state_size": ("sublayers.m.state",),
    "expand": ("sublayers.m.expand",),
    "conv_kernel": ("sublayers.m.kernel_size",),
    "use_bias": ("sublayers.m.bias",),
    "use_conv_bias": ("sublayers.m.conv_bias",),
    "time_step_min": ("sublayers.m.dt_min",),
    "time_step_max": ("sublayers.m.dt_max",),
    "initializer_range": ("embedding.init_std",),
    "tie_word_embeddings": ("head.tie",),
}
DEFAULTS: Values = {
    "model_max_length": 2048, "expand": 2, "conv_kernel": 4, "use_bias": False,
    "use_conv_bias": True, "time_step_min": 0.001, "time_step_max": 0.1, "initializer_range": 0.1,
}  # fmt: skip
MAMBA_DEFAULTS: Values = {
    **DEFAULTS, "vocab_size": 50280, "hidden_size": 768, "num_hidden_layers": 32, "state_size": 16,
    "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
    "time_step_rank": 0,  # 0, null, or 'auto': a sixteenth of hidden_size, rounded up
}  # fmt: skip
MAMBA2_DEFAULTS: Values = {
    **DEFAULTS, "vocab_size": 32768, "hidden_size": 4096, "num_hidden_layers": 64,
    "state_size": 128, "num_heads": 128, "head_dim": 64, "n_groups": 8, "chunk_size": 256,
    "tie_word_embeddings": False,
}  # fmt: skip
FIXED = {**ANY, "hidden_act": "silu", "rms_norm": True, "ssm_cfg": {}}
ALIASES = {"d_model": "hidden_size", "n_layer": "num_hidden_layers"}
# how weights start, how the same is computed, and what follows from other attributes
UNREAD = frozenset(
    """time_step_scale time_step_init_scheme time_step_floor rescale_prenorm_residual use_mambapy
    use_associative_scan use_mamba_kernels residual_in_fp32 fused_add_norm intermediate_size d_inner
    pad_vocab_size_multiple""".split()
)
TIED = {"lm_head.weight": "{base}embeddings.weight"}
MAMBA = Family(
    base="backbone.",
    rules=around(mixer(f"{_LAYER}.mixer")),
    tied=TIED,
    buffers={},
    start=mamba_start,
    letters="m",
    kinds=frozenset({"mamba"}),
    layers="num_hidden_layers",
    positions="model_max_length",
    fields={
        **FIELDS,
        "layer_norm_epsilon": ("stack.epsilon",),
        "time_step_rank": ("sublayers.m.rank",),
    },
    defaults=MAMBA_DEFAULTS,
    fixed=FIXED,
    architectures={"MambaForCausalLM": (), "MambaModel": ()},
    aliases=ALIASES,
    automatic=frozenset({"time_step_rank"}),
    zero=frozenset({"time_step_rank"}),
    unread=UNREAD,
)
_MIXER = f"{_LAYER}.mixer"
MAMBA2 = Family(
    base="backbone.",
    rules=around(
        (
            *linear(f"{OURS}.input", f"{_MIXER}.in_proj"),
            *convolution(f"{_MIXER}.conv1d"),
            *same(f"{OURS}.dt_bias", f"{_MIXER}.dt_bias"),
            *same(f"{OURS}.a_log", f"{_MIXER}.A_log"),
            *same(f"{OURS}.skip", f"{_MIXER}.D"),
            *norm(f"{OURS}.norm", f"{_MIXER}.norm")[:1],
            *linear(f"{OURS}.output", f"{_MIXER}.out_proj"),
        )
    ),
    tied=TIED,
    buffers={},
    start=mamba2_start,
    example=mamba2_example,
    own=mamba2_own,
    letters="m",
    kinds=frozenset({"mamba2"}),
    layers="num_hidden_layers",
    positions="model_max_length",
    fields={
        **FIELDS,
        "head_dim": ("sublayers.m.head_width",),
        "n_groups": ("sublayers.m.groups",),
        "chunk_size": ("sublayers.m.chunk",),
    },
    defaults=MAMBA2_DEFAULTS,
    fixed={
        **FIXED,
        "layer_norm_epsilon": 1e-5,  # of the norm after the gate, too, whose is fixed here
        "time_step_limit": [0.0, float("inf")],
    },
    architectures={"Mamba2ForCausalLM": (), "Mamba2Model": ()},
    aliases=ALIASES,
    unread=UNREAD | {"time_step_rank", "norm_before_gate"},
)
