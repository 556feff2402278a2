"""`status`, `report`, `evaluate`, `generate` and `verify`: what reads runs and results."""

from collections.abc import Iterable

import jax
import numpy as np

from arch import config as configuration
from arch.commands import terminal
from arch.notebook import run as notebook
from arch.registry import ConfigurationError, suggestion
from arch.report import lines
from arch.report.folder import FORMATS, write_report
from arch.report.renderers import print_table
from arch.runs import provenance
from arch.runs.folders import RunFolder
from arch.sweeps import sweep as sweeps
from arch.tasks.contract import Window
from arch.training import evaluation


def status(arguments) -> int:
    """`status`: each cell's steps, last sign of life, cause of death and the way on."""
    there = [p.name for p in sweeps.RUNS.glob("*") if p.is_dir()]
    folder = sweeps.RUNS / _known(arguments.name, there, f"{sweeps.RUNS}/")
    table = terminal.table(arguments.name, "cell", "state", "step", "last sign of life", "cause")
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
    terminal.console().print(table)
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
    there = [p.parent.name for p in sweeps.RESULTS.glob(f"*/{lines.RUNS}")]
    where = f"{sweeps.RESULTS}/"
    folder = sweeps.RESULTS / _known(arguments.name, there, where)
    against = None
    if arguments.against:
        against = sweeps.RESULTS / _known(arguments.against, there, where, "--against")
    formats = tuple(filter(None, arguments.format.split(",")))
    for name in formats:
        if name not in FORMATS:
            raise ConfigurationError(
                f"--format={arguments.format}: {name!r} is none; allowed are "
                f"{', '.join(FORMATS)}{suggestion(name, FORMATS)}"
            )
    html = sweeps.RUNS / arguments.name / "report.html"
    table = write_report(folder, formats, against=against, html_path=html)
    print_table(table)
    print(f"written: {folder} ({', '.join(formats)})")
    return 0


def evaluate(arguments) -> int:
    """`evaluate`: a finished or stopped run, or an imported model, on another corpus, by another
    window or stride if asked."""
    rows, notes = [], set()
    for loaded in notebook.load_all(arguments.run, arguments.corpus):
        notes.add(loaded.note)
        which = {"seed": loaded.seed} if isinstance(loaded, notebook.Run) else {}
        program = loaded.program()
        parameters = jax.tree.map(lambda a: np.asarray(a)[None], loaded.parameters)
        settings = loaded.config.evaluate
        window = Window(
            window=arguments.window or settings.window, stride=arguments.stride or settings.stride
        )
        changes = {"evaluate.window": window.window, "evaluate.stride": window.stride}
        evaluation.check(configuration.override(loaded.config, changes), loaded.task)
        figures = evaluation.everything(program, parameters, window)
        rows += [{**which, "split": split, **row[0]} for split, row in figures.items()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = terminal.table(arguments.run, *names)
    for row in rows:
        values = (row.get(name, "") for name in names)
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in values))
    terminal.console().print(table)
    for note in filter(None, notes):
        print(note)
    return 0


def generate(arguments) -> int:
    """`generate`: a language model goes on with a text, an encoder-decoder translates it, a masked
    language model fills in its [MASK]s."""
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
    for loaded in notebook.load_runs(arguments.run):
        first, last, difference = loaded.replay()
        worst = max(worst, difference)
        what = "bit-equal" if difference == 0 else f"largest difference {difference:.3g}"
        print(f"seed {loaded.seed}: steps {first} to {last} replayed: {what}")
    return 0 if worst == 0 else 1
