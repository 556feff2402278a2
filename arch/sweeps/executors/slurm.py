"""Cells as the jobs of a SLURM array, through submitit."""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arch.checks import at_least
from arch.devices.hosts import Place
from arch.sweeps.executors import cluster
from arch.sweeps.executors.cluster import Cluster, Lost
from arch.sweeps.executors.contract import EXECUTORS
from arch.sweeps.executors.orders import environment
from arch.sweeps.sweep import Sweep

FIRST_PORT, PORTS = 20_000, 20_000  # of which a job of several hosts has one, by its number
TIMEOUTS = 1000  # how often a job is requeued that is preempted or out of its time


class Work:
    """What each process of a job calls: `cluster.train`, and after a preemption or at the end of
    its time again."""

    def __init__(self, order: Path):
        self.order, self.folder = str(order), os.getcwd()

    def __call__(self) -> str:
        job = cluster.needed("submitit", "slurm").JobEnvironment()
        if job.num_tasks == 1:
            return cluster.train(self.order, self.folder)
        port = FIRST_PORT + zlib.crc32(job.job_id.encode()) % PORTS
        place = Place(f"{job.hostnames[0]}:{port}", job.num_tasks, job.global_rank)
        return cluster.train_together(self.order, self.folder, place)

    def checkpoint(self) -> Any:
        """submitit asks for what to requeue: the same, which goes on from its newest checkpoint."""
        submitit = cluster.needed("submitit", "slurm")
        return submitit.helpers.DelayedSubmission(self)


class Handle:
    """A submitted job."""

    def __init__(self, job: Any):
        self._job = job

    def ended(self) -> bool:
        """Whether SLURM says that it has ended, or its result is there."""
        return self._job.done()

    def refusal(self) -> str:
        """What the first `Work` returned. Raises Lost where the job left no result."""
        try:
            return self._job.task(0).result()
        except Exception as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise Lost(f"job {self._job.job_id} ended without a result: {said}") from None

    def cancel(self) -> None:
        """scancel: SIGTERM first."""
        self._job.cancel(check=False)


@EXECUTORS.register("slurm")
class Slurm(Cluster):
    """Every cell a job of one array; runs/NAME/slurm/ has their logs.

    Args:
        partition, account, constraint: as `sbatch` takes them; '' for the cluster's own.
        minutes: the time limit of a job; one that reaches it is requeued and goes on.
        hosts: nodes of a job, which train its cell together: `train.mesh` divides it over them.
        gpus, cpus: GPUs and cores of a job on each node.
        memory: GiB on each node; 0 for the cluster's own.
        parallel: most jobs at a time.
        where: slurm | local, which starts the jobs as processes here, to try it.
    """

    def __init__(
        self,
        sweep: Sweep,
        *,
        partition: str = "",
        account: str = "",
        constraint: str = "",
        minutes: int = 240,
        hosts: int = 1,
        gpus: int = 0,
        cpus: int = 1,
        memory: int = 0,
        parallel: int = 256,
        where: str = "slurm",
    ):
        super().__init__(sweep)
        at_least(
            1, of="--executor=slurm", minutes=minutes, hosts=hosts, cpus=cpus, parallel=parallel
        )
        submitit = cluster.needed("submitit", "slurm")
        folder = (sweep.runs / sweep.name / "slurm").absolute()
        self._executor = submitit.AutoExecutor(
            folder=folder, cluster=where, slurm_max_num_timeout=TIMEOUTS
        )
        named = {"partition": partition, "account": account, "constraint": constraint}
        options = {f"slurm_{option}": value for option, value in named.items() if value}
        options |= {"mem_gb": memory} if memory else {}
        options |= {"tasks_per_node": hosts} if where == "local" else {"nodes": hosts}
        self._executor.update_parameters(
            name=sweep.name, timeout_min=minutes, gpus_per_node=gpus, cpus_per_task=cpus,
            slurm_array_parallelism=parallel, **options,
        )  # fmt: skip

    def submit(self, orders: Sequence[Path]) -> Sequence[Handle]:
        """One array of jobs."""
        os.environ |= environment()  # which sbatch hands on
        with self._executor.batch():
            jobs = [self._executor.submit(Work(order)) for order in orders]
        return [Handle(job) for job in jobs]
