"""`run`: one cell; without --cell, get_config itself."""

import dataclasses

from arch.commands import flags, from_flags
from arch.commands.sweep import train
from arch.sweeps.experiment import matching


def run(command: flags.Run) -> int:
    """Train the cell's seeds and print the table."""
    experiment = from_flags.experiment(command, alone=not command.cell)
    sweep = from_flags.sweep(command, experiment)
    if command.cell:
        matching(experiment.cells(sweep.results()), command.cell, "--cell")
        sweep = dataclasses.replace(sweep, cells=command.cell)
    return train(sweep)
