"""Text token by token, measured: ours by cached steps, ours computed anew, and peers, in turn."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from arch.bench.against import OURS, QUIET, Turns, counted_rounds
from arch.report.lines import revision
from arch.report.tables import Grid
from arch.runs import provenance

PROMPT = 16  # tokens before the text: whole dispatches of ours
ANEW = "ours, computed anew"
REQUIRED = {
    "experiment": str, "cell": str, "tokens": int, "sides": dict, "ratios": dict,
    "disturbed": bool, "device_name": str,
}  # fmt: skip
COLUMNS = (
    "machine", "experiment", "cell", "tokens", "side", "tokens/s", "ours over it",
    "lowest to highest", "rounds", "parameters", "load", "versions",
)  # fmt: skip


def line(
    turns: Turns, about: Mapping[str, Mapping[str, Any]], more: Mapping[str, Any]
) -> dict[str, Any]:
    """The result of all sides; `more` says of what and where.

    sides: name → tokens_per_second, the median over rounds, and what the side says of itself.
    ratios: side → the tokens/s of ours, by cached steps, over it in each round. Of quiet rounds
    alone where there are enough; else of all, and `disturbed` is true.
    """
    counted, disturbed = counted_rounds(turns)
    speeds = {name: [turns[name][i]["tokens_per_second"] for i in counted] for name in turns}
    return {
        **more,
        "sides": {
            name: {"tokens_per_second": statistics.median(found), **about[name]}
            for name, found in speeds.items()
        },
        "ratios": {
            name: [ours / other for ours, other in zip(speeds[OURS], found, strict=True)]
            for name, found in speeds.items()
            if name != OURS
        },
        "disturbed": disturbed,
        "rounds": len(turns[OURS]),
        "turns": turns,
        "git": provenance.git(),
        "numerics": provenance.NUMERICS,
    }


def key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a later line takes the place of an earlier one by."""
    names = "experiment", "cell", "tokens", "device_name", "cores"
    return (*(line[name] for name in names), *sorted(line.get("overrides", {}).items()))


def grid(lines: Sequence[Mapping[str, Any]]) -> Grid:
    """A row for each side of each line."""
    rows = tuple(_row(line, side) for line in lines for side in line["sides"])
    return Grid("Tokens a second of text", COLUMNS, rows)


def notes() -> list[str]:
    """What holds for all rows."""
    return [
        f"Text: greedily, in float32 at initial weights, one text at a time after a prompt of "
        f"{PROMPT} tokens; the sides make it in turn, each in its own process. Ours goes by cached "
        "steps; anew, the whole text is computed for every token, at full length from the first. "
        "Ours over it: the median over rounds in which other processes took less than "
        f"{QUIET:.0%} of the cores from every side; disturbed where there were too few of these: "
        "the figures are then of all rounds."
    ]


def _row(line: Mapping[str, Any], side: str) -> tuple[str, ...]:
    about, ratios = line["sides"][side], line["ratios"].get(side, [])
    counted = len(next(iter(line["ratios"].values())))
    return (
        f"{line['device_name']}, {line['cores']} cores",
        line["experiment"],
        " ".join([line["cell"], *(f"{k}={v}" for k, v in line.get("overrides", {}).items())]),
        f"{line['tokens']:,}",
        side,
        f"{about['tokens_per_second']:,.0f}",
        f"{statistics.median(ratios):.2f}" if ratios else "",
        f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "",
        f"{counted} of {line['rounds']}" + ", disturbed" * line["disturbed"],
        f"{about['parameters']:,}",
        " → ".join("?" if load is None else f"{load:.1f}" for load in line["load"]),
        ", ".join([*(f"{k} {v}" for k, v in about["versions"].items()), f"git {revision(line)}"]),
    )
