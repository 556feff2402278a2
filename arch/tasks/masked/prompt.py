"""A text whose [MASK]s are to be filled in, as an encoder reads it."""

import jax.numpy as jnp
import numpy as np

from arch.data.batches import segments
from arch.data.tokenizers.kinds import Tokenizer, encode_open
from arch.models.generation import Blanks
from arch.registry import ConfigurationError

MASK = segments.NAMES[segments.MASK]


def written(text: str, tokenizer: Tokenizer, most: int) -> Blanks:
    """[CLS] text [SEP].

    Raises ConfigurationError for a text without [MASK], or with more tokens than `most`.
    """
    special = segments.special(tokenizer)
    if tokenizer.special is not None:
        pieces = [tokenizer.encode(text)]
    else:
        pieces = []
        for part in text.split(MASK):
            pieces += [encode_open(tokenizer, part), [special.mask]]
        pieces.pop()
    ids = np.concatenate([[special.cls], *pieces, [special.sep]]).astype(np.int32)
    if not (ids == special.mask).any():
        raise ConfigurationError(
            f"generate: the prompt {text!r} has no {MASK}; the model fills in what stands there, "
            f"as in 'The capital of France is {MASK}.'"
        )
    if len(ids) > most:
        raise ConfigurationError(
            f"generate: the prompt needs {len(ids)} positions with [CLS] and [SEP]; the model has "
            f"{most}"
        )
    return Blanks(jnp.asarray(ids)[None], jnp.asarray(ids == special.mask)[None], tokenizer.size)
