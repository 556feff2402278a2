"""The schedule of a stack: which letter stands at each position, and whose weights it uses.

A letter's weights are stacked along a leading owner axis (parameters.py); sharing weights changes
the schedule alone, never the tree of parameters. Orders of unequal counts have equal trees where
each is given room for all of them: owners that no position uses, and positions that do nothing.
"""

import collections
import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from arch import order as orders
from arch.registry import ConfigurationError


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The positions of an order, each with a letter and the owner of its weights.

    Attributes:
        positions: (letter, owner) of each position along the depth.
        owners: letter → number of owners in the tree of parameters.
        uses: letter → positions that there are for it, at least those of the order.
        lengths: of the shortest and the longest order there is room for; where the order is data, a
            walk has as many positions as the longest.
    """

    positions: tuple[tuple[str, int], ...]
    owners: Mapping[str, int]
    uses: Mapping[str, int]
    lengths: tuple[int, int]

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters, sorted, so that every order of the same letters numbers them alike."""
        return tuple(sorted(self.owners))

    @property
    def length(self) -> int:
        """Positions of a walk of which the order is data."""
        return self.lengths[1]

    @property
    def used(self) -> dict[str, int]:
        """Letter → number of owners that a position uses."""
        return collections.Counter(letter for letter, _ in dict.fromkeys(self.positions))

    def as_data(self) -> Int[np.ndarray, "2 length"]:
        """The number of each position's letter, and its owner; beyond the order's end the number
        that no letter has.

        A program that takes this array serves all orders of the same counts, and of the same room.
        """
        index = {letter: i for i, letter in enumerate(self.letters)}
        pairs = [(index[letter], owner) for letter, owner in self.positions]
        pairs += [(len(index), 0)] * (self.length - len(pairs))
        return np.array(pairs, np.int32).T


def make_schedule(
    order: str, share: str = "", groups: int = 1, inner_groups: int = 1, room: str = ""
) -> Schedule:
    """The schedule of an order.

    A letter in `share` has `groups` owners, each serving an equal run of its occurrences, as
    ALBERT's hidden groups do (Lan et al. 2019). With `inner_groups` each group has so many owners,
    which take turns. Every other letter has one owner per occurrence, or as many as it has in any
    of the orders, separated by `;`, for which there is to be `room`.

    Raises ConfigurationError where the letters or the groups do not fit the order, or the order the
    room.

    >>> make_schedule("sfsf", share="f").positions
    (('s', 0), ('f', 0), ('s', 1), ('f', 0))
    """
    counts = orders.counts(order)
    _check_sharing(counts, share, groups, inner_groups)
    own = sum(counts.values())
    uses, lengths = _room(room, counts) if room else (counts, (own, own))
    owners = {x: groups * inner_groups if x in share else n for x, n in uses.items()}
    seen = dict.fromkeys(counts, 0)
    positions = []
    for letter in orders.expand(order):
        owner = seen[letter]
        if letter in share:
            layer, turn = divmod(owner, inner_groups)
            group = layer * groups // (counts[letter] // inner_groups)
            owner = group * inner_groups + turn
        positions.append((letter, owner))
        seen[letter] += 1
    return Schedule(tuple(positions), owners, uses, lengths)


def _room(room: str, counts: Mapping[str, int]) -> tuple[dict[str, int], tuple[int, int]]:
    """(letter → the most that any order has of it, lengths of the shortest and the longest order).

    Raises ConfigurationError where an order of these counts does not fit.
    """
    try:
        each = [orders.counts(order) for order in room.split(";")]
    except orders.OrderError as error:
        raise ConfigurationError(f"model.stack.room={room!r}: {error}") from None
    most = {x: max(found.get(x, 0) for found in each) for x in sorted(set().union(*each))}
    lengths = [sum(found.values()) for found in each]
    shortest, longest = min(lengths), max(lengths)
    fits = shortest <= sum(counts.values()) <= longest
    if not fits or any(n > most.get(x, 0) for x, n in counts.items()):
        own = " ".join(f"{x}{n}" for x, n in counts.items())
        raise ConfigurationError(
            f"model.stack.room={room!r} has no room for an order of {own}; expected the order "
            f"among those that it names, for example {f'{room};{own}'!r}"
        )
    return most, (shortest, longest)


def _check_sharing(counts: Mapping[str, int], share: str, groups: int, inner_groups: int) -> None:
    """Refuse letters that the order lacks, and groups that its occurrences do not fill."""
    for letter in share:
        if letter not in counts:
            raise ConfigurationError(
                f"model.stack.share={share!r}: letter {letter!r} is not in the order, "
                f"which has {''.join(counts)!r}"
            )
    if groups < 1 or any(groups > counts[letter] for letter in share):
        raise ConfigurationError(
            f"model.stack.groups={groups}: allowed is 1 to the occurrences of each shared letter, "
            f"{counts}"
        )
    for letter in share:
        number = counts[letter]
        if inner_groups < 1 or number % inner_groups or groups * inner_groups > number:
            raise ConfigurationError(
                f"model.stack.inner_groups={inner_groups}, groups={groups}: the {number} "
                f"occurrences of {letter!r} must be a multiple of it, and enough for all owners"
            )
    if inner_groups > 1 and not share:
        raise ConfigurationError(
            f"model.stack.inner_groups={inner_groups}: no letter is shared; allowed is 1"
        )
