"""The schedule of a stack: which letter stands at each position, and whose weights it uses.

A letter's weights are stacked along a leading owner axis (parameters.py); sharing weights changes
the schedule alone, never the tree of parameters.
"""

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
        owners: letter → number of owners.
    """

    positions: tuple[tuple[str, int], ...]
    owners: Mapping[str, int]

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters, sorted, so that every order of the same letters numbers them alike."""
        return tuple(sorted(self.owners))

    def as_data(self) -> Int[np.ndarray, "2 depth"]:
        """The number of each position's letter, and its owner.

        A program that takes this array serves all orders of the same counts.
        """
        index = {letter: i for i, letter in enumerate(self.letters)}
        pairs = [(index[letter], owner) for letter, owner in self.positions]
        return np.array(pairs, np.int32).T


def make_schedule(order: str, share: str = "", groups: int = 1, inner_groups: int = 1) -> Schedule:
    """The schedule of an order.

    A letter in `share` has `groups` owners, each serving an equal run of its occurrences, as
    ALBERT's hidden groups do (Lan et al. 2019). With `inner_groups` each group has so many owners,
    which take turns. Every other letter has one owner per occurrence.

    Raises ConfigurationError where the letters or the groups do not fit the order.

    >>> make_schedule("sfsf", share="f").positions
    (('s', 0), ('f', 0), ('s', 1), ('f', 0))
    """
    counts = orders.counts(order)
    _check_sharing(counts, share, groups, inner_groups)
    held = groups * inner_groups
    owners = {letter: held if letter in share else n for letter, n in counts.items()}
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
    return Schedule(tuple(positions), owners)


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
