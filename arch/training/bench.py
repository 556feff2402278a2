"""How fast a configuration trains here, how near that is to the machine, and what loss and
gradient alone cost in time and memory."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from arch.baselines.counted import is_counted
from arch.context import Context
from arch.models import DTYPES
from arch.registry import Config, ConfigurationError
from arch.tasks.contract import Task
from arch.training.program import Program
from arch.training.replica import Replica
from arch.training.state import Swept

ROUNDS, STEPS = 5, 4
PATIENCE = 40.0  # seconds after which no further run of a gradient begins


def bench(config: Config, task: Task, model: Any, platform: str) -> dict[str, float]:
    """Training speed of one replica, measured in rounds of a few steps; medians.

    tokens_per_second; compile_seconds of the training program; peak_memory_bytes as the compiler
    counts it; utilisation: model FLOPs (three times the forward ones) a second over those of a
    square matrix product, measured beside it in the compute dtype. ConfigurationError for a
    baseline that is counted.
    """
    if is_counted(config):
        raise ConfigurationError(
            f"baseline.kind={config['baseline']['kind']!r}: it is counted and not trained, and has "
            "no training speed; allowed is none"
        )
    program = Program(config, task, model, platform)
    state = program.init(np.zeros(1, np.int32))
    started = program.compiled.seconds
    swept = Swept.of([(config, 0)])
    source = task.source()
    seconds, rates = [], []
    product = product_rate(DTYPES[config.model.dtype], product_side(platform))
    for turn in range(ROUNDS + 1):  # the first round compiles
        start = time.perf_counter()
        state, _ = program.train(state, swept, source, turn * STEPS, STEPS)
        jax.block_until_ready(state)
        seconds.append((time.perf_counter() - start) / STEPS)
        rates.append(product())
    tokens = config.train.batch * task.tokens_per_sequence / float(np.median(seconds[1:]))
    peak = float(np.median(rates[1:]))
    return {
        "tokens_per_second": tokens,
        "compile_seconds": program.compiled.seconds - started,
        "peak_memory_bytes": program.compiled.peak_memory_bytes,
        "utilisation": 3 * model.flops_per_token(task.length) * tokens / peak,
        "machine_flops": peak,
    }


class Gradient:
    """The program of loss and gradient of one batch, compiled; nothing is updated."""

    def __init__(self, config: Config, task: Task, model: Any, platform: str):
        replica = Replica(config, task, model, platform)
        self.tokens = config.train.batch * task.tokens_per_sequence
        self._init = jax.jit(model.init)
        source = task.source()

        def run(parameters, key):
            batches = task.batches[0]
            indices = batches.indices(key, jnp.int32(0), config.train.batch)
            gathered = batches.gather(source, indices)
            return replica.gradients(parameters, gathered, key, config.model.dropout, None)

        shapes = jax.eval_shape(self._init, jax.random.key(0))
        self._compiled = jax.jit(run).lower(shapes, jax.random.key(0)).compile()

    @property
    def activation_bytes(self) -> int:
        """Temporary memory, as the compiler counts it: the gradients are outputs."""
        analysis = self._compiled.memory_analysis()
        assert analysis is not None  # every backend here has one
        return analysis.temp_size_in_bytes

    def seconds(self, rounds: int = ROUNDS) -> float:
        """The median of some runs, after one that is not counted: see median_seconds."""
        parameters = self._init(jax.random.key(0))
        return median_seconds(lambda turn: self._compiled(parameters, jax.random.key(turn)), rounds)


def forward(model: Any, inputs: Any, context: Context) -> Callable[[int], Any]:
    """A run of a fresh model on these inputs and nothing else, for `median_seconds`."""
    parameters = jax.jit(model.init)(jax.random.key(0))
    run = jax.jit(lambda parameters: model.logits(parameters, inputs, context))
    return lambda turn: run(parameters)


def median_seconds(run: Callable[[int], Any], rounds: int = ROUNDS) -> float:
    """Of calls run(1), run(2), …, computation included; run(0) is not counted.

    `rounds` calls, or as many as begin within PATIENCE seconds of the start, but one at least.
    """
    found: list[float] = []
    while len(found) <= rounds and (len(found) < 2 or sum(found) < PATIENCE):
        start = time.perf_counter()
        jax.block_until_ready(run(len(found)))
        found.append(time.perf_counter() - start)
    return float(np.median(found[1:]))


def product_side(platform: str) -> int:
    """Side of the square product by which the rate of a machine is measured: on an accelerator one
    beside which the time to start it is nothing."""
    return 2048 if platform == "cpu" else 8192


def product_rate(dtype: DTypeLike, side: int) -> Callable[[], float]:
    """A function that times one product of two squares and returns its FLOP/s."""
    a = jax.random.normal(jax.random.key(0), (side, side), dtype)
    multiply = jax.jit(jnp.matmul)
    jax.block_until_ready(multiply(a, a))

    def timed() -> float:
        start = time.perf_counter()
        jax.block_until_ready(multiply(a, a))
        return 2 * side**3 / (time.perf_counter() - start)

    return timed
