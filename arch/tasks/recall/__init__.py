"""Small tasks that tell mixers apart: recall, copying, compression, memorisation, state tracking.

Nothing is read: examples are functions of a key. `task.py` has what the kinds share.
"""

from arch.tasks.recall import association, copying, fuzzy, in_context, memory, word_problems

__all__ = ["association", "copying", "fuzzy", "in_context", "memory", "word_problems"]
