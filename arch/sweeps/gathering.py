"""runs/ → results/: the lines of finished and failed replicas, and what the table is."""

from collections.abc import Sequence
from pathlib import Path

from arch.registry import ConfigurationError
from arch.report.lines import (
    merge_lines,
    read_experiment,
    read_lines,
    write_experiment,
    write_lines,
)
from arch.report.seals import sealed
from arch.report.verdicts import as_json
from arch.sweeps.experiment import Experiment, Results
from arch.sweeps.sweep import RESULTS, Job, Sweep


def gather(sweep: Sweep, jobs: Sequence[Job]) -> None:
    """Merge the jobs' summaries into results/<name>/runs.jsonl and write experiment.json.

    Raises ConfigurationError where the folder cannot be written.
    """
    if not sweep.gathers:
        return
    folder = RESULTS / sweep.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{folder}: cannot be written: {error.strerror}") from None
    merged = merge_lines(read_lines(folder), _lines(sweep, jobs))
    known = Results(merged, *sweep.experiment.metric)
    name = sweep.name * (sweep.name != sweep.experiment.default_name)
    write_experiment(folder, {**_description(sweep.experiment, known), "name": name})
    write_lines(folder, merged)


def refresh(folder: Path) -> None:
    """Ask the experiment of a results folder again for its cells, table and claims.

    For results that were made when the experiment's file said something else; no run is touched.
    Raises ConfigurationError for a folder that no experiment is written in, or where the file can
    no longer make its table.
    """
    held = read_experiment(folder)
    if not held.get("config"):
        raise ConfigurationError(f"{folder}: experiment.json names no experiment's file")
    reference = held["config"] + f":{held['argument']}" * bool(held["argument"])
    experiment = Experiment(reference, held["overrides"])
    known = Results(read_lines(folder), *experiment.metric)
    described = _description(experiment, known)
    write_experiment(folder, {**held, **described, "name": held.get("name", "")})


def _lines(sweep: Sweep, jobs: Sequence[Job]) -> list[dict]:
    """A line for every seed that is finished, or whose cell has failed."""
    found = []
    for job in jobs:
        state = job.folder.state
        for seed in job.seeds:
            summary = job.folder.seed(seed).summary
            if summary is not None and summary["hash"] == job.identity:
                found.append(sealed({"name": sweep.name, **summary}))
            elif state.get("state") == "failed":
                failure = job.member(seed).line("failed", {}, state["error"])
                found.append(sealed({"name": sweep.name, **failure}))
    return found


def _description(experiment: Experiment, known: Results) -> dict[str, object]:
    """experiment.json: enough to make the table again, and to come back to the sweep."""
    cells = experiment.cells(known)
    said = {**experiment.given, **experiment.letters}
    return {
        "config": experiment.file,
        "argument": ",".join(f"{name}={value}" for name, value in said.items()),
        "overrides": dict(experiment.overrides),
        "scale": experiment.scale,
        "cells": [cell.name for cell in cells],
        "table": experiment.table(cells, known),
        "claims": as_json(experiment.claims(cells, known)),
    }
