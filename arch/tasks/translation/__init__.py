"""Translation."""

from arch.tasks.translation import task

__all__ = ["task"]
