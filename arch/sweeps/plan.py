"""What a sweep has before it: programs, tokens, FLOPs, memory and, once steps were timed, time."""

import dataclasses
import time
from collections.abc import Collection, Sequence

import jax
import numpy as np

from arch.baselines.counted import is_counted
from arch.devices.mesh import Sizes
from arch.report.seeds import both
from arch.sweeps import machine
from arch.sweeps.groups import fitting
from arch.sweeps.sweep import Job
from arch.training import describe
from arch.training.program import Program, signature
from arch.training.state import Swept

WORTH_TIMING = 1_000  # steps left, of all replicas, from which a compilation is spent on timing
TIMED_STEPS = 2


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is left to train.

    Attributes:
        cells, replicas: how many are not finished; a replica is a (cell, seed).
        programs: how many training programs they need.
        tokens: that training reads. flops: of training, three times the forward ones.
        memory: bytes of parameters, optimiser state and gradients of the replicas that train
            together; activations come on top. available: bytes that a program may take here.
    """

    cells: int
    replicas: int
    programs: int
    steps: int
    tokens: int
    flops: float
    memory: int
    available: int

    @classmethod
    def of(cls, jobs: Sequence[Job], replicas: int = 0, anew: Collection[str] = ()) -> "Plan":
        """replicas: most in one program; 0 for as many as fit. anew: cells that start over."""
        trained = [job for job in jobs if not is_counted(job.config)]
        left = [(j, len(j.seeds if j.cell.name in anew else j.unfinished())) for j in trained]
        left = [(job, seeds) for job, seeds in left if seeds]
        sharing: dict[tuple, tuple[Job, int]] = {}
        programs = set()
        for job, seeds in left:
            program = signature(job.config, job.model, job.task.sha256)
            programs.add(program)
            key = (program, job.model.stack.schedule.positions)
            sharing[key] = (job, sharing.get(key, (job, 0))[1] + seeds)
        together = [
            describe.state_bytes(job.config, job.model, Sizes.of(job.config.train.mesh))
            * min(replicas or fitting(job, count), count)
            for job, count in sharing.values()
        ]
        tokens = sum(seeds * job.config.train.steps * step_tokens(job) for job, seeds in left)
        return cls(
            cells=len(left),
            replicas=sum(seeds for _, seeds in left),
            programs=len(programs),
            steps=sum(seeds * job.config.train.steps for job, seeds in left),
            tokens=round(tokens),
            flops=sum(seeds * training_flops(job) for job, seeds in left),
            memory=max(together, default=0),
            available=machine.memory_for_programs(),
        )

    def said(self) -> str:
        """One line for a terminal."""
        if not self.replicas:
            return "nothing is left to train"
        return (
            f"{many(self.cells, 'cell')}, {many(self.replicas, 'run')} of a cell and a seed, "
            f"{many(self.programs, 'program')} to compile; {scaled(self.tokens)} tokens, "
            f"{scaled(self.flops)}FLOP; {sized(self.memory)} of parameters and optimiser state at "
            f"once, activations aside, of {sized(self.available)} here"
        )


def step_tokens(job: Job) -> float:
    """Tokens that one step of one replica reads."""
    return job.config.train.batch * job.task.tokens_per_sequence


def training_flops(job: Job) -> float:
    """FLOPs of training one seed of a cell, three times the forward ones."""
    forward = float(str(job.details["flops_per_token"]))
    return 3 * forward * step_tokens(job) * job.config.train.steps


def estimate(jobs: Sequence[Job]) -> str:
    """How long training will take, from a few steps of the smallest program that is left; '' where
    so little is left that timing it would take longer than it is worth, for batches that are
    streamed, and for a mesh.

    Compiles that program, and times steps without compilation; others are reckoned by FLOPs.
    """
    left = [job for job in jobs if job.unfinished() and not is_counted(job.config)]
    plan = Plan.of(left)
    meshed = any(Sizes.of(job.config.train.mesh).devices > 1 for job in left)
    if plan.steps < WORTH_TIMING or meshed or any(job.task.streamed for job in left):
        return ""
    job = min(left, key=training_flops)
    program = Program(job.config, job.task, job.model, machine.platform())
    seed = job.seeds[0]
    state = program.init(np.array([both(seed)[0]], np.int32))
    swept, source = Swept.of([(job.config, seed)]), job.task.source()
    started = program.compiled.seconds
    state, _ = program.train(state, swept, source, 0, TIMED_STEPS)  # compiles
    compiling = program.compiled.seconds - started
    jax.block_until_ready(state)
    start = time.perf_counter()
    jax.block_until_ready(program.train(state, swept, source, TIMED_STEPS, TIMED_STEPS))
    step = (time.perf_counter() - start) / TIMED_STEPS
    training = step * job.config.train.steps * plan.flops / training_flops(job)
    return (
        f"about {lasting(training)} of training by {TIMED_STEPS} steps of {job.cell.name} timed "
        f"here, evaluation aside, and {lasting(compiling)} a program to compile"
    )


def many(n: int, noun: str) -> str:
    """'1 cell', '2 cells'."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def scaled(value: float) -> str:
    """'12.3 M': three figures and the prefix of a thousandfold."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if value < 999.5:
            return f"{value:.3g} {prefix}".rstrip() + " " * (not prefix)
        value /= 1000
    return f"{value:.3g} E"


def sized(size: float) -> str:
    """Bytes as MiB, from one GiB on as GiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"


def lasting(seconds: float) -> str:
    """'45 s', '12 min', '3.4 h'."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
