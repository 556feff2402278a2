"""The walk of a schedule: every position once, from the first to the last or back.

unrolled  one copy of the code per position: compiles in time linear in the depth, runs fastest on
          CPU.
scan      a `lax.scan` over each repeated group of the order.
switch    a `lax.switch` on the letter at every position: the order is data, so that all orders of
          equal counts, or of the same room, share the program. One loop over all positions, which
          compiles in the same time at any depth; or, for few sublayers on CPU, where a loop costs
          half as much again to differentiate, written out position by position (`branched`).

None of them touches the tree of parameters. The forward pass, both passes of the reversible stack,
records and decoding all use this walk.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from arch import order as orders
from arch.checks import one_of
from arch.stacks.parameters import Parameters
from arch.stacks.rows import Number, claims, lent, read_row
from arch.stacks.schedule import Schedule

APPLY = ("auto", "unrolled", "scan", "switch")
REMAT = ("none", "full", "dots")
SHALLOW = 32  # sublayers up to which positions are written out on CPU

T = TypeVar("T")


def check_apply(apply: str, remat: str) -> None:
    """Raises ConfigurationError for an unknown `apply` or `remat`."""
    one_of(APPLY, of="model.stack", apply=apply)
    one_of(REMAT, of="model.stack", remat=remat)


def resolve(apply: str, depth: int, platform: str) -> str:
    """unrolled | scan | switch | branched: what `apply` is on the platform (cpu | gpu | tpu)."""
    shallow = platform == "cpu" and depth <= SHALLOW
    if apply == "auto":
        return "unrolled" if shallow else "scan"
    return "branched" if apply == "switch" and shallow else apply


def rematerialise(body: Callable[..., T], remat: str) -> Callable[..., T]:
    """`body`, its intermediates recomputed in the backward pass.

    remat: none | full (recompute all) | dots (keep matrix products, recompute the rest).
    """
    if remat == "none":
        return body
    policy = None if remat == "full" else jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    return jax.checkpoint(body, policy=policy)


@dataclasses.dataclass(frozen=True)
class Turn:
    """One position of a walk. Its numbers are traced under scan and switch.

    Attributes:
        candidates: the letters that may stand here: one, or where the order is data all of them.
        number: which of the candidates stands here.
        owner: index of the weights that it uses.
        position: place in the depth, from 0.
        occurrence: how many earlier positions have the same letter.
        read: letter → the owner's parameters, out of the rows that the walk was given.
        may_be_beyond: whether the order may have ended before this position.
    """

    candidates: tuple[str, ...]
    number: Number
    owner: Number
    position: Number
    occurrence: Number
    read: Callable[[str], Parameters]
    may_be_beyond: bool = False

    def choose(self, run: Callable[[str], T], otherwise: Callable[[], T] | None = None) -> T:
        """run(letter) of the letter that stands here; `otherwise()` where the order has ended.

        What they return must have the same structure and shapes for all candidates.
        """
        branches: list[Callable[[], T]]
        branches = [functools.partial(run, letter) for letter in self.candidates]
        if self.may_be_beyond and otherwise is not None:
            branches.append(otherwise)
        return branches[0]() if len(branches) == 1 else jax.lax.switch(self.number, branches)

    def has(self, letter: str) -> bool | Bool[Array, ""]:
        """Whether this candidate stands here."""
        return self.number == self.candidates.index(letter)


Body = Callable[[Any, Turn], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Walker:
    """Walks the positions of a schedule.

    Args:
        schedule: the positions and their owners.
        apply: unrolled | scan | switch | branched.
        body_ends: whether the body itself leaves its carry as it is where the order has ended, by
            what it gives `turn.choose` for that: faster to differentiate than a conditional around
            the body.
    """

    schedule: Schedule
    apply: str
    body_ends: bool = False

    def __call__(
        self,
        body: Body,
        carry: Any,
        rows: Mapping[str, Parameters],
        *,
        order: Int[Array, "2 depth"] | None = None,
        reverse: bool = False,
    ) -> tuple[Any, dict[int, Any]]:
        """The carry after `carry, output = body(carry, turn)` at every position, and the outputs.

        Args:
            rows: letter → parameters stacked over its owners, for `turn.read`. They are split in
                the way that each apply differentiates fastest, at the price of a copy. Empty where
                the body reads its rows in place.
            order: under switch and branched, another order of the same counts, as
                `Schedule.as_data` gives it.
            reverse: from the last position to the first.

        Returns:
            The carry, and position → output. Under switch and branched there are no outputs.
        """
        if self.apply in ("switch", "branched"):
            run = {"switch": self._switched, "branched": self._branched}[self.apply]
            return run(body, carry, rows, self._data(order), reverse), {}
        run = {"unrolled": self._unrolled, "scan": self._scanned}[self.apply]
        carry, outputs = run(body, carry, rows, reverse)
        return carry, dict(sorted(outputs.items()))

    def _unrolled(self, body: Body, carry: Any, rows: Mapping[str, Parameters], reverse: bool):
        # jnp.unstack splits once, so that the gradient is one concatenation per letter
        owned = {letter: apart(tree, self.schedule.owners[letter]) for letter, tree in rows.items()}
        places, outputs = list(_places(self.schedule.positions)), {}
        for letter, owner, position, occurrence in reversed(places) if reverse else places:
            turn = Turn(
                (letter,), 0, owner, position, occurrence, lambda x, owner=owner: owned[x][owner]
            )
            carry, outputs[position] = body(carry, turn)
        return carry, outputs

    def _scanned(self, body: Body, carry: Any, rows: Mapping[str, Parameters], reverse: bool):
        outputs = {}
        spans = list(_spans(list(_places(self.schedule.positions))))
        for unit, span in reversed(spans) if reverse else spans:
            numbers = jnp.array([place[1:] for place in span]).reshape(-1, len(unit), 3)
            gathered = {}
            for letter in dict.fromkeys(unit) if rows else ():
                owners = jnp.array([place[1] for place in span if place[0] == letter])
                index = owners.reshape(len(numbers), -1)
                gathered[letter] = jax.tree.map(lambda leaf, i=index: leaf[i], rows[letter])

            def step(carry, inputs, unit=unit):
                numbers, gathered = inputs
                found: list[Any] = [None] * len(unit)
                for offset in reversed(range(len(unit))) if reverse else range(len(unit)):
                    turn = _scanned_turn(unit, offset, numbers, gathered)
                    carry, found[offset] = body(carry, turn)
                return carry, found

            carry, found = jax.lax.scan(step, carry, (numbers, gathered), reverse=reverse)
            for number, (_, _, position, _) in enumerate(span):
                repeat, offset = divmod(number, len(unit))
                outputs[position] = jax.tree.map(lambda leaf, i=repeat: leaf[i], found[offset])
        return carry, outputs

    def _visit(self, body: Body, carry: Any, turn: Turn) -> Any:
        """The carry after a turn of which the letter is data."""

        def visited(carry):
            return body(carry, turn)[0]

        if self.body_ends or not turn.may_be_beyond:
            return visited(carry)
        return jax.lax.cond(turn.number < len(turn.candidates), visited, lambda carry: carry, carry)

    def _switched(
        self,
        body: Body,
        carry: Any,
        rows: Mapping[str, Parameters],
        data: tuple[Array, Array, Array],
        reverse: bool,
    ) -> Any:
        (letters, owners, seen), (least, most) = data, self.schedule.lengths

        def step(carry, numbers):
            letter, owner, position, occurrence = numbers

            def read(name: str) -> Parameters:
                return read_row(rows[name], owner)

            turn = Turn(
                self.schedule.letters, letter, owner, position, occurrence, read, least < most
            )
            return self._visit(body, carry, turn), None

        numbers = (letters, owners, jnp.arange(len(letters)), seen)
        return jax.lax.scan(step, carry, numbers, reverse=reverse)[0]

    def _branched(
        self,
        body: Body,
        carry: Any,
        rows: Mapping[str, Parameters],
        data: tuple[Array, Array, Array],
        reverse: bool,
    ) -> Any:
        (letters, owners, seen), (least, _) = data, self.schedule.lengths
        known = jax.lax.stop_gradient(rows)
        names = self.schedule.letters if rows else ()
        lenders = claims(rows, names, letters, owners)
        places = range(len(letters))
        for position in reversed(places) if reverse else places:

            def read(name: str, at: int = position) -> Parameters:
                return lent(read_row(known[name], owners[at]), lenders[at][name])

            turn = Turn(
                self.schedule.letters, letters[position], owners[position], position,
                seen[position], read, position >= least,
            )  # fmt: skip
            carry = self._visit(body, carry, turn)
        return carry

    def _data(self, order: Int[Array, "2 depth"] | None) -> tuple[Array, Array, Array]:
        """The number of each position's letter, its owner, and how often the letter came before."""
        letters, owners = jnp.asarray(self.schedule.as_data() if order is None else order)
        return letters, owners, _occurrences(letters, len(self.schedule.letters))


Place = tuple[str, int, int, int]  # letter, owner, position, occurrence


def _places(positions: Sequence[tuple[str, int]]) -> Iterator[Place]:
    """Each position of a schedule with the number of earlier ones of the same letter."""
    seen: dict[str, int] = {}
    for position, (letter, owner) in enumerate(positions):
        yield letter, owner, position, seen.get(letter, 0)
        seen[letter] = seen.get(letter, 0) + 1


def _spans(places: list[Place]) -> Iterator[tuple[str, list[Place]]]:
    """Each repeated unit of the order, with its places."""
    first = 0
    for unit, repeats in orders.segments("".join(place[0] for place in places)):
        length = repeats * len(unit)
        yield unit, places[first : first + length]
        first += length


def _scanned_turn(
    unit: str, offset: int, numbers: Int[Array, "unit 3"], gathered: Mapping[str, Parameters]
) -> Turn:
    """The turn at `offset` of a unit, given one repeat's numbers and gathered rows."""
    index = unit[:offset].count(unit[offset])
    owner, position, occurrence = numbers[offset]

    def read(letter: str) -> Parameters:
        return jax.tree.map(lambda leaf: leaf[index], gathered[letter])

    return Turn((unit[offset],), 0, owner, position, occurrence, read)


def _occurrences(letters: Int[Array, " depth"], count: int) -> Int[Array, " depth"]:
    """How often the letter of each position came before it."""
    chosen = letters[:, None] == jnp.arange(count)[None]
    before = jnp.cumsum(chosen, axis=0) - chosen
    return jnp.sum(before * chosen, axis=1)


def apart(rows: Parameters, owners: int) -> list[Parameters]:
    """The tree of each owner, out of a letter's stacked parameters; of a letter that is apart
    already, as a walk in a loop wants it (a loop would copy every row at every turn), itself."""
    if isinstance(rows, list):
        return rows
    leaves, tree = jax.tree.flatten(rows)
    if not leaves:  # a letter may have no parameters at all
        return [rows] * owners
    return [tree.unflatten(owner) for owner in zip(*map(jnp.unstack, leaves), strict=True)]
