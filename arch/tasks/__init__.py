"""Tasks: data, objective and metrics, one file a kind, registered like sublayers."""

from arch.tasks import language_model

__all__ = ["language_model"]
