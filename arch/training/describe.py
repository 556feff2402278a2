"""What a configuration is before anything is trained: order, parameters, FLOPs, memory."""

from collections.abc import Mapping
from typing import Any

from arch import order as orders
from arch.baselines.counted import is_counted
from arch.devices.mesh import ONE_DEVICE, Sizes, said
from arch.models.parameters import leaves
from arch.registry import Config
from arch.tasks.contract import Task
from arch.training.program import build
from arch.training.state import shapes


def describe(
    cell: str, variant: str, config: Config, platform: str = "cpu", tree: bool = False
) -> dict[str, Any]:
    """One object a cell, the one `describe --json` prints. FLOPs are forward ones, a multiply-add
    counted as two; memory is that of parameters, optimiser state, gradients and best parameters.

    tree: also every parameter's path, shape and dtype, under 'tree'.
    """
    task, model = build(config, platform)
    listed = [] if is_counted(config) else leaves(model)
    return {
        "cell": cell,
        **details(variant, config, task, model),
        "memory_bytes": state_bytes(config, model),
        **laid_out(config, model),
        **({"tree": [leaf._asdict() for leaf in listed]} if tree else {}),
    }


def details(variant: str, config: Config, task: Task, model: Any) -> dict[str, Any]:
    """What every result says of its architecture; a baseline that is counted has none of it."""
    if is_counted(config):
        nothing = {"unique": 0, "applied": 0, "embedding": 0, "by_letter": {}}
        return {"variant": variant, "order": "", "parameters": nothing, "flops_per_token": 0}
    return {
        "variant": variant,
        "order": model.order,
        "parameters": model.parameter_counts(),
        "flops_per_token": model.flops_per_token(task.length),
    }


def laid_out(config: Config, model: Any) -> dict[str, Any]:
    """Of a replica on several devices: `mesh`, `device_memory_bytes` of the device that holds most,
    and `replicated`: the parameters that `train.mesh` divides nowhere. Nothing on one device."""
    sizes = Sizes.of(config["train"]["mesh"])
    if sizes.devices == 1 or is_counted(config):
        return {}
    return {
        "mesh": sizes.divided,
        "device_memory_bytes": state_bytes(config, model, sizes),
        "replicated": model.sharding.replicated(model.shapes, sizes._asdict()),
    }


def state_bytes(config: Config, model: Any, sizes: Sizes = ONE_DEVICE) -> int:
    """Bytes of what one replica keeps between steps, and of its gradients, on one of the devices
    that it is spread over."""
    if is_counted(config):
        return 0
    held = shapes(config, model)
    gradients = held.parameters
    trees = held.parameters, held.best_parameters, gradients, held.optimizer
    return sum(model.sharding.bytes_per_device(tree, sizes._asdict()) for tree in trees)


def said_layout(description: Mapping) -> str:
    """What a description says of its mesh, as a line; '' on one device."""
    if "mesh" not in description:
        return ""
    whole = ", ".join(description["replicated"]) or "no parameter"
    return (
        f"{description['cell']} on {said(description['mesh'])}: "
        f"{description['device_memory_bytes'] / 2**20:,.0f} MiB a device; whole on each: {whole}"
    )


def row(description: Mapping) -> list[str]:
    """A description as the cells of a table on the terminal."""
    counts = description["parameters"]
    letters = ", ".join(f"{letter} {n:,}" for letter, n in counts["by_letter"].items())
    return [
        str(description["cell"]),
        orders.compress_parts(order) if (order := str(description["order"])) else "counted",
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
