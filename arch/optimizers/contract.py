"""The contract of an optimiser."""

import abc
from collections.abc import Callable
from typing import Any

import optax
from jaxtyping import Array, Float

from arch.registry import Registry

Rate = Float[Array, ""] | float
Mask = Callable[[Any], Any]  # a tree of parameters → the same tree of booleans


class Optimizer(abc.ABC):
    """An optimiser of optax, whose learning rate and weight decay are given when a step is traced.

    A kind is created as `Kind(*, …options)`. Among its options is `weight_decay`, whose value
    reaches `transform` as `decay`, so that arms which differ in it share one program.

    Attributes:
        kind: its name in the registry.
        options: what the constructor was given, by the names that `transform` reads.
        per_tensor: whether it uses a norm, or factors, of each tensor. Then it is applied to each
            owner's weights as to tensors of their own; otherwise to the whole tree.
    """

    kind: str
    per_tensor: bool = False

    def __init__(self, **options: Any):
        self.options = options

    @abc.abstractmethod
    def transform(self, rate: Rate, decay: Rate, mask: Mask) -> optax.GradientTransformation:
        """The transformation that moves the parameters by its updates.

        Args:
            rate: the learning rate, which may be traced.
            decay: the weight decay, which may be traced.
            mask: says of a tree which leaves decay: matrices and tables, not biases and norms.
        """


optimizers = Registry("optimizer", contract=Optimizer)
