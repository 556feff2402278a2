"""Heads, one file a kind: from the last hidden state to log-probabilities, in float32. scoring.py
says what is asked of them and works it out in slices."""

from arch.models.heads import adaptive, masked, pointer, softmax
from arch.models.heads.scoring import Score, heads, pooled, score

__all__ = ["Score", "adaptive", "heads", "masked", "pointer", "pooled", "score", "softmax"]
