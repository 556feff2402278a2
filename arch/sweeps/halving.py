"""Successive halving: many arms train a little, the best of them longer (Jamieson and Talwalkar
2016, arXiv 1502.07943, Algorithm 1).

Each rung trains `factor` times as many steps as the one below, from the start, with as many arms
fewer: every rung costs about as much. An experiment's `cells` may return what `halve` gives, since
it is asked again while results come:

    def cells(arg, results):
        arms = [Cell(f"p{i}", {"model.order": order}, (0,)) for i, order in enumerate(drawn)]
        return halve(arms, steps_of_rungs(400, 3), results).cells
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from arch.registry import ConfigurationError
from arch.sweeps.cells import Cell, Results

FACTOR = 2


class Halved(NamedTuple):
    """The cells called for so far, and the arms of the last rung, best first: none before all of
    that rung have ended, nor any that went NaN or diverged."""

    cells: list[Cell]
    best: list[Cell]


def steps_of_rungs(steps: int, rungs: int, factor: int = FACTOR) -> tuple[int, ...]:
    """Steps of each rung, the last of them `steps`.

    >>> steps_of_rungs(400, 3)
    (100, 200, 400)
    """
    if rungs < 1 or factor < 2 or steps < factor ** (rungs - 1):
        raise ConfigurationError(
            f"rungs={rungs}: expected at least 1, and few enough for {steps} steps to be divided "
            f"by {factor} that often"
        )
    return tuple(steps // factor**below for below in reversed(range(rungs)))


def halve(
    arms: Sequence[Cell], steps: Sequence[int], results: Results, factor: int = FACTOR
) -> Halved:
    """The cells of every rung that the results so far call for: `<arm>-<steps>`.

    Args:
        arms: cells with seeds of their own, which have no part in what is reported of the best.
        steps: of each rung, rising.
    """
    cells: list[Cell] = []
    left = list(arms)
    for rung, number in enumerate(steps):
        tried = {arm.name: _at(arm, number) for arm in left}
        cells += tried.values()
        if not all(results.ended(cell.name, cell.seeds) for cell in tried.values()):
            return Halved(cells, [])
        means = {name: _mean(cell, results) for name, cell in tried.items()}
        whole = [arm for arm in left if math.isfinite(means[arm.name])]
        ranked = sorted(whole, key=lambda arm: means[arm.name])
        if rung == len(steps) - 1:
            return Halved(cells, ranked)
        left = ranked[: max(1, len(left) // factor)]
    return Halved(cells, [])


def _mean(cell: Cell, results: Results) -> float:
    """nan where a seed went NaN or diverged."""
    mean = results.mean(cell.name)
    lost = len(results.values(cell.name)) < len(cell.seeds)
    return math.nan if mean is None or lost else mean


def _at(arm: Cell, steps: int) -> Cell:
    overrides = {**arm.overrides, "train.steps": steps}
    return dataclasses.replace(arm, name=f"{arm.name}-{steps}", overrides=overrides)
