"""The families of models, by name."""

from arch.checks import one_of
from arch.models.encoder_decoder import EncoderDecoder
from arch.models.model import Model
from arch.models.stack import check_bias
from arch.registry import Config


class Decoder(Model):
    """A causal language model: p(token | the tokens before it)."""


class Encoder(Model):
    """Every position sees all others: p(target of a position, or of the sequence | the input)."""

    causal = False


FAMILIES = {"decoder": Decoder, "encoder": Encoder, "encoder_decoder": EncoderDecoder}


def build(model: Config, vocabulary: int, max_length: int) -> Model:
    """The model of a filled configuration; ConfigurationError where it cannot be built."""
    one_of(FAMILIES, of="model", family=model["family"])
    built = FAMILIES[model["family"]](model, vocabulary, max_length)
    check_bias(model["embedding"]["positions"], built.stacks.values())
    return built
