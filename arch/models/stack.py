"""The stack of an order, refused where its letters cannot do what the family asks."""

from arch.registry import Config, ConfigurationError, stacks
from arch.stacks.contract import Stack


def build_stack(model: Config, order: str, causal: bool, has_memory: bool) -> Stack:
    """The stack of an order.

    Args:
        model: the configuration; `stack`, `sublayers` and `width` are read.
        order: the order, `model.order` or `model.encoder_order`.
        causal: whether every letter has to be causal.
        has_memory: whether there is an encoder's output to attend to.

    Raises ConfigurationError for a letter that cannot do what is asked.
    """
    options = dict(model["stack"])
    kind, given = options.pop("kind"), (model["width"], order, model["sublayers"])
    stack: Stack = stacks.build(kind, *given, field="model.stack.kind", **options)
    for letter in stack.letters:
        sublayer = stack.sublayer(letter)
        if causal and not sublayer.causal:
            why = sublayer.not_causal
            raise ConfigurationError(
                f"model.sublayers.{letter}.kind={sublayer.kind!r} is not causal: a decoder "
                f"would see the tokens it is to predict{why and f', since {why}'}"
            )
        if sublayer.cross and not has_memory:
            raise ConfigurationError(
                f"model.sublayers.{letter}.cross=True: there is no memory to attend to; only "
                "the decoder of model.family='encoder_decoder' has one"
            )
    return stack
