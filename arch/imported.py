"""A model in Hugging Face's format, to evaluate it and to let it speak: `arch.load(DIR)`."""

import dataclasses
from pathlib import Path

from arch import config as configuration
from arch import huggingface, training
from arch.data import dataset, segments, tokenizers
from arch.loaded import Loaded
from arch.registry import ConfigurationError

TOKENIZER = "tokenizer.json"
CORPUS = "stdlib"
TOKENS_A_BATCH = 2048  # of an evaluation: bounds the memory of its logits


@dataclasses.dataclass
class Imported(Loaded):
    """What `Loaded` says, of weights that others trained."""

    note: str = ""


def load(path: str | Path, corpus: str = "") -> Imported:
    """A directory of config.json, safetensors and tokenizer.json.

    GPT-2 is of the task language_model, BERT and ALBERT are of masked_language_model, with pairs
    for their sentence head where they have one: next sentence, or sentence order. Sequences are as
    long as the model's positions. Next sentence needs a second document; in a corpus with one it is
    left out, which `note` says.

    Args:
        corpus: to evaluate on; empty is stdlib.

    ConfigurationError, see `huggingface.read`, and for a tokenizer that is missing, damaged, or has
    more entries than the model.
    """
    folder = Path(path)
    held = huggingface.read(folder)
    file = folder / TOKENIZER
    if not file.is_file():
        raise ConfigurationError(
            f"{folder}: has no {TOKENIZER}; with the package transformers, "
            f"AutoTokenizer.from_pretrained('{folder}').save_pretrained('{folder}') writes it"
        )
    try:
        tokenizer = tokenizers.from_file(f"file:{file}")
        assert tokenizer is not None
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    if tokenizer.size > held.vocabulary:
        raise ConfigurationError(
            f"{file}: the tokenizer has {tokenizer.size} entries, the model's vocabulary is "
            f"{held.vocabulary}; allowed are as many or fewer"
        )
    options = {
        "corpus": corpus or CORPUS,
        "tokenizer": f"file:{file}",
        "length": held.max_length,
        "vocabulary": held.vocabulary,
    }
    note, kind = "", "language_model"
    if held.model["family"] == "encoder":
        kind, relation = "masked_language_model", "none"
        if held.model["head"]["classes"]:
            relation = "next" if held.model["embedding"]["kind"] == "plain" else "order"
        if relation == "next" and corpus and _has_one_document(corpus, tokenizer):
            relation = "none"
            note = (
                f"next sentence is left out: a split of {corpus!r} has one document, and a random "
                "segment is of another"
            )
        options["sentence"] = relation
    config = configuration.make(
        model=held.model,
        task={"kind": kind, **options},
        train={"batch": max(1, TOKENS_A_BATCH // held.max_length)},
    )
    task, model = training.build(config)
    task.evaluates_only = True
    return Imported(config, task, model, held.parameters, note)


def _has_one_document(corpus: str, tokenizer: tokenizers.Tokenizer) -> bool:
    """Whether a split to be evaluated has no second document of two tokens."""
    try:
        splits = dataset.load(corpus, tokenizer).splits
    except ValueError as error:
        raise ConfigurationError(f"task.corpus={corpus!r}: {error}") from None
    return any(
        (segments.lengths(tokens) > 1).sum() < 2
        for split, tokens in splits.items()
        if split != "train"
    )
