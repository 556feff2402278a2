"""Training in this process: one group of replicas after the other."""

import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from arch.baselines.counted import counted, is_counted
from arch.devices import hosts
from arch.report.seeds import both
from arch.runs import locks, provenance
from arch.sweeps import following, machine
from arch.sweeps.executors.contract import EXECUTORS, Executor
from arch.sweeps.groups import groups
from arch.sweeps.progress import Progress, Whole, say_measured
from arch.sweeps.sweep import Job, Sweep
from arch.sweeps.tracking import Tracking
from arch.training.group import Group, corpus
from arch.training.member import Member
from arch.training.program import Programs
from arch.training.stopping import Interrupted, Stop

# Parameters below which a core each beats sharing two. Tokens a CPU second with a core of its own,
# over those with two: 0.3M 1.33, 0.8M 1.21, 4.9M 0.97 (float32, AMD EPYC without AVX-512).
SMALL = 2_000_000
WORTH_SAYING = 1_000  # steps of training left
MEASURED = "measured"  # the split of figures that no training made


@EXECUTORS.register("local")
class Local(Executor):
    """One group after the other, here; groups with equal programs compile them once."""

    def __init__(self, sweep: Sweep):
        super().__init__(sweep)
        self._programs = Programs(machine.platform(), machine.all_devices())
        self._whole = Whole(())

    def run(
        self, jobs: Sequence[Job], stop: Stop, settled: Callable[[], None]
    ) -> Mapping[str, str]:
        """Cell → error, of the cells that failed; see `Executor.run`."""
        errors: dict[str, str] = {}
        trains, platform = self.sweep.experiment.trains, machine.platform()
        neural = [job for job in jobs if trains and not is_counted(job.config)]
        if said := faster_apart(neural, platform, provenance.cores()):
            print(said, file=sys.stderr)
        self._whole = Whole(neural)
        with locks.held(job.folder.path for job in jobs if job.unfinished()):
            for members, job in self._groups(jobs):
                errors |= self._attempt(members, job, stop)
                settled()
        return errors

    def _groups(self, jobs: Sequence[Job]) -> Iterable[tuple[list[Member], Job]]:
        """Groups of replicas; one by one where nothing is trained."""
        if not self.sweep.experiment.trains:
            return (([job.member(seed)], job) for job in jobs for seed in job.unfinished())
        apart = [job for job in jobs if is_counted(job.config) and job.unfinished()]
        alone = (([job.member(seed) for seed in job.unfinished()], job) for job in apart)
        trained = [job for job in jobs if not is_counted(job.config)]
        return itertools.chain(alone, groups(trained, self.sweep.replicas, self.sweep.strict))

    def _attempt(self, members: list[Member], job: Job, stop: Stop) -> dict[str, str]:
        """Cell → error of those that failed; an error of one group does not stop the others."""
        cells = {m.cell: m.folder for m in members}
        for folder in cells.values():
            folder.update_state(
                state="starting", command=self.sweep.command, step=members[0].step,
                steps=job.config.train.steps, attempts=folder.state.get("attempts", 0) + 1,
            )  # fmt: skip
        try:
            if not self.sweep.experiment.trains:
                self._measure(members[0], job, stop)
            elif is_counted(job.config):
                self._count(members, job, stop)
            else:
                self._train(members, job, stop)
        except (Interrupted, KeyboardInterrupt):
            for folder in cells.values():
                folder.update_state(state="interrupted", error="asked to stop")
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            for folder in cells.values():
                folder.fail(text)
            print(f"cell {', '.join(cells)} failed: {text}", file=sys.stderr, flush=True)
            if hosts.count() > 1:
                hosts.abandon(1)  # the others wait for this one: the job is to be started again
            return dict.fromkeys(cells, text)
        return {}

    def _train(self, members: list[Member], job: Job, stop: Stop) -> None:
        program = self._programs.get(job.config, job.task, job.model)
        following.tell(members)
        with Progress(self._whole) as progress:
            group = Group(members, program, progress.update)
            progress.begin(group)
            try:
                with Tracking(self.sweep.track, self.sweep.name, group) as tracking:
                    group.report = lambda group: (tracking.update(group), progress.update(group))
                    group.run(stop)
            finally:
                self._whole.end(group)

    def _count(self, members: list[Member], job: Job, stop: Stop) -> None:
        """Count the baseline once: it is the same for every seed."""
        if stop.asked:
            raise Interrupted
        evaluations, more = counted(job.config, job.task)
        for member in members:
            line = member.line("finished", evaluations, corpus=corpus(job.task), **more)
            member.own.finish(line)
        told = {split: figures["loss"] for split, figures in evaluations.items()}
        say_measured(members[0], told)

    def _measure(self, member: Member, job: Job, stop: Stop) -> None:
        """Ask the experiment for its figures instead of training."""
        if stop.asked:
            raise Interrupted
        figures = self.sweep.experiment.measure(
            member.config, job.task, job.model, both(member.seed)[0]
        )
        member.own.finish(member.line("finished", {MEASURED: figures}, corpus=corpus(job.task)))
        say_measured(member, figures)


def faster_apart(jobs: Sequence[Job], platform: str, cores: int) -> str:
    """What to say where cells of small models, with some training left, would be done sooner in
    processes of one core each; else ''."""
    left = [job for job in jobs if job.unfinished()]
    steps = sum(job.config.train.steps * len(job.unfinished()) for job in left)
    if platform != "cpu" or cores < 2 or len(left) < 2 or steps < WORTH_SAYING:
        return ""
    sizes: list[Any] = [job.model.parameter_counts()["applied"] for job in left]
    if max(sizes) >= SMALL:
        return ""
    return (
        f"{len(left)} cells of small models train a fifth to a third faster with a core each, in "
        "other bits: --executor=processes"
    )
