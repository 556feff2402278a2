"""`run`, `sweep`, `prepare` and `bench`: what takes a configuration and does something with it."""

import sys

from arch.commands import terminal
from arch.commands.asked import experiment_of, sweep_of
from arch.report.folder import write_report
from arch.report.renderers import print_table
from arch.sweeps import machine
from arch.sweeps import sweep as sweeps
from arch.sweeps.experiment import Results, matching
from arch.training import bench
from arch.training.group import Interrupted
from arch.training.program import build


def run(arguments) -> int:
    """`run`: one cell; without --cell, get_config itself."""
    experiment = experiment_of(arguments)
    sweep = sweep_of(arguments, experiment if arguments.cell else experiment.alone())
    if arguments.cell:
        matching(experiment.cells(sweep.results()), arguments.cell, "--cell")
        sweep.cells = arguments.cell
    return _run(sweep, arguments)


def sweep(arguments) -> int:
    """`sweep`: cells × seeds."""
    return _run(sweep_of(arguments, experiment_of(arguments)), arguments)


def _run(sweep: sweeps.Sweep, arguments) -> int:
    known = sweep.results()
    cells = sweep.experiment.cells(known)
    sweep.experiment.table(cells, known)  # an error in it would only show when all is trained
    if sweep.rerun:
        matching(cells, sweep.rerun, "--rerun")
    if getattr(arguments, "dry_run", False):
        return _plan(sweep)
    try:
        code = sweep.run()
    except (Interrupted, KeyboardInterrupt) as stop:
        kept = "everything is saved" if isinstance(stop, Interrupted) else "checkpoints are whole"
        print(f"interrupted; {kept}. To go on: {sweep.command}", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"stopped: {error}. To go on: {sweep.command}", file=sys.stderr)
        return 1
    folder = sweeps.RESULTS / sweep.name
    table = write_report(folder)
    print_table(table)
    print(f"written: {folder}/table.md, table.csv, runs.jsonl and the figures")
    return code


def _plan(sweep: sweeps.Sweep) -> int:
    """`--dry-run`: what would be trained."""
    table = terminal.table(sweep.name, "cell", "hash", "seeds", "finished", "order")
    for job in sweep.jobs():
        left = job.unfinished()
        done = [seed for seed in job.seeds if seed not in left]
        table.add_row(
            job.cell.name, job.identity[:8], " ".join(map(str, job.seeds)),
            " ".join(map(str, done)) or "none", job.config.model.order,
        )  # fmt: skip
    terminal.console().print(table)
    return 0


def prepare(arguments) -> int:
    """`prepare`: corpora fetched, checked and tokenised."""
    experiment = experiment_of(arguments)
    seen = set()
    for cell in experiment.cells(Results([], *experiment.metric)):
        task, _ = build(experiment.config(cell), machine.platform())
        line = f"{task.corpus} {task.sha256[:12]}: {task.about}, vocabulary {task.vocabulary:,}"
        if line not in seen:
            print(line)
        seen.add(line)
    return 0


def benchmark(arguments) -> int:
    """`bench`: how fast each cell trains here."""
    experiment = experiment_of(arguments)
    cells = matching(experiment.cells(Results([], *experiment.metric)), arguments.cells, "--cells")
    table = terminal.table(
        f"{experiment.reference} on {machine.kind()}",
        "cell", "tokens/s", "utilisation", "compile seconds", "peak memory",
    )  # fmt: skip
    platform = machine.platform()
    for cell in cells:
        config = experiment.config(cell)
        row = bench.bench(config, *build(config, platform), platform)
        table.add_row(
            cell.name, f"{row['tokens_per_second']:,.0f}", f"{row['utilisation']:.0%}",
            f"{row['compile_seconds']:.1f}", f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
        )  # fmt: skip
    console = terminal.console()
    console.print(table)
    rate = row["machine_flops"] / 1e9
    console.print(f"utilisation is of a {bench.PRODUCT}-square product's {rate:,.0f} GFLOP/s here")
    return 0
