"""Worker processes for a sweep: one cell each, as many at a time as there are devices.

A worker reads what it is to do as JSON from its standard input, trains its cell's seeds and writes
in that cell's folder alone; the sweep gathers. On CPU a worker has one core of its own, which for
small models is faster than sharing them; the core count is part of a result's provenance.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from arch.runs import provenance
from arch.sweeps import machine


def slots() -> list[dict[str, str]]:
    """The environment of each worker that may run at a time."""
    if machine.platform() == "cpu":
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [""]
        return [{"ARCH_WORKER_CORE": str(core)} for core in cores]
    return [{"CUDA_VISIBLE_DEVICES": str(i)} for i in range(machine.devices())]


def run(jobs: list[tuple[dict, Path]], asked_to_stop: Callable[[], bool]) -> None:
    """Run the jobs, (what a worker is told, its log file), as slots come free.

    Asked to stop, it has its workers save and end. What became of a job is in its folder.
    """
    waiting, lock, running = list(reversed(jobs)), threading.Lock(), set()

    def serve(environment: Mapping[str, str]) -> None:
        while True:
            with lock:
                if not waiting:
                    return
                told, log = waiting.pop()
            with open(log, "a") as output:
                worker = subprocess.Popen(
                    [sys.executable, "-m", "arch.sweeps.executors"],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    text=True,
                    env={**os.environ, "PYTHONPATH": _search_path(), **environment},
                )
                running.add(worker)
                worker.communicate(json.dumps(told))
                running.discard(worker)

    threads = [threading.Thread(target=serve, args=(slot,), daemon=True) for slot in slots()]
    for thread in threads:
        thread.start()
    stopping = False
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)
        if asked_to_stop() and not stopping:
            stopping = True
            waiting.clear()
            for worker in list(running):
                worker.terminate()


def _search_path() -> str:
    return os.pathsep.join([str(provenance.CODE), *filter(None, [os.environ.get("PYTHONPATH")])])


def work() -> None:
    """A worker's life."""
    from arch.sweeps import sweep as sweeps
    from arch.sweeps.experiment import Experiment
    from arch.training.group import Interrupted

    if core := os.environ.get("ARCH_WORKER_CORE"):
        os.sched_setaffinity(0, {int(core)})
    told = json.load(sys.stdin)
    experiment = Experiment(told.pop("experiment"), told.pop("overrides"))
    try:
        sweeps.Sweep(experiment, **{**told, "seeds": tuple(told["seeds"])}, gathers=False).run()
    except Interrupted:
        sys.exit(130)


if __name__ == "__main__":
    work()
