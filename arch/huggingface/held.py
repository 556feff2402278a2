"""A checkpoint as it was read."""

from typing import Any, NamedTuple

from arch import config
from arch.huggingface.reformer import causally
from arch.models import families
from arch.models.model import Model
from arch.stacks.parameters import Parameters


class Imported(NamedTuple):
    """A checkpoint as read.

    model: the `model` part of a configuration, for `config.make`.
    vocabulary: number of tokens. max_length: number of positions.
    """

    model: dict[str, Any]
    vocabulary: int
    max_length: int
    parameters: Parameters

    def build(self) -> Model:
        """The model with these weights: `model(ids, mask, segments)` gives its outputs by name,
        and its methods take `parameters`, these or others. A decoder of Reformer is made causal,
        which transformers' is not: see `reformer.causally`.

        ConfigurationError for a model that cannot be built.
        """
        filled = config.make(model=causally(self.model)).model
        built = families.build(filled, self.vocabulary, self.max_length)
        return built.with_weights(self.parameters)
