"""A cell of an experiment, and what is known of its results."""

import dataclasses
import fnmatch
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from arch.registry import ConfigurationError, suggestion
from arch.report.again import named_by
from arch.report.cards import Card, Shown
from arch.report.flat import flat_rows
from arch.report.lines import of_one_device
from arch.report.seeds import Seed, both, line_seed
from arch.report.statistics import decimals, mean_and_sd, summary

ENDED = ("finished", "nan", "diverged")  # of seeds that no training goes on with; failed ones do
CELL_NAME = re.compile(r"[A-Za-z0-9(][A-Za-z0-9._=+()-]*")


@dataclasses.dataclass(frozen=True)
class Rung:
    """A cell's place on a ladder (`sweeps.ladder`): the value its arm is tried or trained with.

    Args:
        arm: the name of the cell that the value is chosen for.
        field, value: the dotted field, and its text here; `values` are all that are tried.
        seeds: the pilot seeds, on which the best value is chosen by `metric` on `split`; `reported`
            are the arm's own, empty for those of the sweep.
        pilot: whether this cell is tried, and in no figure but the ladder's.
    """

    arm: str
    field: str
    value: str
    values: tuple[str, ...]
    seeds: tuple[int, ...]
    reported: tuple[Seed, ...] = ()
    metric: str = ""
    split: str = ""
    pilot: bool = False

    def as_json(self) -> dict[str, Any]:
        """What a report has to know of it."""
        held = dataclasses.asdict(self)
        del held["reported"]
        return held


@dataclasses.dataclass(frozen=True)
class Cell:
    """A name and overrides on `get_config`; seeds of its own where it has others than the rest.

    An override that changes a kind keeps what both kinds have. An option that was set and that the
    new kind lacks is given up by None, as by {"model.stack.steps": None} beside a kind that makes
    no steps. `typed` is what a product or a ladder gives this cell, text applied last.
    """

    name: str
    overrides: Mapping[str, object] = dataclasses.field(default_factory=dict)
    seeds: tuple[Seed, ...] = ()
    variant: str = ""
    typed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rung: Rung | None = None


class Results(Shown):
    """What a file's `cells` may ask of the results so far.

    Args:
        lines: of runs.jsonl; of a cell that the name holds in several configurations, those of the
            present one alone: see `present.present_results`.
        metric, split: the table's own.
        present: cell → hash of its present configuration, of the cells that were held in several.
    """

    def __init__(
        self,
        lines: list[dict],
        metric: str,
        split: str,
        present: Mapping[str, str] = MappingProxyType({}),
    ):
        self._lines, self._metric, self._split = lines, metric, split
        self._of_one_device = of_one_device(lines)
        self.present = present

    def values(self, cell: str, metric: str = "", split: str = "") -> dict[Seed, Any]:
        """seed → a figure, of the finished seeds of a cell that have it, on the device kind that
        most have finished on; the table's own metric and split where none are named."""
        evaluations = {
            line_seed(line): line["evaluations"].get(split or self._split, {})
            for line in self._of_one_device
            if line["cell"] == cell and line["status"] == "finished"
        }
        name = metric or self._metric
        return {seed: figures[name] for seed, figures in evaluations.items() if name in figures}

    def mean(self, cell: str, seeds: tuple[Seed, ...] = ()) -> float | None:
        """The mean over these seeds (none named: all that finished); None if one is missing."""
        values = self.values(cell)
        wanted = seeds or tuple(values)
        if not wanted or any(seed not in values for seed in wanted):
            return None
        return sum(values[seed] for seed in wanted) / len(wanted)

    def ended(self, cell: str, seeds: Sequence[Seed]) -> bool:
        """Whether each of the cell's seeds has finished, gone NaN or diverged; what failed is
        tried again."""
        lines = [x for x in self._lines if x["cell"] == cell and x["status"] in ENDED]
        known = {line_seed(line) for line in lines}  # whose data may have a seed of its own
        return {*seeds} <= known | {both(seed)[0] for seed in known}

    def lines(self) -> list[dict]:
        """The lines, finished or not."""
        return self._lines

    def rows(self) -> list[dict[str, Any]]:
        """The lines, finished or not, as `flat.flat_rows`: `pandas.DataFrame(results.rows())`."""
        return flat_rows(self._lines)

    def card(self) -> Card:
        """What `repr` and a notebook show: n, and mean ± SD of the metric, by cell."""
        cells = dict.fromkeys(line["cell"] for line in self._lines)
        found = {cell: summary(self.values(cell).values()) for cell in cells}
        places = decimals(s.mean for s in found.values())
        facts = {cell: f"{mean_and_sd(s, places)}, n = {s.n}" for cell, s in found.items()}
        return Card(f"{self._metric} ({self._split}), {len(self._lines)} runs", facts)


def matching(cells: list[Cell], globs: str, flag: str = "--cells") -> list[Cell]:
    """The cells that a glob, or several with commas between, names, and pilots of an arm that they
    name; ConfigurationError where one of them names none."""

    def named(glob: str) -> list[Cell]:
        return [
            cell
            for cell in cells
            if named_by(cell.name, glob) or (cell.rung and named_by(cell.rung.arm, glob))
        ]

    for glob in globs.split(","):
        if not any(fnmatch.fnmatchcase(cell.name, globs) for cell in cells) and not named(glob):
            names = [cell.name for cell in cells]
            raise ConfigurationError(
                f"{flag}={globs}: no cell matches{f' {glob}' * (glob != globs)}; there are "
                f"{', '.join(names)}{suggestion(glob, names)}"
            )
    return named(globs)
