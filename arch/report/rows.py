"""The rows of a table: which seeds may be averaged, and what became of the others."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from arch.report.lines import Line, in_order
from arch.report.seeds import Seed, line_seed


class Setting(NamedTuple):
    """How a metric was measured. Two figures are comparable only where all four are equal."""

    split: str
    unit: str | None = None
    window: int | None = None
    stride: int | None = None

    def __str__(self) -> str:
        named = {"window": self.window, "stride": self.stride}
        words = [f"{name} {value}" for name, value in named.items() if value is not None]
        return ", ".join([self.split, *([self.unit] if self.unit else []), *words])


class Measured(NamedTuple):
    """A figure of one line, and how it was measured."""

    setting: Setting
    value: float


@dataclass(frozen=True)
class Row:
    """The seeds that may be averaged: one cell, configuration hash, device kind and setting.

    Attributes:
        setting: None where no line has the metric.
        lines: all lines of the row; empty for a cell that has not run.
        values: seed → figure, the finite ones.
        losses: (what became of it, line) of every line without a finite figure, for example
            ('NaN', line); values and losses together are all lines.
        varied: (field, value) pairs that tell this row's configuration from others of its cell;
            empty where every cell has one configuration.
    """

    cell: str
    device: str
    hash: str
    setting: Setting | None
    lines: tuple[Line, ...]
    values: dict[Seed, float]
    losses: tuple[tuple[str, Line], ...]
    varied: tuple[tuple[str, str], ...] = ()


def measured(line: Mapping[str, Any], split: str, metric: str) -> Measured | None:
    """Setting and value of a metric; None where the line has no such evaluation."""
    evaluation = (line.get("evaluations") or {}).get(split, {})
    if line["status"] != "finished" or evaluation.get(metric) is None:
        return None
    setting = Setting(split, *(evaluation.get(name) for name in ("unit", "window", "stride")))
    return Measured(setting, float(evaluation[metric]))


def group_rows(
    lines: Iterable[Line],
    cells: Sequence[str],
    split: str,
    metric: str,
    varied: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> list[Row]:
    """Groups lines into rows, every line in exactly one, every cell in at least one.

    In the order of `cells`; cells that are not among them follow.

    Args:
        varied: hash → field → value, as experiment.json has it.
    """
    lines = list(lines)
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line["cell"], line["device"], line["hash"]), []).append(line)
    found = []
    for cell in in_order(cells, lines):
        mine = [identity for identity in groups if identity[0] == cell]
        for identity in sorted(mine, key=lambda i: i[1]):
            told = tuple((f, str(v)) for f, v in varied.get(identity[2], {}).items())
            rows = _split_by_setting(identity, groups[identity], split, metric)
            found += [replace(row, varied=told) for row in rows]
        if not mine:
            found.append(Row(cell, "", "", None, (), {}, ()))
    return found


def _split_by_setting(
    identity: tuple[str, str, str], lines: list[Line], split: str, metric: str
) -> list[Row]:
    figures = [(line, measured(line, split, metric)) for line in lines]
    settings = list(dict.fromkeys(figure.setting for _, figure in figures if figure)) or [None]
    found = []
    for setting in settings:
        # a line without a figure has no setting of its own: it is counted in the first row
        mine = [
            (line, figure)
            for line, figure in figures
            if (figure.setting if figure else settings[0]) == setting
        ]
        values = {
            line_seed(line): figure.value
            for line, figure in mine
            if figure and math.isfinite(figure.value)
        }
        losses = tuple(
            (_loss(line, figure, f"{split} {metric}"), line)
            for line, figure in mine
            if line_seed(line) not in values
        )
        found.append(Row(*identity, setting, tuple(line for line, _ in mine), values, losses))
    return found


def _loss(line: Line, figure: Measured | None, missing: str) -> str:
    """What became of a line that has no finite figure."""
    if figure is not None:
        return "NaN" if math.isnan(figure.value) else "infinite"
    status = str(line["status"])
    return {"nan": "NaN", "finished": f"without {missing}"}.get(status, status)
