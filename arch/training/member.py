"""One replica of a group: which it is, where it writes, what its lines say of it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arch.registry import Config
from arch.report.seeds import Seed, seed_fields
from arch.runs import provenance
from arch.runs.folders import RunFolder, SeedFolder
from arch.training.state import TrainState


@dataclasses.dataclass
class Member:
    """One replica: a (cell, seed), its folder and, where it resumes, its state.

    Args:
        details: variant, order, parameters, flops_per_token: the same for all seeds.
        device: what its lines say of the machine: device, device_name, cores.
        moved_from: the machines that trained it before, where this is another: machine, versions
            and the step up to which each did.
        shared: the folder of its checkpoints where every host sees it, each of which saves its own
            part; None: of several hosts the leader saves what it gathers.
    """

    cell: str
    seed: Seed
    config: Config
    identity: str
    folder: RunFolder
    details: dict
    device: Mapping[str, object]
    state: TrainState | None = None
    moved_from: list[dict] = dataclasses.field(default_factory=list)
    shared: Path | None = None

    @property
    def own(self) -> SeedFolder:
        """The folder of this seed."""
        return self.folder.seed(self.seed)

    @property
    def step(self) -> int:
        """The step that it goes on from."""
        return 0 if self.state is None else int(self.state.step)

    def line(self, status: str, evaluations: Mapping, error: str = "", **more: Any) -> dict:
        """A line of runs.jsonl: which replica, what became of it, and where that comes from."""
        return {
            "cell": self.cell,
            "hash": self.identity,
            **seed_fields(self.seed),
            **self.device,
            "status": status,
            "error": error,
            **self.details,
            "evaluations": evaluations,
            **more,
            "numerics": provenance.NUMERICS,
            "versions": provenance.versions(),
            **({"moved_from": self.moved_from} if self.moved_from else {}),
            "git": provenance.git(),
            "attempts": self.folder.state.get("attempts", 1),
        }
