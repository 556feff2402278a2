"""A model that `save` wrote: any family of ours, from a folder of its own, without its corpus."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arch import config as configuration
from arch.models import parameters
from arch.notebook.export import THEIR_TOKENIZER, read_tokenizer
from arch.notebook.loaded import Loaded
from arch.registry import ConfigurationError
from arch.runs import exports
from arch.runs.folders import RunFolder
from arch.sweeps import machine
from arch.training.program import build


@dataclasses.dataclass(repr=False)
class SavedModel(Loaded):
    """What `Loaded` says, of a model that was saved."""

    called = "a saved model"

    known: Mapping[str, Any]
    note: str = ""

    @property
    def title(self) -> str:
        """The first line of its card."""
        of = f", of {self.known['cell']}" if self.known.get("cell") else ""
        return f"Saved {self.config.model.family}{of}"

    @property
    def provenance(self) -> Mapping[str, Any]:
        """See `Loaded.provenance`."""
        return self.known

    @property
    def status(self) -> str:
        """Of the run that it was."""
        return str(self.known.get("status", "finished"))

    @property
    def origin(self) -> Mapping[str, object]:
        """See `Loaded.origin`."""
        fields = ("seed", "data_seed", "checkpoint", "weights", "step")
        return {name: self.known[name] for name in fields if name in self.known}


def load(path: str | Path, corpus: str = "", trust: bool = False) -> SavedModel:
    """The model in a folder, with its tokenizer: no corpus is read before it is evaluated.

    Args:
        corpus: to evaluate on; empty is what it was trained on.
        trust: import the plugins in the folder, see `RunFolder.plugins`.

    ConfigurationError for a file that is missing or was changed since, for plugins that are not
    trusted, and where corpus is given for a task with data of its own.
    """
    folder = Path(path)
    content, arrays = exports.read(folder)
    plugins = RunFolder(folder, among=folder).plugins(trust)
    config = configuration.make(**{**content["config"], "plugins": plugins})
    if (folder / THEIR_TOKENIZER).is_file():
        tokenizer = f"file:{folder / THEIR_TOKENIZER}"
        config = configuration.override(config, {"task.tokenizer": tokenizer})
    if corpus:
        config = configuration.override(config, {"task.corpus": corpus})
    sizes = content["vocabulary"], content["max_length"]
    task, model = build(config, machine.platform(), sizes)
    if task.any_text:
        task.only_evaluate(read_tokenizer(folder))
    elif corpus:
        raise ConfigurationError(
            f"corpus={corpus!r}: task.kind={task.kind!r} is evaluated on its own data alone"
        )
    tree = parameters.set(model.shapes, arrays)
    return SavedModel(config, task, model, tree, content["provenance"], content["note"])
