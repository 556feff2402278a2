"""Models: embedding, stack and head; the three families; decoding."""

from arch.models.families import build

__all__ = ["build"]
