"""A replica's seed: a number, or two where initialisation and data have different ones.

The seed of initialisation draws the parameters and, in training, dropout and hashes; that of data
draws the batches and what is hidden in them. A plain number is both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Apart:
    """A seed of initialisation and another one of data; as text '3x5'."""

    init: int
    data: int

    def __str__(self) -> str:
        return f"{self.init}x{self.data}"


Seed = int | Apart


def seed_of(init: int, data: int) -> Seed:
    """The seed of the two numbers, a plain one where they are equal."""
    return init if init == data else Apart(init, data)


def both(seed: Seed) -> tuple[int, int]:
    """(of initialisation, of data), by which seeds are ordered."""
    return (seed.init, seed.data) if isinstance(seed, Apart) else (seed, seed)


def read_seed(text: str) -> Seed:
    """'3' or '3x5' as a seed. Raises ValueError for another text."""
    init, _, data = text.partition("x")
    if not init.isdecimal() or not (data or init).isdecimal() or "x" in text and not data:
        raise ValueError(f"{text!r}: expected a seed like 3, or 3x5 of initialisation and data")
    return seed_of(int(init), int(data or init))


def line_seed(line: Mapping[str, Any]) -> Seed:
    """The seed of a line of results: its `seed`, and its `data_seed` where it has one."""
    return seed_of(line["seed"], line.get("data_seed", line["seed"]))


def seed_fields(seed: Seed) -> dict[str, int]:
    """What a line says of its seed: `seed`, and `data_seed` where that is another number."""
    init, data = both(seed)
    return {"seed": init} if init == data else {"seed": init, "data_seed": data}
