"""optax optimisers by name, one class per kind."""

import jax
import jax.numpy as jnp
import optax

from arch.optimizers.contract import Mask, Optimizer, Rate, optimizers


@optimizers.register("adamw")
class AdamW(Optimizer):
    """Loshchilov and Hutter 2019; with weight_decay 0 it is Adam."""

    def __init__(
        self,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(beta1=beta1, beta2=beta2, epsilon=epsilon)

    def transform(self, rate: Rate, decay: Rate, mask: Mask) -> optax.GradientTransformation:
        """Adam with decoupled weight decay."""
        o = self.options
        return optax.adamw(
            rate, o["beta1"], o["beta2"], o["epsilon"], weight_decay=decay, mask=mask
        )


@optimizers.register("nag")
class Nesterov(Optimizer):
    """SGD with Nesterov's momentum, as the adaptive-input models were trained with."""

    def __init__(self, *, momentum: float = 0.99, weight_decay: float = 0.0):
        super().__init__(momentum=momentum)

    def transform(self, rate: Rate, decay: Rate, mask: Mask) -> optax.GradientTransformation:
        """Decay, then momentum seen from the point ahead."""
        return optax.chain(
            optax.add_decayed_weights(decay, mask),
            optax.sgd(rate, momentum=self.options["momentum"], nesterov=True),
        )


@optimizers.register("sgd")
class SGD(Optimizer):
    """Stochastic gradient descent without momentum."""

    def __init__(self, *, weight_decay: float = 0.0):
        super().__init__()

    def transform(self, rate: Rate, decay: Rate, mask: Mask) -> optax.GradientTransformation:
        """Decay, then a step along the gradient."""
        return optax.chain(optax.add_decayed_weights(decay, mask), optax.sgd(rate))


@optimizers.register("radam")
class RAdam(Optimizer):
    """Liu et al. 2020."""

    def __init__(
        self,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(beta1=beta1, beta2=beta2, epsilon=epsilon)

    def transform(self, rate: Rate, decay: Rate, mask: Mask) -> optax.GradientTransformation:
        """Rectified Adam with decoupled weight decay."""
        o = self.options
        return optax.chain(
            optax.scale_by_radam(o["beta1"], o["beta2"], o["epsilon"]),
            optax.add_decayed_weights(decay, mask),
            optax.scale_by_learning_rate(rate),
        )


@optimizers.register("lamb")
class Lamb(Optimizer):
    """You et al. 2020: Adam's step times ‖w‖ / ‖step‖, per owner. Biases and norms keep Adam's.

    Args:
        bias_correction: whether Adam's moments are corrected for their start at zero; the code of
            BERT and ALBERT does without.
    """

    per_tensor = True

    def __init__(
        self,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-6,
        bias_correction: bool = True,
        weight_decay: float = 0.01,
    ):
        super().__init__(b1=beta1, b2=beta2, eps=epsilon)
        self.moments = optax.scale_by_adam if bias_correction else scale_by_uncorrected_adam

    def transform(self, rate: Rate, decay: Rate, mask: Mask) -> optax.GradientTransformation:
        """Adam's step with decay, times the trust ratio where the mask is true."""
        return optax.chain(
            self.moments(**self.options),
            optax.add_decayed_weights(decay, mask),
            optax.masked(optax.scale_by_trust_ratio(), mask),
            optax.scale_by_learning_rate(rate),
        )


def scale_by_uncorrected_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """m / (√v + ε), where the moments m and v start at zero and are not corrected for it."""

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

    def __init__(
        self, *, decay_rate: float = 0.8, clipping_threshold: float = 1.0, weight_decay: float = 0.0
    ):
        super().__init__(decay_rate=decay_rate, clipping_threshold=clipping_threshold)

    def transform(self, rate: Rate, decay: Rate, mask: Mask) -> optax.GradientTransformation:
        """Factored second moments, updates clipped by block, decoupled weight decay."""
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

    def __init__(self, *, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(momentum=momentum)

    def transform(self, rate: Rate, decay: Rate, mask: Mask) -> optax.GradientTransformation:
        """Newton-Schulz on matrices, Adam on everything else."""
        return optax.contrib.muon(
            rate, beta=self.options["momentum"], weight_decay=decay, weight_decay_mask=mask
        )
