"""The stack of an order, whose letters do what the model asks of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from arch.registry import Config, ConfigurationError, stacks
from arch.stacks.contract import Stack
from arch.sublayers.attention.positions import BIASES


def build_stack(model: Config, order: str, causal: bool, has_memory: bool) -> Stack:
    """The stack of an order.

    Args:
        model: the configuration; `stack`, `sublayers` and `width` are read.
        order: the order, `model.order` or `model.encoder_order`.
        causal: whether every letter has to be causal.
        has_memory: whether there is an encoder's output to attend to.

    Raises ConfigurationError for a letter that cannot do what is asked.
    """
    options, positions = dict(model["stack"]), model["embedding"]["positions"]
    kind, given = options.pop("kind"), (model["width"], order, _bindings(model))
    stack: Stack = stacks.build(kind, *given, field="model.stack.kind", **options)
    for letter in stack.letters:
        sublayer = stack.sublayer(letter)
        if causal and not sublayer.causal:
            why = sublayer.not_causal
            raise ConfigurationError(
                f"model.sublayers.{letter}.kind={sublayer.kind!r} is not causal: a decoder "
                f"would see the tokens it is to predict{why and f', since {why}'}"
            )
        unfit = sublayer.not_turned if positions == "rotary" else ""
        if unfit := sublayer.not_biased if positions in BIASES else unfit:
            raise ConfigurationError(
                f"model.embedding.positions={positions!r}: {sublayer.kind} has no place for it, "
                f"since {unfit}; allowed are sinusoidal, learned, axial, none"
            )
        if sublayer.cross and not has_memory:
            raise ConfigurationError(
                f"model.sublayers.{letter}.cross=True: there is no memory to attend to; only "
                "the decoder of model.family='encoder_decoder' has one"
            )
    return stack


def _bindings(model: Config) -> dict[str, Any]:
    """The letters' bindings, where those that have a position kind and leave it to the model are
    told of a bias: it may have parameters, which are the sublayer's."""
    told = {"positions": model["embedding"]["positions"]}
    if told["positions"] not in BIASES:
        return dict(model["sublayers"])
    return {
        letter: {**dict(binding), **(told if _leaves_it(binding) else {})}
        for letter, binding in dict(model["sublayers"]).items()
    }


def _leaves_it(binding: Mapping[str, Any]) -> bool:
    """Places in a memory are not those of the queries, so that cross attention has no bias."""
    return dict(binding).get("positions") == "" and not dict(binding).get("cross")


def check_bias(positions: str, built: Iterable[Stack]) -> None:
    """Refuses a bias that no letter would add."""
    letters = [(stack, letter) for stack in built for letter in stack.letters]
    kinds = [stack.sublayer(letter) for stack, letter in letters]
    if positions in BIASES and not any(kind.biased for kind in kinds):
        names = ", ".join(dict.fromkeys(kind.kind for kind in kinds))
        raise ConfigurationError(
            f"model.embedding.positions={positions!r}: none of {names} adds a bias to its scores, "
            "as attention and local_attention do; allowed are sinusoidal, learned, axial, none"
        )
