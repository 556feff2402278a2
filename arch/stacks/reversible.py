"""Reversible residual layers (Gomez et al. 2017; Kitaev, Kaiser and Levskaya 2020, §3) for any
order: activations are not kept but worked out again, from the last sublayer to the first.

    x1, x2 ← x2, x1 + F(x2)          each sublayer F of the order
    x2, x1 ← y1, y2 - F(y1)          and back

Attention and feed-forward in turn give the paper's y1 = x1 + A(x2), y2 = x2 + F(y1). What the
backward pass must not work out anew, such as the buckets of a hash, is replayed: see `Extras`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from arch import order as orders
from arch.context import Context, Extras, add_sums
from arch.registry import ConfigurationError, stacks
from arch.stacks import depth
from arch.stacks.block import Block, norm_definition
from arch.stacks.parameters import Parameters

MERGES = ("average", "concatenate")
SIDES = ("memory", "dropout")  # of the context: what gradients flow into
Sums = dict[str, tuple[Array, Array]]


class Streams(NamedTuple):
    first: Float[Array, "batch length width"]
    second: Float[Array, "batch length width"]


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


@stacks.register("reversible")
class Reversible(Block):
    """The order once, on two streams that both start as the input.

    The streams are float32 whatever the sublayers compute in; so is what comes out of the inverse,
    but for rounding. Sublayers are pre-norm, or without norms, or peri.

    Args:
        merge: average | concatenate: of the streams at the end, before the final norm. The paper
            concatenates, and its head is of twice the width; average fits a head that is tied.
        apply: switch | scan | unrolled: of the two loops, one compiled body, or one a position.
            Without a loop activation memory grows with depth again: the compiler orders the
            recomputation as it likes.
        remat: none, since all is worked out again.
    """

    def __init__(self, width, order, bindings, *, merge="average", apply="switch", **block):
        apply = "switch" if apply == "auto" else apply
        super().__init__(width, order, bindings, apply=apply, **block)
        if merge not in MERGES:
            raise ConfigurationError(
                f"model.stack.merge={merge!r}: allowed are {', '.join(MERGES)}"
            )
        if self.remat != "none":
            raise ConfigurationError(
                f"model.stack.remat={self.remat!r}: the reversible stack keeps no activations; "
                "allowed is none"
            )
        for letter, definition in self.letters.items():
            if definition.module.placement == "post":
                raise ConfigurationError(
                    f"model.stack.norm='post', of letter {letter!r}: a sum that is normalised "
                    "cannot be taken back; allowed with model.stack.kind='reversible' are pre, "
                    "peri, none"
                )
            if definition.module.own_residual:
                kind = definition.module.sublayer.kind
                raise ConfigurationError(
                    f"model.sublayers.{letter}.kind={kind!r} brings its own residual, which "
                    "model.stack.kind='reversible' cannot take back"
                )
        self.merge = merge
        self.counts = orders.counts(order)  # of each letter in the depth
        self.output_width = width if merge == "average" else 2 * width
        if self.final_norm is not None:
            self.final_norm = norm_definition(self.norm_kind, self.output_width, self.epsilon)

    def __call__(
        self, parameters: Parameters, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length output"], Extras]:
        streams, extras = self._through(parameters, x, context)
        return self._merged(parameters, streams, x.dtype), extras

    def _through(self, parameters, x, context) -> tuple[Streams, Extras]:
        streams = Streams(*(x.astype(jnp.promote_types(x.dtype, jnp.float32)),) * 2)
        letters = {letter: parameters[letter] for letter in self.letters}
        if context.record:
            return self._recorded(letters, streams, x.dtype, context)
        sides = {name: getattr(context, name) for name in SIDES}
        data = context.replace(signal=None, **dict.fromkeys(SIDES))
        streams, losses, statistics = _reversible(
            self, jnp.dtype(x.dtype), letters, streams, sides, data
        )
        return streams, Extras(losses, statistics)

    def _merged(self, parameters: Parameters, streams: Streams, dtype) -> Array:
        if self.merge == "average":
            y = (streams.first + streams.second) / 2
        else:
            y = jnp.concatenate(streams, axis=-1)
        return self.normalise(parameters, y.astype(dtype))

    def _recorded(self, parameters, streams: Streams, dtype, context: Context):
        """Forward alone, position by position, since records are kept by position."""
        total = Extras()
        bound = depth.branches(self.letters, parameters, self.schedule)
        for position, branch in enumerate(bound):
            x = streams.second.astype(dtype)
            y, extras = branch.branch(x, context.at(position))
            streams = Streams(streams.second, streams.first + y)
            for name, value in extras.record.items():
                total.record.setdefault(name, {})[position] = value
            losses = add_sums(total.losses, extras.losses)
            total = Extras(losses, add_sums(total.statistics, extras.statistics), total.record)
        return streams, total

    # One token at a time

    def init_cache(self, parameters: Parameters, batch: int, length: int, dtype, context: Context):
        """A cache for each position in the depth."""
        return self.init_caches(parameters, batch, length, dtype, context)

    def step(
        self, parameters: Parameters, x: Float[Array, "batch 1 width"], caches, context: Context
    ):
        """(x, caches) after one decoding step."""
        streams, moved = Streams(*(x.astype(jnp.promote_types(x.dtype, jnp.float32)),) * 2), []
        bound = depth.branches(self.letters, parameters, self.schedule)
        for branch, cache in zip(bound, caches, strict=True):
            y, cache = branch.branch_step(streams.second.astype(x.dtype), cache, context)
            streams = Streams(streams.second, streams.first + y)
            moved.append(cache)
        return self._merged(parameters, streams, x.dtype), moved

    # One position

    def _branch(self, letter: str, dtype, owned: Parameters, x: Array, sides, data: Context):
        """(what a letter adds, its losses), and apart its statistics and what is to be replayed."""
        y, extras = self.letters[letter].bind(owned).branch(x.astype(dtype), data.replace(**sides))
        return (y.astype(x.dtype), extras.losses), (extras.statistics, extras.replay)

    def _choose(self, turn: Turn, run):
        """run(letter), or under a switch that of the letter whose number the turn has. What `run`
        returns has the same shapes for all letters."""
        if isinstance(turn.letter, str):
            return run(turn.letter)
        branches = [functools.partial(run, letter) for letter in self.schedule.letters]
        return jax.lax.switch(turn.letter, branches)

    def _may_be(self, turn: Turn, letter: str) -> bool:
        return not isinstance(turn.letter, str) or turn.letter == letter

    def _active(self, turn: Turn, letter: str):
        """Whether the turn is the letter's."""
        if isinstance(turn.letter, str):
            return turn.letter == letter
        return turn.letter == self.schedule.letters.index(letter)

    def _row(self, turn: Turn, letter: str):
        """Of a letter's replay: in the last row, if the turn is another's."""
        return jnp.where(self._active(turn, letter), turn.occurrence, self.counts[letter])

    def _owner(self, turn: Turn, letter: str):
        """Of a letter: the first, which gets zeros, if the turn is another's."""
        return jnp.where(self._active(turn, letter), turn.owner, 0)

    def _shapes(self, dtype, parameters, x, sides, data):
        """Of each letter: shapes of its losses, statistics and replay."""

        def of(letter):
            def run(owned, x, sides, data):
                (_, losses), rest = self._branch(letter, dtype, owned, x, sides, data.at(0))
                return losses, *rest

            return jax.eval_shape(run, _read(parameters[letter], 0), x, sides, data)

        return {letter: of(letter) for letter in self.letters}

    # All positions, in either direction

    def _turns(self, body, carry, data: Context, reverse: bool):
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


def _forward(stack: Reversible, dtype, parameters, streams: Streams, sides, data: Context, keep):
    """Through all positions; `keep`: with what is to be replayed."""
    data, order = data.replace(schedule=None), data
    shapes = stack._shapes(dtype, parameters, streams.second, sides, data)
    losses, statistics = (
        _zeros({name: pair for of in shapes.values() for name, pair in of[part].items()})
        for part in (0, 1)
    )
    replays = {
        letter: {
            name: jnp.zeros((stack.counts[letter] + 1, *leaf.shape), leaf.dtype)
            for name, leaf in of[2].items()
        }
        for letter, of in shapes.items()
        if of[2] and keep
    }

    def body(carry: Through, turn: Turn) -> Through:
        x = carry.streams.second

        def run(letter):
            owned, inner = _read(parameters[letter], turn.owner), data.at(turn.position)
            (y, lost), (said, replay) = stack._branch(letter, dtype, owned, x, sides, inner)
            found = {name: _zeros(shapes[name][2]) for name in replays}
            found |= {letter: replay} if letter in replays else {}
            return y, losses | lost, statistics | said, found

        y, lost, said, found = stack._choose(turn, run)
        written = {
            letter: _write(rows, found[letter], stack._row(turn, letter))
            for letter, rows in carry.replays.items()
            if stack._may_be(turn, letter)
        }
        return Through(
            Streams(x, carry.streams.first + y),
            add_sums(carry.losses, lost),
            add_sums(carry.statistics, said),
            carry.replays | written,
        )

    return stack._turns(body, Through(streams, losses, statistics, replays), order, reverse=False)


def _backward(
    stack: Reversible, dtype, parameters, through: Through, sides, data: Context, cotangents, lost
) -> Back:
    """From the end to the start: the streams are worked out again, and gradients with them."""
    data, order = data.replace(schedule=None), data

    def body(carry: Back, turn: Turn) -> Back:
        x = carry.streams.first

        def run(letter):
            owned, inner = _read(parameters[letter], turn.owner), data.at(turn.position)
            if letter in through.replays:
                rows = through.replays[letter]
                inner = inner.replace(replay=_read(rows, stack._row(turn, letter)))

            def again(owned, x, sides):
                return stack._branch(letter, dtype, owned, x, sides, inner)[0]

            (y, losses), pull = jax.vjp(again, owned, x, sides)
            own, dx, dsides = pull((carry.cotangents.second, {name: lost[name] for name in losses}))
            others = {
                name: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), held)
                for name, held in parameters.items()
                if stack._may_be(turn, name)
            }
            return y, dx, dsides, others | {letter: own}

        y, dx, dsides, found = stack._choose(turn, run)
        moved = {
            letter: _add(carry.parameters[letter], own, stack._owner(turn, letter))
            for letter, own in found.items()
        }
        return Back(
            Streams(carry.streams.second - y, x),
            Streams(carry.cotangents.second, carry.cotangents.first + dx),
            carry.parameters | moved,
            jax.tree.map(jnp.add, carry.sides, dsides),
        )

    start = Back(through.streams, cotangents, *jax.tree.map(jnp.zeros_like, (parameters, sides)))
    return stack._turns(body, start, order, reverse=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _reversible(stack: Reversible, dtype, parameters, streams: Streams, sides, data: Context):
    """(streams, losses, statistics). Gradients of statistics are not followed."""
    end = _forward(stack, dtype, parameters, streams, sides, data, keep=False)
    return end.streams, end.losses, end.statistics


def _reversible_forward(stack, dtype, parameters, streams, sides, data):
    end = _forward(stack, dtype, parameters, streams, sides, data, keep=True)
    kept = Through(end.streams, {}, {}, end.replays)
    return (end.streams, end.losses, end.statistics), (parameters, kept, sides, data)


def _reversible_backward(stack, dtype, saved, cotangents):
    parameters, through, sides, data = saved
    moved, lost, _ = cotangents
    start = _backward(stack, dtype, parameters, through, sides, data, moved, lost)
    return start.parameters, start.cotangents, start.sides, None


_reversible.defvjp(_reversible_forward, _reversible_backward)


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
