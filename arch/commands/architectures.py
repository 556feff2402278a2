"""What `describe` says of the cells of an experiment; it imports all that they are made of."""

from typing import Any

from arch.commands import flags, from_flags
from arch.commands.arms import arm_lines
from arch.config import differences
from arch.models.parameters import Leaf, written
from arch.sweeps import machine
from arch.sweeps.experiment import Results, matching
from arch.training import describe


def described(command: flags.Describe) -> dict[str, Any]:
    """{'objects': for a program, 'title', 'columns', 'rows': of the table, 'lines': beneath it}."""
    experiment = from_flags.experiment(command)
    none = Results([], *experiment.metric)
    every = experiment.cells(none)
    cells = every if command.cells == "*" else matching(every, command.cells)
    baseline = experiment.baseline(every, none)
    configs = {cell.name: experiment.config(cell) for cell in (baseline, *cells)}
    found = [
        describe.describe(
            cell.name,
            cell.variant or "order",
            configs[cell.name],
            machine.platform(),
            command.parameters,
        )
        for cell in cells
    ]
    base = configs[baseline.name]
    lines = [*filter(None, map(describe.said_layout, found)), *arm_lines(baseline.name, configs)]
    for one in found:
        if one.get("tree"):
            lines.append(f"\nparameters of {one['cell']}: path, shape, dtype, scalars")
            lines.append(written([Leaf(**leaf) for leaf in one["tree"]]))
    if any(one["parameters"]["unique"] != one["parameters"]["applied"] for one in found):
        lines.append("Sharing saves memory, not time: `applied` counts a weight at every use.")
    return {
        "objects": [{**one, "differs": differences(base, configs[one["cell"]])} for one in found],
        "title": experiment.reference,
        "columns": describe.COLUMNS,
        "rows": [describe.row(one) for one in found],
        "lines": lines,
    }
