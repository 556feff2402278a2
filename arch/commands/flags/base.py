"""What several commands have in common: an experiment, training, what was trained."""

import contextlib
import dataclasses
from collections.abc import Mapping

from arch.commands import answers
from arch.commands.contract import Command, flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers(Command):
    """A command that also answers a program: its body hands the objects to `answers.answer`."""

    json: bool = flag(
        "--json", False,
        help="JSON instead of text, an object a line, and nothing else on stdout",
    )  # fmt: skip

    def run(self) -> int:
        """The body; with --json, all that it prints beside its answer goes to stderr."""
        with answers.nothing_else() if self.json else contextlib.nullcontext():
            return super().run()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configured(Command):
    """A command that takes --config, and --config.a.b=value in `overrides`."""

    config: str = flag(
        "--config", metavar="FILE[:name=value,…]",
        help="the experiment's file; its arguments, and letters bound to kinds (s=lsh_attention), "
        "follow a colon. --config.a.b=value sets a field of every cell, last; --config.a.b=1,2 of "
        "a field that takes one value makes a cell of each cell for each value",
    )  # fmt: skip
    overrides: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trains(Configured):
    """A command that trains."""

    seeds: str = flag(
        "--seeds", "", metavar="5|100-104|1,3|3x3",
        help="how many seeds, a range or a list; 3x3: three of initialisation crossed with three "
        "of data, to tell which of them the spread comes from",
        otherwise="the configuration's seeds",
    )  # fmt: skip
    ladder: str = flag(
        "--ladder", "", metavar="FIELD=V,V,…",
        help="values of a field, as train.optimizer.learning_rate=5e-4,1e-3,2e-3: each cell is "
        "tried with all of them on the seeds of --pilot, and trained with its best one on others",
        otherwise="no ladder",
    )  # fmt: skip
    pilot: str = flag(
        "--pilot", "", metavar="100-101|7,9",
        help="the seeds that choose on a --ladder; no other figure has them",
        otherwise="none; a --ladder needs it",
    )  # fmt: skip
    directory: str = flag(
        "--name", "", metavar="NAME",
        help="the folders runs/NAME and results/NAME",
        otherwise="the file's name and what was typed beside it",
    )  # fmt: skip
    replicas: str = flag(
        "--replicas", "auto", metavar="auto|N",
        help="the most seeds and cells that train in one program; auto: as many as fit in memory",
    )  # fmt: skip
    rerun: str = flag(
        "--rerun", "", metavar="GLOB,…", otherwise="no cell",
        help="start these cells over; what they have is kept beside",
    )  # fmt: skip
    keep: bool = flag(
        "--keep", False,
        help="where the name holds a cell in another configuration: have both in one table",
    )  # fmt: skip
    reuse: bool = flag(
        "--reuse", False,
        help="what results/ has of the same configuration, seed and kind of device is not trained",
    )  # fmt: skip
    fresh: bool = flag(
        "--fresh", False,
        help="train here, whatever is finished of the same configuration under another name",
    )  # fmt: skip
    track: str = flag(
        "--track", "", metavar="NAME[:option=value,…],…", otherwise="none",
        help="who follows the curves: tensorboard (event files in the run's folder), wandb "
        "(offline unless wandb:online=true), or a plugin's own",
    )  # fmt: skip
    distributed: bool = flag(
        "--distributed", False,
        help="one of several hosts that train together, each started with the same command: by "
        "srun or mpirun, on a Cloud TPU or GKE, or with JAX_COORDINATOR_ADDRESS=HOST:PORT, "
        "JAX_NUM_PROCESSES and JAX_PROCESS_ID",
    )  # fmt: skip
    strict: bool = flag(
        "--strict", False,
        help="go on with nothing that another processor, core count or version began: its bits "
        "may differ",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loads(Command):
    """A command that loads what was trained."""

    trust: bool = flag(
        "--trust", False,
        help="import the plugins in a run's folder, also those that are not files of your own",
    )  # fmt: skip
