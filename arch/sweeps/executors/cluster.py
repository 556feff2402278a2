"""Training in the jobs of another system: what those that hand cells to one have in common.

A cell is an order in its folder, which all machines see; a job that is run twice goes on from the
newest checkpoint, and finds nothing to do where it has ended. So a job that is lost, with its
machine or by a kill, is handed over again, and a sweep that is stopped here goes on anywhere.
"""

import abc
import importlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from arch.devices import hosts
from arch.registry import ConfigurationError
from arch.sweeps import following
from arch.sweeps.executors import orders
from arch.sweeps.executors.contract import Executor
from arch.sweeps.sweep import Job
from arch.training.stopping import Interrupted, Stop

POLL = 0.5  # seconds
STARTS = 3  # of a job that is lost without a word
SAVING = 300.0  # seconds that a job has to save and end


class Lost(Exception):
    """A job that ended without a result: its machine or its process is gone."""


class Handle(Protocol):
    """A job that was handed over."""

    def ended(self) -> bool:
        """Whether it has ended, in whatever way; at once."""
        ...

    def refusal(self) -> str:
        """What `train` returned. Raises Lost where it returned nothing."""
        ...

    def cancel(self) -> None:
        """Ask it to save and end, as Ctrl-C does."""
        ...


class Cluster(Executor):
    """Every cell a job of its own; `submit` hands them over."""

    @classmethod
    def check(cls, jobs: Sequence[Job]) -> None:
        """Nothing: a job's devices are seen where it runs, and its worker refuses in one line."""

    @abc.abstractmethod
    def submit(self, orders: Sequence[Path]) -> Sequence[Handle]:
        """Jobs that call `train` with these orders, one each."""

    def run(
        self, jobs: Sequence[Job], stop: Stop, settled: Callable[[], None]
    ) -> Mapping[str, str]:
        """Cell → error, of the cells that failed; see `Executor.run`."""
        left = [job for job in jobs if job.unfinished()]
        said, errors = orders.Said(left), {}
        starts = dict.fromkeys((job.cell.name for job in left), 1)
        open_jobs = list(zip(left, self._hand_over(left), strict=True))
        while open_jobs and not stop.asked:
            time.sleep(POLL)
            said.meanwhile()
            ended = [(job, handle) for job, handle in open_jobs if handle.ended()]
            open_jobs = [pair for pair in open_jobs if pair not in ended]
            again = []
            for job, handle in ended:
                name = job.cell.name
                error = self._error(job, handle)
                if error and starts[name] < STARTS and isinstance(error, Lost):
                    starts[name] += 1
                    again.append(job)
                    print(f"cell {name}: {error}; it is started again", flush=True)
                elif error:
                    errors[name] = str(error)
            if ended:
                settled()
                said.ended(len(left) - len(open_jobs) - len(again))
            open_jobs += zip(again, self._hand_over(again), strict=True)
        if stop.asked:
            self._stop([handle for _, handle in open_jobs])
            settled()
            raise Interrupted
        return errors

    def _hand_over(self, jobs: Sequence[Job]) -> Sequence[Handle]:
        return self.submit([orders.write(self.sweep, job) for job in jobs]) if jobs else []

    def _error(self, job: Job, handle: Handle) -> Exception | None:
        """Why a job that has ended did not train its cell to the end; None where it did."""
        try:
            refusal = handle.refusal()
        except Lost as lost:
            return lost if job.unfinished() else None
        # what failed in training is in the cell's state
        return ConfigurationError(refusal) if refusal else None

    def _stop(self, handles: Sequence[Handle]) -> None:
        for handle in handles:
            handle.cancel()
        end = time.monotonic() + SAVING
        while time.monotonic() < end and not all(handle.ended() for handle in handles):
            time.sleep(POLL)


def train_together(order: str, folder: str, place: hosts.Place) -> str:
    """`train` in one of the processes of a job of several hosts: the first leads, and what it
    returns counts."""
    hosts.join(place)
    if hosts.follows():
        os.chdir(folder)
        following.follow()
        return ""
    refusals = []

    def lead() -> int:
        refusals.append(train(order, folder))
        return orders.REFUSED if refusals[0] else 0

    following.lead(lead)
    return refusals[0]


def train(order: str, folder: str) -> str:
    """In a job: train the cell of an order, from the folder that the sweep was started in. Returns
    why it could not begin, '' where it could."""
    os.chdir(folder)
    # named as in `python -m`, since the worker's sweep imports the executors
    worker = importlib.import_module("arch.sweeps.worker")
    try:
        worker.work(orders.read(Path(order)))
    except ConfigurationError as error:
        return str(error)
    return ""


def needed(package: str, extra: str) -> Any:
    """A package that an executor stands on. Raises ConfigurationError where it is missing."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ConfigurationError(
            f"--executor={extra}: needs the package {package}: pip install '.[{extra}]'"
        ) from None
