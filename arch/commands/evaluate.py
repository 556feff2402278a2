"""`evaluate`: a run or an imported model, by another corpus, window or stride if asked."""

import jax
import numpy as np

from arch import config as configuration
from arch.commands import flags, terminal
from arch.notebook import run as notebook
from arch.tasks.contract import Window
from arch.training import evaluation


def run(command: flags.Evaluate) -> int:
    """Print the figures of every seed and split."""
    rows, notes = [], set()
    for loaded in notebook.load_all(command.directory, command.corpus, command.trust):
        notes.add(loaded.note)
        which = {"seed": loaded.seed} if isinstance(loaded, notebook.Run) else {}
        program = loaded.program()
        parameters = jax.tree.map(lambda a: np.asarray(a)[None], loaded.parameters)
        settings = loaded.config.evaluate
        window = Window(
            window=command.window or settings.window, stride=command.stride or settings.stride
        )
        changes = {"evaluate.window": window.window, "evaluate.stride": window.stride}
        evaluation.check(configuration.override(loaded.config, changes), loaded.task)
        figures = evaluation.everything(program, parameters, window)
        rows += [{**which, "split": split, **row[0]} for split, row in figures.items()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = terminal.table(command.directory, *names)
    for row in rows:
        values = (row.get(name, "") for name in names)
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in values))
    terminal.console().print(table)
    for note in filter(None, notes):
        print(note)
    return 0
