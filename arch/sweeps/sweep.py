"""A sweep: cells × seeds, worked out from an experiment and what the command line asks for.

A (cell, seed) is finished when its summary bears its hash. What is not finished goes on from its
newest whole checkpoint. `running` runs a sweep; an executor trains it.
"""

import dataclasses
from collections.abc import Collection
from pathlib import Path

from arch import config as configuration
from arch.models.families import Model
from arch.registry import Config, ConfigurationError
from arch.report.lines import read_lines
from arch.report.seeds import Apart, Seed, both, line_seed, seed_of
from arch.runs.folders import RunFolder
from arch.sweeps import machine
from arch.sweeps.experiment import Cell, Experiment, Results, matching
from arch.sweeps.places import RESULTS, RUNS
from arch.sweeps.present import present_results
from arch.tasks.contract import Task
from arch.training import describe, evaluation
from arch.training.member import Member
from arch.training.program import build


@dataclasses.dataclass
class Job:
    """A cell with everything worked out: nothing that is wrong with it is left to be found."""

    cell: Cell
    config: Config
    seeds: tuple[Seed, ...]
    task: Task
    model: Model
    identity: str
    folder: RunFolder
    details: dict[str, object]

    def unfinished(self) -> list[Seed]:
        """Seeds without a summary of this hash."""
        ends = self.ends()
        return [seed for seed in self.seeds if seed not in ends]

    def ends(self) -> dict[Seed, dict]:
        """Seed → its summary, of those that have one of this hash."""
        summaries = {seed: self.folder.seed(seed).summary for seed in self.seeds}
        return {s: x for s, x in summaries.items() if x is not None and x["hash"] == self.identity}

    def lost(self) -> bool:
        """Whether all seeds have ended and none has finished: NaN or diverged."""
        ends = self.ends()
        all_ended = len(ends) == len(self.seeds)
        return all_ended and all(end["status"] != "finished" for end in ends.values())

    def member(self, seed: Seed) -> Member:
        """The replica of a seed, not yet restored."""
        return Member(
            self.cell.name, seed, self.config, self.identity, self.folder, self.details,
            machine.device(),
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What the command line asks for.

    Args:
        experiment: the loaded file.
        name: of runs/<name>/ and results/<name>/.
        cells: glob over cell names; of a worker its cell's very name.
        seeds: instead of the configuration's; empty for those. A cell with its own keeps them.
        rerun: glob over cells to start over; their old files are kept beside.
        keep: results of another configuration under this name stay beside the new ones.
        reuse: committed lines of the same hash and device kind count as finished.
        fresh: nothing that was finished under another name counts.
        strict: nothing goes on that another kind of machine or other versions began.
        replicas: most replicas a group; 0 for as many as fit.
        track: the trackers that follow it, as --track names them.
        executor: who trains the jobs: a name in EXECUTORS, with options after a colon.
        gathers: whether it writes results/; a worker leaves that to the sweep that started it.
        runs: the folder that holds the run folders of every name.
        command: how to come back here, for messages and state.json.
    """

    experiment: Experiment
    name: str
    cells: str = "*"
    seeds: tuple[Seed, ...] = ()
    rerun: str = ""
    keep: bool = False
    reuse: bool = False
    fresh: bool = False
    strict: bool = False
    replicas: int = 0
    track: str = ""
    executor: str = "local"
    gathers: bool = True
    runs: Path = RUNS
    command: str = ""

    def results(self, without: Collection[tuple[str, Seed]] = ()) -> Results:
        """What results/<name>/ holds, as an experiment's `cells` and TABLE are given it.

        without: (cell, seed) whose lines count for nothing.
        """
        lines = read_lines(RESULTS / self.name)
        known = [line for line in lines if (line["cell"], line_seed(line)) not in without]
        return present_results(self.experiment, known, self.keep)

    def jobs(self, without: Collection[tuple[str, Seed]] = ()) -> list[Job]:
        """The jobs that the results so far, but for these, call for; every cell is checked before
        any is run.

        Raises ConfigurationError for a cell that cannot be run, where no cell matches, and for
        seeds that are not those of one of the experiment's looks.
        """
        looks = self.experiment.looks if self.gathers else ()
        if self.seeds and looks and self.seeds not in [tuple(range(n)) for n in looks]:
            raise ConfigurationError(
                f"--seeds: {self.experiment.file} looks at its claims after {looks} seeds; "
                f"expected {' or '.join(map(str, looks))} to train so many at once, or leave the "
                "option out to add seeds until the claims are decided"
            )
        cells = self.experiment.cells(self.results(without), self.seeds)
        if not self.gathers:  # one cell, and no pilots of it
            cells = [cell for cell in cells if cell.name == self.cells]
        elif self.cells != "*":
            cells = matching(cells, self.cells)
        return [self.job(cell) for cell in cells]

    def job(self, cell: Cell) -> Job:
        """A cell with its task, model, hash and folder; nothing is written."""
        config = self.experiment.config(cell)
        try:
            task, model = build(config, machine.platform())
            evaluation.check(config, task)
            if self.experiment.trains:
                task.check_model(model)
        except ConfigurationError as error:
            raise ConfigurationError(f"cell {cell.name}: {error}") from None
        identity = configuration.identity(config, task.sha256)
        return Job(
            cell=cell,
            config=config,
            seeds=self._seeds(cell, config),
            task=task,
            model=model,
            identity=identity,
            folder=RunFolder.of(self.runs, self.name, cell.name, identity),
            details=describe.details(cell.variant or "order", config, task, model),
        )

    def _seeds(self, cell: Cell, config: Config) -> tuple[Seed, ...]:
        """The cell's own seeds, else the sweep's, else the configuration's; with data of
        `train.data_seed` where that is set.

        Raises ConfigurationError where one has another seed of data already, or where nothing is
        trained.
        """
        seeds = cell.seeds or self.seeds or tuple(config.seeds)
        if self.gathers:  # a worker is given the seeds of its one cell
            _check_fresh(cell, self.seeds or tuple(config.seeds))
        data = config.train.data_seed
        apart = [seed for seed in seeds if isinstance(seed, Apart)]
        if not self.experiment.trains and (apart or data >= 0):
            raise ConfigurationError(
                f"cell {cell.name}: it is measured and not trained, and has no seed of data; "
                "allowed are --seeds like 5, 100-104 or 1,3 and train.data_seed=-1"
            )
        for seed in apart if data >= 0 else ():
            if seed.data != data:
                raise ConfigurationError(
                    f"train.data_seed={data}: seed {seed} has data of its own; leave the field at "
                    "-1, or name seeds of initialisation alone"
                )
        return seeds if data < 0 else tuple(seed_of(both(seed)[0], data) for seed in seeds)


def _check_fresh(cell: Cell, seeds: tuple[Seed, ...]) -> None:
    """Raises ConfigurationError where an arm on a ladder would be reported on a pilot seed."""
    if cell.rung is None:
        return
    reported = {number for seed in cell.rung.reported or seeds for number in both(seed)}
    if clash := sorted(reported & set(cell.rung.seeds)):
        raise ConfigurationError(
            f"cell {cell.rung.arm}: pilot seed {clash[0]} is one of its own seeds; what a value of "
            f"{cell.rung.field} was chosen on is not reported: name others by --pilot or --seeds"
        )
