"""Which runs and models a user names: folders, globs, and whole sweeps."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from arch.huggingface import weights as huggingface
from arch.registry import ConfigurationError
from arch.runs import exports
from arch.runs.folders import RunFolder


class Chosen(NamedTuple):
    """Folders of runs and models, each once; `left_out` of a sweep have no checkpoint."""

    folders: list[Path]
    left_out: list[Path]


def choose(text: str) -> Chosen:
    """The folders of a list with commas, of which each part is a run, a model, runs/NAME for all
    runs in it, or a glob over those: 'runs/demo/k[03]-*,runs/other'.

    ConfigurationError for a glob that no folder matches, and for a sweep without a checkpoint. A
    folder that is neither run nor sweep is in the list: who loads it says what is wrong with it.
    """
    found: dict[Path, bool] = {}
    for part in text.split(","):
        inside = dict.fromkeys(run for folder in _matching(part) for run in _runs_of(folder))
        here = {path: len(inside) == 1 or _has_checkpoint(path) for path in inside}
        if not any(here.values()):
            raise ConfigurationError(f"--run={part}: no run in it has a checkpoint")
        found |= here
    return Chosen([p for p, whole in found.items() if whole], [p for p in found if not found[p]])


def labels(folders: Sequence[Path]) -> tuple[str, list[str]]:
    """(the folder that all are in, the name of each from there)."""
    if len({folder.is_absolute() for folder in folders}) > 1:
        folders = [folder.absolute() for folder in folders]
    common = os.path.commonpath([folder.parent for folder in folders])
    return common, [str(folder.relative_to(common)) for folder in folders]


def _matching(part: str) -> list[Path]:
    if Path(part).exists() or not glob.has_magic(part):
        return [Path(part)]
    found = [Path(path) for path in sorted(glob.glob(part)) if Path(path).is_dir()]
    if not found:
        raise ConfigurationError(f"--run={part}: no folder matches")
    return found


def _runs_of(folder: Path) -> list[Path]:
    """The runs in the folder of a sweep; of any other folder, itself."""
    if (folder / "config.json").exists():
        return [folder]
    return sorted(path.parent for path in folder.glob("*/config.json")) or [folder]


def _has_checkpoint(folder: Path) -> bool:
    known = exports.is_saved(folder) or huggingface.is_checkpoint(folder)
    return known or RunFolder(folder).has_checkpoint
