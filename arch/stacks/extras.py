"""Sums of what sublayers return beside their output, as a walk carries and collects them."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from arch.context import Extras, Sums


def zeros_of(shapes: Any) -> Any:
    """A tree of zeros for a tree of shapes."""
    return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)


def zero_sums(shapes: Iterable[Extras]) -> tuple[Sums, Sums]:
    """Zeros for every loss, and for every statistic, that any of the Extras has."""
    losses, statistics = {}, {}
    for extras in shapes:
        losses |= extras.losses
        statistics |= extras.statistics
    return zeros_of(losses), zeros_of(statistics)


def by_position(records: Mapping[int, Mapping[str, Array]]) -> dict[str, dict[int, Array]]:
    """name → position → array, of the record of each position."""
    turned: dict[str, dict[int, Array]] = {}
    for position, record in records.items():
        for name, value in record.items():
            turned.setdefault(name, {})[position] = value
    return turned
