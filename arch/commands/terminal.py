"""What the commands print with. Nothing is cut, however narrow the terminal."""

import importlib
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from arch.runs.folders import RunFolder

WIDE = 10_000  # characters, more than any table has
NARROW = 40  # characters that a second column needs; with less it goes beneath the first


def table(title: str, *columns: str) -> "Table":
    """An empty table whose cells are folded, never cut."""
    rich = importlib.import_module("rich.table")  # which `list` need not wait for
    made = rich.Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def show(table: "Table") -> None:
    """Print a table: folded to the width of a terminal, and whole where there is none."""
    width = None if sys.stdout.isatty() else WIDE
    importlib.import_module("rich.console").Console(width=width).print(table)


def print_pairs(title: str, pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and what is said of each in two columns, wrapped between words alone; where there
    is no terminal, a line each."""
    pairs = list(pairs)
    first = max(len(name) for name, _ in pairs) + 4
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    print(f"{title}:")
    for name, text in pairs:
        beside = width - first >= NARROW
        indent = " " * (first if beside else 6)
        lead = f"  {name}".ljust(first) if beside else f"  {name}\n{indent}"
        lines = textwrap.wrap(
            text, max(width - len(indent), 1), break_long_words=False, break_on_hyphens=False
        )
        print((lead + f"\n{indent}".join(lines)).rstrip())
    print()


def print_runs(folders: Iterable["RunFolder"]) -> None:
    """Print the folders of runs with checkpoints, which other commands take, if there are any."""
    paths = [folder.path for folder in folders if folder.has_checkpoint]
    if paths:
        print("runs, for --run of evaluate, generate and verify, and for arch.load:")
        for path in paths:
            print(f"  {path}")
