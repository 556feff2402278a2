"""Papers' names for points of the space: functions that return a model configuration.

vanilla(layers=16)                      Vaswani et al. 2017, as a decoder
sandwich(layers=16, coefficient=6)      Press, Smith and Levy 2020
par(layers=16)                          Mandava et al. 2020
macaron(layers=12)                      Lu et al. 2019
gpt2(size='small')                      Radford et al. 2019
"""

from collections.abc import Mapping

from arch import order as orders
from arch.registry import ConfigurationError

# size → layers, width, heads
GPT2 = {
    "small": (12, 768, 12),
    "medium": (24, 1024, 16),
    "large": (36, 1280, 20),
    "xl": (48, 1600, 25),
}


def decoder(
    order: str, width: int, heads: int, feed_forward: Mapping | None = None, **model
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


def vanilla(layers: int = 6, width: int = 512, heads: int = 8, **model) -> dict[str, object]:
    """(sf)ⁿ."""
    return decoder(orders.vanilla(layers), width, heads, **model)


def sandwich(
    layers: int = 16, coefficient: int = 6, width: int = 1024, heads: int = 8, **model
) -> dict[str, object]:
    """sᵏ (sf)ⁿ⁻ᵏ fᵏ: the parameters of vanilla(layers), k attentions moved to the bottom."""
    return decoder(orders.sandwich(layers, coefficient), width, heads, **model)


def par(layers: int = 16, width: int = 512, heads: int = 8, **model) -> dict[str, object]:
    """About 63 % of the attention replaced by feed-forward; see `order.par` for the rule."""
    return decoder(orders.par(layers), width, heads, **model)


def macaron(layers: int = 6, width: int = 512, heads: int = 8, **model) -> dict[str, object]:
    """(hsh)ⁿ: each layer is half a feed-forward step, attention, half a step. The inner width is
    half of the usual, so that a layer has the parameters of a vanilla one, but for a norm and a
    bias."""
    half = {"kind": "feed_forward", "expand": 2.0, "scale": 0.5}
    return decoder(orders.macaron(layers), width, heads, **{**model, "sublayers": {"h": half}})


def gpt2(size: str = "small", **model) -> dict[str, object]:
    """Pre-norm, tanh-GELU, learned positions, tied head, normal(0.02) init with the projections
    into the residual stream scaled by 1/√depth."""
    if size not in GPT2:
        raise ConfigurationError(f"gpt2 size {size!r}: allowed are {', '.join(GPT2)}")
    layers, width, heads = GPT2[size]
    return gpt2_like(layers, width, heads, **model)


def gpt2_like(
    layers: int, width: int, heads: int, bias=True, activation="gelu_tanh", **model
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


VARIANTS = {f.__name__: f for f in (vanilla, sandwich, par, macaron, gpt2)}
