"""Weights from and to Hugging Face's format: rules and files of each family, both ways."""

from arch.huggingface.attributes import FAMILIES
from arch.huggingface.weights import read, write

__all__ = ["FAMILIES", "read", "write"]
