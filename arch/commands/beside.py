"""What the ways of `bench` share where sides are measured in turn."""

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from arch.bench.peers.kinds import Chosen
from arch.bench.protocol import Side
from arch.commands import flags, terminal
from arch.report.tables import Grid
from arch.sweeps.experiment import Experiment
from arch.sweeps.sweep import RESULTS

FOLDER = RESULTS / "benchmarks"


def opened(stack: ExitStack, module: str, opening: dict[str, Any]) -> Side:
    """A side that the stack closes."""
    side = Side(module, opening)
    stack.callback(side.close)
    return side


def again(command: flags.Bench, experiment: Experiment, peers: Sequence[Chosen]) -> str:
    """The command line, wherever Python and a peer's checkout are."""
    names = ",".join(peer.name + ":PATH" * bool(peer.path) for peer in peers)
    given = [f"--config.{field}={text}" for field, text in experiment.overrides.items()]
    cells = [f"--cells={command.cells}"] * (command.cells != "*")
    text = [f"--generate={command.generate}"] * bool(command.generate)
    against = [f"--against={names}"] * bool(names)
    parts = [f"--config={experiment.reference}", *given, *cells, *text, *against]
    return shlex.join(["python", "launch.py", "bench", *parts])


def show(grids: Sequence[Grid]) -> None:
    """Print tables."""
    for grid in grids:
        made = terminal.table(grid.title, *grid.columns)
        for row in grid.rows:
            made.add_row(*row)
        terminal.show(made)
