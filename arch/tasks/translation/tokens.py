"""Sentences as tokens, and tokens as sentences: PAD and END stand below the tokenizer's ids."""

import numpy as np
from jaxtyping import Int

from arch.data.batches import buckets
from arch.data.corpora.files import encode
from arch.data.tokenizers.contract import Tokenizer
from arch.data.tokens import Tokens, smallest
from arch.tasks.sequence_to_sequence import END

SHIFT = 2  # ids of the tokenizer stand above PAD and END


def sentence_lengths(tokens: Tokens) -> Int[np.ndarray, " n"]:
    """Tokens of each sentence, its END counted."""
    return buckets.lengths(tokens) + 1


def padded(
    tokens: Tokens, rows: Int[np.ndarray, " n"], length: int, vocabulary: int
) -> Int[np.ndarray, "n length"]:
    """The first `length` tokens of sentences, END and padding behind shorter ones, in the smallest
    integer type that holds the vocabulary."""
    ids = buckets.padded(tokens, rows, length, END, SHIFT)
    return ids.astype(smallest(vocabulary))


def source_of(text: str, tokenizer: Tokenizer, length: int) -> Int[np.ndarray, " n"]:
    """The tokens of a sentence, the first `length` - 1 of them, and END."""
    return np.array([*(tokenizer.encode(text) + SHIFT)[: length - 1], END], np.int32)


def text_of(ids: Int[np.ndarray, " steps"], tokenizer: Tokenizer) -> str:
    """The text of an output up to its END, without PAD and bytes that make no character."""
    ids = ids[: int(np.argmax(ids == END))] if (ids == END).any() else ids
    text = tokenizer.decode((ids[ids >= SHIFT] - SHIFT).tolist())
    return encode(text).decode("utf-8", "ignore").replace("\n", " ")
