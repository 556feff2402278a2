"""The encoder-decoder: two stacks and one embedding."""

from typing import Any

from jaxtyping import Array, Float, Int, Key

from arch.context import Context, Extras, add_sums, named
from arch.models.model import Model
from arch.models.stack import build_stack
from arch.registry import Config, ConfigurationError
from arch.stacks.contract import Stack
from arch.stacks.parameters import Parameters


class EncoderDecoder(Model):
    """p(target | the targets before it, source): an encoder of `encoder_order`, and a decoder whose
    letters may attend to its output (Vaswani et al. 2017). Both have the options of `model.stack`
    and the bindings of `model.sublayers`, and weights of their own; the embedding is one.

    `inputs` are (source, ids). The context's `memory_mask` and `memory_positions` are the source's.
    """

    has_memory = True

    def __init__(self, model: Config, vocabulary: int, max_length: int):
        if not model["encoder_order"].strip():
            raise ConfigurationError(
                "model.encoder_order='': model.family='encoder_decoder' needs an order for its "
                "encoder, like '(sf)4'"
            )
        self.encoder = build_stack(model, model["encoder_order"], False, False)
        if self.encoder.output_width != model["width"]:
            raise ConfigurationError(
                "model.stack.merge='concatenate': the encoder's memory would be of twice the width "
                "that the decoder attends to; allowed with an encoder is average"
            )
        super().__init__(model, vocabulary, max_length)
        if not any(self.stack.sublayer(x).cross for x in self.stack.letters):
            raise ConfigurationError(
                f"model.order={model['order']!r}: no letter attends to the encoder; bind one with "
                "cross=True, like the c of '(scf)4'"
            )

    @property
    def stacks(self) -> dict[str, Stack]:
        """The encoder, then the decoder."""
        return {"encoder": self.encoder, "stack": self.stack}

    def init(self, key: Key[Array, ""]) -> Parameters:
        """Parameters of embedding, stack and head, and under 'encoder' those of the encoder."""
        return {**super().init(key), "encoder": self.encoder.init(named(key, "encoder"))}

    def encode(
        self, parameters: Parameters, source: Int[Array, "batch memory"], context: Context
    ) -> tuple[Float[Array, "batch memory width"], Extras]:
        """The memory, and the encoder's extras under names of their own."""
        context = context.replace(
            key=None if context.key is None else context.key_for("encoder"),
            positions=context.memory_positions,
            mask=context.memory_mask,
            schedule=None,  # the order as data is the decoder's
            causal=False,
        )
        memory, extras = self.run_stack(parameters, "encoder", source, context)
        return memory, Extras(
            _prefixed("encoder", extras.losses),
            _prefixed("encoder", extras.statistics),
            _prefixed("encoder", extras.record),
        )

    def hidden(
        self, parameters: Parameters, inputs: Any, context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """The decoder's last hidden state for inputs (source, ids), and the extras of both."""
        source, ids = inputs
        memory, first = self.encode(parameters, source, context)
        x, second = super().hidden(parameters, ids, context.replace(memory=memory))
        return x, Extras(
            add_sums(first.losses, second.losses),
            add_sums(first.statistics, second.statistics),
            first.record | second.record,
        )

    def remember(self, parameters: Parameters, source: Any, context: Context) -> Context:
        """The context with the memory of the source."""
        return context.replace(memory=self.encode(parameters, source, context)[0])


def _prefixed(name: str, part: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}_{key}": value for key, value in part.items()}
