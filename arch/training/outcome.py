"""What became of a replica: it finished, went NaN, or diverged."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

MARGIN = 1.0  # nats above guessing uniformly; a model that has learned nothing yet stays below


class Outcome(NamedTuple):
    """status: finished | nan | diverged; only what finished is averaged. error: the cause, '' where
    it finished. step: where it went wrong, 0 where it did not."""

    status: str
    error: str = ""
    step: int = 0


def outcome(
    stopped_step: int, metrics: Sequence[Mapping[str, float]], guessing_loss: float | None
) -> Outcome:
    """What became of a replica.

    Args:
        stopped_step: whose loss or gradient was not finite; -1: none.
        metrics: the lines of metrics.jsonl. Those of training count: a model that fits its training
            data too well may be worse than guessing elsewhere, and has not diverged.
        guessing_loss: of the task.
    """
    if stopped_step >= 0:
        return Outcome("nan", f"loss or gradient not finite at step {stopped_step}", stopped_step)
    lines = [line for line in metrics if "split" not in line and "loss" in line]
    if guessing_loss is None or not lines or not _above(lines[-1], guessing_loss):
        return Outcome("finished")
    below = [n for n, line in enumerate(lines) if not _above(line, guessing_loss)]
    step = int(lines[below[-1] + 1 if below else 0]["step"])
    return Outcome(
        "diverged",
        f"training loss {lines[-1]['loss']:.4g} nats, above the {guessing_loss:.4g} of guessing "
        f"uniformly, from step {step} on",
        step,
    )


def _above(line: Mapping[str, float], guessing_loss: float) -> bool:
    return line["loss"] > guessing_loss + MARGIN
