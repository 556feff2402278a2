"""Shuffle-Exchange networks: encoders of Beneš blocks."""

from collections.abc import Mapping
from typing import Any

from arch.variants.sizes import sized

# size → width, Beneš blocks, as the authors' code has them.
SHUFFLE_EXCHANGE = {"algorithmic": (192, 1), "multiplication": (384, 2), "lambada": (384, 2)}
RESIDUAL_SHUFFLE_EXCHANGE = {
    "algorithmic": (192, 2),
    "sorting": (192, 1),
    "multiplication": (384, 2),
    "lambada": (384, 2),
    "musicnet": (192, 2),
}


def shuffle_exchange(size: str = "algorithmic", **model: Any) -> dict[str, object]:
    """Beneš blocks of gated switches alone, on tanh(30 · embedding), without positions."""
    width, blocks = sized("shuffle_exchange", size, SHUFFLE_EXCHANGE)
    embedding = {"kind": "squashed", **model.pop("embedding", {})}
    return benes(width, blocks, "gated", size == "lambada", embedding=embedding, **model)


def residual_shuffle_exchange(size: str = "algorithmic", **model: Any) -> dict[str, object]:
    """Beneš blocks of residual switches alone, without positions. For LAMBADA words of 300 channels
    are mapped to the width; the authors' are fastText's, and stay as they are. For MusicNet samples
    come through strided convolutions, and the head has a logit for each note."""
    width, blocks = sized("residual_shuffle_exchange", size, RESIDUAL_SHUFFLE_EXCHANGE)
    words = {"kind": "factorised", "size": 300, "back": False}
    # the authors' normal of deviation 1/4 is cut at twice that: what is left has 0.22
    own = {"lambada": words, "musicnet": {"kind": "waveform"}}
    embedding = own.get(size, {"kind": "plain", "init_std": 0.22})
    embedding |= model.pop("embedding", {})
    return benes(width, blocks, "residual", size == "lambada", embedding=embedding, **model)


def benes(
    width: int,
    blocks: int,
    unit: str,
    points: bool = False,
    switch: Mapping | None = None,
    embedding: Mapping | None = None,
    **model: Any,
) -> dict[str, object]:
    """An encoder of one letter, `x`, of Beneš blocks, no norm, a head of its own; `points`: at one
    of the input's words, of which 5 % are dropped in training. `switch` goes to the letter."""
    pointer = {"kind": "pointer", "occurrences": "each"}
    letter = {"kind": "benes", "blocks": blocks, "unit": unit, **(switch or {})}
    return {
        "family": "encoder",
        "width": width,
        "order": "x",
        "head": pointer if points else {"tie": False, "bias": True},
        **model,
        "sublayers": {"x": letter, **model.get("sublayers", {})},
        "stack": {"final_norm": False, **model.get("stack", {})},
        "embedding": {
            "positions": "none",
            "scale": False,
            "word_dropout": 0.05 if points else 0.0,
            **(embedding or {}),
        },
    }
