"""The Universal Transformer's recurrence (Dehghani et al. 2018): one order, many steps, and
adaptive computation time (halting.py), by which each position takes steps of its own number."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from arch.checks import at_least, holds, one_of
from arch.context import Context, Extras, named
from arch.layers import sinusoid
from arch.registry import stacks
from arch.stacks.block import Binding, Block
from arch.stacks.halting import HALTING, Halting, HaltingState, joined, until_all_halted
from arch.stacks.parameters import Parameters
from arch.stacks.residual import Cache

SIGNALS = ("sinusoidal", "learned", "none")


@stacks.register("universal")
class Universal(Block):
    """The order `steps` times with one set of weights.

    With the position signal P and the step signal T, step t is

        s ← order(s + P + T_t)

    The output is the last s, or with halting a mixture of the states. Before each step a running
    position has p = sigmoid(w·(s + P + T_t) + b). It halts where the sum of its p passes the
    threshold; the weight of its last step is the remainder 1 - (sum before).

        basic        output ← s·weight + output·(1 - weight)     the authors' code; the effective
                                                                 weights do not add up to 1
        accumulated  output ← s·weight + output                  Graves 2016, eq. 13

    A position that reaches the last step without halting never gets its remainder, as in the
    authors' code. `freeze` is the paper's: the state of a halted position is copied; in the code it
    changes on, as a key for the others. `ponder_cost` times the mean of (updates + remainder) is
    added to the objective.

    The authors' code differs from the paper further: norm='pre' with one final norm (the paper:
    'post', no final norm), positions and steps count from 0, and the step signal is learned.

    Args:
        steps: number of steps; with halting the maximum.
        steps_per_symbol: steps for every symbol of a sequence, as the Neural GPU takes them (Kaiser
            and Sutskever 2016), instead of `steps`; a masked position is no symbol. A learned step
            signal has no room for them. In a decoder they are of the whole length, prompt and
            continuation. 0: as `steps` says.
        step_signal: sinusoidal | learned | none: added at each step.
        signal_each_step: whether the position signal is added at each step; else the embedding adds
            it once.
        halting: none | act.
        mix: basic | accumulated.
        freeze: whether halted positions keep their state.
        halting_bias: the initial b; 1 halts after about two steps, -3 lets a run find its depth.
        halting_threshold: 1 - ε.
        ponder_cost: weight of the ponder time in the objective.

    Records 'halting.steps' (batch, length), the updates of each position. With halting the
    statistics are 'ponder_time', the mean of the updates, and 'ponder_spread', their standard
    deviation within a batch.
    """

    several = True

    def __init__(
        self,
        width: int,
        order: str,
        bindings: Mapping[str, Binding],
        *,
        steps: int = 6,
        steps_per_symbol: int = 0,
        step_signal: str = "sinusoidal",
        signal_each_step: bool = True,
        halting: str = "none",
        mix: str = "basic",
        freeze: bool = False,
        halting_bias: float = 1.0,
        halting_threshold: float = 0.99,
        ponder_cost: float = 0.01,
        **block: Any,
    ):
        super().__init__(width, order, bindings, **block)
        of = "model.stack"
        one_of(SIGNALS, of=of, step_signal=step_signal)
        one_of(HALTING, of=of, halting=halting)
        at_least(1, of=of, steps=steps)
        at_least(0, "as steps says", of=of, steps_per_symbol=steps_per_symbol)
        no_table = not steps_per_symbol or step_signal != "learned"
        allowed = "sinusoidal or none with steps_per_symbol"
        holds(no_table, allowed, of=of, step_signal=step_signal)
        self.steps_per_symbol = steps_per_symbol
        self.width, self.steps, self.step_signal = width, steps, step_signal
        self.adds_signal = signal_each_step
        rules = Halting(
            width,
            mix=mix,
            freeze=freeze,
            bias=halting_bias,
            threshold=halting_threshold,
            ponder_cost=ponder_cost,
        )
        self.halting = rules if halting == "act" else None

    def init(self, key: Key[Array, ""]) -> Parameters:
        """The block's, 'halting' where positions halt, 'step_signal' where it is learned."""
        parameters = super().init(key)
        if self.halting is not None:
            parameters["halting"] = self.halting.init(named(key, "halting"))
        if self.step_signal == "learned":
            table = jax.random.normal(named(key, "step_signal"), (self.steps, self.width))
            parameters["step_signal"] = table * self.width**-0.5
        return parameters

    def __call__(
        self, parameters: Parameters, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """The normalised output, and the sums over all steps and of halting."""
        end, extras = self.recur(parameters, x, context)
        if self.halting is not None:
            extras = joined(extras, self.halting.extras(end, context.mask, context.counted))
            if "halting.steps" in context.record:
                extras.record["halting.steps"] = {0: end.updates.astype(jnp.int32)}
        return self.normalise(parameters, end.output), extras

    def steps_at(self, length: int) -> int:
        """The number of steps over a sequence of this length; with halting at most."""
        return self.steps_per_symbol * length or self.steps

    def recur(
        self, parameters: Parameters, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[HaltingState, Extras]:
        """What the recurrence carries after its last step, and the sums over all steps."""

        limit = None  # of the steps of a row with padding
        if self.steps_per_symbol and context.mask is not None:
            limit = self.steps_per_symbol * context.mask.sum(1, jnp.int32)

        def step(state: HaltingState, number: Int[Array, ""]) -> tuple[HaltingState, Extras]:
            entered = self._entered(parameters, state.state, number, context)
            walked, extras = self.run_order(parameters, entered, context.at(number))
            moved = self._updated(parameters, state, entered, walked)
            return moved if limit is None else state.on(number < limit, moved), extras

        start = HaltingState.start(x, context.mask)
        if self.halting is not None and context.inference and not context.record:
            return until_all_halted(step, start, self.steps_at(x.shape[1]))
        end, each = jax.lax.scan(step, start, jnp.arange(self.steps_at(x.shape[1])))
        total = jax.tree.map(lambda a: a.sum(0), Extras(each.losses, each.statistics))
        return end, Extras(total.losses, total.statistics, _by_step(each.record, self.depth))

    def init_cache(
        self, parameters: Parameters, batch: int, length: int, dtype: DTypeLike, context: Context
    ) -> list[list[Cache]]:
        """A cache for each step, and in it for each position of the order."""
        one = self.init_order_cache(parameters, batch, length, dtype, context)
        return [one] * self.steps_at(length)

    def step(
        self,
        parameters: Parameters,
        x: Float[Array, "batch tokens width"],
        cache: list[list[Cache]],
        context: Context,
    ) -> tuple[Float[Array, "batch tokens width"], list[list[Cache]]]:
        """The output of one decoding step, for which all steps of the recurrence are run, and the
        caches after it."""
        state, moved = HaltingState.start(x, None), []
        for number, of_step in enumerate(cache):
            entered = self._entered(parameters, state.state, number, context)
            walked, of_step = self.step_order(parameters, entered, of_step, context)
            state = self._updated(parameters, state, entered, walked)
            moved.append(of_step)
        return self.normalise(parameters, state.output), moved

    def _entered(
        self, parameters: Parameters, state: Array, step: int | Array, context: Context
    ) -> Array:
        """The state with the signals of this step."""
        total = state
        if self.adds_signal and context.signal is not None:
            total = total + context.signal.astype(state.dtype)
        if self.step_signal == "sinusoidal":
            signal = sinusoid(jnp.asarray(step)[None, None], self.width)
            total = total + signal.astype(state.dtype)
        elif self.step_signal == "learned":
            total = total + parameters["step_signal"][step][None, None].astype(state.dtype)
        return total

    def _updated(
        self, parameters: Parameters, old: HaltingState, entered: Array, walked: Array
    ) -> HaltingState:
        if self.halting is None:
            return old.run_on(walked)
        return self.halting.update(parameters["halting"], old, entered, walked)


def _by_step(record: dict[str, dict[int, Array]], depth: int) -> dict[str, dict[int, Array]]:
    """Records of a scan over steps, by place in the unrolled depth: step · depth + position."""
    return {
        name: {
            step * depth + position: array
            for position, stacked in at.items()
            for step, array in enumerate(stacked)
        }
        for name, at in record.items()
    }
