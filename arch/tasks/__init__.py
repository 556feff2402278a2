"""Tasks: data, objective and metrics, one file a kind, registered like sublayers."""

from arch.tasks import babi, language_model

__all__ = ["babi", "language_model"]
