"""`evaluate`: runs or imported models, by another corpus, split, window or stride if asked."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from arch import config as configuration
from arch.commands import flags, from_flags, terminal
from arch.commands.answers import answer
from arch.notebook import run as notebook
from arch.notebook.chosen import choose, labels
from arch.notebook.loaded import Loaded
from arch.registry import Config, ConfigurationError, suggestion
from arch.report.evaluations import Evaluated, left_out, mean_grid, seed_grid, to_page
from arch.report.files import replace_file
from arch.report.lines import revision
from arch.report.tables import Grid
from arch.runs import provenance
from arch.sweeps import machine
from arch.sweeps.sweep import RESULTS
from arch.tasks.contract import Task, Window
from arch.training import evaluation
from arch.training.program import Programs


def run(command: flags.Evaluate) -> int:
    """Print the figures of every run, seed and split, and their means over seeds."""
    name = from_flags.plain_name(command.directory)
    folders, without = choose(command.runs)
    common, names = labels(folders)
    programs, rows, notes, sources = Programs(machine.platform()), [], {}, {}
    for path, label in zip(folders, names, strict=True):
        loaded = notebook.load_all(path, command.corpus, command.trust)
        rows += _evaluated(label, loaded, command, programs)
        notes |= dict.fromkeys(one.note for one in loaded if one.note)
        sources[_source(loaded[0].task)] = None
    notes |= dict.fromkeys(left_out(rows))
    if without:
        notes[f"Left out, without a checkpoint: {', '.join(map(str, without))}."] = None
    grids = [grid for grid in (seed_grid(rows, common), mean_grid(rows)) if grid]
    lines = [json.dumps(row.flat()) for row in rows]
    if command.json:
        answer(*(row.flat() for row in rows))
    else:
        _print(grids)
    for note in notes:
        print(note)
    if name:
        _write(RESULTS / name, to_page(grids, [*notes, *sources, _code()], _again(command)), lines)
    return 0


def _evaluated(
    name: str, loaded: Sequence[Loaded], command: flags.Evaluate, programs: Programs
) -> list[Evaluated]:
    """The rows of one run, by its own settings but for what the command line asks for."""
    first = loaded[0]
    config = _settings(name, first, command)
    program = programs.get(config, first.task, first.model)
    parameters = jax.tree.map(lambda *rows: np.stack(rows), *(one.parameters for one in loaded))
    figures = evaluation.everything(program, parameters, Window.of(config.evaluate))
    return [
        Evaluated(name, one.origin, one.status, split, found[index])
        for index, one in enumerate(loaded)
        for split, found in figures.items()
    ]


def _settings(name: str, loaded: Loaded, command: flags.Evaluate) -> Config:
    """The run's configuration with what is asked for; seeds are evaluated one after the other.

    ConfigurationError for a split, a window or a stride that its task has not.
    """
    splits, there = tuple(filter(None, command.splits.split(","))), loaded.task.splits
    for split in splits:
        if split not in there:
            raise ConfigurationError(
                f"--split={split}: {name} has the splits {', '.join(there)}"
                f"{suggestion(split, there)}"
            )
    asked = {"window": command.window, "stride": command.stride, "splits": splits}
    changes = {f"evaluate.{field}": value for field, value in asked.items() if value}
    try:
        config = configuration.override(loaded.config, {**changes, "train.replicas": "map"})
        evaluation.check(config, loaded.task)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from None
    return config


def _print(grids: Sequence[Grid]) -> None:
    for grid in grids:
        table = terminal.table(grid.title, *grid.columns)
        for texts in grid.rows:
            table.add_row(*texts)
        terminal.show(table)


def _write(folder: Path, page: str, lines: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "evaluation.md", page.encode())
    replace_file(folder / "evaluation.jsonl", "".join(f"{line}\n" for line in lines).encode())
    print(f"written: {folder}/evaluation.md, evaluation.jsonl", file=sys.stderr)


def _source(task: Task) -> str:
    return f"Corpus: {task.corpus}, sha256 {task.sha256[:12]}…"


def _code() -> str:
    versions = ", ".join(f"{k} {v}" for k, v in provenance.versions().items())
    return f"Evaluated by git {revision({'git': provenance.git()})}, {versions}"


def _again(command: flags.Evaluate) -> str:
    """The command line, wherever Python is."""
    return shlex.join(["python", "launch.py", *shlex.split(command.command_line)[2:]])
