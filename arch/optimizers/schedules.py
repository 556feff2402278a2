"""Learning rates by step, and the ranges of the options that every optimiser has."""

from collections.abc import Callable

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from arch.checks import at_least, below_one, holds, one_of
from arch.registry import Config, ConfigurationError

SCHEDULES = ("constant", "cosine", "linear", "rsqrt")
# Options every optimiser has. warmup and final are fractions, of the steps and of the peak rate;
# warmup_steps, where it is not 0, gives the warm-up in steps, as some papers do.
SURROUNDINGS = {
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "warmup": 0.05,
    "warmup_steps": 0,
    "warmup_initial": 0.0,
    "final": 0.1,
}


def check(config: Config, steps: int) -> None:
    """Raises ConfigurationError for an option out of its range.

    config: `train.optimizer`, filled. steps: `train.steps`.
    """
    field = "train.optimizer"
    one_of(SCHEDULES, of=field, schedule=config["schedule"])
    rate = config["learning_rate"]
    holds(rate > 0, "above 0", of=field, learning_rate=rate)
    for name in ("warmup", "final"):
        if not 0 <= config[name] <= 1:
            raise ConfigurationError(
                f"{field}.{name}={config[name]}: a fraction, allowed is 0 to 1"
            )
    first = config["warmup_steps"]
    holds(0 <= first <= steps, f"0 to train.steps={steps}", of=field, warmup_steps=first)
    for name in ("beta1", "beta2", "momentum", "decay_rate"):
        if name in config:
            below_one(of=field, **{name: config[name]})
    at_least(0, of=field, weight_decay=config["weight_decay"])


def learning_rate(
    config: Config, steps: int
) -> Callable[[Array, Int[Array, ""]], Float[Array, ""]]:
    """A function (peak, step) → learning rate, where steps count from 0; the peak may be traced.

    A linear warm-up whose first update already moves and whose last one has the peak; then
    constant, one cosine or a line down to `final` of the peak, or √(warm-up / step).

    Args:
        config: `train.optimizer`, filled. steps: `train.steps`.
    """
    warmup = config["warmup_steps"] or round(config["warmup"] * steps)
    start, final = config["warmup_initial"], config["final"]
    left = max(steps - warmup, 1)
    factor = {
        "constant": optax.constant_schedule(1.0),
        "cosine": optax.cosine_decay_schedule(1.0, left, alpha=final),
        "linear": optax.linear_schedule(1.0, final, left),
        "rsqrt": lambda step: jnp.sqrt(max(warmup, 1) / (step + max(warmup, 1))),
    }[config["schedule"]]

    def rate(peak: Array, step: Int[Array, ""]) -> Float[Array, ""]:
        after = peak * factor(jnp.maximum(step - warmup, 0))
        rising = start + (peak - start) * (step + 1) / max(warmup, 1)
        return jnp.where(step < warmup, rising, after)

    return rate
