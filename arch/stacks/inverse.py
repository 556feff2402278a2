"""A reversible order forward and back: one `custom_vjp` that keeps the streams at the end and the
integers to be replayed, and no activations.

It has no closures: whatever differs from call to call is an argument. Both passes walk the
positions one by one. They read a row of a letter's parameters or replays, and write one, in place:
a walk that split the rows beforehand would copy them.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from arch.context import Context, Extras, add_sums
from arch.devices import scopes
from arch.layers import widened
from arch.stacks.depth import Turn, Walker
from arch.stacks.extras import Sums, zero_sums, zeros_of
from arch.stacks.norms import no_norms, norms_at
from arch.stacks.parameters import Definition, Parameters
from arch.stacks.rows import Number, add_row, read_row

Records = dict[int, dict[str, Array]]  # position → name → array


class Streams(NamedTuple):
    """The two streams of a reversible order, in float32."""

    first: Float[Array, "batch length width"]
    second: Float[Array, "batch length width"]

    @classmethod
    def of(cls, x: Float[Array, "batch length width"]) -> "Streams":
        """Both start as the input, in float32 whatever the sublayers compute in."""
        x = widened(x)
        return cls(x, x)

    def plus(self, y: Float[Array, "batch length width"]) -> "Streams":
        """The streams after a sublayer that adds y."""
        return Streams(self.second, self.first + y)

    def minus(self, y: Float[Array, "batch length width"]) -> "Streams":
        """The streams before a sublayer that added y."""
        return Streams(self.second - y, self.first)


class SideInputs(NamedTuple):
    """The parts of a context that gradients flow into."""

    memory: Float[Array, "batch memory width"] | None
    dropout: Float[Array, ""] | float


class ReversibleForward(NamedTuple):
    """The carry of the forward pass.

    `replays` has, for each letter that replays anything, a row per occurrence, and one row more:
    under switch a turn of another letter writes there.
    """

    streams: Streams
    losses: Sums
    statistics: Sums
    replays: dict[str, Parameters]


class ReversibleBackward(NamedTuple):
    """The carry of the backward pass: the streams as they were, and gradients."""

    streams: Streams
    cotangents: Streams
    parameters: Parameters
    sides: SideInputs


@dataclasses.dataclass(frozen=True, eq=False)
class ReversibleOrder:
    """The letters of a reversible order and the walk of their positions.

    Args:
        letters: letter → definition of its branch.
        walker: the walk.
    """

    letters: Mapping[str, Definition]
    walker: Walker

    @property
    def counts(self) -> Mapping[str, int]:
        """letter → number of occurrences, or the room for them."""
        return self.walker.schedule.uses

    def branch(
        self,
        letter: str,
        dtype: np.dtype,
        owned: Parameters,
        x: Float[Array, "batch length width"],
        sides: SideInputs,
        data: Context,
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """What a letter adds to a stream, in the stream's dtype, computed in `dtype`."""
        context = data.replace(**sides._asdict())
        with scopes.letter(letter):
            y, extras = self.letters[letter].bind(owned).branch(x.astype(dtype), context)
        return y.astype(x.dtype), extras

    def replay_row(self, turn: Turn, letter: str) -> Number:
        """Where this turn keeps a letter's replay: in the last row where another letter stands."""
        return jnp.where(turn.has(letter), turn.occurrence, self.counts[letter])

    def extras_shapes(
        self, dtype: np.dtype, parameters: Parameters, x: Array, sides: SideInputs, data: Context
    ) -> dict[str, Extras]:
        """letter → shapes of what it returns beside its output."""

        def of(letter: str):
            def run(owned: Parameters, x: Array, sides: SideInputs, data: Context):
                return self.branch(letter, dtype, owned, x, sides, data.at(0))[1]

            return jax.eval_shape(run, read_row(parameters[letter], 0), x, sides, data)

        return {letter: of(letter) for letter in self.letters}


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def run(
    order: ReversibleOrder,
    dtype: np.dtype,
    parameters: Parameters,
    streams: Streams,
    sides: SideInputs,
    data: Context,
) -> tuple[Streams, Sums, Sums]:
    """(streams, losses, statistics) after the order.

    Gradients flow into the parameters, the streams and the side inputs, from the streams and the
    losses; those of statistics are not followed.

    Args:
        dtype: the dtype that sublayers compute in.
        parameters: letter → rows of its owners.
        data: the context without its side inputs.
    """
    end, _ = forward(order, dtype, parameters, streams, sides, data, keep=False)
    return end.streams, end.losses, end.statistics


def _run_forward(
    order: ReversibleOrder,
    dtype: np.dtype,
    parameters: Parameters,
    streams: Streams,
    sides: SideInputs,
    data: Context,
):
    end, _ = forward(order, dtype, parameters, streams, sides, data, keep=True)
    kept = (end.streams, end.replays)
    return (end.streams, end.losses, end.statistics), (parameters, *kept, sides, data)


def _run_backward(order: ReversibleOrder, dtype: np.dtype, saved: tuple, cotangents: tuple):
    parameters, streams, replays, sides, data = saved
    of_streams, of_losses, _ = cotangents
    zeros = jax.tree.map(jnp.zeros_like, (parameters, sides))
    end = ReversibleBackward(streams, of_streams, *zeros)
    start = backward(order, dtype, parameters, end, replays, sides, data, of_losses)
    return start.parameters, start.cotangents, start.sides, None


run.defvjp(_run_forward, _run_backward)


def forward(
    order: ReversibleOrder,
    dtype: np.dtype,
    parameters: Parameters,
    streams: Streams,
    sides: SideInputs,
    data: Context,
    *,
    keep: bool,
) -> tuple[ReversibleForward, Records]:
    """The end of the order, and the records of each position.

    keep: whether the integers to be replayed are kept.
    """
    data, schedule = data.replace(schedule=None), data.schedule
    shapes = order.extras_shapes(dtype, parameters, streams.second, sides, data)
    losses, statistics = zero_sums(shapes.values())
    replays = {
        letter: _rows_of(extras.replay, order.counts[letter] + 1)
        for letter, extras in shapes.items()
        if extras.replay and keep
    }

    def body(carry: ReversibleForward, turn: Turn) -> tuple[ReversibleForward, dict[str, Array]]:
        x = carry.streams.second

        def run(letter: str):
            owned, inner = read_row(parameters[letter], turn.owner), data.at(turn.position)
            y, extras = order.branch(letter, dtype, owned, x, sides, inner)
            found = {name: zeros_of(shapes[name].replay) for name in replays}
            found |= {letter: extras.replay} if letter in replays else {}
            record = extras.record if data.record else {}
            return y, losses | extras.losses, statistics | extras.statistics, found, record

        y, lost, counted, found, record = turn.choose(run)
        written = {
            letter: _write(rows, found[letter], order.replay_row(turn, letter))
            for letter, rows in carry.replays.items()
            if letter in turn.candidates
        }
        streams = carry.streams.plus(y)
        counted |= norms_at(turn, order.walker.schedule, streams.second, y, data)
        moved = ReversibleForward(
            streams,
            add_sums(carry.losses, lost),
            add_sums(carry.statistics, counted),
            carry.replays | written,
        )
        return moved, record

    measured = statistics | no_norms(order.walker.schedule, data)
    start = ReversibleForward(streams, losses, measured, replays)
    return order.walker(body, start, {}, order=schedule)


def backward(
    order: ReversibleOrder,
    dtype: np.dtype,
    parameters: Parameters,
    end: ReversibleBackward,
    replays: Mapping[str, Parameters],
    sides: SideInputs,
    data: Context,
    of_losses: Sums,
) -> ReversibleBackward:
    """From the end to the start: the streams are worked out again, and gradients with them.

    of_losses: the cotangents of the losses.
    """
    data, schedule = data.replace(schedule=None), data.schedule

    def body(carry: ReversibleBackward, turn: Turn) -> tuple[ReversibleBackward, None]:
        x = carry.streams.first

        def run(letter: str):
            owned, inner = read_row(parameters[letter], turn.owner), data.at(turn.position)
            if letter in replays:
                row = read_row(replays[letter], order.replay_row(turn, letter))
                inner = inner.replace(replay=row)

            def again(owned: Parameters, x: Array, sides: SideInputs):
                y, extras = order.branch(letter, dtype, owned, x, sides, inner)
                return y, extras.losses

            (y, losses), pull = jax.vjp(again, owned, x, sides)
            lost = {name: of_losses[name] for name in losses}
            own, dx, dsides = pull((carry.cotangents.second, lost))
            others = {name: _zero_row(parameters[name]) for name in turn.candidates}
            return y, dx, dsides, others | {letter: own}

        y, dx, dsides, found = turn.choose(run)
        # another letter's gradient is zeros, which its first row gets
        moved = {
            letter: add_row(
                carry.parameters[letter], own, jnp.where(turn.has(letter), turn.owner, 0)
            )
            for letter, own in found.items()
        }
        before = ReversibleBackward(
            carry.streams.minus(y),
            Streams(carry.cotangents.second, carry.cotangents.first + dx),
            carry.parameters | moved,
            jax.tree.map(jnp.add, carry.sides, dsides),
        )
        return before, None

    return order.walker(body, end, {}, order=schedule, reverse=True)[0]


def _rows_of(shapes: Mapping[str, Any], count: int) -> Parameters:
    """Zeros for `count` rows of these shapes."""
    return {name: jnp.zeros((count, *shape.shape), shape.dtype) for name, shape in shapes.items()}


def _zero_row(rows: Parameters) -> Parameters:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), rows)


def _write(rows: Parameters, new: Parameters, at: Number) -> Parameters:
    return jax.tree.map(lambda a, b: jax.lax.dynamic_update_index_in_dim(a, b, at, 0), rows, new)
