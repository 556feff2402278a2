"""`sweep`: cells × seeds."""

import sys

from arch.commands import flags, from_flags, terminal
from arch.commands.arms import arm_lines
from arch.devices import hosts
from arch.report.folder import write_report
from arch.report.renderers import print_table
from arch.sweeps import executors, following, running
from arch.sweeps.experiment import matching
from arch.sweeps.held import other_configurations, starts_over
from arch.sweeps.plan import Plan, estimate
from arch.sweeps.reuse import finished_elsewhere
from arch.sweeps.sweep import RESULTS, Sweep
from arch.training.stopping import Interrupted


def run(command: flags.Sweep) -> int:
    """Train what is not finished and print the table; with --dry-run, only what is not finished."""
    experiment = from_flags.experiment(command)
    sweep = from_flags.sweep(command, experiment, cells=command.cells, executor=command.executor)
    return train(sweep, command.dry_run)


def train(sweep: Sweep, dry_run: bool = False) -> int:
    """Run a sweep, print its table and say where it was written. Returns the exit code.

    Where another host leads, only train with it.
    """
    if hosts.follows():
        return following.follow()
    return following.lead(lambda: _lead(sweep, dry_run))


def _lead(sweep: Sweep, dry_run: bool) -> int:
    known = sweep.results()
    cells = sweep.experiment.cells(known)
    sweep.experiment.table(cells, known)  # an error in it would only show when all is trained
    if sweep.rerun:
        matching(cells, sweep.rerun, "--rerun")
    if dry_run:
        return _plan(sweep)
    try:
        code = running.run(sweep)
    except (Interrupted, KeyboardInterrupt) as stop:
        if isinstance(stop, KeyboardInterrupt) and hosts.count() > 1:
            hosts.abandon(130)  # the others wait for this one
        kept = "everything is saved" if isinstance(stop, Interrupted) else "checkpoints are whole"
        print(f"interrupted; {kept}. To go on: {sweep.command}", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"stopped: {error}. To go on: {sweep.command}", file=sys.stderr)
        return 1
    folder = RESULTS / sweep.name
    print_table(write_report(folder))
    print(f"written: {folder}/table.md, table.csv, runs.jsonl and the figures")
    terminal.print_runs(job.folder for job in sweep.jobs())
    return code


def _plan(sweep: Sweep) -> int:
    """Print what would be trained, and the fields in which the cells differ."""
    table = terminal.table(sweep.name, "cell", "hash", "seeds", "finished", "order")
    jobs = sweep.jobs()
    executors.check(sweep, jobs)
    for job in jobs:
        left = job.unfinished()
        done = [seed for seed in job.seeds if seed not in left]
        table.add_row(
            job.cell.name, job.identity[:8], " ".join(map(str, job.seeds)),
            " ".join(map(str, done)) or "none", job.config.model.order,
        )  # fmt: skip
    terminal.show(table)
    for one in finished_elsewhere(sweep, jobs):
        print(f"{one.job.cell.name} seed {one.seed}: finished as {one.source}, by the same hash")
    for held in other_configurations(sweep, jobs):
        print(f"{sweep.name} holds another configuration: {held.said()}")
    if sweep.experiment.trains:
        anew = [job.cell.name for job in jobs if starts_over(sweep, job.cell.name)]
        print(Plan.of(jobs, sweep.replicas, anew).said())
        if said := estimate(jobs):
            print(said)
    known = sweep.results()
    baseline = sweep.experiment.baseline(sweep.experiment.cells(known), known)
    configs = {baseline.name: sweep.experiment.config(baseline)}
    for line in arm_lines(baseline.name, configs | {job.cell.name: job.config for job in jobs}):
        print(line)
    return 0
