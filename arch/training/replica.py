"""What one replica computes, as pure functions: init, train, step, gradients, evaluate, decode.

None of them knows the replica axis or is compiled here: `arch.training.program` does both.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from arch import optimizers
from arch.context import Context, Sums, add_sums, figure, named
from arch.devices import sharding
from arch.models import generation
from arch.registry import Config
from arch.stacks.norms import GRADIENT, gradient_norms
from arch.stacks.parameters import Parameters
from arch.tasks.contract import BatchSource, Task
from arch.training.state import Swept, TrainState, transform

STEPS_A_DISPATCH = 100  # at most; a dispatch also ends where something is logged or saved


@dataclasses.dataclass(frozen=True)
class Replica:
    """A run as functions of its state.

    Args:
        config: filled; what `Swept` and the schedule hold is read from there instead.
        task, model: what `program.build` gave for it.
        platform: cpu | gpu | tpu that this is compiled for.
        mesh: the devices that share its work; None: one device.
    """

    config: Config
    task: Task
    model: Any
    platform: str
    mesh: Mesh | None = None

    def init(self, seed: Int[Array, ""]) -> TrainState:
        """The state before the first step; parameters depend on the seed alone."""
        parameters = self.model.init(named(jax.random.key(seed), "init"))
        optimizer = transform(self.config, self.model)(0.0, 0.0).init(parameters)
        return TrainState.start(parameters, optimizer)

    def indices(
        self, data_seed: Int[Array, ""], step: Int[Array, ""], batches: BatchSource
    ) -> Array:
        """Which examples the batch of a step is made of, where it is one of these batches."""
        key = named(jax.random.key(data_seed), "data")
        return batches.indices(key, step, self.config["train"]["batch"])

    def train(
        self,
        state: TrainState,
        swept: Swept,
        source: Any,
        schedule: Int[Array, "2 depth"],
        first: Int[Array, ""],
        count: Int[Array, ""],
    ) -> tuple[TrainState, dict[str, Float[Array, "steps ..."]]]:
        """`count` steps, at most STEPS_A_DISPATCH, from `state` at step `first`.

        source: what the task trains on, or where it streams, the gathered batches (steps, …).
        The metrics of steps not taken are NaN; a replica that is no longer alive takes none.
        """

        def batch(state: TrainState, index: Array, batches: BatchSource):
            if self.task.streamed:
                return source[index]
            indices = self.indices(swept.data_seed, state.step, batches)
            return batches.gather(source, sharding.rows(indices, self.mesh))

        def step_on(batches: BatchSource):
            return lambda state, index: self.step(
                state, swept, batch(state, index, batches), schedule
            )

        branches = [step_on(batches) for batches in self.task.batches]
        shapes = jax.eval_shape(branches[0], state, 0)[1]
        metrics = jax.tree.map(lambda a: jnp.full((STEPS_A_DISPATCH, *a.shape), jnp.nan), shapes)

        def going(carry):
            index, state, _ = carry
            return (index < count) & state.alive

        def body(carry):
            index, state, metrics = carry
            if len(branches) == 1:
                state, found = branches[0](state, index)
            else:
                # of the count, not of the replica's own step: under vmap it stays a switch
                chosen = self.task.batch_at(first + index)
                state, found = jax.lax.switch(chosen, branches, state, index)
            metrics = jax.tree.map(lambda row, value: row.at[index].set(value), metrics, found)
            return index + 1, state, metrics

        _, state, metrics = jax.lax.while_loop(going, body, (0, state, metrics))
        return state, metrics

    def step(
        self,
        state: TrainState,
        swept: Swept,
        gathered: Any,
        schedule: Int[Array, "2 depth"] | None,
    ) -> tuple[TrainState, dict[str, Float[Array, "..."]]]:
        """One update on a gathered batch, and its metrics.

        A loss or gradient that is not finite ends the replica: its state stays as it was, `alive`
        falls and `stopped_step` says when.
        """
        key = jax.random.fold_in(named(jax.random.key(swept.seed), "model"), state.step)
        grads, sums = self.gradients(state.parameters, gathered, key, swept.dropout, schedule)
        train = self.config["train"]
        schedule_of_rate = optimizers.learning_rate(train["optimizer"], train["steps"])
        rate = schedule_of_rate(swept.learning_rate, state.step)
        optimizer = transform(self.config, self.model)(rate, swept.weight_decay)
        updates, moments = optimizer.update(grads, state.optimizer, state.parameters)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(grads)))
        metrics = {name: figure(term) for name, term in sums.items()}
        metrics["gradient_norm"], metrics["learning_rate"] = norm, rate
        if self.config["log"]["norms"]:
            metrics |= self._gradient_norms(grads, schedule)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)
        moved = optax.apply_updates(state.parameters, updates)

        def where_finite(new, old):
            return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)

        return state._replace(
            parameters=where_finite(moved, state.parameters),
            optimizer=where_finite(moments, state.optimizer),
            step=state.step + finite,
            alive=finite,
            stopped_step=jnp.where(finite, state.stopped_step, state.step),
        ), metrics

    def gradients(
        self,
        parameters: Parameters,
        gathered: Any,
        key: Key[Array, ""],
        dropout: Float[Array, ""],
        schedule: Int[Array, "2 depth"] | None,
    ) -> tuple[Parameters, Sums]:
        """Gradients of the objective, Σ sum / weight over its terms, and all sums.

        With `train.accumulate`, each term of a microbatch is divided by its weight in the whole
        batch, so that the microbatches' gradients add up to the whole batch's whatever the terms.
        """
        accumulate = self.config["train"]["accumulate"]
        batch = self._rows(self.task.assemble(self._rows(gathered)))

        def sums(parameters, part, index):
            key_of_part = jax.random.fold_in(key, index)
            return self._sums(parameters, part, key_of_part, dropout, schedule)

        def objective(parameters, part, index, weights):
            losses, statistics = sums(parameters, part, index)
            weights = {name: term[1] for name, term in losses.items()} | weights
            value = sum(term[0] / weights[name] for name, term in losses.items())
            return value, (losses, statistics)

        gradient = jax.grad(objective, has_aux=True)
        if accumulate == 1:
            grads, (losses, statistics) = gradient(parameters, batch, 0, {})
            return grads, {**statistics, **losses}
        parts = jax.tree.map(lambda a: a.reshape(accumulate, -1, *a.shape[1:]), batch)
        parts = sharding.rows(parts, self.mesh, axis=1)  # all devices share each microbatch
        indices = jnp.arange(accumulate)

        def weigh(_, inputs):  # of all this the compiler keeps what the weights take: no layer
            losses, _ = sums(parameters, *inputs)
            return None, {name: term[1] for name, term in losses.items()}

        _, weights = jax.lax.scan(weigh, None, (parts, indices))
        whole = jax.tree.map(lambda a: a.sum(0), weights)

        def add(total, inputs):
            grads, (losses, statistics) = gradient(parameters, *inputs, whole)
            return jax.tree.map(jnp.add, total, grads), {**statistics, **losses}

        zeros = jax.tree.map(jnp.zeros_like, parameters)
        grads, each = jax.lax.scan(add, zeros, (parts, indices))
        return grads, jax.tree.map(lambda a: a.sum(0), each)

    def _gradient_norms(
        self, grads: Parameters, schedule: Int[Array, "2 depth"] | None
    ) -> dict[str, Float[Array, " depth"]]:
        """The norms at each position, of the decoder and of an encoder before it."""
        found = {}
        for name, stack in self.model.stacks.items():
            prefix, order = ("", schedule) if name == "stack" else (f"{name}_", None)
            found[f"{prefix}{GRADIENT}"] = gradient_norms(grads[name], stack.schedule, order)
        return found

    def _rows(self, tree: Any) -> Any:
        return sharding.rows(tree, self.mesh)

    def _sums(
        self,
        parameters: Parameters,
        batch: Any,
        key: Key[Array, ""],
        dropout: Float[Array, ""],
        schedule: Int[Array, "2 depth"] | None,
    ) -> tuple[Sums, Sums]:
        """(losses, statistics) of a batch in training."""
        context = Context(
            key=key,
            dropout=dropout,
            schedule=schedule,
            train=True,
            norms=self.config["log"]["norms"],
            has_dropout=self.config["model"]["dropout"] > 0,
            platform=self.platform,
            mesh=self.mesh,
        )
        return self.task.sums(self.model, parameters, batch, context)

    def evaluate(
        self,
        parameters: Parameters,
        gathered: Any,
        counted: Bool[Array, "batches batch"],
        schedule: Int[Array, "2 depth"],
    ) -> Sums:
        """name → (sums, weights), each (batches,), over gathered batches (batches, …), of which the
        rows that are not counted fill up the last one."""
        context = Context(schedule=schedule, inference=True, platform=self.platform, mesh=self.mesh)

        def body(_, inputs):
            rows, counted = self._rows(inputs)
            batch = self.task.assemble_evaluation(rows)
            told = context.replace(counted=counted)
            losses, statistics = self.task.sums(self.model, parameters, batch, told)
            return None, add_sums(losses, statistics)

        return jax.lax.scan(body, None, (gathered, counted))[1]

    def decode(self, parameters: Parameters, gathered: Any) -> Int[Array, "batch steps"]:
        """Tokens that the model goes on with by itself, for one gathered evaluation batch."""
        prompt = self.task.prompt(self.task.assemble_evaluation(gathered))
        return generation.decode(
            self.model, parameters, prompt, self.task.search, platform=self.platform
        )
