"""Training in worker processes: one cell each, as many at a time as there are devices.

A worker (`arch.sweeps.worker`) trains its cell's seeds and writes in that cell's folder alone; the
sweep that started it gathers. On CPU a worker has one core of its own, which for small models is
faster than sharing them; the core count is part of a result's provenance.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from arch.registry import ConfigurationError
from arch.sweeps import machine
from arch.sweeps.executors import orders
from arch.sweeps.executors.contract import EXECUTORS, Executor
from arch.sweeps.sweep import Job
from arch.training.stopping import Interrupted, Stop

Order = tuple[dict, Path]  # what a worker is told, and its log file


@EXECUTORS.register("processes")
class Processes(Executor):
    """Every cell in a process of its own."""

    def run(
        self, jobs: Sequence[Job], stop: Stop, settled: Callable[[], None]
    ) -> Mapping[str, str]:
        """Cell → error, of the cells that failed; see `Executor.run`."""
        left = [job for job in jobs if job.unfinished()]
        said = orders.Said(left)

        def ended(done: int) -> None:
            settled()
            said.ended(done)

        told = [(orders.order(self.sweep, job), job.folder.path / "worker.log") for job in left]
        refused = serve(told, lambda: stop.asked, ended, said.meanwhile)
        settled()
        if stop.asked:
            raise Interrupted
        if refused:
            raise ConfigurationError(refused[0])
        return {}


def slots() -> list[dict[str, str]]:
    """The environment of each worker that may run at a time."""
    if machine.platform() == "cpu":
        cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [""]
        return [{"ARCH_WORKER_CORE": str(core)} for core in cores]
    return [{"CUDA_VISIBLE_DEVICES": str(i)} for i in range(machine.devices())]


def serve(
    told: Sequence[Order],
    asked_to_stop: Callable[[], bool],
    ended: Callable[[int], None],
    meanwhile: Callable[[], None],
) -> list[str]:
    """Start a worker for each order, as slots come free, and wait for all.

    Asked to stop, it has its workers save and end. What became of a job is in its folder; `ended`
    is told how many have ended whenever that has grown; `meanwhile` is called a few times a second.
    Returns why workers refused to begin, a line for each that did.
    """
    waiting, lock, running = list(reversed(told)), threading.Lock(), set()
    refused: list[str] = []
    codes: list[int] = []

    def work(environment: Mapping[str, str]) -> None:
        while True:
            with lock:
                if not waiting:
                    return
                one, log = waiting.pop()
            with open(log, "a") as output:
                worker = _start(environment, output)
                running.add(worker)
                worker.communicate(json.dumps(one))
                running.discard(worker)
                codes.append(worker.returncode)
            if worker.returncode == orders.REFUSED:
                refused.append(log.read_text().splitlines()[-1])

    threads = [threading.Thread(target=work, args=(slot,), daemon=True) for slot in slots()]
    for thread in threads:
        thread.start()
    stopping, known = False, 0
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)
        meanwhile()
        if len(codes) > known:
            known = len(codes)
            ended(known)
        if asked_to_stop() and not stopping:
            stopping = True
            waiting.clear()
            for worker in list(running):
                worker.terminate()
    return refused


def _start(environment: Mapping[str, str], output) -> subprocess.Popen:
    """A worker that waits on its standard input for what it is to do."""
    return subprocess.Popen(
        [sys.executable, "-m", "arch.sweeps.worker"],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        text=True,
        env={**os.environ, **orders.environment(), **environment},
    )
