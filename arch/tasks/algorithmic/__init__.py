"""Algorithms on strings of digits."""

from arch.tasks.algorithmic import bins, sequences

__all__ = ["bins", "sequences"]
