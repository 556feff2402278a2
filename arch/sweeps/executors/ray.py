"""Cells as the tasks of a Ray cluster."""

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arch.checks import at_least
from arch.devices.hosts import Place
from arch.registry import ConfigurationError
from arch.sweeps.executors import cluster
from arch.sweeps.executors.cluster import Cluster, Lost
from arch.sweeps.executors.contract import EXECUTORS
from arch.sweeps.executors.orders import environment
from arch.sweeps.sweep import Sweep


class Meeting:
    """Where the processes of a task of several hosts learn of the first one's address."""

    address = ""

    def say(self, address: str) -> None:
        """Of the first."""
        self.address = address

    def said(self) -> str:
        """'' as long as the first has not said it."""
        return self.address


def train_together(order: str, folder: str, processes: int, index: int, meeting: Any) -> str:
    """`cluster.train_together`, in a task."""
    ray = cluster.needed("ray", "ray")
    if index == 0:
        with socket.socket() as free:
            free.bind(("", 0))
            address = f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"
        ray.get(meeting.say.remote(address))
    while not (address := ray.get(meeting.said.remote())):
        time.sleep(cluster.POLL)
    return cluster.train_together(order, folder, Place(address, processes, index))


class Handle:
    """The tasks that train a cell, one on each host. group: of the places that they have; None for
    a single task."""

    def __init__(self, ray: Any, tasks: Sequence[Any], group: Any = None):
        self._ray, self._tasks, self._group = ray, list(tasks), group

    def ended(self) -> bool:
        """Whether all have a result or an error."""
        count = len(self._tasks)
        return len(self._ray.wait(self._tasks, num_returns=count, timeout=0)[0]) == count

    def refusal(self) -> str:
        """What the first returned. Raises Lost where worker or node are gone."""
        try:
            return self._ray.get(self._tasks)[0]
        except self._ray.exceptions.RayError as error:
            raise Lost(f"its task ended: {str(error).splitlines()[0]}") from None
        finally:
            if self._group is not None:
                self._ray.util.remove_placement_group(self._group)

    def cancel(self) -> None:
        """Interrupt it, as Ctrl-C does."""
        for task in self._tasks:
            self._ray.cancel(task)


@EXECUTORS.register("ray")
class Ray(Cluster):
    """Every cell a task, on whatever node has room for it; those of a lost node go elsewhere.

    Args:
        address: of a running cluster, HOST:PORT or auto; '' starts one here.
        cpus, gpus: what a task takes of a node; fractions of a GPU let small models share one.
        hosts: nodes that train a cell together, each with a task: `train.mesh` divides it over
            them. They are reserved together, in a placement group.
    """

    def __init__(
        self,
        sweep: Sweep,
        *,
        address: str = "",
        cpus: float = 1.0,
        gpus: float = 0.0,
        hosts: int = 1,
    ):
        super().__init__(sweep)
        at_least(1, of="--executor=ray", hosts=hosts)
        if cpus < 0 or gpus < 0:
            raise ConfigurationError(
                f"--executor=ray:cpus={cpus:g},gpus={gpus:g}: allowed are 0 and more"
            )
        self._ray = cluster.needed("ray", "ray")
        if not self._ray.is_initialized():
            try:
                self._ray.init(address or None, runtime_env={"env_vars": environment()})
            except (ConnectionError, ValueError) as error:
                raise ConfigurationError(
                    f"--executor=ray:address={address}: {str(error).splitlines()[0]}"
                ) from None
        self._hosts, self._takes = hosts, {"CPU": cpus, "GPU": gpus}
        task = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0}
        self._train = self._ray.remote(**task)(cluster.train)
        # a process joins others once, and is ended with its task
        self._train_together = self._ray.remote(**task, max_calls=1)(train_together)

    def submit(self, orders: Sequence[Path]) -> Sequence[Handle]:
        """One task each, or one on each of its hosts."""
        submitted = self._together if self._hosts > 1 else self._alone
        return [submitted(str(order), os.getcwd()) for order in orders]

    def _alone(self, order: str, folder: str) -> Handle:
        return Handle(self._ray, [self._train.remote(order, folder)])

    def _together(self, order: str, folder: str) -> Handle:
        util, takes = self._ray.util, {name: n for name, n in self._takes.items() if n}
        group = util.placement_group([takes] * self._hosts, strategy="SPREAD")
        meeting = self._ray.remote(num_cpus=0)(Meeting).remote()
        strategy = util.scheduling_strategies.PlacementGroupSchedulingStrategy
        tasks = [
            self._train_together.options(scheduling_strategy=strategy(group, index)).remote(
                order, folder, self._hosts, index, meeting
            )
            for index in range(self._hosts)
        ]
        return Handle(self._ray, tasks, group)
