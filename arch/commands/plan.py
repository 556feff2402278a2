"""`plan`: a cell's training step compiled for hardware that is not here."""

import math
from collections.abc import Sequence
from typing import Any

import jax

from arch.checks import holds
from arch.commands import flags, from_flags, plan_all, terminal
from arch.commands.answers import answer
from arch.devices import topologies
from arch.devices.chips import Chip, chip
from arch.devices.mesh import Sizes, said
from arch.registry import Config, ConfigurationError
from arch.report.plans import GIB, attention
from arch.sweeps.experiment import Results, matching
from arch.training import plan as plans
from arch.training.plan import Plan
from arch.training.program import build

COLUMNS = (
    "mesh",
    "fits",
    "parameters",
    "temporary",
    "peak",
    "sent",
    "step",
    "tokens/s",
    "hours",
    "attention",
)


def run(command: flags.Plan) -> int:
    """Print what each mesh would hold and take, and the cheapest that fits. Returns 1 where none
    does."""
    efficiency = command.efficiency
    holds(0 < efficiency <= 1, "above 0 to 1", of="plan", efficiency=efficiency)
    _, hardware, _ = chip(command.topology)
    if command.all:
        return plan_all.run(command)
    # what is compiled for others is computed here, and a plugin without its driver finds no device
    jax.config.update("jax_platforms", "cpu")
    if not command.config:
        raise ConfigurationError("plan: expected --config=FILE, or --all")
    experiment = from_flags.experiment(command)
    cells = experiment.cells(Results([], *experiment.metric))
    cell = matching(cells, command.cell, "--cell")[0] if command.cell else cells[0]
    config = experiment.config(cell)
    devices = topologies.devices(command.topology)
    found = tried(config, hardware, devices, efficiency, command.every_mesh, command.first)
    fitting = [one for one in found if one.fits]
    best = min(fitting, key=lambda one: one.seconds, default=None)
    if command.json:
        about = {
            "experiment": experiment.reference, "cell": cell.name, "topology": command.topology,
            "efficiency": efficiency, "optimizer": config.train.optimizer.name,
            "batch": config.train.batch,
        }  # fmt: skip
        cheapest = None if best is None else best.as_json()
        answer({**about, "cheapest": cheapest, "tried": [p.as_json() for p in found]})
        return 0 if best else 1
    table = terminal.table(f"{experiment.reference} {cell.name} on {command.topology}", *COLUMNS)
    for one in found:
        table.add_row(*row(one))
    terminal.show(table)
    print(verdict(found, best, command.topology))
    return 0 if best else 1


def tried(
    config: Config,
    hardware: Chip,
    devices: Sequence[Any],
    efficiency: float,
    every: bool = False,
    first: bool = False,
) -> list[Plan]:
    """The plans of the mesh that the configuration has, or of those that divide the devices, of
    `every` such; where none fits, of what would mend the smallest. `first`: none after one that
    fits."""
    task, model = build(config, hardware.platform)
    own = Sizes.of(config.train.mesh)
    batch = config.train.batch // config.train.accumulate
    sizes = [own] if own.devices > 1 else list(plans.meshes(len(devices), batch, every))
    if not sizes:
        raise ConfigurationError(
            f"train.batch={config.train.batch}: no mesh of {len(devices)} devices divides it; set "
            "train.mesh"
        )

    def planned(one: Sizes, changes: dict[str, Any]) -> Plan:
        made = plans.changed(config, one, **changes)
        of_mesh = task, model if not changes else build(made, hardware.platform)[1]
        used = devices[: one.devices]
        return plans.plan(made, *of_mesh, hardware, used, changes, efficiency)

    found = []
    for one in sizes:
        found.append(planned(one, {}))
        if first and found[-1].fits:
            break
    if not any(one.fits for one in found):
        smallest = min(zip(found, sizes, strict=True), key=lambda pair: pair[0].peak)[1]
        for changes in plans.remedies(config, smallest):
            found.append(planned(smallest, changes))
            if found[-1].fits:
                break
    return found


def named(one: Plan) -> str:
    """A plan's mesh and changes: 'fsdp=8, model.stack.remat=full'."""
    mesh = said(one.mesh) or "one device"
    return ", ".join([mesh, *(f"{field}={value}" for field, value in one.changes.items())])


def row(one: Plan) -> list[str]:
    """A plan as a row of the table; of a device, sizes in GiB. One that the compiler refused
    has no times."""
    over = one.peak / one.memory - 1
    times = [
        f"{one.seconds * 1000:.1f} ms",
        f"{one.tokens / one.seconds:,.0f}",
        f"{one.hours:.1f}",
    ]
    return [
        named(one),
        "yes" if one.fits else f"{over:.0%} over",
        *(f"{size / GIB:.2f}" for size in (one.parameters, one.temporary, one.peak, one.sent)),
        *(times if math.isfinite(one.seconds) else [""] * 3),
        attention(one.attention),
    ]


def verdict(found: Sequence[Plan], best: Plan | None, topology: str) -> str:
    """The cheapest that fits, or by how much the smallest does not."""
    if best is None:
        least = min(found, key=lambda one: one.peak)
        return (
            f"nothing that was tried fits {topology}: {named(least)} needs "
            f"{least.peak / GIB:.2f} GiB a device of {least.memory / GIB:.2f}; use more devices"
        )
    return (
        f"cheapest: {named(best)}: {best.peak / GIB:.2f} GiB a device of {best.memory / GIB:.2f}, "
        f"{best.seconds * 1000:.1f} ms a step at {best.efficiency:.0%} of the peak, "
        f"{best.hours:.1f} hours and {best.hours * best.devices:,.0f} chip-hours for "
        f"{best.tokens * best.steps:,.0f} tokens of a seed"
    )
