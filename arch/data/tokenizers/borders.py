"""Where words and sentences begin, worked out from the texts of a tokenizer's entries.

A sentence ends with a line, or with a token that is . ! or ? alone, before a space. So Penn
Treebank's word `mr.` ends none; in bytes, characters and subwords, where it is several tokens, it
does. A tokenizer that drops spaces and line ends (BERT's) leaves them to be told from its entries:
all but those that go on with a word have a space before them, and no line ends.
A word goes on where letters or digits stand on both sides of the seam of two tokens: so a subword
continues its word, and punctuation is a word of its own, as in BERT's whole words.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from arch.data.tokenizers.contract import Tokenizer
from arch.data.tokenizers.imported import TokenizerFile
from arch.data.tokenizers.kinds import END, UNKNOWN, Words

CLOSING = (".", "!", "?")


class Seams(NamedTuple):
    """Whether the text of each entry may continue a word, or be continued."""

    joins_left: Bool[np.ndarray, " entries"]  # begins with a letter or digit
    joins_right: Bool[np.ndarray, " entries"]  # ends with one


def texts(tokenizer: Tokenizer) -> list[str]:
    """The text of each entry; a word's begins with the space before it."""
    if isinstance(tokenizer, TokenizerFile):
        return tokenizer.texts()
    if isinstance(tokenizer, Words):
        found = ["\n" if word == END else " " + word for word in tokenizer.words]
        return found + [" " + UNKNOWN] * (tokenizer.size - len(found))
    return [tokenizer.decode([i]) for i in range(tokenizer.size)]


def seams(entries: list[str]) -> Seams:
    """Which entries begin or end with a letter, a digit or a byte of a character."""

    def letter(character: str) -> bool:
        return character.isalnum() or "\udc80" <= character <= "\udcff"

    return Seams(
        np.array([letter(text[:1]) for text in entries]),
        np.array([letter(text[-1:]) for text in entries]),
    )


def sentences(
    ids: Int[np.ndarray, " n"], documents: Int[np.ndarray, " d"], entries: list[str]
) -> Int[np.ndarray, " m"]:
    """The tokens that begin a sentence or a document, in order, and the end of the last one.

    Empty lines belong to the sentence before them.
    """

    def of(says: Callable[[str], bool]) -> Bool[np.ndarray, " n"]:
        return np.array([says(text) for text in entries])[ids]

    line = of(lambda text: text.endswith("\n"))[:-1] & ~of(lambda text: text[:1] == "\n")[1:]
    closed = of(lambda text: text.strip() in CLOSING)[:-1] & of(lambda text: text[:1] == " ")[1:]
    return np.unique(np.concatenate([documents, np.flatnonzero(line | closed) + 1, [len(ids)]]))
