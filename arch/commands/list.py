"""`list`: everything that a configuration or a flag may name.

What this package has is asked of its registries once, which imports all of it, and then kept under
the digest of its source: a second answer imports next to nothing.
"""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from arch.commands import flags, terminal
from arch.commands.answers import answer
from arch.data.cache import cache_directory
from arch.registry import extended
from arch.report.files import replace_file
from arch.runs import provenance

Rows = list[dict]
EXPERIMENTS = "experiments"


def run(command: flags.List) -> int:
    """Print each group of names, nothing cut at any width; with --json, one object of them all."""
    groups = {**named(), EXPERIMENTS: list(_experiments())}
    if command.json:
        answer(groups)
        return 0
    for title, rows in groups.items():
        pairs = [(row["name"], _text(row)) for row in rows]
        terminal.print_pairs(title, pairs or [("", f"none in {Path.cwd() / EXPERIMENTS}")])
    return 0


def named() -> dict[str, Rows]:
    """Group → what is in it, but for experiments: kept from the last time where nothing of this
    package has changed since, and no plugin has registered a kind in this process."""
    if extended():
        return _asked()
    kept = cache_directory() / "list.json"
    made_from = f"{provenance.source()} {sys.version}"
    try:
        found = json.loads(kept.read_bytes())
        if found["made_from"] == made_from:
            return found["groups"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or not whole: asked again
    groups = _asked()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"made_from": made_from, "groups": groups})
        replace_file(kept, content.encode())
    except OSError:
        pass  # a cache that cannot be written costs seconds, and nothing else
    return groups


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
