"""The process of our side, `python -m arch.bench.ours`: it trains a cell as `run` does."""

import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from arch.bench import shares
from arch.bench.protocol import serve, steps_in
from arch.models import DTYPES
from arch.models.model import Model
from arch.registry import Config
from arch.runs import provenance
from arch.sweeps import machine
from arch.sweeps.experiment import Experiment, matching
from arch.tasks.contract import Task
from arch.training import bench
from arch.training.program import Program, build
from arch.training.replica import STEPS_A_DISPATCH
from arch.training.state import Swept

FIRST = 3  # steps before the first turn, beside the one that compiles


def opened(
    experiment: str, overrides: Mapping[str, str], cell: str
) -> tuple[Config, Task, Model, str]:
    """(configuration, task, model, platform) of a cell.

    Args:
        experiment: FILE or FILE:name=value,… overrides: dotted field → text. cell: its name.
    """
    made = Experiment(experiment, overrides)
    (found,) = [one for one in matching(made.first_cells(), "*", "cell") if one.name == cell]
    config, platform = made.config(found), machine.platform()
    return config, *build(config, platform), platform


class OurSide:
    """A cell in training, seed 0; its arguments are those of `opened`."""

    def __init__(self, experiment: str, overrides: Mapping[str, str], cell: str):
        self.config, self.task, model, platform = opened(experiment, overrides, cell)
        self.program = Program(self.config, self.task, model, platform)
        self.state = self.program.init(np.zeros(1, np.int32))
        self.swept, self.source = Swept.of([(self.config, 0)]), self.task.source()
        self.taken = 0
        before = self.program.compiled.seconds
        self._steps(1)
        self.seconds = self._steps(FIRST) / FIRST
        self.about = {
            "parameters": model.parameter_counts()["unique"],
            "versions": provenance.versions(),
            "compile_seconds": self.program.compiled.seconds - before,
            "flops_per_token": 3 * model.flops_per_token(self.task.length),
        }
        dtype = DTYPES[self.config.model.dtype]
        self._product = bench.product_rate(dtype, bench.product_side(platform))

    def train(self, seconds: float) -> dict[str, float]:
        """Train for about so long, after a tenth of it that is not counted."""
        count = steps_in(seconds / 10, self.seconds)
        count = steps_in(seconds, self._steps(count) / count)
        taken = self._steps(count)
        self.seconds = taken / count
        tokens = count * self.config.train.batch * self.task.tokens_per_sequence
        return {"tokens": tokens, "seconds": taken}

    def product(self) -> dict[str, float]:
        """FLOP/s of a square product of this library, in the dtype of training."""
        return {"flops": self._product()}

    def shares(self) -> dict[str, Any]:
        """Where a step goes: see `arch.bench.shares`."""
        return shares.of_step(self.program, self.source)

    def _steps(self, count: int) -> float:
        start = time.perf_counter()
        for first in range(0, count, STEPS_A_DISPATCH):
            some = min(STEPS_A_DISPATCH, count - first)
            self.state, _ = self.program.train(
                self.state, self.swept, self.source, self.taken, some
            )
            self.taken += some
        jax.block_until_ready(self.state)
        return time.perf_counter() - start


if __name__ == "__main__":
    serve(OurSide)
