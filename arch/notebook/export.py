"""Writing a model beside its card: in this package's format, which any family has, or Hugging
Face's."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arch.config import canonical
from arch.data.tokenizers.imported import TokenizerFile
from arch.data.tokenizers.kinds import Tokenizer, from_json
from arch.huggingface import weights as huggingface
from arch.models.parameters import flat
from arch.registry import Config
from arch.runs import exports
from arch.runs.folders import RunFolder
from arch.runs.model_cards import card
from arch.stacks.parameters import Parameters

THEIR_TOKENIZER, OUR_TOKENIZER = "tokenizer.json", "arch_tokenizer.json"


class Export(NamedTuple):
    """A model to be written.

    Attributes:
        tokenizer: None where the task reads no text of its own choosing.
        provenance: see `Loaded.provenance`.
    """

    config: Config
    vocabulary: int
    max_length: int
    parameters: Parameters
    tokenizer: Tokenizer | None
    provenance: Mapping[str, Any]
    note: str


def save(folder: Path, export: Export, overwrite: bool) -> None:
    """Writes a folder of config.json, model.safetensors, tokenizer and card, which `arch.load`
    loads to the bit: see `arch.runs.exports`."""
    texts = _tokenizer_file(export.tokenizer)
    for plugin in export.config.plugins:
        texts[f"{RunFolder.PLUGINS}/{Path(plugin).name}"] = Path(plugin).read_bytes()
    content = {
        "hash": export.provenance.get("hash", ""),
        "cell": export.provenance.get("cell", ""),
        "vocabulary": export.vocabulary,
        "max_length": export.max_length,
        "note": export.note,
        "provenance": dict(export.provenance),
        "config": canonical(export.config.to_dict()),
    }
    arrays = {path: np.asarray(leaf) for path, leaf in flat(export.parameters).items()}
    usage = f'import arch\nmodel = arch.load("{folder}")\n' + _example(export)
    exports.write(folder, content, arrays, texts, _card(folder, export, usage), overwrite)


def save_for_transformers(folder: Path, export: Export, overwrite: bool) -> None:
    """Writes a folder in Hugging Face's format, with tokenizer.json where the tokenizer is one.

    ConfigurationError for a model that no family of Hugging Face can express.
    """
    model, sizes = export.config.model, (export.vocabulary, export.max_length)
    usage = huggingface.usage(folder, huggingface.class_of(model, *sizes))
    texts = {
        "README.md": _card(folder, export, usage).encode(),
        **_tokenizer_file(export.tokenizer),
    }
    texts.pop(OUR_TOKENIZER, None)
    huggingface.write(folder, model, export.parameters, *sizes, texts, overwrite)


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer of a saved model that is no `tokenizer.json`; None where there is none."""
    file = folder / OUR_TOKENIZER
    return from_json(json.loads(file.read_text("utf-8"))) if file.is_file() else None


def _tokenizer_file(tokenizer: Tokenizer | None) -> dict[str, bytes]:
    if tokenizer is None:
        return {}
    if isinstance(tokenizer, TokenizerFile):
        return {THEIR_TOKENIZER: tokenizer.content.encode()}
    return {OUR_TOKENIZER: json.dumps(tokenizer.to_json()).encode()}


def _card(folder: Path, export: Export, usage: str) -> str:
    task = export.config.task
    data = [("task", str(task.kind))]
    data += [(name, str(task[name])) for name in ("corpus", "tokenizer") if name in task]
    data += [("vocabulary", f"{export.vocabulary:,}"), ("longest sequence", str(export.max_length))]
    notes = [export.note] if export.note else []
    model, parameters = export.config.model, export.parameters
    return card(folder.absolute().name, model, parameters, usage, data, export.provenance, notes)


def _example(export: Export) -> str:
    if export.tokenizer is None or export.config.model.family != "decoder":
        return "model.build()  # see Model.outputs"
    return 'model.generate("…", tokens=50)'
