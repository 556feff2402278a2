"""Training as a pure function of (configuration, seed): state, step, and many steps a dispatch.

A program trains a group: replicas along a leading axis, which differ in their seed and in swept
scalars. `map` runs them one after the other, bit for bit as each would run alone; `vmap` runs
them side by side, which fills an accelerator.
"""

import dataclasses
import json
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from arch.context import Context, add_sums, named
from arch.models import families as models
from arch.models import generation
from arch.optimizers import kinds as optimizers
from arch.registry import Config, ConfigurationError, tasks
from arch.stacks.parameters import Parameters

STEPS_A_DISPATCH = 100  # at most; a dispatch also ends where something is logged or saved
SWEPT = ("train.optimizer.learning_rate", "train.optimizer.weight_decay", "model.dropout")


class TrainState(NamedTuple):
    """All of a replica that a resumed run needs; a leading axis R makes it a group's."""

    parameters: Parameters
    optimizer: Any
    step: Int[Array, ""]
    alive: Bool[Array, ""]
    stopped_step: Int[Array, ""]  # the step whose loss or gradient was not finite; -1: none
    best_parameters: Parameters
    best_loss: Float[Array, ""]


class Swept(NamedTuple):
    """What replicas of one program may differ in."""

    seed: Int[Array, ""]
    learning_rate: Float[Array, ""]
    weight_decay: Float[Array, ""]
    dropout: Float[Array, ""]


def build(config: Config) -> tuple[Any, Any]:
    """(task, model) of a filled configuration; ConfigurationError where either cannot be built.

    The abstract shapes are worked out, so that nothing wrong is left for the compiler.
    """
    options = dict(config["task"])
    task = tasks.get(options.pop("kind"), "task.kind")(**options)
    kind, family = config["task"]["kind"], config["model"]["family"]
    if family not in task.families:
        raise ConfigurationError(
            f"model.family={family!r}: task.kind={kind!r}, as it is configured, is for "
            f"{' or '.join(task.families)}"
        )
    model = models.build(config["model"], task.vocabulary, task.max_length)
    return task, model


def stack_swept(members: list[tuple[Config, int]]) -> Swept:
    """The swept scalars of (configuration, seed) pairs, along the replica axis."""
    rows = [
        (
            seed,
            config["train"]["optimizer"]["learning_rate"],
            config["train"]["optimizer"]["weight_decay"],
            config["model"]["dropout"],
        )
        for config, seed in members
    ]
    seeds, *scalars = zip(*rows, strict=True)
    return Swept(jnp.array(seeds, jnp.int32), *(jnp.array(s, jnp.float32) for s in scalars))


class Program:
    """The compiled functions of one program signature: init, train, evaluate, keep_best.

    Args:
        config: of any cell of the group; the others differ in nothing the program depends on.
        task, model: what `build` gave for it.
        mode: map | vmap.
    """

    def __init__(self, config: Config, task: Any, model: Any, mode: str):
        self.config, self.task, self.model, self.mode = config, task, model, mode
        train = config["train"]
        self.batch, self.accumulate = train["batch"], train["accumulate"]
        self.has_dropout = config["model"]["dropout"] > 0
        self.rate = optimizers.learning_rate(train["optimizer"], train["steps"])
        self.optimizer = optimizers.build(train["optimizer"], train["clip"])
        self.compile_seconds = 0.0
        self.peak_memory_bytes = 0
        self._compiled: dict[str, Any] = {}

    def init(self, seeds: Int[np.ndarray, " R"]) -> TrainState:
        """Fresh states of the replicas."""
        return self._call("init", self._init, jnp.asarray(seeds))

    def train(
        self, state: TrainState, swept: Swept, source: Any, schedule: Array, first: int, count: int
    ) -> tuple[TrainState, dict[str, Float[Array, "R steps"]]]:
        """`count` steps (at most STEPS_A_DISPATCH) from `state` at step `first`; it is donated.

        source: what the task trains on, or where it streams, the gathered batches (R, steps, …).
        The metrics of steps not taken are NaN.
        """
        counts = np.int32(first), np.int32(count)
        return self._call(
            "train", self._train, state, swept, source, schedule, *counts, donate=(0,)
        )

    def evaluate(self, parameters, gathered, schedule) -> dict[str, tuple[Array, Array]]:
        """name → (sums, weights), each (R, batches), over evaluation batches (batches, …)."""
        return self._call("evaluate", self._evaluate, parameters, gathered, schedule)

    def decode(self, parameters, gathered) -> Int[Array, "R batch steps"]:
        """Tokens the model goes on with by itself, for one evaluation batch."""
        return self._call("decode", self._decode, parameters, gathered)

    def keep_best(self, state: TrainState, losses: Float[Array, " R"]) -> TrainState:
        """The state with the present parameters as the best where the loss is the lowest yet."""
        return self._call("keep_best", self._keep_best, state, losses, donate=(0,))

    def host_indices(self, seeds, first: Array, count: int) -> Int[np.ndarray, "R steps batch"]:
        """The indices of coming steps, for a task that streams."""

        def of(seed):
            key = named(jax.random.key(seed), "data")
            steps = first + jnp.arange(count)
            return jax.vmap(lambda step: self.task.indices(key, step, self.batch))(steps)

        return np.asarray(jax.jit(jax.vmap(of))(jnp.asarray(seeds)))

    # What is compiled

    def _replicas(self, function, inputs):
        if self.mode == "vmap":
            return jax.vmap(lambda x: function(*x))(inputs)
        return jax.lax.map(lambda x: function(*x), inputs)

    def _init(self, seeds):
        def one(seed):
            key = named(jax.random.key(seed), "init")
            parameters = self.model.init(key)
            optimizer = self.optimizer(0.0, 0.0).init(parameters)
            return TrainState(
                parameters=parameters,
                optimizer=optimizer,
                step=jnp.zeros((), jnp.int32),
                alive=jnp.ones((), bool),
                stopped_step=-jnp.ones((), jnp.int32),
                best_parameters=parameters,
                best_loss=jnp.full((), jnp.inf),
            )

        return self._replicas(one, (seeds,))

    def _train(self, state, swept, source, schedule, first, count):
        streamed = self.task.streamed

        def one(state, swept, *gathered):
            key = named(jax.random.key(swept.seed), "data")

            def batch(state, index, shape):
                if streamed:
                    return gathered[0][index]
                indices = self.task.indices(key, state.step, self.batch, shape)
                return self.task.gather(source, indices, shape)

            def one_of(shape):
                return lambda state, index: self.step(
                    state, swept, batch(state, index, shape), schedule
                )

            branches = [one_of(shape) for shape in range(self.task.shapes)]
            shapes = jax.eval_shape(branches[0], state, 0)[1]
            buffers = jax.tree.map(lambda _: jnp.full((STEPS_A_DISPATCH,), jnp.nan), shapes)

            def going(carry):
                index, state, _ = carry
                return (index < count) & state.alive

            def body(carry):
                index, state, buffers = carry
                if len(branches) == 1:
                    state, metrics = branches[0](state, index)
                else:
                    # of the count, not of the replica's own step: under vmap it stays a switch
                    shape = self.task.shape(first + index)
                    state, metrics = jax.lax.switch(shape, branches, state, index)
                buffers = jax.tree.map(lambda b, m: b.at[index].set(m), buffers, metrics)
                return index + 1, state, buffers

            _, state, buffers = jax.lax.while_loop(going, body, (0, state, buffers))
            return state, buffers

        return self._replicas(one, (state, swept, source) if streamed else (state, swept))

    def step(
        self, state: TrainState, swept: Swept, gathered: Any, schedule: Array | None
    ) -> tuple[TrainState, dict[str, Array]]:
        """One update of one replica. A loss or gradient that is not finite ends it: the state
        stays as it was, `alive` falls and `stopped_step` says when."""
        key = jax.random.fold_in(named(jax.random.key(swept.seed), "model"), state.step)
        grads, sums = self.gradients(state.parameters, gathered, key, swept.dropout, schedule)
        rate = self.rate(swept.learning_rate, state.step)
        transform = self.optimizer(rate, swept.weight_decay)
        updates, optimizer = transform.update(grads, state.optimizer, state.parameters)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(grads)))
        metrics = {name: total / weight for name, (total, weight) in sums.items()}
        metrics["gradient_norm"], metrics["learning_rate"] = norm, rate
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)
        moved = optax.apply_updates(state.parameters, updates)

        def where_finite(new, old):
            return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)

        return state._replace(
            parameters=where_finite(moved, state.parameters),
            optimizer=where_finite(optimizer, state.optimizer),
            step=state.step + finite,
            alive=finite,
            stopped_step=jnp.where(finite, state.stopped_step, state.step),
        ), metrics

    def gradients(self, parameters, gathered, key, dropout, schedule):
        """Gradients of the objective, Σ sum / weight over its terms, and all sums.

        Microbatches count by their share of the objective's own weight.
        """
        batch = self.task.assemble(gathered)

        def objective(parameters, part, index):
            context = Context(
                key=jax.random.fold_in(key, index),
                dropout=dropout,
                schedule=schedule,
                train=True,
                has_dropout=self.has_dropout,
            )
            losses, statistics = self.task.sums(self.model, parameters, part, context)
            return sum(total / weight for total, weight in losses.values()), (losses, statistics)

        gradient = jax.grad(objective, has_aux=True)
        if self.accumulate == 1:
            grads, (losses, statistics) = gradient(parameters, batch, 0)
            return grads, {**statistics, **losses}
        parts = jax.tree.map(lambda a: a.reshape(self.accumulate, -1, *a.shape[1:]), batch)
        whole = self.task.weight(batch)

        def add(total, inputs):
            part, index = inputs
            grads, (losses, statistics) = gradient(parameters, part, index)
            share = self.task.weight(part) / whole
            total = jax.tree.map(lambda t, g: t + share * g, total, grads)
            return total, {**statistics, **losses}

        zeros = jax.tree.map(jnp.zeros_like, parameters)
        grads, sums = jax.lax.scan(add, zeros, (parts, jnp.arange(self.accumulate)))
        return grads, jax.tree.map(lambda a: a.sum(0), sums)

    def _evaluate(self, parameters, gathered, schedule):
        def one(parameters):
            def body(_, batch):
                context = Context(schedule=schedule, inference=True)
                batch = self.task.assemble_evaluation(batch)
                losses, statistics = self.task.sums(self.model, parameters, batch, context)
                return None, add_sums(losses, statistics)

            return jax.lax.scan(body, None, gathered)[1]

        return self._replicas(one, (parameters,))

    def _decode(self, parameters, gathered):
        def one(parameters):
            prompt = self.task.prompt(self.task.assemble_evaluation(gathered))
            return generation.decode(self.model, parameters, prompt, self.task.search)

        return self._replicas(one, (parameters,))

    def _keep_best(self, state, losses):
        better = losses < state.best_loss

        def choose(new, old):
            return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        return state._replace(
            best_parameters=jax.tree.map(choose, state.parameters, state.best_parameters),
            best_loss=jnp.where(better, losses, state.best_loss),
        )

    def _call(self, name, function, *inputs, donate=()):
        shapes = jax.tree.map(lambda a: (jnp.shape(a), jnp.result_type(a)), inputs)
        slot = f"{name} {jax.tree.flatten(shapes)}"
        if slot not in self._compiled:
            start = time.perf_counter()
            lowered = jax.jit(function, donate_argnums=donate).lower(*inputs)
            # random bits take LLVM ten times as long at its highest level, for the same bytes
            quick = name == "init" and jax.default_backend() == "cpu"
            options = {"xla_backend_optimization_level": 1} if quick else None
            compiled = lowered.compile(compiler_options=options)
            self.compile_seconds += time.perf_counter() - start
            memory = compiled.memory_analysis()
            if memory is not None:
                held = memory.argument_size_in_bytes + memory.output_size_in_bytes
                held += memory.temp_size_in_bytes - memory.alias_size_in_bytes
                self.peak_memory_bytes = max(self.peak_memory_bytes, held)
            self._compiled[slot] = compiled
        return self._compiled[slot](*inputs)


@dataclasses.dataclass
class Programs:
    """Programs by signature, so that cells which differ only in what is data compile once."""

    mode: str
    known: dict[str, Program] = dataclasses.field(default_factory=dict)

    def get(self, config: Config, task: Any, model: Any) -> Program:
        key = signature(config, model, task.sha256)
        if key not in self.known:
            self.known[key] = Program(config, task, model, self.mode)
        return self.known[key]


def signature(config: Config, model: Any, data_sha256: str) -> str:
    """What the compiled program depends on. Swept scalars are its arguments; so is the order under
    `switch`, up to the number of owners and uses of each letter."""
    tree = json.loads(json.dumps(config.to_dict()))
    for name in ("name", "seeds", "plugins", "save", "log"):
        tree.pop(name)
    for path in SWEPT:
        *sections, name = path.split(".")
        node = tree
        for section in sections:
            node = node[section]
        node[name] = node[name] > 0 if name == "dropout" else None
    if model.stack.apply == "switch":
        tree["model"]["order"] = sorted(name for name, _ in model.stack.schedule.positions)
    return json.dumps([tree, data_sha256], sort_keys=True)


def replica_mode(name: str) -> str:
    """map | vmap; auto is map on CPU, where vmap gains nothing and changes bytes."""
    if name != "auto":
        return name
    return "map" if jax.default_backend() == "cpu" else "vmap"
