"""The commands of launch.py: each takes the parsed arguments and returns an exit code."""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from arch import (
    bench,
    describe,
    evaluation,
    notebook,
    provenance,
    renderers,
    report,
    results,
    sweeps,
    training,
)
from arch import config as configuration
from arch.data import corpora
from arch.embeddings import embeddings
from arch.experiment import Experiment, Results, matching
from arch.group import Interrupted
from arch.heads import heads
from arch.optimizers import optimizers
from arch.registry import ConfigurationError, stacks, sublayers, suggestion, tasks
from arch.runs import RunFolder
from arch.variants import VARIANTS

MOST_SEEDS = 10_000


def catalogue(_) -> int:
    """`list`: everything that a configuration may name."""
    console = _console()
    for registry in (sublayers, stacks, tasks, embeddings, heads, optimizers):
        table = _table(f"{registry.noun}s", "kind", "options")
        for kind in registry.names():
            options = ", ".join(f"{k}={v!r}" for k, v in registry.options(kind).items())
            table.add_row(kind, options)
        console.print(table)
    table = _table("variants", "name", "what it is")
    for name, variant in VARIANTS.items():
        table.add_row(name, (variant.__doc__ or "").strip().splitlines()[0])
    console.print(table)
    table = _table("corpora", "name", "what it is")
    for name in corpora.names():
        table.add_row(name, corpora.describe(name))
    table.add_row("file:PATH", "a text, .jsonl, .gz or .zst file, or a directory of them")
    console.print(table)
    table = _table("experiments", "file", "what it shows")
    for file in sorted(Path("experiments").glob("*.py")):
        if "def get_config" in (text := file.read_text()):
            table.add_row(str(file), text.split('"""')[1].strip().splitlines()[0])
    console.print(table)
    return 0


def describe_cells(arguments) -> int:
    """`describe`: order, parameters, FLOPs and memory of every cell, nothing compiled."""
    experiment = _experiment(arguments)
    cells = experiment.cells(Results([], *experiment.metric))
    if arguments.cells != "*":
        cells = matching(cells, arguments.cells)
    rows = [
        describe.describe(cell.name, cell.variant or "order", experiment.config(cell))
        for cell in cells
    ]
    if arguments.json:
        for row in rows:
            print(json.dumps(row))
        return 0
    table = _table(experiment.reference, *describe.COLUMNS)
    for row in rows:
        table.add_row(*describe.row(row))
    console = _console()
    console.print(table)
    if any(r["parameters"]["unique"] != r["parameters"]["applied"] for r in rows):
        console.print("Sharing saves memory, not time: `applied` counts a weight at every use.")
    return 0


def run(arguments) -> int:
    """`run`: one cell; without --cell, get_config itself."""
    experiment = _experiment(arguments)
    sweep = _sweep(arguments, experiment if arguments.cell else experiment.alone())
    if arguments.cell:
        matching(experiment.cells(sweep.results()), arguments.cell, "--cell")
        sweep.cells = arguments.cell
    return _run(sweep, arguments)


def sweep(arguments) -> int:
    """`sweep`: cells × seeds."""
    return _run(_sweep(arguments, _experiment(arguments)), arguments)


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
    table = report.build(folder)
    renderers.console(table)
    print(f"written: {folder}/table.md, table.csv, runs.jsonl and the figures")
    return code


def _plan(sweep: sweeps.Sweep) -> int:
    """`--dry-run`: what would be trained."""
    table = _table(sweep.name, "cell", "hash", "seeds", "finished", "order")
    for job in sweep.jobs():
        left = job.unfinished()
        done = [seed for seed in job.seeds if seed not in left]
        table.add_row(
            job.cell.name, job.identity[:8], " ".join(map(str, job.seeds)),
            " ".join(map(str, done)) or "none", job.config.model.order,
        )  # fmt: skip
    _console().print(table)
    return 0


def prepare(arguments) -> int:
    """`prepare`: corpora fetched, checked and tokenised."""
    experiment = _experiment(arguments)
    seen = set()
    for cell in experiment.cells(Results([], *experiment.metric)):
        task, _ = training.build(experiment.config(cell))
        line = f"{task.corpus} {task.sha256[:12]}: {task.about}, vocabulary {task.vocabulary:,}"
        if line not in seen:
            print(line)
        seen.add(line)
    return 0


def status(arguments) -> int:
    """`status`: each cell's steps, last sign of life, cause of death and the way on."""
    there = [p.name for p in sweeps.RUNS.glob("*") if p.is_dir()]
    folder = sweeps.RUNS / _known(arguments.name, there, f"{sweeps.RUNS}/")
    table = _table(arguments.name, "cell", "state", "step", "last sign of life", "cause")
    commands = []
    for path in sorted(folder.glob("*/config.json")):
        held = RunFolder(path.parent)
        state = held.state
        name, cause = _verdict(state)
        table.add_row(
            held.config["cell"], name, f"{state.get('step', 0)}/{state.get('steps', '?')}",
            state.get("heartbeat", "never"), cause,
        )  # fmt: skip
        if name in ("killed", "failed", "interrupted") and state.get("command") not in commands:
            commands.append(state.get("command"))
    _console().print(table)
    for command in filter(None, commands):
        print(f"to go on: {command}")
    return 0


def _known(name: str, there: Iterable[str], where: str, flag: str = "--name") -> str:
    there = sorted(there)
    if name not in there:
        raise ConfigurationError(
            f"{flag}={name}: not in {where}, which has {', '.join(there) or 'nothing yet'}"
            f"{suggestion(name, there)}"
        )
    return name


def _verdict(state: dict) -> tuple[str, str]:
    """(state, cause) as it is now: what says it runs may have been killed since."""
    name = state.get("state", "not started")
    if name in ("running", "starting") and provenance.gone(state):
        return "killed", f"process {state['pid']} is gone without a word (kill -9, out of memory)"
    return name, state.get("error", "")


def show_report(arguments) -> int:
    """`report`: tables and figures, from results/ alone."""
    there = [p.parent.name for p in sweeps.RESULTS.glob(f"*/{results.RUNS}")]
    where = f"{sweeps.RESULTS}/"
    folder = sweeps.RESULTS / _known(arguments.name, there, where)
    against = None
    if arguments.against:
        against = sweeps.RESULTS / _known(arguments.against, there, where, "--against")
    formats = tuple(filter(None, arguments.format.split(",")))
    for name in formats:
        if name not in report.FORMATS:
            raise ConfigurationError(
                f"--format={arguments.format}: {name!r} is none; allowed are "
                f"{', '.join(report.FORMATS)}{suggestion(name, report.FORMATS)}"
            )
    html = sweeps.RUNS / arguments.name / "report.html"
    table = report.build(folder, formats, against=against, html_path=html)
    renderers.console(table)
    print(f"written: {folder} ({', '.join(formats)})")
    return 0


def benchmark(arguments) -> int:
    """`bench`: how fast each cell trains here."""
    experiment = _experiment(arguments)
    cells = matching(experiment.cells(Results([], *experiment.metric)), arguments.cells, "--cells")
    table = _table(
        f"{experiment.reference} on {jax.devices()[0].device_kind}",
        "cell", "tokens/s", "utilisation", "compile seconds", "peak memory",
    )  # fmt: skip
    for cell in cells:
        config = experiment.config(cell)
        row = bench.bench(config, *training.build(config))
        table.add_row(
            cell.name, f"{row['tokens_per_second']:,.0f}", f"{row['utilisation']:.0%}",
            f"{row['compile_seconds']:.1f}", f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
        )  # fmt: skip
    console = _console()
    console.print(table)
    rate = row["machine_flops"] / 1e9
    console.print(f"utilisation is of a {bench.PRODUCT}-square product's {rate:,.0f} GFLOP/s here")
    return 0


def evaluate(arguments) -> int:
    """`evaluate`: a finished or stopped run, by another window or stride if asked."""
    rows = []
    for loaded in notebook.load_all(arguments.run):
        program = loaded.program()
        schedule = loaded.model.stack.schedule.as_data()
        parameters = jax.tree.map(lambda a: np.asarray(a)[None], loaded.parameters)
        settings = loaded.config.evaluate
        window = arguments.window or settings.window
        stride = arguments.stride or settings.stride
        changes = {"evaluate.window": window, "evaluate.stride": stride}
        evaluation.check(configuration.override(loaded.config, changes), loaded.task)
        for split in settings.splits:
            if split not in loaded.task.splits:
                continue
            figures = evaluation.evaluate(
                program, parameters, schedule, split, tokens=0, window=window, stride=stride
            )[0]
            figures |= evaluation.decode(program, parameters, split, tokens=0)[0]
            rows.append({"seed": loaded.seed, "split": split, **figures})
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = _table(arguments.run, *names)
    for row in rows:
        values = (row.get(name, "") for name in names)
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in values))
    _console().print(table)
    return 0


def generate(arguments) -> int:
    """`generate`: a language model goes on with a text, an encoder-decoder translates it."""
    run = notebook.load(arguments.run, arguments.seed)
    print(
        run.generate(
            arguments.prompt,
            tokens=arguments.tokens,
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            key=arguments.draw,
        )
    )
    return 0


def verify(arguments) -> int:
    """`verify`: train again from the older kept checkpoint to the newer, and compare."""
    worst = 0.0
    for loaded in notebook.load_all(arguments.run):
        first, last, difference = loaded.replay()
        worst = max(worst, difference)
        what = "bit-equal" if difference == 0 else f"largest difference {difference:.3g}"
        print(f"seed {loaded.seed}: steps {first} to {last} replayed: {what}")
    return 0 if worst == 0 else 1


def _experiment(arguments) -> Experiment:
    experiment = Experiment(arguments.config, arguments.overrides)
    if experiment.config().train.deterministic:  # XLA reads it when the first device is asked for
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    return experiment


def _sweep(arguments, experiment: Experiment) -> sweeps.Sweep:
    return sweeps.Sweep(
        experiment=experiment,
        name=_name(arguments.name or experiment.default_name),
        cells=getattr(arguments, "cells", "*"),
        seeds=_seeds(arguments.seeds),
        rerun=getattr(arguments, "rerun", ""),
        replicas=_replicas(arguments.replicas),
        executor=getattr(arguments, "executor", "local"),
        command=arguments.command_line,
    )


def _name(text: str) -> str:
    if text and (Path(text).name != text or text.startswith(".")):
        raise ConfigurationError(f"--name={text}: a plain folder name is wanted")
    return text


def _seeds(text: str) -> tuple[int, ...]:
    """'5' → 0 … 4; '100-104' and '1,3' as they say; empty for the configuration's own."""
    if not text:
        return ()
    try:
        if text.isdigit():
            text = f"0-{int(text) - 1}"
        seeds: list[int] = []
        for part in text.split(","):
            low, dash, high = part.partition("-")
            last = int(high) if dash else int(low)
            if last - int(low) < MOST_SEEDS and last < 2**31:
                seeds += range(int(low), last + 1)
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigurationError(
            f"--seeds={text}: wanted is a count (5), a range (100-104) or a list (1,3), "
            "each seed once"
        )
    return tuple(seeds)


def _replicas(text: str) -> int:
    if text == "auto":
        return 0
    if not text.isdigit() or int(text) < 1:
        raise ConfigurationError(f"--replicas={text!r}: allowed are auto and numbers from 1 on")
    return int(text)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _console() -> Console:
    """The terminal, or where there is none, room for wide tables."""
    return Console() if sys.stdout.isatty() else Console(width=160)
