"""`search`: a sweep whose cells are proposals of orders, see experiments/search.py."""

from arch.commands import flags, sweep


def run(command: flags.Search) -> int:
    """Train what the search calls for, and print its table. Returns the exit code."""
    return sweep.run(command)
