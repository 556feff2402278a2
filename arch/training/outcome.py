"""What became of a replica: it finished, went NaN, or diverged."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

MARGIN = 1.0  # nats above guessing uniformly, and above the model before its first update


class Outcome(NamedTuple):
    """status: finished | nan | diverged; only what finished is averaged. error: the cause, '' where
    it finished. step: where it went wrong, 0 where it did not."""

    status: str
    error: str = ""
    step: int = 0


def out_of_patience(losses: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` validation losses are all no lower than the lowest before them;
    with a patience of 0 never."""
    if not 0 < patience < len(losses):
        return False
    falling = [loss if math.isfinite(loss) else math.inf for loss in losses]
    return min(falling[-patience:]) >= min(falling[:-patience])


def outcome(
    stopped_step: int, metrics: Sequence[Mapping[str, float]], guessing_loss: float | None
) -> Outcome:
    """What became of a replica.

    It diverged where its last training loss is above that of guessing uniformly and above the one
    it began with, both by the margin: a model whose first logits are large begins above guessing,
    and has learned nothing yet where it ends there.

    Args:
        stopped_step: whose loss or gradient was not finite; -1: none.
        metrics: the lines of metrics.jsonl. Those of training count: a model that fits its training
            data too well may be worse than guessing elsewhere, and has not diverged.
        guessing_loss: of the task.
    """
    if stopped_step >= 0:
        return Outcome("nan", f"loss or gradient not finite at step {stopped_step}", stopped_step)
    lines = [line for line in metrics if "split" not in line and "loss" in line]
    if guessing_loss is None or not lines:
        return Outcome("finished")
    limit = max(guessing_loss, lines[0].get("initial_loss", -math.inf)) + MARGIN
    below = [n for n, line in enumerate(lines) if line["loss"] <= limit]
    if below and below[-1] == len(lines) - 1:
        return Outcome("finished")
    step = int(lines[below[-1] + 1 if below else 0]["step"])
    return Outcome(
        "diverged",
        f"training loss {lines[-1]['loss']:.4g} nats, above the {guessing_loss:.4g} of guessing "
        f"uniformly, from step {step} on",
        step,
    )
