"""The Universal Transformer's recurrence (Dehghani et al. 2018): one order, many steps, and
adaptive computation time (Graves 2016), by which each position stops when it has thought enough."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from arch.checks import at_least, holds, one_of
from arch.context import Context, Extras, add_sums, named
from arch.layers import Projection, sinusoid
from arch.registry import stacks
from arch.stacks.block import Block
from arch.stacks.parameters import Definition, Parameters

SIGNALS = ("sinusoidal", "learned", "none")
HALTING = ("none", "act")
MIXES = ("basic", "accumulated")


class Thought(NamedTuple):
    """What the recurrence carries: of each position its state, the output so far, the halting
    probability spent, the remainder, the number of updates, and whether it still runs."""

    state: Float[Array, "batch length width"]
    output: Float[Array, "batch length width"]
    spent: Float[Array, "batch length"]
    remainder: Float[Array, "batch length"]
    updates: Float[Array, "batch length"]
    running: Bool[Array, "batch length"]


@stacks.register("universal")
class Universal(Block):
    """The order `steps` times with one set of weights.

    With the position signal P and the step signal T, step t is

        s ← order(s + P + T_t)

    and the output is the last s, or with halting a mixture of the states. Before each step a
    running position has p = sigmoid(w·(s + P + T_t) + b); it halts where the sum of its p passes
    the threshold, its last weight being the remainder 1 - (sum before).

        basic        output ← s·weight + output·(1 - weight)     the authors' code; the effective
                                                                 weights do not add up to 1
        accumulated  output ← s·weight + output                  Graves 2016, eq. 13

    A position that reaches the maximum of steps never gets its remainder, as in that code; the
    paper has `freeze`: the state of a halted position is copied, where the code lets it change on
    as a key for the others. `ponder_cost` times the mean of (updates + remainder) joins the
    objective.

    The code differs from the paper in more: norm='pre' with one final norm (the paper: 'post', no
    final norm), positions and steps count from 0, and a learned step signal by default.

    Args:
        steps: number of steps; with halting the maximum.
        step_signal: sinusoidal | learned | none: added at each step.
        signal_each_step: the position signal is added at each step; else once, by the embedding.
        halting: none | act.
        mix: basic | accumulated.
        freeze: halted positions keep their state.
        halting_bias: the initial b; 1 halts after about two steps, -3 lets a run find its depth.
        halting_threshold: 1 - ε.
        ponder_cost: weight of the ponder time in the objective.

    Records 'halting.steps' (batch, length), the updates of each position, when asked. Its
    statistics are 'ponder_time', the mean of the updates, and 'ponder_spread', their standard
    deviation within a batch.
    """

    def __init__(
        self,
        width,
        order,
        bindings,
        *,
        steps=6,
        step_signal="sinusoidal",
        signal_each_step=True,
        halting="none",
        mix="basic",
        freeze=False,
        halting_bias=1.0,
        halting_threshold=0.99,
        ponder_cost=0.01,
        **block,
    ):
        super().__init__(width, order, bindings, **block)
        of = "model.stack"
        one_of(SIGNALS, of=of, step_signal=step_signal)
        one_of(HALTING, of=of, halting=halting)
        one_of(MIXES, of=of, mix=mix)
        at_least(1, of=of, steps=steps)
        fine = 0 < halting_threshold < 1
        holds(fine, "between 0 and 1", of=of, halting_threshold=halting_threshold)
        at_least(0, of=of, ponder_cost=ponder_cost)
        self.width, self.steps, self.step_signal = width, steps, step_signal
        self.adds_signal = signal_each_step
        self.halting, self.mix, self.freeze = halting, mix, freeze
        self.halting_bias, self.threshold = halting_bias, halting_threshold
        self.ponder_cost = ponder_cost
        self.unit = Definition(lambda rngs: Projection(width, 1, rngs=rngs))

    def init(self, key):
        """The block's, and where there is halting its unit, and where learned the step signal."""
        parameters = super().init(key)
        if self.halting == "act":
            parameters["halting"] = self.unit.init(named(key, "halting"))
            parameters["halting"]["bias"] += self.halting_bias
        if self.step_signal == "learned":
            table = jax.random.normal(named(key, "step_signal"), (self.steps, self.width))
            parameters["step_signal"] = table * self.width**-0.5
        return parameters

    def __call__(
        self, parameters: Parameters, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        def body(thought, step):
            entered = self._entered(parameters, thought.state, step, context)
            walked, extras = self.walk(parameters, entered, context.at(step))
            return self._updated(parameters, thought, entered, walked), extras

        start = _start(x, context.mask)
        if self.halting == "act" and context.inference and not context.record:
            end, extras = _until_all_halted(body, start, self.steps)
        else:
            end, each = jax.lax.scan(body, start, jnp.arange(self.steps))
            extras = Extras(*jax.tree.map(lambda a: a.sum(0), (each.losses, each.statistics)))
            extras = _with_record(extras, each.record, self.depth)
        if self.halting == "act":
            extras = self._pondered(extras, end, context)
        return self.normalise(parameters, end.output), extras

    def init_cache(self, parameters: Parameters, batch: int, length: int, dtype, context: Context):
        """A cache for each step and position in the order."""
        one = self.init_caches(parameters, batch, length, dtype, context)
        return [one] * self.steps

    def step(
        self, parameters: Parameters, x: Float[Array, "batch 1 width"], caches, context: Context
    ):
        """(x, caches) after one decoding step: all steps of the recurrence for one position."""
        thought, moved = _start(x, None), []
        for step, cache in enumerate(caches):
            entered = self._entered(parameters, thought.state, step, context)
            walked, cache = self.walk_step(parameters, entered, cache, context)
            thought = self._updated(parameters, thought, entered, walked)
            moved.append(cache)
        return self.normalise(parameters, thought.output), moved

    def _entered(self, parameters: Parameters, state: Array, step: Any, context: Context) -> Array:
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
        self, parameters: Parameters, old: Thought, entered: Array, walked: Array
    ) -> Thought:
        """The thought after a step that turned the state `entered` into `walked`."""
        if self.halting == "none":
            return old._replace(state=walked, output=walked, updates=old.updates + 1)
        p = self.unit.bind(parameters["halting"])(entered.astype(jnp.float32))[..., 0]
        p = jax.nn.sigmoid(p)
        halts = old.running & (old.spent + p > self.threshold)
        still = old.running & ~halts
        remainder = jnp.where(halts, 1 - old.spent, 0.0)
        weight = jnp.where(still, p, remainder)
        share = weight[..., None].astype(walked.dtype)
        kept = 1 - share if self.mix == "basic" else jnp.ones_like(share)
        moved = jnp.where(old.running[..., None], walked, old.state) if self.freeze else walked
        return Thought(
            state=moved,
            output=walked * share + old.output * kept,
            spent=old.spent + weight,
            remainder=old.remainder + remainder,
            updates=old.updates + old.running,
            running=still,
        )

    def _pondered(self, extras: Extras, end: Thought, context: Context) -> Extras:
        """The ponder cost, and how long positions thought."""
        real = jnp.ones(end.updates.shape) if context.mask is None else context.mask
        real = jnp.broadcast_to(real, end.updates.shape).astype(jnp.float32)
        count = real.sum()
        cost = self.ponder_cost * jnp.sum(real * (end.updates + end.remainder))
        total = jnp.sum(real * end.updates)
        mean = total / jnp.maximum(count, 1)
        variance = jnp.sum(real * jnp.square(end.updates - mean)) / jnp.maximum(count, 1)
        spread = jnp.sqrt(variance) * count
        statistics = {"ponder_time": (total, count), "ponder_spread": (spread, count)}
        record = dict(extras.record)
        if "halting.steps" in context.record:
            record["halting.steps"] = {0: end.updates.astype(jnp.int32)}
        return Extras(
            add_sums(extras.losses, {"ponder_cost": (cost, count)}),
            add_sums(extras.statistics, statistics),
            record,
        )


def _start(x: Float[Array, "batch length width"], mask: Array | None) -> Thought:
    """Nothing done yet; padding has nothing to think about."""
    zeros = jnp.zeros(x.shape[:2])
    running = jnp.ones(x.shape[:2], bool)
    if mask is not None:
        running = running & mask
    return Thought(x, jnp.zeros_like(x), zeros, zeros, zeros, running)


def _until_all_halted(body, start: Thought, steps: int) -> tuple[Thought, Extras]:
    """The scan, left as soon as no position runs: the steps left out would change nothing."""
    shapes = jax.eval_shape(body, start, jnp.zeros((), jnp.int32))[1]
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    def going(carry):
        step, thought, _ = carry
        return (step < steps) & jnp.any(thought.running)

    def once(carry):
        step, thought, total = carry
        thought, extras = body(thought, step)
        return step + 1, thought, jax.tree.map(jnp.add, total, extras)

    _, end, extras = jax.lax.while_loop(going, once, (jnp.zeros((), jnp.int32), start, zeros))
    return end, extras


def _with_record(extras: Extras, record: dict, depth: int) -> Extras:
    """Records of a scan over steps, by place in the unrolled depth: step · depth + position."""
    places = {
        name: {
            step * depth + position: array
            for position, stacked in at.items()
            for step, array in enumerate(stacked)
        }
        for name, at in record.items()
    }
    return Extras(extras.losses, extras.statistics, places)
