"""Trackers follow a run while it trains: TensorBoard, Weights & Biases, or a plugin's own.

They are told what metrics.jsonl has, and change nothing: a run's bytes are the same with and
without them. Nothing leaves the machine unless an option says so.

@TRACKERS.register("printed")
class Printed(Tracker):
    def log(self, step, figures): print(step, figures)
"""

import abc
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from arch.registry import ConfigurationError, Registry


class Tracked(NamedTuple):
    """A cell's seed under training.

    step: how far it was before: what is told comes after it, and what a tracker holds of later
        steps is void, since these are taken again.
    """

    sweep: str
    cell: str
    seed: str
    identity: str
    folder: Path
    config: Mapping[str, Any]
    step: int


class Tracker(abc.ABC):
    """Follows one seed of one cell, from where it starts or goes on to where it ends or stops.

    Keyword-only arguments of a subclass are its options, --track=NAME:option=value,…
    """

    kind: str  # its name in the registry
    package: str = ""  # that it needs, of the extra of its name

    def __init__(self, run: Tracked):
        self.run = run

    @classmethod
    def library(cls) -> Any:
        """The package; ConfigurationError says how to install one that is not here."""
        try:
            return importlib.import_module(cls.package) if cls.package else None
        except ImportError:
            raise ConfigurationError(
                f"--track={cls.kind}: needs the package {cls.package}: pip install '.[{cls.kind}]'"
            ) from None

    @abc.abstractmethod
    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of a step by name: 'train/loss' in nats, 'valid/loss', and at the end those of
        every split, as 'test/perplexity'. Steps rise."""

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Nothing more will be logged by this process."""


TRACKERS = Registry("tracker", contract=Tracker)


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """Event files in runs/NAME/CELL-HASH/seedN/tensorboard; `tensorboard --logdir=runs` shows them.

    A run that goes on voids what was written of the steps that it takes again.
    """

    package = "tensorboardX"

    def __init__(self, run: Tracked):
        super().__init__(run)
        folder = run.folder / "tensorboard"
        purge = run.step + 1 if folder.exists() else None
        self._writer = self.library().SummaryWriter(str(folder), purge_step=purge)
        if not run.step:
            self._writer.add_text("configuration", f"```\n{json.dumps(run.config, indent=1)}\n```")

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Scalars."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


@TRACKERS.register("wandb")
class WeightsAndBiases(Tracker):
    """A run of the project NAME, group CELL, in runs/NAME/CELL-HASH/seedN/wandb.

    Args:
        online: whether to send it while it trains; else `wandb sync FOLDER` does, when asked to.
        project: its name there; '' is the sweep's.
    """

    package = "wandb"

    def __init__(self, run: Tracked, *, online: bool = False, project: str = ""):
        super().__init__(run)
        self._run = self.library().init(
            dir=str(run.folder),
            project=project or run.sweep,
            group=run.cell,
            name=f"{run.cell} seed {run.seed}",
            id=f"{run.identity[:8]}-{run.seed}",
            resume="allow",
            config=dict(run.config),
            mode="online" if online else "offline",
        )

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """A row of its history."""
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def chosen(text: str) -> dict[str, dict[str, object]]:
    """Name → options, of --track=NAME[:option=value,…],NAME…

    Raises ConfigurationError for a name or an option that there is not, and for one named twice.
    """
    found: dict[str, dict[str, object]] = {}
    parts: list[str] = []
    for part in filter(None, text.split(",")):
        if parts and "=" in part and ":" not in part.partition("=")[0]:
            parts[-1] += f",{part}"  # an option more of the one before
        else:
            parts.append(part)
    for part in parts:
        name, options = TRACKERS.named(part, "--track")
        if name in found:
            raise ConfigurationError(f"--track={text}: {name} stands twice")
        found[name] = options
    return found


def check(text: str) -> None:
    """Raises ConfigurationError for a tracker that cannot be, before anything trains."""
    for name in chosen(text):
        TRACKERS.get(name).library()
