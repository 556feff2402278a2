"""What a predictor that knows the frequencies of single tokens alone loses on the splits of a task:
a cell that does not get below it has learned nothing else."""

import json
from collections.abc import Iterable, Mapping

from arch.config import canonical
from arch.registry import Config, ConfigurationError
from arch.report.lines import Line, corpus_digest
from arch.tasks import contract
from arch.tasks.contract import Task


def task_losses(task: Task) -> dict[str, float]:
    """Split → nats a token, of the splits of which that says something."""
    losses = {split: task.unigram_loss(split) for split in task.splits}
    return {split: loss for split, loss in losses.items() if loss is not None}


def trivial_losses(
    configs: Mapping[str, Config], lines: Iterable[Line]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """(cell → `task_losses`, what to say of the cells that have none) of results that are there.

    A cell is left out where its corpus cannot be read here or is not the one that its lines are of:
    the text of Python's standard library, for example, is another in another version.
    """
    digests: dict[str, set[str]] = {}
    for line in lines:
        digests.setdefault(line["cell"], set()).add(corpus_digest(line))
    found: dict[str, dict[str, float]] = {}
    unknown: dict[str, list[str]] = {}
    tasks: dict[str, Task] = {}
    for cell in [cell for cell in configs if cell in digests]:
        try:
            task = _task(configs[cell], tasks)
            if digests[cell] != {task.sha256}:
                raise ConfigurationError(f"{task.corpus!r} is not the corpus that they are of")
            losses = task_losses(task)
        except ConfigurationError as error:
            unknown.setdefault(str(error), []).append(cell)
        else:
            found |= {cell: losses} if losses else {}
    said = [
        f"what frequencies alone would lose is not known of {', '.join(cells)}: {why}"
        for why, cells in unknown.items()
    ]
    return found, said


def _task(config: Config, known: dict[str, Task]) -> Task:
    """The task of a configuration, built once for all cells that have it in common."""
    key = json.dumps(canonical(config.task.to_dict()), sort_keys=True)
    if key not in known:
        known[key] = contract.build(config.task)
    return known[key]
