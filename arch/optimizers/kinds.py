"""optax optimisers and learning-rate schedules by name.

The learning rate and the weight decay are arguments of the program, so that arms which differ in
them share one. Optimisers with a norm per tensor are mapped over the owner axis: an owner's
weights are a tensor of their own, however they are stored.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from arch.checks import at_least, below_one, holds, one_of
from arch.registry import Config, ConfigurationError, Registry

SCHEDULES = ("constant", "cosine", "linear", "rsqrt")
STACKS = ("encoder", "stack")  # whose parameters are letters, stacked along an axis of owners
# Options every optimiser has. warmup and final are fractions, of the steps and of the peak rate;
# warmup_steps, where it is not 0, says the warm-up in steps, as some papers do.
SURROUNDINGS = {
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "warmup": 0.05,
    "warmup_steps": 0,
    "warmup_initial": 0.0,
    "final": 0.1,
}
optimizers = Registry("optimizer")


class Optimizer:
    """An entry: `transform(learning_rate, weight_decay, mask)` gives the optax chain."""

    per_tensor = False

    def __init__(self, **options):
        self.options = options


@optimizers.register("adamw")
class AdamW(Optimizer):
    """Loshchilov and Hutter 2019; with weight_decay 0 it is Adam."""

    def __init__(self, *, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0):
        super().__init__(beta1=beta1, beta2=beta2, epsilon=epsilon)

    def transform(self, rate, decay, mask):
        o = self.options
        return optax.adamw(
            rate, o["beta1"], o["beta2"], o["epsilon"], weight_decay=decay, mask=mask
        )


@optimizers.register("nag")
class Nesterov(Optimizer):
    """SGD with Nesterov's momentum, as the adaptive-input models were trained with."""

    def __init__(self, *, momentum=0.99, weight_decay=0.0):
        super().__init__(momentum=momentum)

    def transform(self, rate, decay, mask):
        return optax.chain(
            optax.add_decayed_weights(decay, mask),
            optax.sgd(rate, momentum=self.options["momentum"], nesterov=True),
        )


@optimizers.register("sgd")
class SGD(Optimizer):
    def __init__(self, *, weight_decay=0.0):
        super().__init__()

    def transform(self, rate, decay, mask):
        return optax.chain(optax.add_decayed_weights(decay, mask), optax.sgd(rate))


@optimizers.register("radam")
class RAdam(Optimizer):
    """Liu et al. 2020."""

    def __init__(self, *, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0):
        super().__init__(beta1=beta1, beta2=beta2, epsilon=epsilon)

    def transform(self, rate, decay, mask):
        o = self.options
        return optax.chain(
            optax.scale_by_radam(o["beta1"], o["beta2"], o["epsilon"]),
            optax.add_decayed_weights(decay, mask),
            optax.scale_by_learning_rate(rate),
        )


@optimizers.register("lamb")
class Lamb(Optimizer):
    """You et al. 2020: Adam's step, scaled to the norm of what it changes, per owner. Biases and
    norms keep Adam's. Without bias_correction it is that of the code of BERT and ALBERT."""

    per_tensor = True

    def __init__(
        self, *, beta1=0.9, beta2=0.999, epsilon=1e-6, bias_correction=True, weight_decay=0.01
    ):
        super().__init__(b1=beta1, b2=beta2, eps=epsilon)
        self.moments = optax.scale_by_adam if bias_correction else scale_by_uncorrected_adam

    def transform(self, rate, decay, mask):
        return optax.chain(
            self.moments(**self.options),
            optax.add_decayed_weights(decay, mask),
            optax.masked(optax.scale_by_trust_ratio(), mask),
            optax.scale_by_learning_rate(rate),
        )


def scale_by_uncorrected_adam(b1, b2, eps) -> optax.GradientTransformation:
    """m / (√v + ε) of moments that start at zero and are not corrected for it."""

    def init(params):
        return optax.tree.zeros_like(params), optax.tree.zeros_like(params)

    def update(updates, state, params=None):
        first = optax.tree.update_moment(updates, state[0], b1, 1)
        second = optax.tree.update_moment(updates, state[1], b2, 2)
        scaled = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), first, second)
        return scaled, (first, second)

    return optax.GradientTransformation(init, update)


@optimizers.register("adafactor")
class Adafactor(Optimizer):
    """Shazeer and Stern 2018, factored second moments per owner."""

    per_tensor = True

    def __init__(self, *, decay_rate=0.8, clipping_threshold=1.0, weight_decay=0.0):
        super().__init__(decay_rate=decay_rate, clipping_threshold=clipping_threshold)

    def transform(self, rate, decay, mask):
        o = self.options
        return optax.chain(
            optax.scale_by_factored_rms(decay_rate=o["decay_rate"]),
            optax.clip_by_block_rms(o["clipping_threshold"]),
            optax.add_decayed_weights(decay, mask),
            optax.scale_by_learning_rate(rate),
        )


@optimizers.register("muon")
class Muon(Optimizer):
    """Jordan et al. 2024: orthogonalised momentum for matrices, Adam for the rest; per owner."""

    per_tensor = True

    def __init__(self, *, momentum=0.95, weight_decay=0.0):
        super().__init__(momentum=momentum)

    def transform(self, rate, decay, mask):
        return optax.contrib.muon(
            rate, beta=self.options["momentum"], weight_decay=decay, weight_decay_mask=mask
        )


def check(config: Config, steps: int) -> None:
    """Ranges of what every optimiser has."""
    field = "train.optimizer"
    one_of(SCHEDULES, of=field, schedule=config["schedule"])
    rate = config["learning_rate"]
    holds(0 < rate < math.inf, "above 0, and finite", of=field, learning_rate=rate)
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
    """(peak, step from 0) → the learning rate; the peak may be traced.

    A linear warm-up whose first update already moves and whose last one has the peak; then
    constant, one cosine or a line down to `final` of the peak, or √(warm-up / step).
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

    def rate(peak, step):
        after = peak * factor(jnp.maximum(step - warmup, 0))
        rising = start + (peak - start) * (step + 1) / max(warmup, 1)
        return jnp.where(step < warmup, rising, after)

    return rate


def build(config: Config, clip: float) -> Callable:
    """(learning rate, weight decay) → an optax transformation; both may be traced.

    clip: largest global norm of the gradient; 0 for no clipping.
    """
    options = {k: v for k, v in config.items() if k not in SURROUNDINGS and k != "name"}
    entry = optimizers.get(config["name"])(**options)

    def transformation(rate, decay) -> optax.GradientTransformation:
        def one(owners: bool):
            return entry.transform(rate, decay, lambda tree: _matrices(tree, owners))

        inner = per_owner(one(False)) if entry.per_tensor else _plain(entry, rate, decay)
        return optax.chain(optax.clip_by_global_norm(clip), inner) if clip else inner

    return transformation


def _plain(entry, rate, decay):
    def mask(tree):
        return {
            name: {k: _matrices(v, len(k) == 1) for k, v in part.items()}
            if name in STACKS
            else _matrices(part, False)
            for name, part in tree.items()
        }

    return entry.transform(rate, decay, mask)


def _matrices(tree, owners: bool):
    """Which leaves decay: matrices and tables, not biases and norms; an owner axis not counted."""
    return jax.tree.map(lambda leaf: leaf.ndim - owners >= 2, tree)


def per_owner(transform: optax.GradientTransformation) -> optax.GradientTransformation:
    """The transformation, applied to each owner's weights of each letter as to tensors of their
    own."""

    def parts(tree):
        stacks = {name: tree[name] for name in STACKS if name in tree}
        letters = {
            name: {k: v for k, v in stack.items() if len(k) == 1} for name, stack in stacks.items()
        }
        others = {
            name: {k: v for k, v in stack.items() if len(k) > 1} for name, stack in stacks.items()
        }
        return letters, {**tree, **others}

    def init(params: Any):
        letters, rest = parts(params)
        own = {
            name: {k: jax.vmap(transform.init)(v) for k, v in stack.items()}
            for name, stack in letters.items()
        }
        return own, transform.init(rest)

    def update(updates: Any, state: Any, params: Any = None):
        letters, rest = parts(updates)
        own, others = parts(params)
        moved = {
            name: {
                k: jax.vmap(transform.update)(v, state[0][name][k], own[name][k])
                for k, v in stack.items()
            }
            for name, stack in letters.items()
        }
        new: Any
        new, rest_state = transform.update(rest, state[1], others)
        for name, stack in moved.items():
            new = {**new, name: {**new[name], **{k: v[0] for k, v in stack.items()}}}
        states = {name: {k: v[1] for k, v in stack.items()} for name, stack in moved.items()}
        return new, (states, rest_state)

    return optax.GradientTransformation(init, update)
