"""Tasks: data, objective and metrics, one file a kind, registered like sublayers."""

from arch.tasks import algorithmic, language_model

__all__ = ["algorithmic", "language_model"]
