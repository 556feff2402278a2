"""Which results the present code would not make again.

`audit` reads results/ and trains nothing; `again` trains the cheapest line of a folder once more,
in a temporary place, and compares every figure.
"""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from arch import config as configuration
from arch.registry import Config, ConfigurationError, flat
from arch.report.lines import RUNS as LINES
from arch.report.lines import Line, corpus_digest, read_lines
from arch.report.seeds import Seed, line_seed
from arch.runs import numerics
from arch.sweeps import machine, running
from arch.sweeps.experiment import Cell, Experiment
from arch.sweeps.present import present_results
from arch.sweeps.stored import stored_experiment
from arch.sweeps.sweep import RESULTS, Sweep


class Finding(NamedTuple):
    """Something about lines of a results folder: which cells, how many lines, and what."""

    folder: str
    cells: tuple[str, ...]
    lines: int
    what: str


def audit(folder: Path) -> list[Finding]:
    """What today's code says of a folder's lines; an empty list where it would make all again.

    A line is named where its cell is gone, where its configuration has another hash now, where its
    NUMERICS is older than a change that touches its configuration, and where it does not say.
    """
    lines = read_lines(folder)
    found: dict[str, list[Line]] = {}
    try:
        experiment, cells = experiment_of(folder)
        configs = {cell.name: experiment.config(cell) for cell in cells}
        hashes = _hashes(configs, lines)
        trained = configs if experiment.trains else {}  # what is counted has no bits of a run
        needed = {name: numerics.needed(config) for name, config in trained.items()}
    except ConfigurationError as error:
        return [Finding(folder.name, (), len(lines), f"cannot be made: {error}")]
    for line in lines:
        for what in _faults(line, hashes, needed):
            found.setdefault(what, []).append(line)
    return [
        Finding(folder.name, tuple(dict.fromkeys(x["cell"] for x in those)), len(those), what)
        for what, those in found.items()
    ]


def twins(folders: Iterable[Path]) -> list[str]:
    """Cells of several folders that are one and the same run: 'sandwich/k0 = orders/vanilla'."""
    names: dict[tuple[str, Seed], dict[str, None]] = {}
    for folder in folders:
        for line in read_lines(folder):
            run = line["hash"], line_seed(line)
            names.setdefault(run, {})[f"{folder.name}/{line['cell']}"] = None
    return list(dict.fromkeys(" = ".join(those) for those in names.values() if len(those) > 1))


def again(folder: Path) -> str:
    """Train the cheapest line of a folder that today's code would make; what came of it.

    One of another device kind, or that was measured and not trained, is never chosen.
    Raises ConfigurationError where the experiment's file cannot make its cells.
    """
    experiment = stored_experiment(folder)
    lines = read_lines(folder)
    first = experiment.first_cells()  # others wait for results
    hashes = _hashes({cell.name: experiment.config(cell) for cell in first}, lines)
    device = machine.device()["device"]
    whole = [
        line
        for line in lines
        if line["status"] == "finished" and "steps" in line and line["device"] == device
        and hashes.get((line["cell"], corpus_digest(line))) == line["hash"]
    ]  # fmt: skip
    if not experiment.trains or not whole:
        return "nothing of it was trained on this kind of device by a hash of today"
    line = min(whole, key=lambda line: line["tokens"] * line["flops_per_token"])
    seed = line_seed(line)
    name = f"{line['cell']} seed {seed}"
    with tempfile.TemporaryDirectory() as place:
        sweep = Sweep(
            experiment, "audit", cells=line["cell"], seeds=(seed,), gathers=False,
            runs=Path(place),
        )  # fmt: skip
        (job,) = sweep.jobs()
        if job.identity != line["hash"]:
            return f"{name}: its corpus is not the one that is here"
        running.run(sweep)
        summary = job.folder.seed(seed).summary
        if summary is None:
            return f"{name}: failed: {job.folder.state.get('error', '')}"
        return f"{name}: {compared(line['evaluations'], summary['evaluations'])}"


def compared(before: dict, after: dict) -> str:
    """'every figure is the same', or the largest relative change and where it is."""
    here, there = flat(before), flat(after)
    if gone := sorted(here.keys() - there.keys()):
        return f"figures are gone: {', '.join(gone)}"
    changes = {}
    for field, value in here.items():
        new = there[field]
        if isinstance(value, int | float) and isinstance(new, int | float) and new != value:
            changes[field] = abs(new - value) / max(abs(value), 1e-300)
    if not changes:
        return "every figure is the same"
    worst = max(changes, key=lambda field: changes[field])
    return f"{len(changes)} of {len(here)} figures differ, {worst} most, by {changes[worst]:.2g}"


def result_folders(root: Path = RESULTS) -> list[Path]:
    """The folders with lines, by name."""
    return sorted(path.parent for path in root.glob(f"*/{LINES}"))


def experiment_of(folder: Path) -> tuple[Experiment, list[Cell]]:
    """The experiment that a results folder is of, and the cells that its lines call for.

    Raises ConfigurationError where experiment.json names no file, or the file is at fault.
    """
    experiment = stored_experiment(folder)
    return experiment, experiment.cells(present_results(experiment, read_lines(folder)))


def _hashes(configs: Mapping[str, Config], lines: Iterable[Line]) -> dict[tuple[str, str], str]:
    """(cell, sha256 of its corpus) → the hash of today's code, for every line's.

    configs: cell → its configuration.
    """
    wanted = dict.fromkeys((line["cell"], corpus_digest(line)) for line in lines)
    return {
        (cell, corpus): configuration.identity(configs[cell], corpus)
        for cell, corpus in wanted
        if cell in configs
    }


def _faults(
    line: Line, hashes: Mapping[tuple[str, str], str], needed: Mapping[str, int]
) -> list[str]:
    now = hashes.get((line["cell"], corpus_digest(line)))
    faults = []
    if now is None:
        faults.append("the experiment has no such cell now")
    elif now != line["hash"]:
        faults.append("the configuration has another hash now")
    number, least = line.get("numerics"), needed.get(line["cell"], 1)
    if number is None:
        faults.append("which NUMERICS it is of, it does not say")
    elif number < least:
        faults.append(f"made by NUMERICS {number}, and {least} touches it")
    return faults
