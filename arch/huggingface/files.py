"""The files of a directory in Hugging Face's format: JSON, and tensors of one file or of shards."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from arch.huggingface import conversions
from arch.registry import ConfigurationError
from arch.report.files import is_taken, whole_folder
from arch.report.seals import digest_of_arrays

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIG, CARD = "config.json", "README.md"
DIGEST = "sha256"  # in the metadata of what `write` wrote; other programs that save leave it out
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
        written = json.loads(file.read_text("utf-8"), object_hook=_float)
    except FileNotFoundError:
        raise ConfigurationError(f"{file.parent}: has no {file.name}") from None
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{file}: not readable JSON: {error}") from None
    if not isinstance(written, dict):
        raise ConfigurationError(f"{file}: expected an object, found {type(written).__name__}")
    return written


def _float(held: dict) -> dict | float:
    """A number that JSON has not, as transformers from 5 on writes it."""
    return float(held["__float__"]) if held.keys() == {"__float__"} else held


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


def write(
    folder: Path,
    tensors: Mapping[str, np.ndarray],
    document: Mapping[str, Any],
    texts: Mapping[str, bytes],
    overwrite: bool = False,
) -> None:
    """Writes the tensors, config.json and more files: in a new or empty folder all of them or none,
    else each whole, config.json last.

    Raises ConfigurationError where one of the names is there, unless it may be overwritten, or the
    disk refuses.
    """
    taken = [name for name in (CONFIG, WEIGHTS, INDEX, *texts) if (folder / name).exists()]
    if taken and not overwrite:
        raise ConfigurationError(
            f"{folder}: has a {taken[0]} already; choose another folder, or say overwrite=True"
        )
    try:
        if is_taken(folder):
            with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
                _write(Path(scratch), tensors, document, texts)
                for name in (*texts, WEIGHTS, CONFIG):
                    os.replace(Path(scratch, name), folder / name)
            (folder / INDEX).unlink(missing_ok=True)  # of shards that these tensors replace
        else:
            with whole_folder(folder) as scratch:
                _write(scratch, tensors, document, texts)
    except (safetensors.SafetensorError, OSError) as error:
        raise ConfigurationError(f"{folder}: cannot be written: {error}") from None


def _write(folder: Path, tensors: Mapping, document: Mapping, texts: Mapping[str, bytes]) -> None:
    metadata = {"format": "pt", DIGEST: digest_of_arrays(tensors)}
    safetensors.numpy.save_file(dict(tensors), folder / WEIGHTS, metadata=metadata)
    (folder / CONFIG).write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    for name, text in texts.items():
        (folder / name).write_bytes(text)


def _load(file: Path) -> dict[str, np.ndarray]:
    """Modern name → array, of one file."""
    try:
        arrays = safetensors.numpy.load_file(file)
        with safetensors.safe_open(file, "np") as opened:
            wanted = (opened.metadata() or {}).get(DIGEST)
    except (safetensors.SafetensorError, OSError, KeyError) as error:
        raise ConfigurationError(f"{file}: not readable as safetensors: {error}") from None
    if wanted is not None and wanted != digest_of_arrays(arrays):
        raise ConfigurationError(
            f"{file}: not what was written: its tensors are not those of its digest; copy the file "
            "again"
        )
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
