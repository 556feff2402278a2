"""`list`: everything that a configuration or a flag may name.

What this package has is asked of its registries once, which imports all of it, and then kept: a
second answer imports next to nothing.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path

from arch.commands import flags, terminal
from arch.commands.answers import answer
from arch.commands.kept import kept
from arch.runs import provenance

Rows = list[dict]
EXPERIMENTS = "experiments"


def run(command: flags.List) -> int:
    """Print each group of names, nothing cut at any width; with --json, one object of them all."""
    groups = {**kept("list", [], _asked), EXPERIMENTS: list(_experiments())}
    if command.json:
        answer(groups)
        return 0
    for title, rows in groups.items():
        pairs = [(row["name"], _text(row)) for row in rows]
        terminal.print_pairs(title, pairs or [("", f"none in {Path.cwd() / EXPERIMENTS}")])
    return 0


def _asked() -> dict[str, Rows]:
    """From the registries, whose import takes seconds."""
    return importlib.import_module("arch.commands.kinds").groups()


def _text(row: dict) -> str:
    """What stands beside a name: what it is, or a kind's options with their defaults."""
    if "options" not in row:
        return row["what"]
    options = {name: repr(_sequence(value)) for name, value in row["options"].items()}
    given = (f"{name}={value.replace(', ', ',')}" for name, value in options.items())
    return ", ".join([*row["required"], *given])


def _sequence(value: object) -> object:
    """A default as one types it: JSON has no tuples."""
    return tuple(map(_sequence, value)) if isinstance(value, list) else value


def _experiments() -> Iterator[dict]:
    """Files with a get_config in experiments/ here, and in that of the checkout that this package
    lies in; what they are is their docstrings' first line."""
    here, checkout = Path(EXPERIMENTS), provenance.CODE / EXPERIMENTS
    same = here.is_dir() and checkout.is_dir() and here.samefile(checkout)
    for folder in [here] if same else [here, checkout]:
        for file in sorted(folder.glob("*.py")):
            if "def get_config" in (text := file.read_text("utf-8", "replace")):
                yield {"name": str(file), "what": _first_line(text)}


def _first_line(text: str) -> str:
    """Of a file's docstring; '' without one."""
    parts = text.split('"""')
    return parts[1].strip().partition("\n")[0] if len(parts) > 2 and not parts[0].strip() else ""
