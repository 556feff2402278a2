"""Tasks: data, objective and metrics, a file or a folder per kind; looked up by `task.kind`.

contract.py states what training and evaluation ask of a task. Corpora, tokenizers and batches of
tokens are in `arch.data`; how a model is trained on a task is in `arch.training`.
"""

from arch.tasks import (
    agreement,
    algorithmic,
    babi,
    lambada,
    language_model,
    learning_to_execute,
    masked,
    recall,
    transcription,
    translation,
)

__all__ = [
    "agreement",
    "algorithmic",
    "babi",
    "lambada",
    "language_model",
    "learning_to_execute",
    "masked",
    "recall",
    "transcription",
    "translation",
]
