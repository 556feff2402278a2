"""Encoder-decoders: Transformer, Universal Transformer, LSTM."""

from collections.abc import Mapping
from typing import Any

from arch import order as orders
from arch.variants.sizes import sized

# Dehghani et al. 2018, as tensor2tensor has them: size → width, inner width, heads, steps, dropout
UNIVERSAL = {
    "tiny": (128, 512, 4, 8, 0.1),
    "teeny": (128, 128, 2, 10, 0.1),
    "small": (512, 2048, 8, 6, 0.1),
    "base": (1024, 4096, 16, 6, 0.3),
}


def encoder_decoder(
    encoder_order: str,
    order: str,
    width: int,
    heads: int,
    feed_forward: Mapping | None = None,
    attention: Mapping | None = None,
    **model: Any,
) -> dict[str, object]:
    """An encoder and a decoder of attention `s`, attention to the encoder `c`, and feed-forward
    `f` in any orders; `model` goes to the model."""
    attends = {"kind": "attention", "heads": heads, **(attention or {})}
    letters = {
        "s": attends,
        "c": {**attends, "cross": True},
        "f": {"kind": "feed_forward", **(feed_forward or {})},
    }
    return {
        "family": "encoder_decoder",
        "width": width,
        "encoder_order": orders.compress(encoder_order),
        "order": orders.compress(order),
        **model,
        "sublayers": {**letters, **model.get("sublayers", {})},
    }


def transformer(
    layers: int = 6,
    width: int = 512,
    heads: int = 8,
    encoder_coefficient: int = 0,
    decoder_coefficient: int = 0,
    **model: Any,
) -> dict[str, object]:
    """(sf)ⁿ and (scf)ⁿ; with coefficients, sandwiches in which s and c move as one unit (Press et
    al. 2020, Table 6)."""
    encoder = orders.sandwich(layers, encoder_coefficient)
    order = orders.sandwich(layers, decoder_coefficient, attention="sc")
    return encoder_decoder(encoder, order, width, heads, **model)


def universal(size: str = "base", halting: str = "none", **model: Any) -> dict[str, object]:
    """One layer of an encoder and one of a decoder, run `steps` times, or with halting='act' up to
    twice as often. No biases in attention; a learned step signal; dropout within sublayers 0.1."""
    width, inner, heads, steps, dropout = sized("universal", size, UNIVERSAL)
    stack = {
        "kind": "universal",
        "steps": steps if halting == "none" else 2 * steps,
        "step_signal": "learned",
        "halting": halting,
        **model.pop("stack", {}),
    }
    return encoder_decoder(
        "sf",
        "scf",
        width,
        heads,
        feed_forward={"inner_width": inner, "activation_dropout": 0.1},
        attention={"bias": False, "attention_dropout": 0.1},
        **{"dropout": dropout, "stack": stack, **model},
    )


def lstm(layers: int = 2, width: int = 512, heads: int = 8, **model: Any) -> dict[str, object]:
    """lⁿ and (lc)ⁿ: as the other encoder-decoders, LSTMs in the place of attention and
    feed-forward."""
    letters = {"l": {"kind": "lstm"}, **model.pop("sublayers", {})}
    encoder, order = "l" * layers, "lc" * layers
    return encoder_decoder(encoder, order, width, heads, sublayers=letters, **model)
