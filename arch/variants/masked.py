"""Encoders that predict hidden tokens: BERT and ALBERT."""

from collections.abc import Mapping
from typing import Any

from arch import order as orders
from arch.variants.sizes import sized

# size → layers, width; heads of width 64, an inner width of 4 · width
BERT = {"base": (12, 768), "large": (24, 1024)}
ALBERT = {**BERT, "xlarge": (24, 2048), "xxlarge": (12, 4096)}


def masked_encoder(
    layers: int,
    width: int,
    heads: int,
    activation: str,
    embedding: Mapping,
    share: str = "",
    groups: int = 1,
    inner_groups: int = 1,
    inner_width: int = 0,
    dropout: float = 0.1,
    init_std: float = 0.02,
    **model: Any,
) -> dict[str, object]:
    """A post-norm encoder with BERT's embedding and heads: types, a norm over the sum, ε 1e-12,
    biases everywhere, normal init (the authors' is truncated), dropout of attention weights too."""
    attention = {
        "kind": "attention",
        "heads": heads,
        "attention_dropout": dropout,
        "init_std": init_std,
    }
    inner = {
        "inner_width": inner_width or 4 * width,
        "activation": activation,
        "init_std": init_std,
    }
    shared = {"share": share, "groups": groups, "inner_groups": inner_groups}
    stack = {"norm": "post", "epsilon": 1e-12, "final_norm": False, **shared}
    signals = {"positions": "learned", "scale": False, "types": 2, "norm": "layer"}
    return {
        "family": "encoder",
        "width": width,
        "order": orders.compress(orders.vanilla(layers * inner_groups)),
        "dropout": dropout,
        "sublayers": {"s": attention, "f": {"kind": "feed_forward", **inner}},
        "embedding": {**signals, "init_std": init_std, **embedding},
        **model,
        "stack": {**stack, **model.get("stack", {})},
        "head": {"kind": "masked", "activation": activation, **model.get("head", {})},
    }


def bert(size: str = "base", activation: str = "gelu", **model: Any) -> dict[str, object]:
    """Post-norm encoder, learned positions, types, masked tokens and next sentence. The authors'
    code has the tanh form of GELU, Hugging Face's the exact one: `gelu`."""
    layers, width = sized("bert", size, BERT)
    return masked_encoder(layers, width, width // 64, activation, {"kind": "plain"}, **model)


def albert(
    size: str = "base", share: str = "sf", embedding_size: int = 128, **model: Any
) -> dict[str, object]:
    """BERT with a narrow token table and weights shared by letter: 'sf' all, 's' attention, 'f'
    feed-forward, '' none. At embedding_size = width there is no map, as in the paper's counts."""
    layers, width = sized("albert", size, ALBERT)
    narrow = {"kind": "factorised", "size": embedding_size, "early": True, "back": False}
    embedding = {"kind": "plain"} if embedding_size == width else narrow
    return masked_encoder(layers, width, width // 64, "gelu_tanh", embedding, share=share, **model)
