"""What the cells of an experiment differ in, as `describe` and `sweep --dry-run` print it."""

from collections.abc import Collection

from arch.config import said_differences
from arch.sweeps.experiment import Cell, Experiment, Results


def arm_lines(
    experiment: Experiment, cells: list[Cell], known: Results, shown: Collection[str]
) -> list[str]:
    """A line for each cell in `shown`: the fields in which it differs from the baseline.

    cells: all of the experiment's, among which the baseline is.
    """
    base = experiment.baseline(cells, known).name
    lines = []
    for name, found in experiment.differences(cells, known).items():
        if name in shown and name != base:
            said = said_differences(found) or "nothing: one and the same run"
            lines.append(f"{name} differs from {base} in: {said}")
    return lines
