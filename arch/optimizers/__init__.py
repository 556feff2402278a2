"""Optimisers and learning rates by name, and the rule that an owner's weights are tensors of their
own. Nothing here knows a model: which entries of the parameters have owners, it is told."""

from arch.optimizers import kinds
from arch.optimizers.chain import build
from arch.optimizers.contract import Optimizer, optimizers
from arch.optimizers.schedules import SCHEDULES, SURROUNDINGS, check, learning_rate

__all__ = [
    "SCHEDULES",
    "SURROUNDINGS",
    "Optimizer",
    "build",
    "check",
    "kinds",
    "learning_rate",
    "optimizers",
]
