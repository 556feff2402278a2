"""Heads, one file per kind: from the last hidden state to log-probabilities, in float32.
contract.py says what a head has to offer, and works its score out in slices."""

from arch.models.heads import adaptive, masked, pointer, reconstruction, softmax
from arch.models.heads.contract import Head, Score, VocabularyHead, heads

__all__ = [
    "Head",
    "Score",
    "VocabularyHead",
    "adaptive",
    "heads",
    "masked",
    "pointer",
    "reconstruction",
    "softmax",
]
