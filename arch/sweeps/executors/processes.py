"""Training in worker processes: one cell each, as many at a time as there are devices.

A worker (`arch.sweeps.worker`) trains its cell's seeds and writes in that cell's folder alone; the
sweep that started it gathers. On CPU a worker has one core of its own, which for small models is
faster than sharing them; the core count is part of a result's provenance.
"""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from arch.registry import ConfigurationError
from arch.runs import provenance
from arch.sweeps import machine
from arch.sweeps.executors.contract import EXECUTORS, Executor
from arch.sweeps.sweep import Job
from arch.training.group import Interrupted, Stop

SILENT = 20.0  # seconds between two lines on where the cells stand
REFUSED = 2  # what a worker exits with that cannot begin; the last line of its log says why

Order = tuple[dict, Path]  # what a worker is told, and its log file


@EXECUTORS.register("processes")
class Processes(Executor):
    """Every cell in a process of its own."""

    def run(
        self, jobs: Sequence[Job], stop: Stop, settled: Callable[[], None]
    ) -> Mapping[str, str]:
        """Cell → error, of the cells that failed; see `Executor.run`."""
        left = [job for job in jobs if job.unfinished()]
        said = time.monotonic()

        def ended(done: int) -> None:
            settled()
            print(f"{done} of {len(left)} cells have ended", flush=True)

        def meanwhile() -> None:
            nonlocal said
            if time.monotonic() - said > SILENT:
                said = time.monotonic()
                print(steps_said(left), flush=True)

        refused = serve([self._order(job) for job in left], lambda: stop.asked, ended, meanwhile)
        settled()
        if stop.asked:
            raise Interrupted
        if refused:
            raise ConfigurationError(refused[0])
        return {}

    def _order(self, job: Job) -> Order:
        ladder = self.sweep.experiment.ladder
        told = {
            "experiment": self.sweep.experiment.reference,
            "overrides": self.sweep.experiment.overrides,
            "ladder": ladder and dataclasses.asdict(ladder),
            "name": self.sweep.name,
            "replicas": self.sweep.replicas,
            "strict": self.sweep.strict,
            "command": self.sweep.command,
            "cells": job.cell.name,
            "seeds": list(map(str, job.seeds)),
        }
        return told, job.folder.path / "worker.log"


def steps_said(jobs: Sequence[Job]) -> str:
    """Where the cells stand that train now: 'k0 240 of 1,000 steps, k3 260 of 1,000 steps'."""
    states = {job.cell.name: (job.folder.state, job.config.train.steps) for job in jobs}
    running = [
        f"{cell} {state.get('step', 0):,} of {steps:,} steps"
        for cell, (state, steps) in states.items()
        if state.get("state") == "running"
    ]
    return ", ".join(running) or "workers are starting"


def slots() -> list[dict[str, str]]:
    """The environment of each worker that may run at a time."""
    if machine.platform() == "cpu":
        cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [""]
        return [{"ARCH_WORKER_CORE": str(core)} for core in cores]
    return [{"CUDA_VISIBLE_DEVICES": str(i)} for i in range(machine.devices())]


def serve(
    orders: Sequence[Order],
    asked_to_stop: Callable[[], bool],
    ended: Callable[[int], None],
    meanwhile: Callable[[], None],
) -> list[str]:
    """Start a worker for each order, as slots come free, and wait for all.

    Asked to stop, it has its workers save and end. What became of a job is in its folder; `ended`
    is told how many have ended whenever that has grown; `meanwhile` is called a few times a second.
    Returns why workers refused to begin, a line for each that did.
    """
    waiting, lock, running = list(reversed(orders)), threading.Lock(), set()
    refused: list[str] = []
    codes: list[int] = []

    def work(environment: Mapping[str, str]) -> None:
        while True:
            with lock:
                if not waiting:
                    return
                told, log = waiting.pop()
            with open(log, "a") as output:
                worker = _start(environment, output)
                running.add(worker)
                worker.communicate(json.dumps(told))
                running.discard(worker)
                codes.append(worker.returncode)
            if worker.returncode == REFUSED:
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
    path = [str(provenance.CODE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "arch.sweeps.worker"],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **environment},
    )
