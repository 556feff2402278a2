"""Folders of saved models of any family: written whole or not at all, read only as written.

    config.json  model.safetensors  README.md  tokenizer.json | arch_tokenizer.json  plugins/

config.json has the whole configuration, the sizes, where the weights come from, and the sha256 of
every other file but the card; it is sealed itself, as lines of results are.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from arch.data.corpora.downloads import sha256
from arch.registry import ConfigurationError
from arch.report.files import whole_folder
from arch.report.seals import SEAL, is_broken, sealed
from arch.runs.folders import read_json

FORMAT, VERSION = "arch-variants model", 1
CONFIG, WEIGHTS, CARD, FILES = "config.json", "model.safetensors", "README.md", "files"


class Contents(NamedTuple):
    """What a folder holds: the content of config.json, and path → array."""

    content: dict[str, Any]
    arrays: dict[str, np.ndarray]


def is_saved(folder: str | Path) -> bool:
    """Whether a folder's config.json is one of this file's."""
    content = read_json(Path(folder) / CONFIG)
    return isinstance(content, dict) and content.get("format") == FORMAT


def write(
    folder: Path,
    content: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    texts: Mapping[str, bytes],
    card: str,
    overwrite: bool = False,
) -> None:
    """A folder that `read` reads back to the bit.

    Args:
        content: what config.json says besides the format and the digests.
        arrays: path of a parameter → array.
        texts: more files, by their names in the folder.
        card: README.md, which may be edited afterwards.
        overwrite: allow a folder that is not empty; it is kept beside, as `folder`.old1.

    Raises ConfigurationError where one is there, or the disk refuses; nothing is changed then.
    """
    try:
        with whole_folder(folder, overwrite) as scratch:
            contiguous = {path: np.ascontiguousarray(array) for path, array in arrays.items()}
            safetensors.numpy.save_file(contiguous, scratch / WEIGHTS, metadata={"format": "np"})
            for name, text in texts.items():
                (scratch / name).parent.mkdir(exist_ok=True)
                (scratch / name).write_bytes(text)
            digests = {name: sha256(scratch / name) for name in (WEIGHTS, *texts)}
            about = {"format": FORMAT, "version": VERSION, **content, FILES: digests}
            (scratch / CONFIG).write_text(json.dumps(sealed(about), indent=1) + "\n", "utf-8")
            (scratch / CARD).write_text(card, "utf-8")
    except FileExistsError:
        raise ConfigurationError(
            f"{folder}: there already, and not empty; choose another folder, or say overwrite=True,"
            f" which keeps this one as {Path(folder).name}.old1"
        ) from None
    except (safetensors.SafetensorError, OSError) as error:
        raise ConfigurationError(f"{folder}: cannot be written: {error}") from None


def read(folder: Path) -> Contents:
    """What `write` wrote; ConfigurationError for a file that is missing or was changed since."""
    content = read_json(folder / CONFIG)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigurationError(f"{folder}: no saved model is here (config.json: format)")
    if content.get("version") != VERSION:
        raise ConfigurationError(
            f"{folder / CONFIG}: version={content.get('version')!r}: this code reads {VERSION}"
        )
    if SEAL not in content or is_broken(content):
        raise ConfigurationError(
            f"{folder / CONFIG}: not what was written: it was edited, or a disk has changed it; "
            "copy the folder again, or save the model anew"
        )
    for name, wanted in content[FILES].items():
        if not (folder / name).is_file():
            raise ConfigurationError(f"{folder}: has no {name}, which config.json names")
        if sha256(folder / name) != wanted:
            raise ConfigurationError(
                f"{folder / name}: not what was written: its sha256 is not that of config.json; "
                "copy the file again"
            )
    return Contents(content, safetensors.numpy.load_file(folder / WEIGHTS))
