"""bAbI."""

from arch.tasks.babi import task

__all__ = ["task"]
