"""`describe`: order, parameters, FLOPs, memory and differences of every cell, nothing compiled."""

from arch.commands import flags, from_flags, terminal
from arch.commands.answers import answer
from arch.commands.arms import arm_lines
from arch.config import differences
from arch.models.parameters import Leaf, written
from arch.sweeps import machine
from arch.sweeps.experiment import Results, matching
from arch.training import describe


def run(command: flags.Describe) -> int:
    """Print a table and the fields in which each cell differs from the baseline, or a JSON object a
    cell, whose `differs` is field → [the baseline's value, its own]. `--parameters` adds the tree
    of parameters, a line each."""
    experiment = from_flags.experiment(command)
    none = Results([], *experiment.metric)
    every = experiment.cells(none)
    cells = every if command.cells == "*" else matching(every, command.cells)
    baseline = experiment.baseline(every, none)
    configs = {cell.name: experiment.config(cell) for cell in (baseline, *cells)}
    rows = [
        describe.describe(
            cell.name,
            cell.variant or "order",
            configs[cell.name],
            machine.platform(),
            command.parameters,
        )
        for cell in cells
    ]
    if command.json:
        base = configs[baseline.name]
        answer(*({**row, "differs": differences(base, configs[row["cell"]])} for row in rows))
        return 0
    table = terminal.table(experiment.reference, *describe.COLUMNS)
    for row in rows:
        table.add_row(*describe.row(row))
    terminal.show(table)
    for said in filter(None, map(describe.said_layout, rows)):
        print(said)
    for line in arm_lines(baseline.name, configs):
        print(line)
    for found in (row for row in rows if row.get("tree")):
        print(f"\nparameters of {found['cell']}: path, shape, dtype, scalars")
        print(written([Leaf(**leaf) for leaf in found["tree"]]))
    if any(r["parameters"]["unique"] != r["parameters"]["applied"] for r in rows):
        print("Sharing saves memory, not time: `applied` counts a weight at every use.")
    return 0
