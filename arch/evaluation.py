"""Evaluation of a group: sums over batches on the device, means on the host."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from arch.registry import Config, ConfigurationError
from arch.training import Program

BATCHES_A_DISPATCH = 16


def evaluate(
    program: Program,
    parameters,
    schedule,
    split: str,
    *,
    tokens: int,
    window: int = 0,
    stride: int = 0,
) -> list[dict]:
    """A split's figures for each replica, as the task reports them.

    Args:
        parameters: with a leading replica axis.
        tokens: evaluate on a prefix of so many; 0 is the whole split.
        window, stride: 0 stands for the task's length and for the window.
    """
    task, batch = program.task, program.batch
    windows = task.windows(split, tokens, window, stride)
    n = len(windows.starts)
    # at most BATCHES_A_DISPATCH, but no more than there are: padding is work
    together = min(BATCHES_A_DISPATCH, -(-n // batch))
    totals: dict[str, list] = {}
    for start in range(0, n, together * batch):
        part = type(windows)(*(a[start : start + together * batch] for a in windows))
        gathered = task.evaluation_batch(split, part, window)
        padded = jax.tree.map(lambda a: _batches(a, together, batch), gathered)
        sums = program.evaluate(parameters, padded, schedule)
        for name, pair in jax.device_get(sums).items():
            totals.setdefault(name, []).append([np.asarray(a, np.float64).sum(-1) for a in pair])
    sums = {name: np.sum(parts, axis=0) for name, parts in totals.items()}
    figures = []
    for replica in range(len(sums["loss"][0])):
        means = {name: float(s[replica] / w[replica]) for name, (s, w) in sums.items()}
        count = int(round(sums["loss"][1][replica]))
        more = {k: v for k, v in means.items() if k != "loss"}
        figures.append({**task.figures(split, means["loss"], count, window, stride), **more})
    return figures


def _batches(a: np.ndarray, together: int, batch: int) -> jax.Array:
    """(windows, …) → (together, batch, …), filled up with zeros, which have no weight."""
    fill = together * batch - len(a)
    a = np.pad(a, [(0, fill), *itertools.repeat((0, 0), a.ndim - 1)])
    return jnp.asarray(a.reshape(together, batch, *a.shape[1:]))


def check(config: Config, task) -> None:
    """Splits and windows that this task and model can evaluate."""
    evaluate = config["evaluate"]
    known = tuple(task.dataset.splits)
    for split in evaluate["splits"]:
        if split not in ("valid", "test"):
            raise ConfigurationError(f"evaluate.splits={split!r}: allowed are valid, test")
    if "valid" not in known:
        raise ConfigurationError(f"task.corpus={task.corpus!r}: it has no valid split")
    longest, stride = evaluate["window"] or task.length, evaluate["stride"]
    if stride > longest:
        raise ConfigurationError(
            f"evaluate.stride={stride}: allowed is 1 to the window, {longest}; 0 stands for it"
        )
    if config["model"]["embedding"]["positions"] == "learned" and longest > task.length:
        raise ConfigurationError(
            f"evaluate.window={longest}: learned positions end at task.length={task.length}"
        )
