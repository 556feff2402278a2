"""`describe`: order, parameters, FLOPs and memory of every cell, nothing compiled."""

import json

from arch.commands import flags, from_flags, terminal
from arch.sweeps import machine
from arch.sweeps.experiment import matching
from arch.training import describe


def run(command: flags.Describe) -> int:
    """Print a table, or a JSON object a cell."""
    experiment = from_flags.experiment(command)
    cells = experiment.first_cells()
    if command.cells != "*":
        cells = matching(cells, command.cells)
    rows = [
        describe.describe(
            cell.name, cell.variant or "order", experiment.config(cell), machine.platform()
        )
        for cell in cells
    ]
    if command.json:
        for row in rows:
            print(json.dumps(row))
        return 0
    table = terminal.table(experiment.reference, *describe.COLUMNS)
    for row in rows:
        table.add_row(*describe.row(row))
    console = terminal.console()
    console.print(table)
    if any(r["parameters"]["unique"] != r["parameters"]["applied"] for r in rows):
        console.print("Sharing saves memory, not time: `applied` counts a weight at every use.")
    return 0
