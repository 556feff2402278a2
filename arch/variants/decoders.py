"""Decoders: orders of attention `s` and feed-forward `f`, GPT-2, and Bengio's model."""

from collections.abc import Mapping
from typing import Any

from arch import order as orders
from arch.variants.sizes import sized

# size → layers, width, heads
GPT2 = {
    "small": (12, 768, 12),
    "medium": (24, 1024, 16),
    "large": (36, 1280, 20),
    "xl": (48, 1600, 25),
}


def decoder(
    order: str, width: int, heads: int, feed_forward: Mapping | None = None, **model: Any
) -> dict[str, object]:
    """A decoder of attention `s` and feed-forward `f` in any order; `model` goes to the model."""
    letters = {
        "s": {"kind": "attention", "heads": heads},
        "f": {"kind": "feed_forward", **(feed_forward or {})},
    }
    return {
        "family": "decoder",
        "width": width,
        "order": orders.compress(order),
        **model,
        "sublayers": {**letters, **model.get("sublayers", {})},
    }


def vanilla(layers: int = 6, width: int = 512, heads: int = 8, **model: Any) -> dict[str, object]:
    """(sf)ⁿ."""
    return decoder(orders.vanilla(layers), width, heads, **model)


def sandwich(
    layers: int = 16, coefficient: int = 6, width: int = 1024, heads: int = 8, **model: Any
) -> dict[str, object]:
    """sᵏ (sf)ⁿ⁻ᵏ fᵏ: the parameters of vanilla(layers), k attentions moved to the bottom."""
    return decoder(orders.sandwich(layers, coefficient), width, heads, **model)


def par(layers: int = 16, width: int = 512, heads: int = 8, **model: Any) -> dict[str, object]:
    """About 63 % of the attention replaced by feed-forward; see `order.par` for the rule."""
    return decoder(orders.par(layers), width, heads, **model)


def macaron(layers: int = 6, width: int = 512, heads: int = 8, **model: Any) -> dict[str, object]:
    """(hsh)ⁿ: each layer is half a feed-forward step, attention, half a step. The inner width is
    half of the usual, so that a layer has the parameters of a vanilla one, but for a norm and a
    bias."""
    half = {"kind": "feed_forward", "expand": 2.0, "scale": 0.5}
    return decoder(orders.macaron(layers), width, heads, **{**model, "sublayers": {"h": half}})


def gpt2(size: str = "small", **model: Any) -> dict[str, object]:
    """Pre-norm, tanh-GELU, learned positions, tied head, normal(0.02) init with the projections
    into the residual stream scaled by 1/√depth."""
    layers, width, heads = sized("gpt2", size, GPT2)
    return gpt2_like(layers, width, heads, **model)


def gpt2_like(
    layers: int,
    width: int,
    heads: int,
    bias: bool = True,
    activation: str = "gelu_tanh",
    **model: Any,
) -> dict[str, object]:
    """GPT-2's choices at another size."""
    letters = {
        "s": {"kind": "attention", "heads": heads, "init_std": 0.02, "bias": bias},
        "f": {"kind": "feed_forward", "activation": activation, "init_std": 0.02, "bias": bias},
    }
    embedding = {"positions": "learned", "scale": False, "init_std": 0.02}
    return {
        "family": "decoder",
        "width": width,
        "order": orders.compress(orders.vanilla(layers)),
        "sublayers": letters,
        "embedding": embedding,
        "stack": {"scale_output_init": True},
        **model,
    }


def feed_forward_lm(
    n: int = 5, width: int = 60, direct: bool = False, **model: Any
) -> dict[str, object]:
    """Bengio et al. 2003: the next word of the n - 1 before it, by one tanh layer; no norm, no
    positions, and a head of its own with a bias."""
    return {
        "family": "decoder",
        "width": width,
        "order": "w",
        "sublayers": {"w": {"kind": "fixed_window", "tokens": n - 1, "direct": direct}},
        "stack": {"final_norm": False},
        "embedding": {"positions": "none", "scale": False},
        "head": {"tie": False, "bias": True},
        **model,
    }
