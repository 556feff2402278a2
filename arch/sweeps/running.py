"""A sweep from wherever it stands to its end: folders, space, training, results."""

import shutil
import sys
from collections.abc import Collection, Mapping, Sequence

from arch.registry import ConfigurationError
from arch.report.seeds import Seed, line_seed
from arch.runs import locks
from arch.sweeps.cells import ENDED
from arch.sweeps.executors import chosen
from arch.sweeps.gathering import gather
from arch.sweeps.held import check_name, run_configurations, starts_over
from arch.sweeps.plan import Plan
from arch.sweeps.reuse import finished_elsewhere, take
from arch.sweeps.sweep import Job, Sweep
from arch.training import describe
from arch.training.stopping import Stop


def run(sweep: Sweep) -> int:
    """Train what is not finished and write results after every group.

    The experiment is asked for its cells again until it names nothing new. Returns the exit code:
    0, or 1 where a cell has failed or all its seeds went NaN or diverged. Raises Interrupted where
    asked to stop.
    """
    failed: set[str] = set()
    started_over: set[tuple[str, Seed]] = set()
    seen: set[tuple[str, tuple[Seed, ...]]] = set()
    executor = chosen(sweep)
    with Stop() as stop:
        while jobs := [
            job for job in _due(sweep, started_over) if (job.cell.name, job.seeds) not in seen
        ]:
            seen |= {(job.cell.name, job.seeds) for job in jobs}
            executor.check(jobs)
            _say_held(sweep, jobs)
            locks.check_free(job.folder.path for job in jobs)
            _start_over(sweep, jobs, started_over)
            _take_finished(sweep, jobs)
            _prepare(sweep, jobs)
            if sweep.gathers and sweep.experiment.trains:
                print(Plan.of(jobs, sweep.replicas).said(), flush=True)
            gather(sweep, jobs)

            def settled(jobs: Sequence[Job] = jobs) -> None:
                _mark_finished(jobs)
                gather(sweep, jobs)

            errors = executor.run(jobs, stop, settled)
            failed |= _settle(sweep, jobs, errors)
    return 1 if failed else 0


def _due(sweep: Sweep, started_over: Collection[tuple[str, Seed]]) -> list[Job]:
    """The jobs that are called for by what this sweep does not train any more: an arm waits for the
    pilots that are trained anew, whatever results/ has of them."""
    jobs, coming = sweep.jobs(), set()
    for job in jobs:
        seeds = {(job.cell.name, seed) for seed in job.seeds}
        coming |= {(job.cell.name, seed) for seed in job.unfinished()}
        coming |= seeds.difference(started_over) if starts_over(sweep, job.cell.name) else set()
    held = {(line["cell"], line_seed(line)) for line in sweep.results().lines()}
    return sweep.jobs(coming) if coming & held else jobs


def _say_held(sweep: Sweep, jobs: Sequence[Job]) -> None:
    """Say what the name holds of other configurations; ConfigurationError unless both are kept."""
    if sweep.gathers:
        for said in check_name(sweep, jobs):
            print(f"{sweep.name}: {said}; both are kept", file=sys.stderr)


def _start_over(sweep: Sweep, jobs: Sequence[Job], done: set[tuple[str, Seed]]) -> None:
    """Put aside what the cells named by `rerun` have, in any configuration, each seed once a
    sweep."""
    others = run_configurations(sweep.name).values() if sweep.rerun else ()
    for job in jobs:
        if starts_over(sweep, job.cell.name):
            for folder, cell, _ in others:
                if cell == job.cell.name and folder.path != job.folder.path:
                    locks.check_free([folder.path])
                    for seed in folder.seeds():
                        folder.seed(seed).forget()
            for seed in job.seeds:
                if (job.cell.name, seed) not in done:
                    job.folder.seed(seed).forget()
                    done.add((job.cell.name, seed))


def _take_finished(sweep: Sweep, jobs: Sequence[Job]) -> None:
    """What is finished elsewhere by its hash is a result here too; it is said aloud."""
    found = finished_elsewhere(sweep, jobs) if sweep.gathers else []
    for one in found:
        one.job.folder.create(one.job.config, one.job.identity, one.job.cell.name)
    for said in take(found):
        print(said)
    for job in {one.job.cell.name: one.job for one in found}.values():
        if not job.unfinished():
            steps = job.config.train.steps
            job.folder.update_state(state="finished", step=steps, steps=steps, error="")


def _prepare(sweep: Sweep, jobs: Sequence[Job]) -> None:
    """Write the folders and check the disk's space, before anything compiles."""
    need = 0
    for job in jobs:
        left = job.unfinished()
        if left:
            job.folder.create(job.config, job.identity, job.cell.name)
        if left and sweep.experiment.trains:
            size = describe.state_bytes(job.config, job.model)
            need += size * len(left) * (job.config.save.keep + 1)
    if need:
        free = shutil.disk_usage(sweep.runs).free
        if need > free:
            raise ConfigurationError(
                f"{sweep.runs / sweep.name}: checkpoints need up to {need / 2**20:,.1f} MiB and "
                f"{free / 2**20:,.1f} MiB are free; --config.save.keep or --seeds can be lower"
            )


def _mark_finished(jobs: Sequence[Job]) -> None:
    """Say in the state of each cell that is done what became of it: 'finished' where a seed has,
    else 'nan' or 'diverged', and the causes of those that have not."""
    for job in jobs:
        if job.folder.state.get("state") in (*ENDED, None) or job.unfinished():
            continue
        ends = job.ends()
        lost = {seed: end["error"] for seed, end in ends.items() if end["status"] != "finished"}
        whole = len(lost) == len(ends)
        job.folder.update_state(
            state=next(iter(ends.values()))["status"] if whole else "finished",
            error="; ".join(f"seed {seed}: {error}" for seed, error in lost.items()),
        )


def _settle(sweep: Sweep, jobs: Sequence[Job], errors: Mapping[str, str]) -> set[str]:
    """Say in each cell's state.json what became of it; names of those without a seed that finished,
    with all that failed."""
    _mark_finished(jobs)
    failed = [job for job in jobs if job.unfinished()]
    lost = [job for job in jobs if job.lost()]
    for job in failed:  # a later group of a failed cell may have gone well
        job.folder.fail(
            errors.get(job.cell.name)
            or job.folder.state.get("error")
            or "its process ended without a word; see worker.log"
        )
    gather(sweep, jobs)
    for job in lost:
        print(
            f"cell {job.cell.name}: no seed finished: {job.folder.state['error']}", file=sys.stderr
        )
    return {job.cell.name for job in (*failed, *lost)}
