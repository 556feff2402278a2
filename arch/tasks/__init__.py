"""Tasks: data, objective and metrics, one file a kind, registered like sublayers."""

from arch.tasks import lambada, language_model

__all__ = ["lambada", "language_model"]
