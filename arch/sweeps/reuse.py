"""A finished (cell, seed) is known by its hash wherever it was trained.

What this machine has finished under another name counts by itself; lines committed in results/
count where `--reuse` asks for it. Neither does where `--fresh` wants everything trained here.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from arch.report.lines import Line, key, read_lines
from arch.report.seals import SEAL
from arch.report.seeds import Seed
from arch.runs import numerics
from arch.runs.folders import RunFolder, SeedFolder
from arch.runs.provenance import NUMERICS
from arch.sweeps import machine
from arch.sweeps.held import starts_over
from arch.sweeps.sweep import RESULTS, RUNS, Job, Sweep


class Found(NamedTuple):
    """A seed of a job that is finished elsewhere.

    summary: what it came to. source: 'sandwich/k0', the name and the cell that it was trained as.
    folder: its files; None where a committed line is all there is.
    """

    job: Job
    seed: Seed
    summary: Line
    source: str
    folder: SeedFolder | None


def finished_elsewhere(sweep: Sweep, jobs: Sequence[Job]) -> list[Found]:
    """The unfinished seeds of the jobs that are finished under another name or cell."""
    if sweep.fresh or not sweep.experiment.trains:
        return []
    found = []
    for job in jobs:
        left = [] if starts_over(sweep, job.cell.name) else job.unfinished()
        for seed in left:
            there = [*_runs(job, seed), *(_lines(job, seed) if sweep.reuse else ())]
            if there:
                found.append(there[0])
    return found


def take(found: Sequence[Found]) -> list[str]:
    """Make them results of their jobs, in folders that are there; a sentence for each source.

    The line says where it comes from, unless that is this very cell. Metrics are copied and
    checkpoints are linked, so that the run can be loaded and goes on to cost no space.
    """
    said: dict[tuple[str, str], list[Seed]] = {}
    for job, seed, summary, source, folder in found:
        kept = {k: v for k, v in summary.items() if k not in (SEAL, "name")}
        with job.folder.seed(seed).anew() as own:
            if folder is not None:
                _copy(folder.path, own.path)
            line = {**kept, "cell": job.cell.name, **job.details}
            own.finish(line if source == _own(job) else {**line, "from": source})
        job.folder.log(f"seed {seed}: the same run as {source}, which is finished")
        said.setdefault((job.cell.name, source), []).append(seed)
    return [
        f"{cell} seeds {', '.join(map(str, seeds))}: finished as {source}, by the same hash"
        for (cell, source), seeds in said.items()
    ]


def _own(job: Job) -> str:
    """The name and the cell of the job itself, whose committed lines are no other run's."""
    return f"{job.folder.path.parent.name}/{job.cell.name}"


def _runs(job: Job, seed: Seed) -> Iterator[Found]:
    for path in sorted(RUNS.glob(f"*/*-{job.identity[:8]}")):
        if path == job.folder.path:
            continue
        folder = RunFolder(path).seed(seed)
        summary = folder.summary
        if summary is not None and _same(summary, job, seed):
            source = summary.get("from") or f"{path.parent.name}/{summary['cell']}"
            yield Found(job, seed, summary, source, folder)


def _lines(job: Job, seed: Seed) -> Iterator[Found]:
    for path in sorted(RESULTS.iterdir()) if RESULTS.is_dir() else ():
        for line in read_lines(path) if path.is_dir() else ():
            if line["status"] != "failed" and _same(line, job, seed):
                source = line.get("from") or f"{path.name}/{line['cell']}"
                yield Found(job, seed, line, source, None)


def _same(summary: Line, job: Job, seed: Seed) -> bool:
    """Whether this is the job's seed, trained on this kind of device, and no change of NUMERICS
    since touches it; what was measured instead of trained depends on the experiment's file, which
    no hash holds."""
    here = job.identity, seed, str(machine.device()["device"])
    if summary.get("numerics", NUMERICS) < numerics.needed(job.config):
        return False
    return key(summary) == here and "steps" in summary


def _copy(source: Path, target: Path) -> None:
    """A seed's folder: .jsonl files, which are appended to, are copied; checkpoints are linked."""

    def place(file: str, to: str) -> None:
        if "checkpoints" not in Path(file).relative_to(source).parts:
            shutil.copy2(file, to)
            return
        try:
            os.link(file, to)
        except OSError:  # another file system, or one without links
            shutil.copy2(file, to)

    shutil.copytree(source, target, copy_function=place, dirs_exist_ok=True)
