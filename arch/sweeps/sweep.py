"""Cells × seeds: what is to be run, in which groups, and what became of it.

A (cell, seed) is finished when its summary bears its hash. What is not finished goes on from its
newest whole checkpoint. Replicas of one program, schedule and step make a group.
"""

import dataclasses
import fnmatch
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from arch import config as configuration
from arch.registry import Config, ConfigurationError
from arch.report.lines import merge_lines, read_lines, write_experiment, write_lines
from arch.report.seals import sealed
from arch.runs.checkpoints import Checkpoints
from arch.runs.folders import RunFolder
from arch.sweeps import executors, machine
from arch.sweeps.experiment import Cell, Experiment, Results, matching
from arch.sweeps.progress import Progress
from arch.training import describe, evaluation
from arch.training import state as states
from arch.training.group import Group, Interrupted, Member, Stop, corpus
from arch.training.program import Programs, build, signature

RUNS, RESULTS = Path("runs"), Path("results")
MEASURED = "measured"  # the split of figures that no training made


@dataclasses.dataclass
class Job:
    """A cell with everything worked out: nothing that is wrong with it is left to be found."""

    cell: Cell
    config: Config
    seeds: tuple[int, ...]
    task: Any
    model: Any
    identity: str
    folder: RunFolder
    details: dict

    def unfinished(self) -> list[int]:
        """Seeds without a summary of this hash."""
        summaries = {seed: self.folder.seed(seed).summary for seed in self.seeds}
        return [s for s, x in summaries.items() if x is None or x["hash"] != self.identity]

    def member(self, seed: int) -> Member:
        """The replica of a seed, not yet restored."""
        return Member(
            self.cell.name, seed, self.config, self.identity, self.folder, self.details,
            machine.device(),
        )  # fmt: skip


@dataclasses.dataclass
class Sweep:
    """What the command line asks for.

    Args:
        experiment: the loaded file.
        name: of runs/<name>/ and results/<name>/.
        cells: glob over cell names.
        seeds: instead of the configuration's; empty for those. A cell with its own keeps them.
        rerun: glob over cells to start over; their old files are kept beside.
        replicas: most replicas a group; 0 for as many as fit.
        executor: local | processes, see `executors`.
        gathers: writes results/, which a worker process leaves to the sweep that started it.
        command: how to come back here, for messages and state.json.
    """

    experiment: Experiment
    name: str
    cells: str = "*"
    seeds: tuple[int, ...] = ()
    rerun: str = ""
    replicas: int = 0
    executor: str = "local"
    gathers: bool = True
    command: str = ""

    def jobs(self) -> list[Job]:
        """The jobs that the results so far call for; every cell is checked before any is run."""
        cells = self.experiment.cells(self.results())
        if self.cells != "*":
            cells = matching(cells, self.cells)
        return [self.job(cell) for cell in cells]

    def job(self, cell: Cell) -> Job:
        config = self.experiment.config(cell)
        try:
            task, model = build(config, machine.platform())
            evaluation.check(config, task)
        except ConfigurationError as error:
            raise ConfigurationError(f"cell {cell.name}: {error}") from None
        identity = configuration.identity(config, task.sha256)
        return Job(
            cell=cell,
            config=config,
            seeds=cell.seeds or self.seeds or tuple(config.seeds),
            task=task,
            model=model,
            identity=identity,
            folder=RunFolder.of(RUNS, self.name, cell.name, identity),
            details=describe.details(cell.variant or "order", task, model),
        )

    def results(self) -> Results:
        return Results(read_lines(RESULTS / self.name), *self.experiment.metric)

    def run(self) -> int:
        """Train what is not finished, write results after every group; the exit code."""
        failed: set[str] = set()
        started_over: set[tuple[str, int]] = set()
        seen: set[tuple[str, tuple[int, ...]]] = set()
        with Stop() as stop:
            programs = Programs(machine.platform())
            while jobs := [job for job in self.jobs() if (job.cell.name, job.seeds) not in seen]:
                seen |= {(job.cell.name, job.seeds) for job in jobs}
                self._start_over(jobs, started_over)
                self._prepare(jobs)
                self._gather(jobs)
                errors: dict[str, str] = {}
                if self.executor == "processes":
                    self._in_workers(jobs, stop)
                else:
                    for members, job in self._groups(jobs):
                        errors |= self._attempt(members, job, programs, stop)
                        self._mark_finished(jobs)
                        self._gather(jobs)
                failed |= self._settle(jobs, errors)
        return 1 if failed else 0

    def _start_over(self, jobs: list[Job], done: set[tuple[str, int]]) -> None:
        """Put aside what the cells named by `rerun` have, each seed once a sweep."""
        for job in jobs:
            if self.rerun and fnmatch.fnmatchcase(job.cell.name, self.rerun):
                job.folder.check_free()
                for seed in job.seeds:
                    if (job.cell.name, seed) not in done:
                        job.folder.seed(seed).forget()
                        done.add((job.cell.name, seed))

    def _prepare(self, jobs: list[Job]) -> None:
        """Folders written, disk space there; before anything compiles."""
        need = 0
        for job in jobs:
            job.folder.check_free()
            left = job.unfinished()
            if left:
                job.folder.create(job.config, job.identity, job.cell.name)
            if left and self.experiment.trains:
                size = describe.state_bytes(job.config, job.model)
                need += size * len(left) * (job.config.save.keep + 1)
        if need:
            free = shutil.disk_usage(RUNS).free
            if need > free:
                raise ConfigurationError(
                    f"{RUNS / self.name}: checkpoints need up to {need / 2**20:,.1f} MiB and "
                    f"{free / 2**20:,.1f} MiB are free; --config.save.keep or --seeds can be lower"
                )

    def _mark_finished(self, jobs: list[Job]) -> None:
        for job in jobs:
            state = job.folder.state.get("state")
            if state not in ("finished", None) and not job.unfinished():
                job.folder.update_state(state="finished", error="")

    def _settle(self, jobs: list[Job], errors: dict[str, str]) -> set[str]:
        """Say in each cell's state.json what became of it; names of those that did not finish."""
        self._mark_finished(jobs)
        failed = [job for job in jobs if job.unfinished()]
        for job in failed:  # a later group of a failed cell may have gone well
            job.folder.fail(
                errors.get(job.cell.name)
                or job.folder.state.get("error")
                or "its process ended without a word; see worker.log"
            )
        self._gather(jobs)
        return {job.cell.name for job in failed}

    def _in_workers(self, jobs: list[Job], stop: Stop) -> None:
        """Every cell in a process of its own."""
        told = {
            "experiment": self.experiment.reference,
            "overrides": self.experiment.overrides,
            "name": self.name,
            "replicas": self.replicas,
            "command": self.command,
        }
        waiting = [
            ({**told, "cells": job.cell.name, "seeds": job.seeds}, job.folder.path / "worker.log")
            for job in jobs
            if job.unfinished()
        ]
        executors.run(waiting, lambda: stop.asked)
        self._gather(jobs)
        if stop.asked:
            raise Interrupted

    def _groups(self, jobs: list[Job]) -> Iterable[tuple[list[Member], Job]]:
        """Unfinished replicas by (program, schedule, step), in the order of the cells; one by one
        where nothing is trained."""
        if not self.experiment.trains:
            yield from (([job.member(seed)], job) for job in jobs for seed in job.unfinished())
            return
        groups: dict[tuple, tuple[list[Member], Job]] = {}
        for job in jobs:
            program = signature(job.config, job.model, job.task.sha256)
            schedule = job.model.stack.schedule.positions
            for seed in job.unfinished():
                member = job.member(seed)
                try:
                    member.state = restored(member, job.model)
                except ConfigurationError as error:
                    raise ConfigurationError(
                        f"{error}; --rerun={job.cell.name} starts over"
                    ) from None
                key = (program, schedule, member.step)
                groups.setdefault(key, ([], job))[0].append(member)
        for members, job in groups.values():
            width = self.replicas or fitting(job, len(members))
            for start in range(0, len(members), width):
                yield members[start : start + width], job

    def _attempt(self, members, job: Job, programs: Programs, stop: Stop) -> dict:
        """Cell → error of those that failed; an error of one group does not stop the others."""
        cells = {m.cell: m.folder for m in members}
        for folder in cells.values():
            folder.update_state(
                state="starting", command=self.command, step=members[0].step,
                steps=job.config.train.steps, attempts=folder.state.get("attempts", 0) + 1,
            )  # fmt: skip
        try:
            if self.experiment.trains:
                self._train(members, job, programs, stop)
            else:
                self._measure(members[0], job, stop)
        except (Interrupted, KeyboardInterrupt):
            for folder in cells.values():
                folder.update_state(state="interrupted", error="asked to stop")
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            for folder in cells.values():
                folder.fail(text)
            print(f"cell {', '.join(cells)} failed: {text}", file=sys.stderr)
            return dict.fromkeys(cells, text)
        return {}

    def _train(self, members, job: Job, programs: Programs, stop: Stop) -> None:
        program = programs.get(job.config, job.task, job.model)
        with Progress() as progress:
            group = Group(members, program, progress.update)
            progress.begin(group)
            group.run(stop)

    def _measure(self, member: Member, job: Job, stop: Stop) -> None:
        """What the experiment measures instead of training."""
        if stop.asked:
            raise Interrupted
        figures = self.experiment.measure(member.config, job.task, job.model, member.seed)
        member.own.finish(member.line("finished", {MEASURED: figures}, corpus=corpus(job.task)))
        Progress().measured(member, figures)

    def _gather(self, jobs: list[Job]) -> None:
        """runs/ → results/: the lines of finished and failed replicas, and what the table is."""
        if not self.gathers:
            return
        lines = []
        for job in jobs:
            state = job.folder.state
            for seed in job.seeds:
                summary = job.folder.seed(seed).summary
                if summary is not None and summary["hash"] == job.identity:
                    lines.append(sealed({"name": self.name, **summary}))
                elif state.get("state") == "failed":
                    failure = job.member(seed).line("failed", {}, state["error"])
                    lines.append(sealed({"name": self.name, **failure}))
        folder = RESULTS / self.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{folder}: cannot be written: {error.strerror}") from None
        merged = merge_lines(read_lines(folder), lines)
        known = Results(merged, *self.experiment.metric)
        cells = self.experiment.cells(known)
        arguments = ",".join(
            f"{k}={v}" for k, v in {**self.experiment.given, **self.experiment.letters}.items()
        )
        write_experiment(
            folder,
            {
                "config": self.experiment.file,
                "argument": arguments,
                "overrides": dict(self.experiment.overrides),
                "name": self.name * (self.name != self.experiment.default_name),
                "cells": [cell.name for cell in cells],
                "table": self.experiment.table(cells, known),
            },
        )
        write_lines(folder, merged)


def restored(member: Member, model):
    """The member's newest whole state, on the host; None where it starts fresh."""
    if not member.own.checkpoints.is_dir():
        return None
    checkpoints = Checkpoints(member.own.checkpoints, member.config.save.keep)
    try:
        found = checkpoints.newest(states.shapes(member.config, model))
        checkpoints.discard_after(found[0] if found else -1)
        return found[1] if found else None
    finally:
        checkpoints.close()


def fitting(job: Job, members: int) -> int:
    """How many replicas of the job the device holds: all of them on CPU."""
    limit = machine.memory_limit()
    if limit is None:
        return members
    # states of all, and room as large again for activations
    each = 2 * describe.state_bytes(job.config, job.model)
    return max(1, min(members, int(0.85 * limit // each)))
