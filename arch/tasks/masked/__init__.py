"""Masked language modelling."""

from arch.tasks.masked import language_model

__all__ = ["language_model"]
