"""Adaptive computation time (Graves 2016): each position stops when its halting probabilities add
up to enough.

Before a step a running position has p = sigmoid(w·x + b). It halts where the sum of its p passes
the threshold; the weight of its last step is the remainder 1 - (sum before).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from arch.checks import at_least, holds, one_of
from arch.context import Extras, Spread, add_sums
from arch.layers import Projection
from arch.stacks.extras import zeros_of
from arch.stacks.parameters import Definition, Parameters

HALTING = ("none", "act")
MIXES = ("basic", "accumulated")


class HaltingState(NamedTuple):
    """What the recurrence carries for each position.

    state: after the steps so far.
    output: the mixture of the states so far.
    spent: sum of the halting probability.
    remainder: 1 - (the sum before the step at which it halted); 0 while it runs.
    updates: number of steps that it took.
    running: whether it has not halted.
    """

    state: Float[Array, "batch length width"]
    output: Float[Array, "batch length width"]
    spent: Float[Array, "batch length"]
    remainder: Float[Array, "batch length"]
    updates: Float[Array, "batch length"]
    running: Bool[Array, "batch length"]

    @classmethod
    def start(
        cls, x: Float[Array, "batch length width"], mask: Bool[Array, "batch length"] | None
    ) -> "HaltingState":
        """The state before the first step. Padding starts halted."""
        zeros = jnp.zeros(x.shape[:2])
        running = jnp.ones(x.shape[:2], bool)
        if mask is not None:
            running = running & mask
        return cls(x, jnp.zeros_like(x), zeros, zeros, zeros, running)

    def run_on(self, walked: Float[Array, "batch length width"]) -> "HaltingState":
        """After a step, where nothing halts."""
        return self._replace(state=walked, output=walked, updates=self.updates + 1)

    def on(self, rows: Bool[Array, " batch"], moved: "HaltingState") -> "HaltingState":
        """`moved` in these rows, and in the others what they are."""
        return HaltingState(*(
            jnp.where(rows.reshape(-1, *[1] * (new.ndim - 1)), new, old)
            for new, old in zip(moved, self, strict=True)
        ))  # fmt: skip


class Halting:
    """The halting unit and its rules; the options are those of the universal stack.

    Args:
        width: of the states.
        mix: basic | accumulated.
        freeze: whether halted positions keep their state.
        bias: initial b.
        threshold: 1 - ε.
        ponder_cost: weight of the ponder time in the objective.
    """

    def __init__(
        self,
        width: int,
        *,
        mix: str,
        freeze: bool,
        bias: float,
        threshold: float,
        ponder_cost: float,
    ):
        of = "model.stack"
        one_of(MIXES, of=of, mix=mix)
        holds(0 < threshold < 1, "between 0 and 1", of=of, halting_threshold=threshold)
        at_least(0, of=of, ponder_cost=ponder_cost)
        self.mix, self.freeze = mix, freeze
        self.bias, self.threshold, self.ponder_cost = bias, threshold, ponder_cost
        self.unit = Definition(lambda rngs: Projection(width, 1, rngs=rngs))

    def init(self, key: Key[Array, ""]) -> Parameters:
        """The unit's kernel (width, 1) and bias (1,)."""
        parameters = self.unit.init(key)
        parameters["bias"] += self.bias
        return parameters

    def update(
        self,
        parameters: Parameters,
        old: HaltingState,
        entered: Float[Array, "batch length width"],
        walked: Float[Array, "batch length width"],
    ) -> HaltingState:
        """The state after a step that turned `entered` into `walked`.

        parameters: of the halting unit.
        """
        p = self.unit.bind(parameters)(entered.astype(jnp.float32))[..., 0]
        p = jax.nn.sigmoid(p)
        halts = old.running & (old.spent + p > self.threshold)
        still = old.running & ~halts
        remainder = jnp.where(halts, 1 - old.spent, 0.0)
        weight = jnp.where(still, p, remainder)
        share = weight[..., None].astype(walked.dtype)
        kept = 1 - share if self.mix == "basic" else jnp.ones_like(share)
        moved = jnp.where(old.running[..., None], walked, old.state) if self.freeze else walked
        return HaltingState(
            state=moved,
            output=walked * share + old.output * kept,
            spent=old.spent + weight,
            remainder=old.remainder + remainder,
            updates=old.updates + old.running,
            running=still,
        )

    def extras(
        self,
        end: HaltingState,
        mask: Bool[Array, "batch length"] | None,
        counted: Bool[Array, " batch"] | None = None,
    ) -> Extras:
        """The ponder cost, and mean and standard deviation of the updates. Padding is not counted,
        nor are rows that only fill up a batch.

        The loss is 'ponder_cost'; the statistics are 'ponder_time' and 'ponder_spread'.
        """
        real = jnp.ones(end.updates.shape) if mask is None else mask
        real = jnp.broadcast_to(real, end.updates.shape).astype(jnp.float32)
        if counted is not None:
            real = real * counted[:, None]
        count = real.sum()
        cost = self.ponder_cost * jnp.sum(real * (end.updates + end.remainder))
        total = jnp.sum(real * end.updates)
        squares = jnp.sum(real * jnp.square(end.updates))
        statistics = {
            "ponder_time": (total, count),
            "ponder_spread": Spread(squares, total, count),
        }
        return Extras({"ponder_cost": (cost, count)}, statistics)


Step = Callable[[HaltingState, Int[Array, ""]], tuple[HaltingState, Extras]]


def until_all_halted(step: Step, start: HaltingState, steps: int) -> tuple[HaltingState, Extras]:
    """The scan over `steps`, left as soon as no position runs. The steps that it leaves out would
    change no output, and not the extras that are counted per position."""
    shapes = jax.eval_shape(step, start, jnp.zeros((), jnp.int32))[1]

    def going(carry: tuple[Any, HaltingState, Extras]) -> Bool[Array, ""]:
        number, state, _ = carry
        return (number < steps) & jnp.any(state.running)

    def once(carry: tuple[Any, HaltingState, Extras]) -> tuple[Any, HaltingState, Extras]:
        number, state, total = carry
        state, extras = step(state, number)
        return number + 1, state, jax.tree.map(jnp.add, total, extras)

    begin = (jnp.zeros((), jnp.int32), start, zeros_of(shapes))
    _, end, extras = jax.lax.while_loop(going, once, begin)
    return end, extras


def joined(left: Extras, right: Extras) -> Extras:
    """The sums of both, and the record of the first."""
    return Extras(
        add_sums(left.losses, right.losses),
        add_sums(left.statistics, right.statistics),
        left.record,
    )
