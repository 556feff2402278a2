"""What a replica keeps between steps, and what replicas of one program may differ in."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from arch import optimizers
from arch.config import get
from arch.registry import Config
from arch.report.seeds import Seed, both
from arch.stacks.parameters import Parameters

# The fields of a configuration that are arguments of a program, in the order of `Swept`.
SWEPT = ("train.optimizer.learning_rate", "train.optimizer.weight_decay", "model.dropout")


class TrainState(NamedTuple):
    """All of a replica that a resumed run needs; a leading axis R makes it a group's."""

    parameters: Parameters
    optimizer: Any
    step: Int[Array, ""]
    alive: Bool[Array, ""]
    stopped_step: Int[Array, ""]  # the step whose loss or gradient was not finite; -1: none
    best_parameters: Parameters
    best_loss: Float[Array, ""]

    @classmethod
    def start(cls, parameters: Parameters, optimizer: Any) -> "TrainState":
        """The state before the first step, of fresh parameters and the optimiser's state."""
        return cls(
            parameters=parameters,
            optimizer=optimizer,
            step=jnp.zeros((), jnp.int32),
            alive=jnp.ones((), bool),
            stopped_step=-jnp.ones((), jnp.int32),
            best_parameters=parameters,
            best_loss=jnp.full((), jnp.inf),
        )


class Swept(NamedTuple):
    """What replicas of one program may differ in; a leading axis R makes it a group's."""

    seed: Int[Array, ""]
    data_seed: Int[Array, ""]
    learning_rate: Float[Array, ""]
    weight_decay: Float[Array, ""]
    dropout: Float[Array, ""]

    @classmethod
    def of(cls, members: Sequence[tuple[Config, Seed]]) -> "Swept":
        """The swept scalars of (configuration, seed) pairs, along the replica axis."""
        inits, datas = zip(*(both(seed) for _, seed in members), strict=True)
        rates = ([get(config, path) for config, _ in members] for path in SWEPT)
        seeds = (jnp.array(row, jnp.int32) for row in (inits, datas))
        return cls(*seeds, *(jnp.array(row, jnp.float32) for row in rates))


def transform(config: Config, model: Any) -> Callable[[Any, Any], Any]:
    """(learning rate, weight decay) → the optimiser that a configuration names."""
    train = config["train"]
    return optimizers.build(train["optimizer"], train["clip"], model.letters)


def shapes(config: Config, model: Any) -> TrainState:
    """The shapes of one replica's state; nothing is computed."""

    def fresh(parameters):
        return TrainState.start(parameters, transform(config, model)(0.0, 0.0).init(parameters))

    return jax.eval_shape(fresh, model.shapes)
