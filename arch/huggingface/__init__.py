"""Weights from and to Hugging Face's format: rules and files of each family, both ways."""

from arch.huggingface.weights import read, write

__all__ = ["read", "write"]
