"""What a worker is told of the cell that it trains, and what is said meanwhile."""

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from arch.runs import provenance
from arch.runs.folders import write_json
from arch.sweeps.sweep import Job, Sweep

SILENT = 20.0  # seconds between two lines on where the cells stand
REFUSED = 2  # what a worker exits with that cannot begin; it says why in one line


def order(sweep: Sweep, job: Job) -> dict:
    """What `arch.sweeps.worker` is told, which JSON can hold: the arguments of a sweep of this one
    cell, with the experiment as its reference and overrides."""
    ladder = sweep.experiment.ladder
    return {
        "experiment": sweep.experiment.reference,
        "overrides": dict(sweep.experiment.overrides),
        "ladder": ladder and dataclasses.asdict(ladder),
        "name": sweep.name,
        "replicas": sweep.replicas,
        "strict": sweep.strict,
        "track": sweep.track,
        "command": sweep.command,
        "cells": job.cell.name,
        "seeds": list(map(str, job.seeds)),
    }


def write(sweep: Sweep, job: Job) -> Path:
    """The order as a file in the cell's folder, for a job that finds it there."""
    path = job.folder.path.absolute() / "order.json"
    write_json(path, order(sweep, job))
    return path


def read(path: Path) -> dict:
    """What `write` wrote."""
    return json.loads(Path(path).read_text())


def environment() -> dict[str, str]:
    """What a worker needs to import the code that this process runs."""
    path = [str(provenance.CODE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path)}


class Said:
    """Says how many of the cells have ended, and from time to time where the others stand."""

    def __init__(self, jobs: Sequence[Job]):
        self._jobs, self._last = jobs, time.monotonic()

    def ended(self, done: int) -> None:
        """To be called when so many have ended in all."""
        print(f"{done} of {len(self._jobs)} cells have ended", flush=True)

    def meanwhile(self) -> None:
        """To be called often."""
        if time.monotonic() - self._last > SILENT:
            self._last = time.monotonic()
            print(steps_said(self._jobs), flush=True)


def steps_said(jobs: Sequence[Job]) -> str:
    """Where the cells stand that train now: 'k0 240 of 1,000 steps, k3 260 of 1,000 steps'."""
    states = {job.cell.name: (job.folder.state, job.config.train.steps) for job in jobs}
    running = [
        f"{cell} {state.get('step', 0):,} of {steps:,} steps"
        for cell, (state, steps) in states.items()
        if state.get("state") == "running"
    ]
    return ", ".join(running) or "workers are starting"
