"""Decoders without attention whose state is of fixed size: RWKV, LSTMs."""

from typing import Any

from arch.variants.sizes import sized

# size → layers, width
RWKV4 = {
    "169m": (12, 768),
    "430m": (24, 1024),
    "1b5": (24, 2048),
    "3b": (32, 2560),
    "7b": (32, 4096),
    "14b": (40, 5120),
}


def rwkv4(layers: int = 12, width: int = 768, size: str = "", **model: Any) -> dict[str, object]:
    """(rf)ⁿ of time mix and channel mix: a norm after the embedding too, no positions, a head of
    its own. RWKV-LM's embedding starts uniform within the learning rate, ours normal of 1e-4: the
    norm after it makes up for the difference; its head starts orthogonal, ours at Glorot's uniform.

    A size of RWKV4 stands for its layers and width.
    """
    if size:
        layers, width = sized("rwkv4", size, RWKV4)
    letters = {"r": {"kind": "rwkv4"}, "f": {"kind": "rwkv_channel_mix"}}
    return rwkv(letters, layers, width, model)


def rwkv6(layers: int = 24, width: int = 2048, **model: Any) -> dict[str, object]:
    """(rf)ⁿ of RWKV-6's time mix and a channel mix of 3.5 times the width, in the surroundings of
    `rwkv4`. The defaults are the published model of 1.6 billion parameters."""
    letters = {"r": {"kind": "rwkv6"}, "f": {"kind": "rwkv_channel_mix", "expand": 3.5}}
    return rwkv(letters, layers, width, model)


def rwkv(letters: dict, layers: int, width: int, model: dict[str, Any]) -> dict[str, object]:
    """A decoder of `r` and `f`, with RWKV's surroundings."""
    return {
        "family": "decoder",
        "width": width,
        "order": f"(rf){layers}",
        "embedding": {
            "positions": "none", "scale": False, "norm": "layer", "epsilon": 1e-5, "init_std": 1e-4,
        },
        "head": {"tie": False},
        **model,
        "sublayers": {**letters, **model.get("sublayers", {})},
    }  # fmt: skip


def lstm_lm(layers: int = 2, width: int = 650, **model: Any) -> dict[str, object]:
    """lⁿ: the LSTM language model of Zaremba et al. 2014, whose medium size the defaults are: no
    norms, no positions, and a head of its own with a bias. Here each layer adds to a stream."""
    return {
        "family": "decoder",
        "width": width,
        "order": f"l{layers}",
        "stack": {"norm": "none", "final_norm": False},
        "embedding": {"positions": "none", "scale": False},
        "head": {"tie": False, "bias": True},
        **model,
        "sublayers": {"l": {"kind": "lstm"}, **model.get("sublayers", {})},
    }
