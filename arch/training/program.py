"""Training as a pure function of (configuration, seed), compiled for a group of replicas.

Replicas lie along a leading axis R and differ in their seed and in swept scalars. `map` runs them
one after the other, each as it would run alone and in the program that it would have alone, which
is so compiled once for any number of them; `vmap` runs them side by side, which fills an
accelerator.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from arch.baselines import counted
from arch.checks import one_of
from arch.config import OUTSIDE_PROGRAM
from arch.devices import mesh as meshes
from arch.devices.mesh import Sizes
from arch.models import families as models
from arch.registry import Config, ConfigurationError, extended
from arch.stacks.parameters import Parameters
from arch.tasks import contract
from arch.tasks.contract import Task
from arch.training.compiled import Compiled
from arch.training.layout import Layout
from arch.training.own_kinds import try_own
from arch.training.replica import Replica, Sums
from arch.training.state import SWEPT, Swept, TrainState, shapes

PLATFORMS = ("cpu", "gpu", "tpu")


def build(
    config: Config, platform: str = "cpu", sizes: tuple[int, int] | None = None
) -> tuple[Task, Any]:
    """(task, model) of a filled configuration; ConfigurationError where either cannot be built,
    or not for this platform.

    sizes: vocabulary and longest sequence of a model that was trained already; None asks the task,
        which may read its data for it.

    The abstract shapes are worked out, and sublayers of the user's own tried at a small size, so
    that nothing wrong is left for the compiler.
    """
    one_of(PLATFORMS, platform=platform)
    task = contract.build(config["task"])
    kind, family = config["task"]["kind"], config["model"]["family"]
    if family not in task.families:
        raise ConfigurationError(
            f"model.family={family!r}: task.kind={kind!r}, as it is configured, is for "
            f"{' or '.join(task.families)}"
        )
    counted.check(config, task)
    vocabulary, max_length = sizes or (task.vocabulary, task.max_length)
    model = models.build(config["model"], vocabulary, max_length)
    model.check_platform(platform)
    try_own(config, model)
    return task, model


def replica_mode(name: str, platform: str) -> str:
    """map | vmap, of `train.replicas`; auto is map on CPU, where vmap gains nothing and changes
    bytes, and vmap elsewhere."""
    if name != "auto":
        return name
    return "map" if platform == "cpu" else "vmap"


def signature(config: Config, model: Any, data_sha256: str) -> str:
    """What the compiled program depends on. Swept scalars are its arguments; so is the order under
    `switch`, up to the number of owners and uses of each letter, or up to the room for them."""
    tree = json.loads(json.dumps(config.to_dict()))
    for path in (*OUTSIDE_PROGRAM, *SWEPT):
        *sections, name = path.split(".")
        node = tree
        for section in sections:
            node = node[section]
        node[name] = node[name] > 0 if name == "dropout" else None
    if model.stack.apply == "switch":
        schedule = model.stack.schedule
        tree["model"]["order"] = [sorted(schedule.uses.items()), schedule.lengths]
    return json.dumps([tree, data_sha256], sort_keys=True)


class Program:
    """The compiled functions of a group: init, train, evaluate, decode, keep_best.

    Args:
        config: of any cell of the group; the others differ in nothing the program depends on.
        task, model: what `build` gave for it; the program follows this model's schedule.
        platform: cpu | gpu | tpu, what the functions are compiled for.
        compiled: functions to share with programs of equal signature; None for its own.
        devices: to spread replicas over by `train.mesh`; None to run on the default one whatever
            the mesh, as what only evaluates does.

    Raises ConfigurationError where the mesh has more devices than there are.
    """

    def __init__(
        self,
        config: Config,
        task: Task,
        model: Any,
        platform: str = "cpu",
        compiled: Compiled | None = None,
        devices: Sequence[Any] | None = None,
    ):
        one_of(PLATFORMS, platform=platform)
        task.check_model(model)
        self.config, self.task, self.model, self.platform = config, task, model, platform
        self.batch = config["train"]["batch"]
        self.mode = replica_mode(config["train"]["replicas"], platform)
        self.replica = Replica(config, task, model, platform)
        self.compiled = Compiled(platform) if compiled is None else compiled
        self.sizes, self.devices = Sizes.of(config["train"]["mesh"]), devices
        if devices is not None:
            meshes.check_devices(self.sizes, len(devices))
        self.schedule = jnp.asarray(model.stack.schedule.as_data())

    def of(self, config: Config, model: Any) -> "Program":
        """A program for another cell of equal `signature`, on the same compiled functions: under
        `switch`, of another order."""
        return Program(config, self.task, model, self.platform, self.compiled, self.devices)

    def layout(self, replicas: int) -> Layout:
        """The devices that so many replicas are spread over, and what lies where."""
        mesh = None
        if self.devices is not None:
            mesh = meshes.make(self.sizes, replicas, self.mode == "vmap", self.devices)
        return Layout(self.mode, mesh, self.model.sharding)

    def shapes(self) -> TrainState:
        """The shapes of one replica's state, without the replica axis."""
        return shapes(self.config, self.model)

    def place(self, states: TrainState) -> TrainState:
        """The states of replicas on the host, on the devices that they belong to."""
        layout = self.layout(len(states.step))
        return jax.tree.map(jnp.asarray, states) if layout.mesh is None else layout.place(states)

    def init(self, seeds: Int[np.ndarray, " R"]) -> TrainState:
        """Fresh states of the replicas."""
        like = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct((len(seeds), *a.shape), a.dtype), self.shapes()
        )
        return self._call(
            "init", Replica.init, (jnp.asarray(seeds),), result=lambda layout: layout.of_state(like)
        )

    def train(
        self, state: TrainState, swept: Swept, source: Any, first: int, count: int
    ) -> tuple[TrainState, dict[str, Float[Array, "R steps ..."]]]:
        """`count` steps (at most STEPS_A_DISPATCH) from `state` at step `first`; it is donated.

        source: what the task trains on, or where it streams, the gathered batches (R, steps, …).
        The metrics of steps not taken are NaN.
        """
        # resident data is shared by all replicas; of what is streamed each has its own
        shared = (self.schedule, np.int32(first), np.int32(count))
        batches, shared = ((source,), shared) if self.task.streamed else ((), (source, *shared))
        return self._call(
            "train", Replica.train, (state, swept), shared, batches=batches, donate=(0,),
            result=lambda layout: (layout.of_state(state), layout.everywhere()),
        )  # fmt: skip

    def evaluate(
        self, parameters: Parameters, gathered: Any, counted: Bool[Array, "batches batch"]
    ) -> Sums:
        """name → (sums, weights), each (R, batches), over evaluation batches (batches, …); rows
        that are not counted only fill up a batch."""
        return self._call(
            "evaluate", Replica.evaluate, (parameters,), (gathered, counted, self.schedule)
        )

    def decode(self, parameters: Parameters, gathered: Any) -> Int[Array, "R batch steps"]:
        """Tokens the model goes on with by itself, for one evaluation batch."""
        # a step of decoding follows the model's own order, whatever `apply` is
        order = self.model.stack.schedule.positions
        return self._call("decode", Replica.decode, (parameters,), (gathered,), static=order)

    def keep_best(self, state: TrainState, losses: Float[Array, " R"]) -> TrainState:
        """The state with the present parameters as the best where the loss is the lowest yet."""
        layout = self.layout(len(losses))
        return self.compiled.call(
            "keep_best", keep_best, layout.place(state), layout.place(losses), donate=(0,),
            places=layout.of_state(state),
        )  # fmt: skip

    def member(self, state: TrainState, index: int) -> TrainState:
        """A copy of one replica's state, without their axis, divided over the devices."""
        places = self.layout(len(state.step)).of_member(self.shapes())
        return self.compiled.call("member", member, state, np.int32(index), places=places)

    def host_indices(
        self, data_seeds: Int[np.ndarray, " R"], first: int, count: int
    ) -> Int[np.ndarray, "R steps batch"]:
        """The indices of the `count` steps from `first` on, for a task that streams."""

        def coming(seed, first):
            steps, batches = first + jnp.arange(count), self.task.batches[0]
            return jax.vmap(lambda step: self.replica.indices(seed, step, batches))(steps)

        every = jax.vmap(coming, in_axes=(0, None))
        inputs = jnp.asarray(data_seeds), jnp.int32(first)
        return np.asarray(self.compiled.call("host_indices", every, *inputs, static=count))

    def _call(
        self,
        name: str,
        function: Callable,
        each: tuple,
        shared: tuple = (),
        batches: tuple = (),
        donate: tuple[int, ...] = (),
        static: Any = None,
        result: Callable[[Layout], Any] = Layout.everywhere,
    ) -> Any:
        """function(replica, *each, *shared) for every replica, of which `each` has the axis R.

        batches: more inputs with the axis R, whose rows are divided: see `Layout.place_batches`.
        result: where what it returns lies, for a layout with a mesh.
        """
        width = len(jax.tree.leaves(each)[0])
        layout = self.layout(width)
        replica = dataclasses.replace(self.replica, mesh=layout.mesh)
        replicas = layout.over_replicas(
            functools.partial(function, replica), len(each) + len(batches)
        )
        places = None if layout.mesh is None else result(layout)
        own = jax.tree.map(jnp.asarray, (*layout.place(each), *layout.place_batches(batches)))
        shared = layout.place_everywhere(shared)

        def run(own: tuple, beside: int = 0) -> Any:
            return self.compiled.call(
                name, replicas, *own, *shared,
                donate=donate, static=static, places=places, beside=beside,
            )  # fmt: skip

        if self.mode == "vmap" or width == 1:
            return run(own)
        found = []
        for index in range(width):
            one = self._row(own, index, layout, len(each))
            found.append(run(one, _bytes(own) + _bytes(found)))
        for at in donate:
            jax.tree.map(lambda a: a.delete(), own[at])
        return self.compiled.call("stack", stack, *found, places=places)

    def _row(self, own: tuple, index: int, layout: Layout, placed: int) -> tuple:
        """The inputs of one replica, with the axis; the first `placed` lie as states do."""
        places = None
        if layout.mesh is not None:
            batches = jax.tree.map(lambda _: layout.of_batches(), own[placed:])
            places = (*layout.of_state(own[:placed]), *batches)
        return self.compiled.call("row", row, own, np.int32(index), places=places)


def row(tree: Any, index: Int[Array, ""]) -> Any:
    """One replica's part of a group's tree, as a group of its own."""
    return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, index, 1), tree)


def member(tree: Any, index: Int[Array, ""]) -> Any:
    """One replica's part of a group's tree, without the axis of replicas."""
    return jax.tree.map(lambda a: a[0], row(tree, index))


def stack(*rows: Any) -> Any:
    """The tree of a group, of its replicas'."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *rows)


def _bytes(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def keep_best(state: TrainState, losses: Float[Array, " R"]) -> TrainState:
    """See `Program.keep_best`; pure, on the states of all replicas."""
    better = losses < state.best_loss

    def choose(new, old):
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return state._replace(
        best_parameters=jax.tree.map(choose, state.parameters, state.best_parameters),
        best_loss=jnp.where(better, losses, state.best_loss),
    )


class Programs:
    """Programs by signature, so that cells which differ only in what is data compile once.

    Args:
        platform: cpu | gpu | tpu.
        devices: that they may be spread over; None for the default one alone.
    """

    def __init__(self, platform: str = "cpu", devices: Sequence[Any] | None = None):
        self.platform, self.devices = platform, devices
        self.known: dict[str, Program] = {}

    def get(self, config: Config, task: Task, model: Any) -> Program:
        """The cell's program, on the compiled functions of its signature."""
        key = signature(config, model, task.sha256)
        if key not in self.known:
            # what other files than this package's have registered may change between processes
            alone = self.devices is None or len(self.devices) == 1
            compiled = Compiled(self.platform, key if alone and not extended() else "")
            self.known[key] = Program(config, task, model, self.platform, compiled, self.devices)
        return self.known[key].of(config, model)
