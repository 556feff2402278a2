"""What the commands print with."""

import sys

from rich.console import Console
from rich.table import Table


def table(title: str, *columns: str) -> Table:
    """An empty table whose cells are folded, never cut."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def console() -> Console:
    """The terminal, or where there is none, room for wide tables."""
    return Console() if sys.stdout.isatty() else Console(width=160)
