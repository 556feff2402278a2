"""`describe`: order, parameters, FLOPs, memory and differences of every cell, nothing compiled.

The answer is kept: asked again, with no file of it changed, it imports next to nothing.
"""

import importlib

from arch.commands import flags, terminal
from arch.commands.answers import answer
from arch.commands.kept import kept


def run(command: flags.Describe) -> int:
    """Print a table and the fields in which each cell differs from the baseline, or a JSON object a
    cell, whose `differs` is field → [the baseline's value, its own]. `--parameters` adds the tree
    of parameters, a line each."""
    asked = [command.config, dict(command.overrides), command.cells, command.parameters]
    found = kept("describe", asked, lambda: _made(command))
    if command.json:
        answer(*found["objects"])
        return 0
    table = terminal.table(found["title"], *found["columns"])
    for row in found["rows"]:
        table.add_row(*row)
    terminal.show(table)
    for line in found["lines"]:
        print(line)
    return 0


def _made(command: flags.Describe) -> dict:
    """By a module whose import takes seconds."""
    return importlib.import_module("arch.commands.architectures").described(command)
