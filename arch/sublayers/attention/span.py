"""Adaptive spans: each head of attention learns how far back it looks."""

import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from arch.checks import at_least, holds
from arch.context import Extras, Sums
from arch.registry import ConfigurationError
from arch.sublayers.attention.dot_product import MASKED
from arch.sublayers.attention.positions import Bias


class AdaptiveSpan(nnx.Module):
    """A soft mask over distances, whose reach z each head learns (Sukhbaatar et al. 2019, "Adaptive
    Attention Span in Transformers", §3):

        m(distance) = clip((R + z - distance) / R, 0, 1)        weight ∝ m(distance) exp(score)

    Args:
        largest: S, the largest z; keys S places away and more are not seen. 0: there is no mask.
        heads: number of query heads.
        ramp: R, over how many places the mask falls from 1 to 0.
        penalty: λ of the loss λ · mean of z.

    m exp(score) is exp(score + log m), so the mask is a bias on the scores: every path of
    `dot_product.attend` that adds one serves.

    The parameter is `share`, z / S of each head, which starts at 0 as in the authors' code, so that
    one learning rate suits it and the weights. Their code clamps it to [0, 1] after each update.
    Here z = S · share is reflected at both ends instead, which needs nothing of the optimiser: it
    stays in range and always has a gradient. As a vector it does not decay, see
    `arch.optimizers.per_owner`.

    A position is at distance 0 from itself and always sees itself. The authors' queries begin at
    distance 0 with the key before them.

    Raises ConfigurationError for an option out of its range.
    """

    def __init__(self, largest: int, heads: int, *, ramp: int, penalty: float):
        at_least(0, "none is learned", span=largest)
        at_least(1, span_ramp=ramp)
        at_least(0, span_penalty=penalty)
        self.largest, self.ramp, self.penalty = largest, ramp, penalty
        self.share = nnx.Param(jnp.zeros((heads,))) if largest else None

    def reaches(self) -> Float[Array, " heads"] | None:
        """z of each head, in places; None where there is no mask."""
        if self.share is None:
            return None
        share = self.share[...] % 2
        return self.largest * jnp.where(share > 1, 2 - share, share)

    def bias(self) -> Bias | None:
        """A function of how far a key is ahead of its query (negative: behind it), to log m of each
        head; None where there is no mask. Where not causal it is the same to both sides."""
        z = self.reaches()
        return None if z is None else functools.partial(_log_mask, z, self.ramp)

    def extras(self) -> Extras:
        """The loss 'span_cost', λ · mean of z, and the statistic 'span', that mean in places.

        Both are means over all heads of the model. The paper adds up the layers' means: its λ
        times the number of layers is the λ here.
        """
        z = self.reaches()
        if z is None:
            return Extras()
        mean, one = z.mean(), jnp.ones((), z.dtype)
        losses: Sums = {"span_cost": (self.penalty * mean, one)} if self.penalty else {}
        return Extras(losses, {"span": (mean, one)})


def _log_mask(
    z: Float[Array, " heads"], ramp: int, ahead: Int[Array, "..."]
) -> Float[Array, "heads ..."]:
    """log m; where m is 0 that of a key that is not seen."""
    z = z.reshape(-1, *[1] * ahead.ndim)
    m = (ramp + z - jnp.abs(ahead)[None].astype(z.dtype)) / ramp
    falls = (m > 0) & (m < 1)
    return jnp.where(falls, jnp.log(jnp.where(falls, m, 1.0)), jnp.where(m > 0, 0.0, MASKED))


def check_combination(span: int, window: int, cross: bool, path: str) -> None:
    """Refuse what an adaptive span cannot be combined with."""
    if not span:
        return
    away = "0 with cross=True; places in a memory are not those of the queries"
    holds(not cross, away, span=span)
    holds(not window, f"0 with span={span}, beyond which nothing is seen", window=window)
    if path == "cudnn":
        raise ConfigurationError(
            f"path='cudnn': allowed are auto, plain, blocks with span={span}, which adds a bias to "
            "the scores"
        )
