"""Evaluations of finished runs as tables: a row for each seed and split, and means over seeds.

Of results in `results/` the tables are those of `arch.report.tables`; these are of checkpoints.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from arch.report.columns import MISSING
from arch.report.renderers import markdown_grid, markdown_text
from arch.report.seeds import line_seed
from arch.report.statistics import mean_and_sd, summary
from arch.report.tables import Grid

PLACES = 4
FINISHED = "finished"


class Evaluated(NamedTuple):
    """The figures of one model on one split.

    Attributes:
        run: which, as the table names it.
        origin: of a run its seed, the checkpoint's step, which weights of it, and of which step
            those are; of a model that others trained, nothing.
        status: what became of the run, or 'unfinished'.
        figures: name → number or text.
    """

    run: str
    origin: Mapping[str, object]
    status: str
    split: str
    figures: Mapping[str, Any]

    def flat(self) -> dict[str, object]:
        """All of it as one object, for JSON."""
        where = {"run": self.run, **self.origin, "status": self.status, "split": self.split}
        return {**where, **self.figures}


def seed_grid(rows: Sequence[Evaluated], title: str) -> Grid:
    """A line for each row."""
    hidden = {"status"} if all(row.status == FINISHED for row in rows) else set()
    flat = [{k: v for k, v in row.flat().items() if k not in hidden} for row in rows]
    names = tuple(dict.fromkeys(name for row in flat for name in row))
    texts = tuple(tuple(_text(row.get(name, "")) for name in names) for row in flat)
    return Grid(title, names, texts)


def mean_grid(rows: Sequence[Evaluated]) -> Grid | None:
    """n and mean ± SD of every run and split over its finished seeds; figures that are no
    measurements, for example the window, where all seeds agree. None where there is one seed."""
    groups: dict[tuple[str, str], list[Evaluated]] = {}
    for row in rows:
        groups.setdefault((row.run, row.split), []).append(row)
    if all(len(group) == 1 for group in groups.values()):
        return None
    names = tuple(dict.fromkeys(name for row in rows for name in row.figures))
    lines = []
    for (run, split), group in groups.items():
        whole = [row.figures for row in group if row.status == FINISHED]
        means = (_mean([figures.get(name) for figures in whole]) for name in names)
        lines.append((run, split, str(len(whole)), *means))
    return Grid("Mean ± SD over seeds", ("run", "split", "n", *names), tuple(lines))


def left_out(rows: Sequence[Evaluated]) -> list[str]:
    """What to say of the seeds that are in no mean."""
    lost = [row for row in rows if row.status != FINISHED]
    said = dict.fromkeys(f"{row.run} seed {line_seed(row.origin)} ({row.status})" for row in lost)
    return [f"Means leave out what has not finished: {', '.join(said)}."] * bool(said)


def to_page(grids: Sequence[Grid], notes: Sequence[str], command: str) -> str:
    """The tables as a page of Markdown, with the command line that makes it again."""
    blocks = ["# Evaluation of checkpoints"]
    for grid in grids:
        blocks += [f"## {markdown_text(grid.title)}", markdown_grid(grid)]
    blocks += ["\n".join(f"- {markdown_text(note)}" for note in notes)]
    blocks += ["To make it again:", f"```sh\n{command}\n```"]
    return "\n\n".join(blocks) + "\n"


def _mean(values: Sequence[Any]) -> str:
    """Mean ± SD of several numbers, or what all have in common; else, as with inf, a dash."""
    if len(values) > 1 and all(isinstance(v, float) and math.isfinite(v) for v in values):
        return mean_and_sd(summary(values), PLACES)
    return _text(values[0]) if len(set(values)) == 1 and values[0] is not None else MISSING


def _text(value: object) -> str:
    return f"{value:.{PLACES}f}" if isinstance(value, float) else str(value)
