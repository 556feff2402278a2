"""The optimiser that a configuration names."""

from collections.abc import Callable

import optax

from arch.optimizers.contract import Rate, optimizers
from arch.optimizers.per_owner import Letters, matrices, matrices_of_model, per_owner
from arch.optimizers.schedules import SURROUNDINGS
from arch.registry import Config


def build(
    config: Config, clip: float, letters: Letters
) -> Callable[[Rate, Rate], optax.GradientTransformation]:
    """A function (learning rate, weight decay) → optax transformation; both may be traced.

    Args:
        config: `train.optimizer`, filled.
        clip: largest global norm of the gradient; 0 for no clipping.
        letters: name of each stack in the parameters → its letters, whose leaves have an owner
            axis; a model has them as `model.letters`.
    """
    options = {k: v for k, v in config.items() if k not in SURROUNDINGS and k != "name"}
    entry = optimizers.get(config["name"])(**options)

    def transformation(rate: Rate, decay: Rate) -> optax.GradientTransformation:
        if entry.per_tensor:
            inner = per_owner(entry.transform(rate, decay, matrices), letters)
        else:
            inner = entry.transform(rate, decay, lambda tree: matrices_of_model(tree, letters))
        return optax.chain(optax.clip_by_global_norm(clip), inner) if clip else inner

    return transformation
