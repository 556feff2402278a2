"""A mixture of experts: feed-forward networks of which each token passes through a few (Shazeer et
al. 2017)."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from arch.checks import at_least, holds, one_of
from arch.context import Context, Extras, Sums
from arch.layers import (
    ACTIVATIONS,
    Projection,
    columns,
    kernel_initializer,
    product_flops,
    widened,
)
from arch.registry import ConfigurationError, sublayers
from arch.sublayers.contract import Sublayer
from arch.sublayers.experts import blocks
from arch.sublayers.feed_forward import GATED

Room = Int[Array, "batch experts"]  # tokens that each expert still takes of a sequence


class Routing(NamedTuple):
    """Which experts each token passes through.

    probabilities: of all experts. chosen: those that are taken, the most probable first.
    takes: where a token chose an expert. kept: and where that had room for it.
    """

    probabilities: Float[Array, "batch length experts"]
    chosen: Int[Array, "batch length active"]
    takes: Bool[Array, "batch length active experts"]
    kept: Bool[Array, "batch length active experts"]


@sublayers.register("mixture_of_experts")
class MixtureOfExperts(Sublayer):
    """y = Σₑ gₑ Eₑ(x) over the `active` experts of highest p = softmax(W x), each Eₑ a feed-forward
    network; gₑ = pₑ, or pₑ over their sum where `renormalise`.

    Mixtral renormalises (Jiang et al. 2024), Jamba does not (Lieber et al. 2024). With
    active = 1 and renormalise=False it is the Switch Transformer's layer (Fedus et al. 2021).

    Args:
        width: of the input and the output.
        experts: how many there are.
        active: experts of a token.
        renormalise: whether the weights of a token's experts add up to 1.
        expand: an expert's inner width in multiples of width, rounded.
        inner_width: the inner width itself; 0 stands for expand · width.
        activation: as of `feed_forward`.
        bias: biases on the experts' projections; the router has none.
        balance: the coefficient of the load-balancing loss, E Σₑ fₑ Pₑ, f the share of tokens that
            chose e and P the mean of pₑ: `active` where the load is even (Fedus et al. 2021, eq. 4,
            with f summed over choices as Mixtral's code does).
        capacity: an expert takes of a sequence at most capacity · active · length / experts tokens,
            rounded up; of what comes later, that choice is dropped. 0: nothing is dropped, as in
            Mixtral and Jamba.
        block: rows of an expert that are computed at a time; 0 chooses by the platform and by how
            many there are. It changes time and memory, not the function.
        init_std: of the kernels; 0 is Glorot's uniform.

    f and P are of one sequence and the loss is the mean over tokens, so that it does not depend on
    how a batch is divided; Mixtral's code takes them over the batch and all layers. Room is given
    by position, not first to first choices (GShard): a later token takes none from an earlier one.
    The router is float32 in every dtype. Where `context.mask` is False a token passes through no
    expert, takes no room and is not counted.

    The loss is 'balance_cost', `balance` times the load-balancing loss; the statistics are
    'balance', that loss itself, and 'dropped', the share of choices that were dropped. Under
    halting the tokens of all steps are counted.
    """

    causal = several = True
    positionwise = True  # unless there is a capacity
    residual_outputs = ("output.kernel",)
    # Megatron's columns and rows, of each expert
    sharding = (
        (r"(input|gate)\.kernel", ("", "", "tensor")),
        (r"output\.kernel", ("", "tensor", "")),
        (r"(input|gate|output)\.bias", ()),
    )

    def __init__(
        self,
        width: int,
        *,
        experts: int = 8,
        active: int = 2,
        renormalise: bool = True,
        expand: float = 4.0,
        inner_width: int = 0,
        activation: str = "relu",
        bias: bool = True,
        balance: float = 0.01,
        capacity: float = 0.0,
        block: int = 0,
        init_std: float = 0.0,
        rngs: nnx.Rngs,
    ):
        at_least(1, experts=experts)
        holds(1 <= active <= experts, f"1 to experts={experts}", active=active)
        alone = renormalise and active == 1 < experts
        holds(not alone, "false with active=1: one weight would always be 1", renormalise=alone)
        one_of([*ACTIVATIONS, *GATED], activation=activation)
        at_least(0, balance=balance)
        at_least(0, "nothing is dropped", capacity=capacity)
        at_least(0, "chosen by the platform", block=block)
        inner = inner_width or round(expand * width)
        if inner < 1:
            raise ConfigurationError(
                f"expand={expand}, inner_width={inner_width}: no inner width is left"
            )
        self.width, self.inner_width, self.activation = width, inner, activation
        self.experts, self.active, self.renormalise = experts, active, renormalise
        self.balance, self.capacity, self.block = balance, capacity, block
        self.positionwise = capacity == 0
        made = functools.partial(Experts, experts, bias=bias, init_std=init_std, rngs=rngs)
        self.router = Projection(width, experts, bias=False, init_std=init_std, rngs=rngs)
        self.input = made(width, inner)
        self.gate = made(width, inner) if activation in GATED else None
        self.output = made(inner, width)

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """(y in the shape and dtype of x, the loss, the statistics and the choices to replay)."""
        room = self._room(*x.shape[:2]) if self.capacity else None
        routing = self._routed(x, context.mask, room, context.replay)
        extras = self._extras(routing, context)
        return self._mixed(x, routing, context), extras

    def init_cache(self, batch: int, length: int, dtype: DTypeLike, context: Context) -> Any:
        """The experts' room, where there is a capacity: that of a sequence of this length, which
        is to be the length of the whole."""
        return self._room(batch, length) if self.capacity else ()

    def step(
        self, x: Float[Array, "batch tokens width"], cache: Any, context: Context
    ) -> tuple[Float[Array, "batch tokens width"], Any]:
        """Some tokens more."""
        room = cache if self.capacity else None
        routing = self._routed(x, columns(context.mask, context.time, x.shape[1]), room, None)
        y = self._mixed(x, routing, context)
        return y, cache - routing.kept.sum((1, 2), jnp.int32) if self.capacity else cache

    def _room(self, batch: int, length: int) -> Room:
        each = math.ceil(self.capacity * self.active * length / self.experts)
        return jnp.full((batch, self.experts), each, jnp.int32)

    def _routed(
        self,
        x: Array,
        mask: Bool[Array, "batch length"] | None,
        room: Room | None,
        replay: dict[str, Array] | None,
    ) -> Routing:
        """The routing; replay: the choices of a forward pass, which rounding may not change."""
        p = jax.nn.softmax(self.router(widened(x)), axis=-1)
        chosen = replay["chosen"] if replay else jax.lax.top_k(p, self.active)[1]
        takes = chosen[..., None] == jnp.arange(self.experts)[None, None, None]
        if mask is not None:
            takes = takes & mask[:, :, None, None]
        if room is None:
            return Routing(p, chosen, takes, takes)
        before = _before(takes.reshape(len(x), -1, self.experts), axis=1).reshape(takes.shape)
        return Routing(p, chosen, takes, takes & (before < room[:, None, None]))

    def _mixed(self, x: Array, routing: Routing, context: Context) -> Array:
        """Σ gₑ Eₑ(x)."""
        block = self.block or blocks.block_size(routing.chosen.size, self.experts, context.platform)
        kept = routing.kept
        ranks = _before(kept.reshape(-1, self.experts), axis=0).reshape(kept.shape)
        layout = blocks.laid_out(
            routing.chosen,
            jnp.sum(ranks * kept, axis=-1),
            kept.any(axis=-1),
            kept.sum((0, 1, 2), jnp.int32),
            block,
        )
        parts = {"input": self.input, "gate": self.gate, "output": self.output}
        weights = {name: part.arrays() for name, part in parts.items() if part is not None}
        expert = functools.partial(_through_one, self.activation)
        y = blocks.through(expert, weights, x.reshape(-1, self.width), layout, block)
        g = jnp.sum(routing.probabilities[:, :, None] * routing.takes, axis=-1)
        if self.renormalise:
            g = g / jnp.maximum(jnp.sum(g, axis=-1, keepdims=True), jnp.finfo(g.dtype).tiny)
        return jnp.sum(g[..., None] * widened(y), axis=2).astype(x.dtype)

    def _extras(self, routing: Routing, context: Context) -> Extras:
        """The loss and the statistics of the tokens that count."""
        p, chosen, takes, kept = routing
        real = jnp.ones(p.shape[:2], p.dtype)
        if context.mask is not None:
            real = real * context.mask
        if context.counted is not None:
            real = real * context.counted[:, None]
        chose = jnp.sum(takes.any(axis=2) * real[..., None], axis=1)
        likely = jnp.sum(p * real[..., None], axis=1)
        tokens = jnp.sum(real, axis=1)
        uneven = self.experts * jnp.sum(chose * likely, axis=-1) / jnp.maximum(tokens, 1)
        total, count = jnp.sum(uneven), jnp.sum(tokens)
        dropped = jnp.sum((takes & ~kept).sum((2, 3)) * real)
        losses: Sums = {"balance_cost": (self.balance * total, count)} if self.balance else {}
        statistics: Sums = {"balance": (total, count), "dropped": (dropped, self.active * count)}
        return Extras(losses, statistics, replay={"chosen": chosen})

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence: the router's, and those of the experts that are active."""
        matrices = 2 if self.gate is None else 3
        each = matrices * product_flops(length, self.width, self.inner_width)
        return product_flops(length, self.width, self.experts) + self.active * each


class Experts(nnx.Module):
    """The same projection of each expert; biases lie flat, so that they do not decay."""

    def __init__(
        self,
        experts: int,
        inputs: int,
        outputs: int,
        *,
        bias: bool,
        init_std: float,
        rngs: nnx.Rngs,
    ):
        draw = kernel_initializer(init_std)
        keys = jax.random.split(rngs.params(), experts)
        self.experts = experts
        self.kernel = nnx.Param(jax.vmap(lambda key: draw(key, (inputs, outputs)))(keys))
        self.bias = nnx.Param(jnp.zeros((experts * outputs,))) if bias else None

    def arrays(self) -> dict[str, Array]:
        """'kernel' (experts, inputs, outputs), and 'bias' (experts, outputs) where there is one."""
        arrays = {"kernel": self.kernel[...]}
        if self.bias is not None:
            arrays["bias"] = self.bias[...].reshape(self.experts, -1)
        return arrays


def _through_one(
    activation: str, weights: dict[str, dict[str, Array]], x: Float[Array, "block width"]
) -> Float[Array, "block width"]:
    """One expert's rows."""

    def projected(name: str, x: Array) -> Array:
        y = x @ weights[name]["kernel"].astype(x.dtype)
        bias = weights[name].get("bias")
        return y if bias is None else y + bias.astype(x.dtype)[None]

    if activation in GATED:
        y = GATED[activation](projected("gate", x)) * projected("input", x)
    else:
        y = ACTIVATIONS[activation](projected("input", x))
    return projected("output", y)


def _before(takes: Bool[Array, "*shape"], axis: int) -> Int[Array, "*shape"]:
    """How many are True before each, along an axis."""
    ones = takes.astype(jnp.int32)
    return jnp.cumsum(ones, axis=axis) - ones
