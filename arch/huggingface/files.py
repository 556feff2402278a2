"""The files of a directory in Hugging Face's format: JSON, and tensors of one file or of shards."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from arch.huggingface import conversions
from arch.registry import ConfigurationError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


class Tensors(NamedTuple):
    """The tensors of a checkpoint.

    arrays: name → array. files: name → the file that holds it. source: the file that lists them.
    """

    arrays: dict[str, np.ndarray]
    files: dict[str, Path]
    source: Path


def read_json(file: Path) -> dict:
    """The object in a JSON file; ConfigurationError where there is none."""
    try:
        written = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{file.parent}: has no {file.name}") from None
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{file}: not readable JSON: {error}") from None
    if not isinstance(written, dict):
        raise ConfigurationError(f"{file}: expected an object, found {type(written).__name__}")
    return written


def read(folder: Path) -> Tensors:
    """The tensors of a folder, in one file or in shards; ConfigurationError for missing ones."""
    whole, index = folder / WEIGHTS, folder / INDEX
    if whole.is_file():
        arrays = _load(whole)
        return Tensors(arrays, dict.fromkeys(arrays, whole), whole)
    if not index.is_file():
        how = conversions.to_safetensors(folder)
        raise ConfigurationError(f"{folder}: has no {WEIGHTS} and no {INDEX}{how}")
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(v, str) for v in shards.values()):
        raise ConfigurationError(f"{index}: weight_map: expected an object, tensor → file")
    tensors = Tensors({}, {}, index)
    for shard in sorted(set(shards.values())):
        if not (folder / shard).is_file() or Path(shard).name != shard:
            raise ConfigurationError(f"{folder / shard}: missing; {INDEX} names this shard")
        arrays = _load(folder / shard)
        listed = {_modern(name) for name, file in shards.items() if file == shard}
        for name in sorted(listed ^ arrays.keys()):
            has = "has no" if name in listed else "has an unlisted"
            raise ConfigurationError(f"{folder / shard}: {has} tensor {name!r}; see {INDEX}")
        tensors.arrays.update(arrays)
        tensors.files.update({name: folder / shard for name in arrays})
    return tensors


def _load(file: Path) -> dict[str, np.ndarray]:
    """Modern name → array, of one file."""
    try:
        arrays = safetensors.numpy.load_file(file)
    except (safetensors.SafetensorError, OSError, KeyError) as error:
        raise ConfigurationError(f"{file}: not readable as safetensors: {error}") from None
    modern = {_modern(name): array for name, array in arrays.items()}
    if len(modern) < len(arrays):
        raise ConfigurationError(f"{file}: a tensor stands there under an old and a new name")
    return modern


def _modern(name: str) -> str:
    """The first conversions from TensorFlow kept its names of a norm's parameters."""
    for old, new in OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
