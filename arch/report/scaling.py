"""How figures grow over a number, for example over the length of a sequence.

For experiments that measure one thing at many sizes: `curve` takes it from their results,
`section_over` makes a table of several, `less_from` and `times_as_far` say where two meet.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arch.report.charts import line_chart
from arch.report.columns import MISSING
from arch.report.sections import SeedFigures, number_text
from arch.report.statistics import Summary, mean_and_sd, summary

Curve = Mapping[int, Summary]  # size → its figures over seeds; n is 0 where nothing was measured


def curve(results: SeedFigures, cells: Mapping[int, str], metric: str, split: str) -> Curve:
    """Size → the figures of its cell over seeds; cells: size → cell."""
    return {
        size: summary(results.values(cell, metric, split).values()) for size, cell in cells.items()
    }


def section_over(
    title: str,
    first: str,
    sizes: Sequence[int],
    curves: Mapping[str, Curve],
    ratios: Mapping[str, tuple[Curve, Curve]],
    *,
    factor: float = 1.0,
    beside: Mapping[str, Curve] | None = None,
    note: str = "",
) -> dict[str, Any]:
    """A section of an experiment's table with one row per size: the means of each curve in three
    digits, `beside` with their SD, and the ratios of two curves.

    Args:
        first: the header of the first column.
        factor: what the curves' figures are multiplied by, for example 1000 for milliseconds.
    """
    beside, rows = beside or {}, []
    for size in sizes:
        means = (three_digits(factor * _mean(found, size)) for found in curves.values())
        spreads = (mean_and_sd(found[size], 2) for found in beside.values())
        quotients = (three_digits(_mean(a, size) / _mean(b, size)) for a, b in ratios.values())
        rows.append([f"{size:,}", *means, *spreads, *quotients])
    columns = [first, *curves, *beside, *ratios]
    return {"title": title, "columns": columns, "rows": rows, "note": note}


def section_of_meetings(
    title: str,
    first: str,
    curves: Mapping[str, Sequence[tuple[Curve, Curve]]],
    headers: Sequence[str],
    sizes: Mapping[int, str],
    note: str = "",
) -> dict[str, Any]:
    """A section with one row per rival of ours: `less_from` of every pair (ours, theirs), then of
    the last pair `times_as_far` at some sizes.

    Args:
        curves: rival → the pairs, one for each of `headers`.
        sizes: size → the header of its column.
    """
    rows = []
    for rival, pairs in curves.items():
        less = (less_from(ours, theirs) for ours, theirs in pairs)
        rows.append([rival, *less, *(times_as_far(*pairs[-1], size) for size in sizes)])
    columns = [first, *headers, *sizes.values()]
    return {"title": title, "columns": columns, "rows": rows, "note": note}


def chart(
    name: str, title: str, curves: Mapping[str, Curve], x_label: str, y_label: str
) -> dict[str, Any]:
    """An entry of TABLE["charts"] with a line for each curve, both axes logarithmic."""
    series = {label: found.items() for label, found in curves.items()}
    return line_chart(name, title, series, x_label, y_label, "xy")


def three_digits(value: float) -> str:
    """The value in three digits, or in all before the point; '—' for nan."""
    return number_text(value, ",.0f" if value >= 100 else ".3g")


def less_from(ours: Curve, theirs: Curve) -> str:
    """The size from which on ours is less, wherever both were measured; '—' where it is not."""
    found = ""
    for size in ours:
        here, there = _mean(ours, size), _mean(theirs, size)
        if here < there:
            found = found or f"{size:,}"
        elif here >= there:
            found = ""
    return found or MISSING


def times_as_far(ours: Curve, theirs: Curve, size: int) -> str:
    """How many times the size may be at which ours reaches what theirs is at a size, between what
    was measured by a line through the logarithms; '≥ 8' where it does not reach it."""
    goal = _mean(theirs, size)
    points = [(at, found.mean) for at, found in ours.items() if found.n]
    if math.isnan(goal) or not points:
        return MISSING
    if goal > points[-1][1]:
        return f"≥ {points[-1][0] / size:.0f}"
    reached = np.exp(np.interp(np.log(goal), *np.log([(y, x) for x, y in points]).T))
    return f"{reached / size:.1f}"


def _mean(found: Curve, size: int) -> float:
    return found[size].mean if size in found else math.nan
