"""Cells as the tasks of a Ray cluster."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arch.registry import ConfigurationError
from arch.sweeps.executors import cluster
from arch.sweeps.executors.cluster import Cluster, Lost
from arch.sweeps.executors.contract import EXECUTORS
from arch.sweeps.executors.orders import environment
from arch.sweeps.sweep import Sweep


class Handle:
    """A task that was submitted."""

    def __init__(self, ray: Any, task: Any):
        self._ray, self._task = ray, task

    def ended(self) -> bool:
        """Whether it has a result or an error."""
        return bool(self._ray.wait([self._task], timeout=0)[0])

    def refusal(self) -> str:
        """What `cluster.train` returned. Raises Lost where worker or node are gone."""
        try:
            return self._ray.get(self._task)
        except self._ray.exceptions.RayError as error:
            raise Lost(f"its task ended: {str(error).splitlines()[0]}") from None

    def cancel(self) -> None:
        """Interrupt it, as Ctrl-C does."""
        self._ray.cancel(self._task)


@EXECUTORS.register("ray")
class Ray(Cluster):
    """Every cell a task, on whatever node has room for it; those of a lost node go elsewhere.

    Args:
        address: of a running cluster, HOST:PORT or auto; '' starts one here.
        cpus, gpus: what a task takes of a node; fractions of a GPU let small models share one.
    """

    def __init__(self, sweep: Sweep, *, address: str = "", cpus: float = 1.0, gpus: float = 0.0):
        super().__init__(sweep)
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
        self._train = self._ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(cluster.train)

    def submit(self, orders: Sequence[Path]) -> Sequence[Handle]:
        """One task each."""
        here = os.getcwd()
        return [Handle(self._ray, self._train.remote(str(order), here)) for order in orders]
