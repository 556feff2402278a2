"""A model that was given weights, to be called with its inputs alone."""

import abc
import copy
from typing import Any, Self

import jax.numpy as jnp
from jaxtyping import Array

from arch.context import Context
from arch.registry import ConfigurationError
from arch.report.cards import Shown
from arch.stacks.parameters import Parameters


class Weighted(Shown):
    """Pure functions of parameters, which an instance may hold beside them."""

    shapes: Any  # of the parameters: a tree of jax.ShapeDtypeStruct
    _held: Parameters | None = None

    @abc.abstractmethod
    def outputs(self, parameters: Parameters, inputs: Any, context: Context) -> dict[str, Array]:
        """All that the model gives, by name."""

    @property
    def parameters(self) -> Parameters:
        """The weights that calls are of; their shapes where it was given none. Setting them gives
        the model these weights: `arch.parameters.set` does it after a look at every path."""
        return self.shapes if self._held is None else self._held

    @parameters.setter
    def parameters(self, parameters: Parameters) -> None:
        self._held = parameters

    @property
    def has_weights(self) -> bool:
        """Whether it was given weights of its own."""
        return self._held is not None

    def with_weights(self, parameters: Parameters) -> Self:
        """The same model, called as `model(inputs)` with these parameters."""
        model = copy.copy(self)
        model.parameters = parameters
        return model

    def __call__(
        self, inputs: Any, mask: Array | None = None, segments: Array | None = None
    ) -> dict[str, Array]:
        """`outputs` by the model's own weights, which are constants of what is traced around it:
        for gradients by them call `outputs`.

        inputs: token ids (batch, length); of an encoder-decoder, (source, ids).
        mask, segments: (batch, length): whether a token is there, and its type; None: yes, 0.

        Raises ConfigurationError for a model that was given no weights.
        """
        if self._held is None:
            raise ConfigurationError(
                "this model was given no weights: call model.with_weights(parameters), or "
                "model.outputs(parameters, inputs, context)"
            )
        there = None if mask is None else jnp.asarray(mask, bool)
        return self.outputs(self._held, inputs, Context(mask=there, segments=segments))
