"""The surroundings of a sublayer: norm, scale, dropout and the residual sum, written once.

pre    x + F(norm(x))                 Xiong et al. 2020
post   norm(x + F(x))                 Vaswani et al. 2017
peri   x + norm(F(norm(x)))           Kim et al. 2025
none   x + F(x)
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from arch.checks import one_of
from arch.context import Context, Extras
from arch.devices.sharding import rows
from arch.layers import dropout, norm
from arch.registry import ConfigurationError, sublayers
from arch.sublayers.contract import Sublayer

Cache = Any  # what decoding keeps of a letter: a tree of arrays whose first axis is the batch
PLACEMENTS = ("pre", "post", "peri", "none")
# options of a letter's binding beside those of its kind, and their defaults
SURROUNDINGS = {"scale": 1.0, "dropout": -1.0, "norm": ""}


def check_placement(placement: str, field: str) -> str:
    """The placement. Raises ConfigurationError, naming the field, for an unknown one."""
    one_of(PLACEMENTS, **{field: placement})
    return placement


def check_alone(binding: Mapping) -> None:
    """Refuse the surroundings that would act on the whole stream, for a kind with its own residual.

    Raises ConfigurationError.
    """
    for name, wrong, allowed in (
        ("scale", binding["scale"] != SURROUNDINGS["scale"], "1"),
        ("dropout", binding["dropout"] > 0, "0, or below it"),
        ("norm", binding["norm"] in ("pre", "peri"), "none and post"),
    ):
        if wrong:
            raise ConfigurationError(
                f"{name}={binding[name]!r}: kind={binding['kind']!r} brings its own residual, so "
                f"that this would be done to the whole stream; allowed is {allowed}"
            )


class Branch(nnx.Module):
    """A letter: a sublayer with its norms. `branch` computes what is added, `combine` adds it.

    A kind with its own residual carries the whole stream: it has no branch, so `scale` and
    `dropout` are refused. It has no norm either, unless its binding says 'post': then one follows.

    Args:
        width: of the stream.
        binding: the letter's configuration: `kind` and its options; and of its surroundings `scale`
            (of the branch; macaron's half is 0.5), `dropout` (negative: the model's rate) and
            `norm` (empty: the stack's placement; none for a kind with its own residual).
        placement: the stack's: pre | post | peri | none.
        norm_kind: layer | layer_no_bias | rms.
        epsilon: of the norms.

    Raises ConfigurationError for options that cannot be.
    """

    def __init__(
        self,
        width: int,
        binding: Mapping,
        *,
        placement: str,
        norm_kind: str,
        epsilon: float,
        rngs: nnx.Rngs,
    ):
        options = {k: v for k, v in binding.items() if k not in ("kind", *SURROUNDINGS)}
        self.sublayer = sublayers.get(binding["kind"])(width, **options, rngs=rngs)
        self.own_residual = self.sublayer.own_residual
        if self.own_residual:
            check_alone(binding)
            check_placement(placement, "norm")
            placement = "none"
        self.placement = check_placement(binding["norm"] or placement, "norm")
        self.scale, self.rate = binding["scale"], binding["dropout"]
        if self.rate >= 1:
            raise ConfigurationError(
                f"dropout={self.rate}: allowed is below 1 (negative: the model's)"
            )
        before, after = self.placement in ("pre", "peri"), self.placement in ("post", "peri")
        self.norm_before = norm(norm_kind, width, epsilon, rngs) if before else None
        self.norm_after: Any = norm(norm_kind, width, epsilon, rngs) if after else None

    def branch(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """(norm → F → norm → scale → dropout of x, in x's dtype; the sublayer's extras)."""
        y = self.sublayer(self._before(rows(x, context.mesh)), context)
        y, extras = y if isinstance(y, tuple) else (y, Extras())
        return rows(self._after(y, context), context.mesh), extras

    def _before(self, x: Array) -> Array:
        return x if self.norm_before is None else self.norm_before(x).astype(x.dtype)

    def _after(self, y: Array, context: Context) -> Array:
        if self.placement == "peri":
            y = self.norm_after(y).astype(y.dtype)
        if self.scale != 1.0:
            y = y * self.scale
        if context.train and self.drops(context):
            rate = context.dropout if self.rate < 0 else self.rate
            y = dropout(y, rate, context.key_for("residual"), context.platform)
        return y

    def drops(self, context: Context) -> bool:
        """Whether the branch has dropout in training."""
        if self.own_residual:
            return False
        return context.has_dropout if self.rate < 0 else self.rate > 0

    def combine(
        self, x: Float[Array, "batch length width"], y: Float[Array, "batch length width"]
    ) -> Float[Array, "batch length width"]:
        """x + y, normalised after the sum where the placement is post."""
        total = y if self.own_residual else x + y
        if self.placement == "post":
            total = self.norm_after(total).astype(x.dtype)
        return total

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """(x after this letter, the sublayer's extras)."""
        y, extras = self.branch(x, context)
        return self.combine(x, y), extras

    def init_cache(self, batch: int, length: int, dtype: DTypeLike, context: Context) -> Cache:
        """The sublayer's cache for `length` decoding steps; () where it is positionwise."""
        if self.sublayer.positionwise:
            return ()
        return self.sublayer.init_cache(batch, length, dtype, context)

    def step(
        self, x: Float[Array, "batch tokens width"], cache: Cache, context: Context
    ) -> tuple[Float[Array, "batch tokens width"], Cache]:
        """(x after this letter, the cache) of the tokens from `context.time` on."""
        y, cache = self.branch_step(x, cache, context)
        return self.combine(x, y), cache

    def branch_step(
        self, x: Float[Array, "batch tokens width"], cache: Cache, context: Context
    ) -> tuple[Float[Array, "batch tokens width"], Cache]:
        """(the letter's branch, the cache) of the tokens from `context.time` on."""
        if self.sublayer.positionwise:
            return self.branch(x, context)[0], cache
        entered = self._before(x)
        if x.shape[1] == 1 or self.sublayer.several:
            y, cache = self.sublayer.step(entered, cache, context)
        else:
            y, cache = _one_by_one(self.sublayer, entered, cache, context)
        return self._after(y, context), cache


def _one_by_one(
    sublayer: Sublayer, x: Float[Array, "batch tokens width"], cache: Cache, context: Context
) -> tuple[Float[Array, "batch tokens width"], Cache]:
    """Steps of a sublayer that takes a token at a time."""
    assert context.time is not None and context.positions is not None
    times = context.time + jnp.arange(x.shape[1])

    def body(cache: Cache, now: tuple[Array, Array, Array]) -> tuple[Cache, Array]:
        token, time, position = now
        context_now = context.replace(time=time, positions=position[:, None])
        y, cache = sublayer.step(token[:, None], cache, context_now)
        return cache, y[:, 0]

    cache, y = jax.lax.scan(body, cache, (x.swapaxes(0, 1), times, context.positions.T))
    return y.swapaxes(0, 1), cache
