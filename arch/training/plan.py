"""A training step compiled for hardware that is not here: what it holds, moves and takes.

The time is a roofline: the larger of FLOPs at a stated share of the peak and bytes at the memory's
bandwidth, and after it all that is sent between chips, as if nothing overlapped.
"""

import dataclasses
import itertools
import math
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from arch import config as configuration
from arch.devices import hlo, scopes
from arch.devices.chips import Chip
from arch.devices.mesh import Sizes
from arch.devices.topologies import EFFORT
from arch.registry import Config, ConfigurationError
from arch.tasks.contract import Task
from arch.training.program import Program
from arch.training.state import Swept, shapes

EFFICIENCY = 0.5  # of the peak that products of real sizes reach
# TPU's compiler makes no program that does not fit, and says what it would have needed.
REFUSED = re.compile(r"temporaries \(([\d.]+)([KMGT])\)")
NOT_COMPILED = hlo.Traffic(math.nan, {})
RECOMPUTED = {"full": 4, "dots": 3}  # forward passes that a step costs; 3 where nothing is redone


@dataclasses.dataclass(frozen=True)
class Plan:
    """One step on one mesh; bytes, FLOPs and collectives are a device's.

    Attributes:
        mesh: axis → size, of the axes above 1.
        changes: fields set besides the mesh, so that it fits.
        weights: scalars of the model, each once.
        state: bytes of parameters, best parameters, moments; `parameters` is a part of it.
        temporary: bytes of gradients, activations and buffers.
        peak: bytes of all that lives at once; `memory` is what the chip has.
        traffic: NaN bytes where the compiler refused, since it does not fit; so are `seconds`.
        flops: of products, by the model's own count, forward and backward.
        attention: letter → the paths that its attention takes, see `dot_product`.
    """

    mesh: dict[str, int]
    changes: dict[str, Any]
    devices: int
    weights: int
    parameters: int
    state: int
    temporary: int
    peak: int
    memory: float
    flops: float
    traffic: hlo.Traffic
    attention: dict[str, list[str]]
    tokens: float
    steps: int
    chip: Chip
    efficiency: float
    compile_seconds: float

    @property
    def fits(self) -> bool:
        """Whether a chip holds it."""
        return self.peak <= self.memory

    @property
    def seconds(self) -> float:
        """Of a step, by the roofline."""
        busy = max(
            self.traffic.bytes / self.chip.bandwidth,  # first, so that NaN stays
            self.flops / (self.chip.flops * self.efficiency),
        )
        return busy + self.sent / self.chip.interconnect

    @property
    def sent(self) -> float:
        """Bytes that a device sends in a step, by all collectives."""
        return sum(one.sent for one in self.traffic.collectives.values())

    @property
    def hours(self) -> float:
        """Of all steps."""
        return self.seconds * self.steps / 3600

    def as_json(self) -> dict[str, Any]:
        """What `plan --json` prints; times in seconds and hours."""
        return {
            "mesh": self.mesh,
            "changes": self.changes,
            "devices": self.devices,
            "weights": self.weights,
            "fits": self.fits,
            "memory": self.memory,
            "peak": self.peak,
            "parameters": self.parameters,
            "state": self.state,
            "temporary": self.temporary,
            "flops": self.flops,
            "bytes": self.traffic.bytes,
            "attention": self.attention,
            "collectives": {k: v._asdict() for k, v in self.traffic.collectives.items()},
            "step_seconds": self.seconds,
            "tokens_per_second": self.tokens / self.seconds,
            "tokens": self.tokens * self.steps,
            "hours": self.hours,
            "chip_hours": self.hours * self.devices,
            "compile_seconds": self.compile_seconds,
        }


def meshes(devices: int, batch: int, every: bool = False) -> Iterator[Sizes]:
    """Meshes of all the devices that divide a microbatch: first data alone, then fsdp alone, each
    beside tensor where the batch has fewer parts; where `every`, all others too."""
    parts = math.gcd(devices, batch)
    first = [Sizes(parts, 1, devices // parts), Sizes(1, parts, devices // parts)]
    rest = [
        Sizes(data, fsdp, devices // (data * fsdp))
        for data, fsdp in itertools.product(range(1, devices + 1), repeat=2)
        if devices % (data * fsdp) == 0
    ]
    found = dict.fromkeys([*first, *(rest if every else ())])
    return (sizes for sizes in found if batch % sizes.rows == 0)


def changed(config: Config, sizes: Sizes, **fields: Any) -> Config:
    """The configuration on a mesh, with other fields set."""
    mesh = {f"train.mesh.{axis}": size for axis, size in sizes._asdict().items()}
    return configuration.override(config, {**mesh, **fields})


def remedies(config: Config, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Fields that make a step smaller, the cheapest first, each beside those before it."""
    fields: dict[str, Any] = {}
    if "chunk" in config.model.head and not config.model.head.chunk:
        fields["model.head.chunk"] = 4096
        yield dict(fields)
    if config.model.stack.get("remat") == "none" and config.model.stack.kind != "reversible":
        fields["model.stack.remat"] = "full"
        yield dict(fields)
    rows, accumulate = config.train.batch // sizes.rows, config.train.accumulate
    while rows % (2 * accumulate) == 0:
        accumulate *= 2
        fields["train.accumulate"] = accumulate
        yield dict(fields)


def plan(
    config: Config,
    task: Task,
    model: Any,
    chip: Chip,
    devices: Sequence[Any],
    changes: dict[str, Any],
    efficiency: float = EFFICIENCY,
) -> Plan:
    """The plan of one replica's step on the mesh of a configuration.

    Args:
        devices: of the hardware, as many as the mesh has.
        changes: what `config` sets besides the mesh, to be told.
    """
    start = time.perf_counter()
    sizes = Sizes.of(config.train.mesh)
    lowered = lower(config, task, model, chip.platform, devices)
    try:
        compiled = lowered.compile(compiler_options=EFFORT[chip.platform])
    except jax.errors.JaxRuntimeError as error:
        refused = refused_bytes(str(error))
        held = model.sharding.bytes_per_device(shapes(config, model), sizes._asdict())
        temporary, peak, text = refused, held + refused, None
    else:
        memory, text = compiled.memory_analysis(), compiled.as_text() or ""
        assert memory is not None  # both compilers have one
        held, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
        peak = held + memory.output_size_in_bytes + temporary - memory.alias_size_in_bytes
    seconds = time.perf_counter() - start
    tokens = config.train.batch * task.planned_tokens
    passes = RECOMPUTED.get(config.model.stack.get("remat", "none"), 3)
    if config.model.stack.kind == "reversible":
        passes = 4
    return Plan(
        mesh=sizes.divided,
        changes=changes,
        devices=len(devices),
        weights=model.parameter_counts()["unique"],
        parameters=model.sharding.bytes_per_device(model.shapes, sizes._asdict()),
        state=held,
        temporary=temporary,
        peak=peak,
        memory=chip.memory,
        flops=passes * model.flops_per_token(task.length) * tokens / len(devices),
        traffic=NOT_COMPILED if text is None else hlo.traffic(text),
        attention=scopes.attention_paths(text or ""),
        tokens=tokens,
        steps=config.train.steps,
        chip=chip,
        efficiency=efficiency,
        compile_seconds=seconds,
    )


def refused_bytes(said: str) -> int:
    """How many bytes of temporary memory a compiler refused to compile for, from its words.

    Raises ConfigurationError where it refused for another reason.
    """
    if found := REFUSED.search(said):
        number, unit = found.groups()
        return int(float(number) * 1024 ** " KMGT".index(unit))
    raise ConfigurationError(f"the compiler refuses: {said.splitlines()[0]}")


def lower(
    config: Config, task: Task, model: Any, platform: str, devices: Sequence[Any]
) -> jax.stages.Lowered:
    """One training step of one replica, traced for devices that need not be here."""
    program = Program(config, task, model, platform, devices=devices)
    layout = program.layout(1)
    replica = dataclasses.replace(program.replica, mesh=layout.mesh)
    own = jax.eval_shape(lambda: (Swept.of([(config, 0)]),))
    batch = task.gathered_shapes(config.train.batch)
    state, gathered = jax.tree.map(_one_replica, (program.shapes(), batch))
    schedule = jax.eval_shape(lambda: program.schedule)
    inputs = (state, *own, gathered, schedule)
    alone = SingleDeviceSharding(devices[0])
    places = (
        jax.tree.map(lambda _: alone, inputs)
        if layout.mesh is None
        else (
            *layout.of_state(inputs[:2]),
            jax.tree.map(lambda _: layout.of_batch(), gathered),
            layout.everywhere(),
        )
    )
    inputs = jax.tree.map(
        lambda a, place: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), inputs, places
    )
    step = layout.over_replicas(replica.step, 3)
    if layout.mesh is None:
        return jax.jit(step, donate_argnums=0).lower(*inputs)
    results = places[0], layout.everywhere()
    return jax.jit(step, donate_argnums=0, out_shardings=results).lower(*inputs)


def _one_replica(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *jnp.shape(leaf)), leaf.dtype)
