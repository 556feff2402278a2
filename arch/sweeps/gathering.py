"""runs/ → results/: the lines of finished and failed replicas, and what the table is."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arch.registry import ConfigurationError
from arch.report import again
from arch.report.claims import as_json
from arch.report.curves import curve_line, read_curves, write_curves
from arch.report.lines import (
    key,
    merge_lines,
    read_experiment,
    read_lines,
    write_experiment,
    write_lines,
)
from arch.report.seals import sealed
from arch.runs import numerics
from arch.sweeps.experiment import Cell, Experiment, Results
from arch.sweeps.held import starts_over, varied_fields
from arch.sweeps.present import present_results
from arch.sweeps.stored import stored_experiment
from arch.sweeps.sweep import RESULTS, Job, Sweep
from arch.sweeps.trivial import task_losses, trivial_losses


def gather(sweep: Sweep, jobs: Sequence[Job]) -> None:
    """Merge the jobs' summaries into results/<name>/, runs.jsonl and curves.jsonl, and write
    experiment.json.

    Raises ConfigurationError where the folder cannot be written.
    """
    if not sweep.gathers:
        return
    folder = RESULTS / sweep.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{folder}: cannot be written: {error.strerror}") from None
    merged = merge_lines(_kept_lines(sweep, jobs), _lines(sweep, jobs))
    known = present_results(sweep.experiment, merged, sweep.keep)
    name = sweep.name * (sweep.name != sweep.experiment.default_name)
    held = read_experiment(folder)
    varied = varied_fields(sweep.name, jobs, merged, held.get("varied") or {})
    described = _description(sweep.experiment, known) | _of_jobs(jobs, held)
    described |= _asked(sweep, held) | ({"varied": varied} if varied else {})
    executor, _, _ = sweep.executor.partition(":")  # its options are of this machine
    described |= {"executor": executor} if executor != "local" else {}
    write_experiment(folder, {**described, "name": name})
    write_lines(folder, merged)
    write_curves(folder, [*read_curves(folder), *_curves(jobs)], read_lines(folder))


def refresh(folder: Path) -> list[str]:
    """Ask the experiment of a results folder again for its cells, table and claims, and its tasks
    for what a trivial predictor loses on their splits.

    For results that were made when the experiment's file said something else; no run is touched.
    Sections, charts, and claims with values of their own that the file does not make any more stay,
    because some take runs that are not committed. Returns what to say of cells whose corpus is not
    the one here: they keep what was known of it.
    Raises ConfigurationError for a folder that no experiment is written in, or where the file can
    no longer make its table.
    """
    held = read_experiment(folder)
    experiment = stored_experiment(folder)
    known = present_results(experiment, read_lines(folder))
    described, said = _description(experiment, known), []
    if experiment.trains:
        configs = {cell.name: experiment.config(cell) for cell in experiment.cells(known)}
        described["numerics"] = {name: numerics.needed(c) for name, c in configs.items()}
        found, said = trivial_losses(configs, known.lines())
        described["trivial"] = {**(held.get("trivial") or {}), **found}
    described["table"] = _with_kept(described["table"], held.get("table") or {})
    ids = {claim["id"] for claim in described["claims"]}
    described["claims"] += [
        claim for claim in held.get("claims", ()) if claim.get("values") and claim["id"] not in ids
    ]
    write_experiment(folder, {**held, **described, "name": held.get("name", "")})
    return [f"{folder}: {one}" for one in said]


def _kept_lines(sweep: Sweep, jobs: Sequence[Job]) -> list[dict]:
    """The lines that are there, without those of cells that are started over in another
    configuration."""
    anew = {job.cell.name: job.identity for job in jobs if starts_over(sweep, job.cell.name)}
    lines = read_lines(RESULTS / sweep.name)
    return [line for line in lines if anew.get(line["cell"], line["hash"]) == line["hash"]]


def _with_kept(table: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
    """The table, with the held sections and charts of other titles behind its own."""
    kept: dict[str, Any] = {}
    for part in ("sections", "charts"):
        new = list(table.get(part, ()))
        titles = {one.get("title") for one in new}
        kept[part] = new + [one for one in held.get(part, ()) if one.get("title") not in titles]
    return {**table, **{part: found for part, found in kept.items() if found}}


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


def _curves(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """The learning curve of every seed that has ended: from its own metrics, or where a committed
    line is all there is, from beside that line."""
    found = []
    for job in jobs:
        for seed, summary in job.ends().items():
            own, source = job.folder.seed(seed), summary.get("from", "").partition("/")[0]
            curve = curve_line(summary, own.lines("metrics.jsonl"), own.lines("timing.jsonl"))
            there = [] if curve or not source else read_curves(RESULTS / source)
            same = [one for one in there if key(one) == key(summary)]
            found += [curve] if curve else [sealed({**c, "cell": job.cell.name}) for c in same]
    return found


def _description(experiment: Experiment, known: Results) -> dict[str, Any]:
    """experiment.json: enough to make the table again, and to come back to the sweep."""
    cells = experiment.cells(known)
    said = {**experiment.given, **experiment.letters}
    rungs = {cell.name: cell.rung.as_json() for cell in cells if cell.rung}
    return {
        "config": experiment.file,
        "argument": ",".join(f"{name}={value}" for name, value in said.items()),
        "overrides": dict(experiment.overrides),
        "scale": experiment.scale,
        "cells": [cell.name for cell in cells],
        "table": experiment.table(cells, known),
        "claims": as_json(experiment.claims(cells, known)),
        "selected": _selected(experiment, cells),
        **({"looks": list(experiment.looks)} if experiment.looks else {}),
        **({"present": dict(known.present)} if known.present else {}),
        **({"ladder": dataclasses.asdict(experiment.ladder)} if experiment.ladder else {}),
        **({"rungs": rungs} if rungs else {}),
    }


def _asked(sweep: Sweep, held: Mapping[str, Any]) -> dict[str, Any]:
    """The choice of cells and seeds of this sweep beside those before it; nothing where all that
    was ever asked for is everything."""
    before = held.get("asked", [again.EVERYTHING]) if held else []
    own = again.choice(sweep.cells, sweep.seeds)
    found = [*before, *([own] if own not in before else [])]
    return {"asked": found} if found != [again.EVERYTHING] else {}


def _of_jobs(jobs: Sequence[Job], held: Mapping[str, Any]) -> dict[str, Any]:
    """What experiment.json says of each cell beside: the number of `runs.numerics` that its results
    need, and of its splits the loss of a predictor that knows frequencies alone. Other cells keep
    theirs."""
    needed = {job.cell.name: numerics.needed(job.config) for job in jobs}
    trivial = {job.cell.name: task_losses(job.task) for job in jobs}
    return {
        "numerics": {**(held.get("numerics") or {}), **needed},
        "trivial": {**(held.get("trivial") or {}), **{k: v for k, v in trivial.items() if v}},
    }


def _selected(experiment: Experiment, cells: Sequence[Cell]) -> str:
    """The split on which the evaluated weights were chosen; '' where none had a part in it."""
    if not cells or not experiment.trains:
        return ""
    return "valid" * (experiment.config(cells[0]).evaluate.weights == "best")
