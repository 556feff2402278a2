"""Through a reversible order and back: one `custom_vjp` that keeps the streams at the end and the
integers to be replayed, and no activations.

It has no closures: whatever differs from call to call is an argument. Both passes take the
positions one by one; of a letter's rows, parameters or replays, a turn reads one and writes one.
"""

import collections
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from arch import order as orders
from arch.context import Context, add_sums
from arch.layers import widened
from arch.stacks.parameters import Definition, Parameters
from arch.stacks.schedule import Schedule

Sums = dict[str, tuple[Array, Array]]


class Streams(NamedTuple):
    first: Float[Array, "batch length width"]
    second: Float[Array, "batch length width"]

    @classmethod
    def of(cls, x: Float[Array, "batch length width"]) -> "Streams":
        """Both start as the input, in float32 whatever the sublayers compute in."""
        x = widened(x)
        return cls(x, x)

    def plus(self, y: Float[Array, "batch length width"]) -> "Streams":
        """After a sublayer that gave y."""
        return Streams(self.second, self.first + y)


class Turn(NamedTuple):
    """One position of the order. `letter` is a name, or under a switch its number; the others may
    be traced. `occurrence` counts those of equal letter before it."""

    letter: Any
    owner: Any
    position: Any
    occurrence: Any


class Through(NamedTuple):
    """What the forward pass carries; `replays` has a row for each occurrence of a letter, and one
    more, into which a switch writes for the letters that it did not choose."""

    streams: Streams
    losses: Sums
    statistics: Sums
    replays: dict[str, dict[str, Array]]


class Back(NamedTuple):
    """What the backward pass carries: the streams as they were, and gradients."""

    streams: Streams
    cotangents: Streams
    parameters: Parameters
    sides: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Walk:
    """An order's positions, to be gone through in either direction."""

    letters: dict[str, Definition]
    schedule: Schedule
    apply: str  # switch | scan | unrolled

    @property
    def counts(self) -> dict[str, int]:
        """Of each letter in the depth."""
        return collections.Counter(letter for letter, _ in self.schedule.positions)

    # A letter at a turn

    def branch(self, letter: str, dtype, owned: Parameters, x: Array, sides, data: Context):
        """(what a letter adds, its losses), and apart its statistics and what is to be replayed."""
        y, extras = self.letters[letter].bind(owned).branch(x.astype(dtype), data.replace(**sides))
        return (y.astype(x.dtype), extras.losses), (extras.statistics, extras.replay)

    def choose(self, turn: Turn, run):
        """run(letter), or under a switch that of the letter whose number the turn has. What `run`
        returns has the same shapes for all letters."""
        if isinstance(turn.letter, str):
            return run(turn.letter)
        branches = [functools.partial(run, letter) for letter in self.schedule.letters]
        return jax.lax.switch(turn.letter, branches)

    def may_be(self, turn: Turn, letter: str) -> bool:
        return not isinstance(turn.letter, str) or turn.letter == letter

    def _active(self, turn: Turn, letter: str):
        """Whether the turn is the letter's."""
        if isinstance(turn.letter, str):
            return turn.letter == letter
        return turn.letter == self.schedule.letters.index(letter)

    def row(self, turn: Turn, letter: str):
        """Of a letter's replay: in the last row, if the turn is another's."""
        return jnp.where(self._active(turn, letter), turn.occurrence, self.counts[letter])

    def owner(self, turn: Turn, letter: str):
        """Of a letter: the first, which gets zeros, if the turn is another's."""
        return jnp.where(self._active(turn, letter), turn.owner, 0)

    def shapes(self, dtype, parameters, x, sides, data):
        """Of each letter: shapes of its losses, statistics and replay."""

        def of(letter):
            def run(owned, x, sides, data):
                (_, losses), rest = self.branch(letter, dtype, owned, x, sides, data.at(0))
                return losses, *rest

            return jax.eval_shape(run, _read(parameters[letter], 0), x, sides, data)

        return {letter: of(letter) for letter in self.letters}

    # All turns, in either direction

    def through(self, body, carry, data: Context, reverse: bool):
        """The carry after `body(carry, turn)` at every position."""
        if self.apply == "switch":
            numbers = self.schedule.as_data() if data.schedule is None else data.schedule
            letters, owners = jnp.asarray(numbers)
            seen = _occurrences(letters, len(self.letters))
            turns = Turn(letters, owners, jnp.arange(len(letters)), seen)
            return jax.lax.scan(
                lambda carry, turn: (body(carry, turn), None), carry, turns, reverse=reverse
            )[0]
        turns = list(_listed(self.schedule.positions))
        if self.apply == "scan":
            return self._scanned(body, carry, turns, reverse)
        for turn in reversed(turns) if reverse else turns:
            carry = body(carry, turn)
        return carry

    def _scanned(self, body, carry, turns: list[Turn], reverse: bool):
        """A scan over each repeated group."""
        groups, first = [], 0
        for unit, repeats in orders.segments("".join(turn.letter for turn in turns)):
            groups.append((unit, turns[first : first + repeats * len(unit)]))
            first += repeats * len(unit)
        for unit, span in reversed(groups) if reverse else groups:
            numbers = jnp.array([turn[1:] for turn in span]).reshape(-1, len(unit), 3)

            def step(carry, rows, unit=unit):
                places = range(len(unit))
                for place in reversed(places) if reverse else places:
                    carry = body(carry, Turn(unit[place], *rows[place]))
                return carry, None

            carry = jax.lax.scan(step, carry, numbers, reverse=reverse)[0]
        return carry


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def run(walk: Walk, dtype, parameters, streams: Streams, sides, data: Context):
    """(streams, losses, statistics). Gradients of statistics are not followed."""
    end = _forward(walk, dtype, parameters, streams, sides, data, keep=False)
    return end.streams, end.losses, end.statistics


def _run_forward(walk, dtype, parameters, streams, sides, data):
    end = _forward(walk, dtype, parameters, streams, sides, data, keep=True)
    kept = Through(end.streams, {}, {}, end.replays)
    return (end.streams, end.losses, end.statistics), (parameters, kept, sides, data)


def _run_backward(walk, dtype, saved, cotangents):
    parameters, through, sides, data = saved
    moved, lost, _ = cotangents
    start = _backward(walk, dtype, parameters, through, sides, data, moved, lost)
    return start.parameters, start.cotangents, start.sides, None


run.defvjp(_run_forward, _run_backward)


def _forward(walk: Walk, dtype, parameters, streams: Streams, sides, data: Context, keep):
    """Through all positions; `keep`: with what is to be replayed."""
    data, order = data.replace(schedule=None), data
    shapes = walk.shapes(dtype, parameters, streams.second, sides, data)
    losses, statistics = (
        _zeros({name: pair for of in shapes.values() for name, pair in of[part].items()})
        for part in (0, 1)
    )
    replays = {
        letter: {
            name: jnp.zeros((walk.counts[letter] + 1, *leaf.shape), leaf.dtype)
            for name, leaf in of[2].items()
        }
        for letter, of in shapes.items()
        if of[2] and keep
    }

    def body(carry: Through, turn: Turn) -> Through:
        x = carry.streams.second

        def run(letter):
            owned, inner = _read(parameters[letter], turn.owner), data.at(turn.position)
            (y, lost), (said, replay) = walk.branch(letter, dtype, owned, x, sides, inner)
            found = {name: _zeros(shapes[name][2]) for name in replays}
            found |= {letter: replay} if letter in replays else {}
            return y, losses | lost, statistics | said, found

        y, lost, said, found = walk.choose(turn, run)
        written = {
            letter: _write(rows, found[letter], walk.row(turn, letter))
            for letter, rows in carry.replays.items()
            if walk.may_be(turn, letter)
        }
        return Through(
            carry.streams.plus(y),
            add_sums(carry.losses, lost),
            add_sums(carry.statistics, said),
            carry.replays | written,
        )

    return walk.through(body, Through(streams, losses, statistics, replays), order, reverse=False)


def _backward(
    walk: Walk, dtype, parameters, through: Through, sides, data: Context, cotangents, lost
) -> Back:
    """From the end to the start: the streams are worked out again, and gradients with them."""
    data, order = data.replace(schedule=None), data

    def body(carry: Back, turn: Turn) -> Back:
        x = carry.streams.first

        def run(letter):
            owned, inner = _read(parameters[letter], turn.owner), data.at(turn.position)
            if letter in through.replays:
                rows = through.replays[letter]
                inner = inner.replace(replay=_read(rows, walk.row(turn, letter)))

            def again(owned, x, sides):
                return walk.branch(letter, dtype, owned, x, sides, inner)[0]

            (y, losses), pull = jax.vjp(again, owned, x, sides)
            own, dx, dsides = pull((carry.cotangents.second, {name: lost[name] for name in losses}))
            others = {
                name: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), held)
                for name, held in parameters.items()
                if walk.may_be(turn, name)
            }
            return y, dx, dsides, others | {letter: own}

        y, dx, dsides, found = walk.choose(turn, run)
        moved = {
            letter: _add(carry.parameters[letter], own, walk.owner(turn, letter))
            for letter, own in found.items()
        }
        return Back(
            Streams(carry.streams.second - y, x),
            Streams(carry.cotangents.second, carry.cotangents.first + dx),
            carry.parameters | moved,
            jax.tree.map(jnp.add, carry.sides, dsides),
        )

    start = Back(through.streams, cotangents, *jax.tree.map(jnp.zeros_like, (parameters, sides)))
    return walk.through(body, start, order, reverse=True)


def _listed(positions):
    """The turns of a schedule."""
    seen: dict[str, int] = {}
    for position, (letter, owner) in enumerate(positions):
        yield Turn(letter, owner, position, seen.get(letter, 0))
        seen[letter] = seen.get(letter, 0) + 1


def _occurrences(letters: Int[Array, " depth"], count: int) -> Int[Array, " depth"]:
    """How often the letter of each position came before it."""
    chosen = letters[:, None] == jnp.arange(count)[None]
    before = jnp.cumsum(chosen, axis=0) - chosen
    return jnp.sum(before * chosen, axis=1)


def _read(rows, at):
    return jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, at, keepdims=False), rows)


def _write(rows, new, at):
    return jax.tree.map(lambda a, b: jax.lax.dynamic_update_index_in_dim(a, b, at, 0), rows, new)


def _add(rows, more, at):
    return jax.tree.map(lambda a, b: a.at[at].add(b), rows, more)


def _zeros(shapes):
    return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
