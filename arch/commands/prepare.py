"""`prepare`: corpora fetched, checked and tokenised."""

from arch.commands import flags, from_flags
from arch.sweeps import machine
from arch.training.program import build


def run(command: flags.Prepare) -> int:
    """Print what each corpus of the cells is, once."""
    experiment = from_flags.experiment(command)
    seen = set()
    for cell in experiment.first_cells():
        task, _ = build(experiment.config(cell), machine.platform())
        line = f"{task.corpus} {task.sha256[:12]}: {task.about}, vocabulary {task.vocabulary:,}"
        if line not in seen:
            print("\n  ".join([line, *task.outline]))
        seen.add(line)
    return 0
