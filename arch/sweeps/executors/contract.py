"""What an executor is, and the table of them. A plugin file may register one:

@EXECUTORS.register("cluster")
class Cluster(Executor):
    def run(self, jobs, stop, settled): …
"""

import abc
from collections.abc import Callable, Mapping, Sequence

from arch.devices.mesh import Sizes, check_devices, check_hosts
from arch.registry import ConfigurationError, Registry
from arch.sweeps import machine
from arch.sweeps.sweep import Job, Sweep
from arch.training.program import replica_mode
from arch.training.stopping import Stop


class Executor(abc.ABC):
    """Trains the jobs of one sweep. It is made once a sweep, so it may keep compiled programs.

    Args:
        sweep: what the command line asks for: replicas, the command to come back, the experiment.

    Keyword-only arguments of a subclass are its options, --executor=NAME:option=value,…
    """

    def __init__(self, sweep: Sweep):
        self.sweep = sweep

    @classmethod
    def check(cls, jobs: Sequence[Job]) -> None:
        """Refuse jobs that cannot be trained where this executor trains, before anything is
        written: by default, on the devices of this process. Raises ConfigurationError."""
        devices, platform = machine.all_devices(), machine.platform()
        for job in jobs:
            train = job.config.train
            sizes = Sizes.of(train.mesh)
            try:
                check_devices(sizes, len(devices))
                side_by_side = replica_mode(train.replicas, platform) == "vmap"
                check_hosts(sizes, devices, side_by_side)
            except ConfigurationError as error:
                raise ConfigurationError(f"cell {job.cell.name}: {error}") from None

    @abc.abstractmethod
    def run(
        self, jobs: Sequence[Job], stop: Stop, settled: Callable[[], None]
    ) -> Mapping[str, str]:
        """Train every unfinished seed of the jobs and return when nothing is left to be tried.

        What becomes of a replica is written into its job's folder: a summary bearing the job's
        hash where it finished, the state `failed` with its error where it did not. A failing cell
        does not stop the others.

        Args:
            jobs: cells whose folders exist; `job.unfinished()` are the seeds to train.
            stop: `stop.asked` becomes true at Ctrl-C or SIGTERM; save, then raise Interrupted.
            settled: to be called whenever replicas have ended, so that results/ is up to date.

        Returns cell → error in one line, for the failures it knows of. Raises Interrupted where it
        was asked to stop, with everything saved.
        """


EXECUTORS = Registry("executor", contract=Executor)


def named(text: str) -> tuple[str, dict[str, object]]:
    """The name and the options of --executor=NAME:option=value,…

    Raises ConfigurationError for a name or an option that there is not.
    """
    return EXECUTORS.named(text, "--executor")


def check(sweep: Sweep, jobs: Sequence[Job]) -> None:
    """`Executor.check` of the executor that a sweep names, which is not made for it."""
    EXECUTORS.get(named(sweep.executor)[0], "--executor").check(jobs)


def chosen(sweep: Sweep) -> Executor:
    """The executor that a sweep names, with its options."""
    name, options = named(sweep.executor)
    return EXECUTORS.build(name, sweep, field="--executor", **options)
