"""`list` and `describe`: what there is, and what a configuration would be."""

import json
from pathlib import Path

from rich.markup import escape

from arch.commands import terminal
from arch.commands.asked import experiment_of
from arch.data import parallel
from arch.data.corpora import named as corpora
from arch.models.embeddings.embedding import embeddings
from arch.models.heads import heads
from arch.optimizers.kinds import optimizers
from arch.registry import stacks, sublayers, tasks
from arch.sweeps import machine
from arch.sweeps.experiment import Results, matching
from arch.training import describe
from arch.variants import VARIANTS


def catalogue(_) -> int:
    """`list`: everything that a configuration may name."""
    console = terminal.console()
    for registry in (sublayers, stacks, tasks, embeddings, heads, optimizers):
        table = terminal.table(f"{registry.noun}s", "kind", "options")
        for kind in registry.names():
            options = ", ".join(f"{k}={v!r}" for k, v in registry.options(kind).items())
            table.add_row(kind, options)
        console.print(table)
    table = terminal.table("variants", "name", "what it is")
    for name, variant in VARIANTS.items():
        table.add_row(name, (variant.__doc__ or "").strip().splitlines()[0])
    console.print(table)
    table = terminal.table("corpora", "name", "what it is")
    for source in (corpora, parallel):
        for name in source.names():
            table.add_row(name, escape(source.describe(name)))
    table.add_row("file:PATH", "a text, .jsonl, .gz or .zst file, or a directory of them")
    console.print(table)
    table = terminal.table("experiments", "file", "what it shows")
    for file in sorted(Path("experiments").glob("*.py")):
        if "def get_config" in (text := file.read_text()):
            table.add_row(str(file), text.split('"""')[1].strip().splitlines()[0])
    console.print(table)
    return 0


def describe_cells(arguments) -> int:
    """`describe`: order, parameters, FLOPs and memory of every cell, nothing compiled."""
    experiment = experiment_of(arguments)
    cells = experiment.cells(Results([], *experiment.metric))
    if arguments.cells != "*":
        cells = matching(cells, arguments.cells)
    rows = [
        describe.describe(
            cell.name, cell.variant or "order", experiment.config(cell), machine.platform()
        )
        for cell in cells
    ]
    if arguments.json:
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
