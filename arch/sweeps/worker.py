"""A worker process, `python -m arch.sweeps.worker`: trains one cell of a sweep.

What it is to do comes as JSON on its standard input: the arguments of `Sweep`, with the experiment
as its reference and overrides. It exits like the command: 0, 1 where the cell failed, 130 where it
was asked to stop, REFUSED where one line in its log says why nothing could begin.
"""

import json
import os
import sys
from collections.abc import Mapping

from arch.registry import ConfigurationError
from arch.report.seeds import read_seed
from arch.sweeps import running
from arch.sweeps.executors.orders import REFUSED
from arch.sweeps.experiment import Experiment
from arch.sweeps.ladder import Ladder
from arch.sweeps.sweep import Sweep
from arch.training.stopping import Interrupted


def work(told: Mapping) -> int:
    """Train the cell; the exit code. Raises ConfigurationError where nothing could begin."""
    settings = dict(told)
    ladder = Ladder.of(settings.pop("ladder"))
    experiment = Experiment(settings.pop("experiment"), settings.pop("overrides"), ladder=ladder)
    seeds = tuple(map(read_seed, settings.pop("seeds")))
    try:
        return running.run(Sweep(experiment, seeds=seeds, gathers=False, **settings))
    except Interrupted:
        return 130


if __name__ == "__main__":
    if core := os.environ.get("ARCH_WORKER_CORE"):
        os.sched_setaffinity(0, {int(core)})
    try:
        code = work(json.load(sys.stdin))
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        code = REFUSED
    sys.exit(code)
