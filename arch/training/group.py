"""Training a group from wherever it stands to its end: log, evaluate, save, stop, summarise."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arch.devices import hosts
from arch.devices.mesh import above_one
from arch.report.seeds import both, seed_fields
from arch.runs import provenance
from arch.runs.checkpoints import Checkpoints
from arch.runs.folders import now
from arch.tasks.contract import Task, Window
from arch.training import evaluation
from arch.training.member import Member
from arch.training.outcome import Outcome, out_of_patience, outcome
from arch.training.program import Program
from arch.training.replica import STEPS_A_DISPATCH
from arch.training.state import Swept, TrainState
from arch.training.stopping import Interrupted, Stop


class Group:
    """Replicas that share a program and a step. `run` trains them to the end.

    Args:
        report: called whenever something was written.
    """

    def __init__(
        self, members: list[Member], program: Program, report: Callable[["Group"], object]
    ):
        self.members, self.program, self.report = members, program, report
        self.config = members[0].config
        self.swept = Swept.of([(m.config, m.seed) for m in members])
        self.steps = self.config.train.steps
        self.step = members[0].step
        self.losses = self.validation = [float("nan")] * len(members)
        self.tokens_per_second = 0.0
        task = program.task
        self.source = None if task.streamed else task.source()
        keep = self.config.save.keep
        self.checkpoints = [
            Checkpoints(m.shared or m.own.checkpoints, keep, together=m.shared is not None)
            for m in members
        ]

    def run(self, stop: Stop) -> None:
        """Train, evaluate and summarise every member; Interrupted where asked to stop."""
        for member in self.members:
            member.own.cut(self.step)
            member.folder.update_state(state="running", step=self.step, steps=self.steps, error="")
        with contextlib.ExitStack() as stack:
            for checkpoints in self.checkpoints:
                stack.callback(checkpoints.close)  # all, whatever becomes of one
            state = self.start()
            while self.step < self.steps and bool(np.any(hosts.fetch(state.alive))):
                state = self.advance(state)
                if hosts.agreed(stop.asked) and self.step < self.steps:
                    self._save(state)
                    raise Interrupted
            self._save(state)
            self._finish(state)

    def start(self) -> TrainState:
        """The state that the group goes on from: its members' own, or fresh ones."""
        if self.members[0].state is None:
            return self.program.init(np.array([both(m.seed)[0] for m in self.members], np.int32))
        states = jax.tree.map(lambda *rows: np.stack(rows), *(m.state for m in self.members))
        return self.program.place(states)

    def advance(self, state: TrainState) -> TrainState:
        """Train up to the next step at which something is to be written, and write it."""
        every = self.config.log.every, self.config.evaluate.every, self.config.save.every
        target = min(self.steps, *(self.step + e - self.step % e for e in every))
        start, cpu, first = time.perf_counter(), time.process_time(), self.step
        compiled, compiled_cpu = self.program.compiled.seconds, self.program.compiled.cpu_seconds
        parts = []
        while self.step < target:
            count = min(STEPS_A_DISPATCH, target - self.step)
            state, metrics = self.program.train(
                state, self.swept, self._source(count), self.step, count
            )
            parts.append(jax.tree.map(lambda a, n=count: a[:, :n], metrics))
            self.step += count
        metrics = jax.tree.map(lambda *a: np.concatenate(a, axis=1), *hosts.fetch(parts))
        elapsed = time.perf_counter() - start - (self.program.compiled.seconds - compiled)
        spent = time.process_time() - cpu - (self.program.compiled.cpu_seconds - compiled_cpu)
        self._log(state, metrics, target - first, elapsed, spent / len(self.members))
        if target % self.config.evaluate.every == 0 or target == self.steps:
            state = self._validate(state)
        if target % self.config.save.every == 0 and target < self.steps:
            self._save(state)
        self.report(self)
        return state

    def _replicas(self) -> dict[str, object]:
        """How the members were trained together, on which the bytes of a run depend."""
        width = len(self.members)
        mesh = self.program.layout(width).mesh
        spread = {} if mesh is None else {"mesh": above_one(mesh.shape)}
        several = {"hosts": hosts.count()} if hosts.count() > 1 else {}
        return {"mode": self.program.mode, "width": width, **spread, **several}

    def _per_step(self) -> float:
        """Tokens a step, of all replicas."""
        return self.config.train.batch * self.program.task.tokens_per_sequence * len(self.members)

    def _source(self, count: int):
        """The tokens, or the coming batches where they are streamed."""
        if self.source is not None:
            return self.source
        task = self.program.task
        seeds = [both(m.seed)[1] for m in self.members]
        indices = self.program.host_indices(np.array(seeds, np.int32), self.step, count)
        fill = np.pad(indices, [(0, 0), (0, STEPS_A_DISPATCH - count), (0, 0)])

        def gather(rows: np.ndarray) -> np.ndarray:
            gathered = task.gather(task.stream(), rows[:, :count])
            more = rows.shape[1] - gathered.shape[1]
            return np.pad(gathered, [(0, 0), (0, more), *[(0, 0)] * (gathered.ndim - 2)])

        return self.program.layout(len(self.members)).gather(fill, gather)

    def _log(
        self, state: TrainState, metrics: dict, steps: int, seconds: float, cpu_seconds: float
    ) -> None:
        """cpu_seconds: of one member."""
        self.tokens_per_second = self._per_step() * steps / seconds
        alive, stopped = hosts.fetch((state.alive, state.stopped_step))
        self.losses = []
        for folder in {m.folder.path: m.folder for m in self.members}.values():
            folder.update_state(step=self.step)  # first: it refuses where another is at work
        for i, member in enumerate(self.members):
            line: dict[str, Any] = {"step": self.step}
            if alive[i]:
                means = {name: _mean(rows[i]) for name, rows in metrics.items()}
                line |= {**means, "learning_rate": float(metrics["learning_rate"][i, -1])}
                if self.step == steps:
                    line["initial_loss"] = float(metrics["loss"][i, 0])
                member.own.append("metrics.jsonl", line)
            elif self.step - len(metrics["loss"][i]) <= stopped[i]:
                member.own.append("metrics.jsonl", line | {"stopped_step": int(stopped[i])})
            self.losses.append(line.get("loss", float("nan")))
            timing = {"step": self.step, "time": now(), "steps": steps, "seconds": seconds}
            timing["cpu_seconds"] = cpu_seconds
            member.own.append("timing.jsonl", timing)

    def _validate(self, state: TrainState) -> TrainState:
        """Loss on the fixed prefix of the validation split; the best parameters are kept."""
        settings = self.config.evaluate
        figures = evaluation.evaluate(self.program, state.parameters, "valid", Window.of(settings))
        alive = hosts.fetch(state.alive)
        self.validation = [f["loss"] for f in figures]
        for member, figure, living in zip(self.members, figures, alive, strict=True):
            if living:
                line = {"step": self.step, "split": "valid"}
                member.own.append("metrics.jsonl", line | {"loss": figure["loss"]})
        losses = [f["loss"] if a else np.inf for f, a in zip(figures, alive, strict=True)]
        state = self.program.keep_best(state, jnp.asarray(losses, jnp.float32))
        return self._stop_early(state)

    def _stop_early(self, state: TrainState) -> TrainState:
        """Members whose validation loss has not fallen for `train.patience` evaluations take no
        more steps: they stay as they are, whatever becomes of the others."""
        if not self.config.train.patience:
            return state
        out = [
            hosts.agreed(out_of_patience(_validation(member), self.config.train.patience))
            for member in self.members
        ]
        return state._replace(alive=state.alive & ~jnp.asarray(out)) if any(out) else state

    def _save(self, state: TrainState) -> None:
        together = self.members[0].shared is not None
        whole = None if together else hosts.fetch(state)
        if hosts.follows() and not together:
            return
        for i, (member, checkpoints) in enumerate(zip(self.members, self.checkpoints, strict=True)):
            if self.step in checkpoints.steps():
                continue
            meta = {
                "step": self.step,
                "hash": member.identity,
                "cell": member.cell,
                **seed_fields(member.seed),
                "versions": provenance.versions(),
                "machine": {**member.device, **self._replicas()},
                "moved_from": member.moved_from,
            }
            if together:
                own = self.program.member(state, i)
            else:
                own = jax.tree.map(lambda a, i=i: a[i], whole)
            checkpoints.save(self.step, own, meta)

    def _finish(self, state: TrainState) -> None:
        """Evaluate on whole splits and write each member's summary."""
        settings = self.config.evaluate
        best = settings.weights == "best"
        parameters = state.best_parameters if best else state.parameters
        figures = evaluation.everything(self.program, parameters, Window.of(settings))
        alive, stopped = hosts.fetch((state.alive, state.stopped_step))
        for checkpoints in self.checkpoints:
            checkpoints.wait()
        for i, member in enumerate(self.members):
            whole = stopped[i] < 0  # to the last step, or until its patience was at its end
            evaluations = {split: rows[i] for split, rows in figures.items()} if whole else {}
            metrics = member.own.lines("metrics.jsonl")
            end = outcome(int(stopped[i]), metrics, self.program.task.guessing_loss)
            early = int(metrics[-1]["step"]) if whole and not alive[i] else 0
            member.own.finish(self._summary(member, end, evaluations, early))
            member.folder.log(f"seed {member.seed}: {end.status}")

    def _summary(self, member: Member, end: Outcome, evaluations: dict, early: int) -> dict:
        """early: the step at which its patience ended; 0 where it did not."""
        task = self.program.task
        steps = end.step if end.status == "nan" else early or self.steps
        timing = member.own.lines("timing.jsonl")
        seconds = sum(line["seconds"] for line in timing)
        rate = sum(line["steps"] for line in timing) * self._per_step() / seconds if timing else 0.0
        return member.line(
            end.status,
            evaluations,
            end.error,
            stopped_step=end.step,
            **({"stopped_early": early} if early else {}),
            steps=steps,
            tokens=round(steps * self._per_step() / len(self.members)),
            tokens_per_second=rate,
            cpu_seconds=_cpu_seconds(timing),
            load=provenance.load(),
            compile_seconds=self.program.compiled.seconds,
            peak_memory_bytes=self.program.compiled.peak_memory_bytes,
            replicas=self._replicas(),
            corpus=corpus(task),
        )


def _mean(rows: np.ndarray) -> float | list[float]:
    """Over steps: a number, or a number for each position of an order, which may end before them
    all."""
    mean = np.mean(rows, axis=0, dtype=np.float64)
    return float(mean) if mean.ndim == 0 else mean[np.isfinite(mean)].tolist()


def _validation(member: Member) -> list[float]:
    """The validation losses so far, in nats."""
    lines = member.own.lines("metrics.jsonl")
    return [line["loss"] for line in lines if line.get("split") == "valid"]


def _cpu_seconds(timing: Sequence[Mapping[str, Any]]) -> float | None:
    """Of the processes that trained a member, its share of its group's; None where part of the run
    was made by code that did not count them."""
    counted = [line["cpu_seconds"] for line in timing if "cpu_seconds" in line]
    return sum(counted) if len(counted) == len(timing) else None


def corpus(task: Task) -> dict:
    """What a line says of the data."""
    return {"name": task.corpus, "sha256": task.sha256, "details": dict(task.details)}
