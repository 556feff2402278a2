"""A group's trackers, told what it has logged."""

import math
from collections.abc import Mapping
from typing import Any

from arch.report.trackers import TRACKERS, Tracked, Tracker, chosen
from arch.training.group import Group
from arch.training.member import Member


class Tracking:
    """The trackers of a group's members; a context that closes them.

    Args:
        text: what --track says; '' for none.
        sweep: the sweep's name.
    """

    def __init__(self, text: str, sweep: str, group: Group):
        self._told = group.step
        self._of: list[tuple[Member, Tracker]] = [
            (member, TRACKERS.build(name, _tracked(sweep, member), field="--track", **options))
            for name, options in chosen(text).items()
            for member in group.members
        ]

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for member, tracker in self._of:
            if kind is None and (summary := member.own.summary):
                tracker.log(summary["steps"], _figures(summary.get("evaluations", {})))
            tracker.close()

    def update(self, group: Group) -> None:
        """Tell the lines that were written since the last time."""
        for member, tracker in self._of:
            for line in member.own.lines("metrics.jsonl"):
                if line["step"] > self._told:
                    own = {k: v for k, v in line.items() if k not in ("step", "split")}
                    tracker.log(line["step"], _figures({line.get("split", "train"): own}))
        self._told = group.step


def _tracked(sweep: str, member: Member) -> Tracked:
    return Tracked(
        sweep, member.cell, str(member.seed), member.identity, member.own.path,
        member.config.to_dict(), member.step,
    )  # fmt: skip


def _figures(splits: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """'split/name' → number, of the finite ones: a chart has no place for others. What has a number
    at each position of an order is 'split/name/position', from 00."""
    flat = {
        f"{split}/{name}{place}": number
        for split, figures in splits.items()
        for name, value in figures.items()
        for place, number in _numbers(value)
    }
    return {name: value for name, value in flat.items() if math.isfinite(value)}


def _numbers(value: Any) -> list[tuple[str, float]]:
    if isinstance(value, list):
        return [(f"/{place:02}", float(number)) for place, number in enumerate(value)]
    return [("", float(value))] if isinstance(value, int | float) else []
