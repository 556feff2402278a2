"""What a configuration is before anything is trained: order, parameters, FLOPs, memory."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from arch import order as orders
from arch.registry import Config
from arch.tasks.contract import Task
from arch.training.program import build
from arch.training.state import shapes


def describe(cell: str, variant: str, config: Config, platform: str = "cpu") -> dict[str, Any]:
    """One object a cell, the one `describe --json` prints. FLOPs are forward ones, a multiply-add
    counted as two; memory is that of parameters, optimiser state, gradients and best parameters."""
    task, model = build(config, platform)
    return {
        "cell": cell,
        **details(variant, task, model),
        "memory_bytes": state_bytes(config, model),
    }


def details(variant: str, task: Task, model: Any) -> dict[str, Any]:
    """What every result says of its architecture."""
    return {
        "variant": variant,
        "order": model.order,
        "parameters": model.parameter_counts(),
        "flops_per_token": model.flops_per_token(task.length),
    }


def state_bytes(config: Config, model: Any) -> int:
    """Bytes of what one replica keeps between steps, and of its gradients."""
    held = shapes(config, model)
    gradients = held.parameters
    return sum(map(_bytes, (held.parameters, held.best_parameters, gradients, held.optimizer)))


def _bytes(tree: Any) -> int:
    return sum(int(np.prod(a.shape)) * a.dtype.itemsize for a in jax.tree.leaves(tree))


def row(description: Mapping) -> list[str]:
    """A description as the cells of a table on the terminal."""
    counts = description["parameters"]
    letters = ", ".join(f"{letter} {n:,}" for letter, n in counts["by_letter"].items())
    return [
        str(description["cell"]),
        orders.compress_parts(str(description["order"])),
        f"{counts['unique']:,}",
        f"{counts['applied']:,}",
        letters,
        f"{counts['embedding']:,}",
        f"{description['flops_per_token']:,}",
        f"{description['memory_bytes'] / 2**20:,.0f} MiB",
    ]


COLUMNS = (
    "cell", "order", "parameters", "applied", "of letters", "of embedding and head",
    "FLOPs a token", "memory",
)  # fmt: skip
