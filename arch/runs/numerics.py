"""Which changes of the code's numbers touch the results of a configuration.

`provenance.NUMERICS` is the number of the last of them. A line of an older number is what the
present code would make again, unless a later change touches its configuration.
"""

from collections.abc import Callable
from typing import NamedTuple

from arch.registry import Config


class Change(NamedTuple):
    """number: of the results from this change on. commit: with its date. touches: whether results
    of a configuration may come out in other bits than before."""

    number: int
    commit: str
    about: str
    touches: Callable[[Config], bool]


def _sums_of_parts(config: Config) -> bool:
    paddings = config["task"].get("paddings", 1)  # an option of one kind of task alone
    return config["train"]["accumulate"] > 1 or paddings > 1


def _exact_gelu(config: Config) -> bool:
    """Whether any activation, of a sublayer or a head, is gelu or geglu."""
    sections = [config["model"]["head"], *config["model"]["sublayers"].values()]
    return any(section.get("activation") in ("gelu", "geglu") for section in sections)


CHANGES = (
    Change(
        2,
        "74e2e21, 2026-11-21",
        "dropout's random numbers come in slices: other masks above 65,536 elements",
        lambda config: config["model"]["dropout"] > 0,
    ),
    Change(
        3,
        "2026-11-26",
        "terms of microbatches are divided by their weights in the whole batch; a passage that is "
        "read with several paddings has its own, whatever the batch. `ponder_spread`, which no "
        "table shows, is that of all positions, and no mean over batches",
        _sums_of_parts,
    ),
    Change(
        4,
        "2026-11-26",
        "the derivative of exact GELU is worked out beside it, and 1 + erf is taken for erfc",
        _exact_gelu,
    ),
)


def needed(config: Config) -> int:
    """The number from which on results of a configuration are those of the present code."""
    return max((change.number for change in CHANGES if change.touches(config)), default=1)
