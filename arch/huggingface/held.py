"""A checkpoint as it was read."""

from typing import Any, NamedTuple

from arch import config
from arch.huggingface.reformer import causally
from arch.models import families
from arch.models.model import Model
from arch.report.cards import Card, Shown, said_parameters
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

    def card(self) -> Card:
        """What `repr` and a notebook show of it."""
        model = self.build()
        facts = {
            "parameters": said_parameters(model.parameter_counts()),
            "width": str(self.model["width"]),
            "vocabulary": f"{self.vocabulary:,}",
            "positions": f"{self.max_length:,}",
        }
        return Card(f"Imported {self.model['family']}", facts, model.order)

    __repr__ = Shown.__repr__
    _repr_html_ = Shown._repr_html_

    def build(self) -> Model:
        """The model with these weights: `model(ids, mask, segments)` gives its outputs by name,
        and its methods take `parameters`, these or others. A decoder of Reformer is made causal,
        which transformers' is not: see `reformer.causally`.

        ConfigurationError for a model that cannot be built.
        """
        filled = config.make(model=causally(self.model)).model
        built = families.build(filled, self.vocabulary, self.max_length)
        return built.with_weights(self.parameters)
