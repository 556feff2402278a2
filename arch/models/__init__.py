"""Models: embedding, stack and head; the three families; decoding.

model.py holds the base, encoder_decoder.py and families.py the families, padding.py what lengths
need; embeddings/ and heads/ have a file per kind and a contract. Layers stand in stacks/."""

from arch.models.families import build
from arch.models.model import DTYPES, Model

__all__ = ["DTYPES", "Model", "build"]
