"""A model in Hugging Face's format, to evaluate it and to let it speak: `arch.load(DIR)`."""

import dataclasses
from pathlib import Path

from arch import config as configuration
from arch.data import dataset
from arch.data.batches import segments
from arch.data.tokenizers import imported as tokenizer_files
from arch.data.tokenizers import kinds as tokenizers
from arch.huggingface import weights as huggingface
from arch.huggingface.reformer import causally
from arch.notebook.loaded import Loaded
from arch.registry import Config, ConfigurationError
from arch.sweeps import machine
from arch.training.program import build

TOKENIZER = "tokenizer.json"
CORPUS = "stdlib"
CAUSAL = (
    "LSH attention is computed causally, within buckets: transformers attends across them, where "
    "what comes later changes what a position sees"
)
TOKENS_A_BATCH = 2048  # of an evaluation: bounds the memory of its logits


@dataclasses.dataclass(repr=False)
class Imported(Loaded):
    """What `Loaded` says, of weights that others trained."""

    note: str = ""


def load(path: str | Path, corpus: str = "") -> Imported:
    """A directory of config.json, safetensors and tokenizer.json.

    Decoders are of the task language_model, BERT, ALBERT and encoders of Reformer of
    masked_language_model, with pairs for their sentence head where they have one: next sentence, or
    sentence order. Sequences are as long as the model's positions, of Mamba, RWKV and Jamba as
    config.json says they were in training; documents follow each other with nothing between them.
    Next sentence needs a second document; in a corpus with one it is left out, which `note` says.

    A decoder of Reformer is made causal, which transformers' is not: see
    `huggingface_reformer.causally`; `note` says that, too. Its configuration here is no longer the
    checkpoint's, which `huggingface.read` gives.

    Args:
        corpus: to evaluate on; empty is stdlib.

    ConfigurationError, see `huggingface.read`, and for a tokenizer that is missing, damaged, or has
    more entries than the model.
    """
    folder = Path(path)
    held = huggingface.read(folder)
    described = causally(held.model)
    file = folder / TOKENIZER
    tokenizer = _tokenizer(folder, held.vocabulary)
    task = {
        "kind": "language_model",
        "corpus": corpus or CORPUS,
        "tokenizer": f"file:{file}",
        "length": held.max_length,
        "vocabulary": held.vocabulary,
    }
    note = CAUSAL if described != held.model else ""
    if held.model["family"] == "encoder":
        relation = _relation(held.model)
        if relation == "next" and corpus and _has_one_document(corpus, tokenizer):
            relation = "none"
            note = (
                f"next sentence is left out: a split of {corpus!r} has one document, and a random "
                "segment is of another"
            )
        task |= {"kind": "masked_language_model", "sentence": relation}
    config = configuration.make(
        model=described,
        task=task,
        train={"batch": max(1, TOKENS_A_BATCH // held.max_length)},
    )
    built, model = build(config, machine.platform())
    built.only_evaluate()
    return Imported(config, built, model, held.parameters, note)


def _tokenizer(folder: Path, vocabulary: int) -> tokenizers.Tokenizer:
    file = folder / TOKENIZER
    if not file.is_file():
        raise ConfigurationError(
            f"{folder}: has no {TOKENIZER}; with the package transformers, "
            f"AutoTokenizer.from_pretrained('{folder}').save_pretrained('{folder}') writes it"
        )
    try:
        tokenizer = tokenizer_files.read_tokenizer(str(file))
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    if tokenizer.size > vocabulary:
        raise ConfigurationError(
            f"{file}: the tokenizer has {tokenizer.size} entries, the model's vocabulary is "
            f"{vocabulary}; allowed are as many or fewer"
        )
    return tokenizer


def _relation(model: Config) -> str:
    """What pairs the sentence head was trained to tell."""
    if not model["head"].get("classes"):
        return "none"
    return "next" if model["embedding"]["kind"] == "plain" else "order"  # BERT, ALBERT


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
