"""Papers' names for points of the space: functions that return a model configuration.

vanilla(layers=16)                      Vaswani et al. 2017, as a decoder
sandwich(layers=16, coefficient=6)      Press, Smith and Levy 2020
par(layers=16)                          Mandava et al. 2020
macaron(layers=12)                      Lu et al. 2019
gpt2(size='small')                      Radford et al. 2019
transformer(layers=6)                   Vaswani et al. 2017, encoder and decoder; sandwiches of both
universal(size='base', halting='act')   Dehghani et al. 2018
bert(size='base')                       Devlin et al. 2018
albert(size='base', share='sf')         Lan et al. 2019
reformer(size='enwik8')                 Kitaev, Kaiser and Levskaya 2020
shuffle_exchange(size='algorithmic')    Freivalds et al. 2019
residual_shuffle_exchange(size='lambada')   Draguns et al. 2020
lstm(layers=2)                          an encoder-decoder of LSTMs that attends to its encoder
"""

from collections.abc import Mapping
from typing import TypeVar

from arch import order as orders
from arch.registry import ConfigurationError

Sizes = TypeVar("Sizes")

# size → layers, width, heads
GPT2 = {
    "small": (12, 768, 12),
    "medium": (24, 1024, 16),
    "large": (36, 1280, 20),
    "xl": (48, 1600, 25),
}

# Dehghani et al. 2018, as tensor2tensor has them: size → width, inner width, heads, steps, dropout
UNIVERSAL = {
    "tiny": (128, 512, 4, 8, 0.1),
    "teeny": (128, 128, 2, 10, 0.1),
    "small": (512, 2048, 8, 6, 0.1),
    "base": (1024, 4096, 16, 6, 0.3),
}

# size → layers, width; heads of width 64, an inner width of 4 · width
BERT = {"base": (12, 768), "large": (24, 1024)}
ALBERT = {**BERT, "xlarge": (24, 2048), "xxlarge": (12, 4096)}

# Kitaev et al. 2020: size → order, width, inner width, heads. `s` is LSH attention, `l` local.
REFORMER = {
    "duplicate": ("sf", 256, 256, 4),
    "enwik8": ("(sf)12", 1024, 4096, 8),
    "enwik8-released": ("(lflfsflf)3", 1024, 4096, 8),
    "wmt-base": ("(scf)6", 512, 2048, 8),
    "wmt-big": ("(scf)6", 1024, 4096, 16),
}

# size → width, Beneš blocks, as the authors' code has them. MusicNet's sound comes through two
# strided convolutions, which are not here: the size of its switches alone.
SHUFFLE_EXCHANGE = {"algorithmic": (192, 1), "multiplication": (384, 2), "lambada": (384, 2)}
RESIDUAL_SHUFFLE_EXCHANGE = {
    "algorithmic": (192, 2),
    "sorting": (192, 1),
    "multiplication": (384, 2),
    "lambada": (384, 2),
    "musicnet": (192, 2),
}


def _size(variant: str, size: str, sizes: Mapping[str, Sizes]) -> Sizes:
    if size not in sizes:
        raise ConfigurationError(f"{variant} size {size!r}: allowed are {', '.join(sizes)}")
    return sizes[size]


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
    layers, width, heads = _size("gpt2", size, GPT2)
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


def encoder_decoder(
    encoder_order: str,
    order: str,
    width: int,
    heads: int,
    feed_forward: Mapping | None = None,
    attention: Mapping | None = None,
    **model,
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
    **model,
) -> dict[str, object]:
    """(sf)ⁿ and (scf)ⁿ; with coefficients, sandwiches in which s and c move as one unit (Press et
    al. 2020, Table 6)."""
    encoder = orders.sandwich(layers, encoder_coefficient)
    order = orders.sandwich(layers, decoder_coefficient, attention="sc")
    return encoder_decoder(encoder, order, width, heads, **model)


def universal(size: str = "base", halting: str = "none", **model) -> dict[str, object]:
    """One layer of an encoder and one of a decoder, run `steps` times, or with halting='act' up to
    twice as often. No biases in attention; a learned step signal; dropout within sublayers 0.1."""
    width, inner, heads, steps, dropout = _size("universal", size, UNIVERSAL)
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
    **model,
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


def bert(size: str = "base", activation: str = "gelu", **model) -> dict[str, object]:
    """Post-norm encoder, learned positions, types, masked tokens and next sentence. The authors'
    code has the tanh form of GELU, Hugging Face's the exact one: `gelu`."""
    layers, width = _size("bert", size, BERT)
    return masked_encoder(layers, width, width // 64, activation, {"kind": "plain"}, **model)


def albert(
    size: str = "base", share: str = "sf", embedding_size: int = 128, **model
) -> dict[str, object]:
    """BERT with a narrow token table and weights shared by letter: 'sf' all, 's' attention, 'f'
    feed-forward, '' none. At embedding_size = width there is no map, as in the paper's counts."""
    layers, width = _size("albert", size, ALBERT)
    narrow = {"kind": "factorised", "size": embedding_size, "early": True, "back": False}
    embedding = {"kind": "plain"} if embedding_size == width else narrow
    return masked_encoder(layers, width, width // 64, "gelu_tanh", embedding, share=share, **model)


def reformer(size: str = "enwik8", attention: Mapping | None = None, **model) -> dict[str, object]:
    """LSH attention in a reversible stack whose streams are concatenated, axial positions, a
    feed-forward in chunks. For translation the paper keeps full attention. `attention` goes to the
    LSH letters."""
    order, width, inner, heads = _size("reformer", size, REFORMER)
    stack = {"kind": "reversible", **model.pop("stack", {})}
    if size.startswith("wmt"):
        return encoder_decoder(
            "(sf)6", order, width, heads, {"inner_width": inner}, stack=stack, **model
        )
    released = size == "enwik8-released"
    hashes = {"chunk": 256, "buckets": (16, 32)} if released else {"chunk": 64, "rounds": 4}
    letters = {"s": {"kind": "lsh_attention", "heads": heads, **hashes, **(attention or {})}}
    if "l" in order:
        letters["l"] = {"kind": "local_attention", "heads": heads, "chunk": 128, "bias": False}
    return {
        "family": "decoder",
        "width": width,
        "order": order,
        "embedding": {"positions": "axial", "scale": False},
        "head": {"tie": False},
        **model,
        "stack": {"merge": "concatenate", **stack},
        "sublayers": {
            **letters,
            "f": {
                "kind": "feed_forward",
                "inner_width": inner,
                "chunk": 0 if inner == width else 512,
            },
            **model.get("sublayers", {}),
        },
    }


def shuffle_exchange(size: str = "algorithmic", **model) -> dict[str, object]:
    """Beneš blocks of gated switches alone, on tanh(30 · embedding), without positions."""
    width, blocks = _size("shuffle_exchange", size, SHUFFLE_EXCHANGE)
    embedding = {"kind": "squashed", **model.pop("embedding", {})}
    return benes(width, blocks, "gated", size == "lambada", embedding=embedding, **model)


def residual_shuffle_exchange(size: str = "algorithmic", **model) -> dict[str, object]:
    """Beneš blocks of residual switches alone, without positions. For LAMBADA words of 300 channels
    are mapped to the width; the authors' are fastText's, and stay as they are."""
    width, blocks = _size("residual_shuffle_exchange", size, RESIDUAL_SHUFFLE_EXCHANGE)
    words = {"kind": "factorised", "size": 300, "back": False}
    # the authors' normal of deviation 1/4 is cut at twice that: what is left has 0.22
    embedding = words if size == "lambada" else {"kind": "plain", "init_std": 0.22}
    embedding |= model.pop("embedding", {})
    return benes(width, blocks, "residual", size == "lambada", embedding=embedding, **model)


def benes(
    width: int,
    blocks: int,
    unit: str,
    points: bool = False,
    switch: Mapping | None = None,
    embedding: Mapping | None = None,
    **model,
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


def lstm(layers: int = 2, width: int = 512, heads: int = 8, **model) -> dict[str, object]:
    """lⁿ and (lc)ⁿ: as the other encoder-decoders, LSTMs in the place of attention and
    feed-forward."""
    letters = {"l": {"kind": "lstm"}, **model.pop("sublayers", {})}
    encoder, order = "l" * layers, "lc" * layers
    return encoder_decoder(encoder, order, width, heads, sublayers=letters, **model)


VARIANTS = {
    f.__name__: f
    for f in (
        vanilla, sandwich, par, macaron, gpt2, transformer, universal, lstm, bert, albert, reformer,
        shuffle_exchange, residual_shuffle_exchange,
    )
}  # fmt: skip
