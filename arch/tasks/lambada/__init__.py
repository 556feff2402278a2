"""LAMBADA."""

from arch.tasks.lambada import task

__all__ = ["task"]
