"""Which unfinished replicas train together: those of one program, schedule and step."""

from collections.abc import Iterable, Sequence

from arch.models.families import Model
from arch.registry import ConfigurationError
from arch.runs.checkpoints import Checkpoints
from arch.sweeps import machine
from arch.sweeps.sweep import Job
from arch.training import describe
from arch.training import state as states
from arch.training.group import Member
from arch.training.program import signature


def groups(jobs: Sequence[Job], replicas: int = 0) -> Iterable[tuple[list[Member], Job]]:
    """(replicas restored from their checkpoints, the job whose program they share), in the order
    of the cells.

    Args:
        replicas: most replicas a group; 0 for as many as fit on the device.

    Raises ConfigurationError for a checkpoint that does not fit its configuration.
    """
    found: dict[tuple, tuple[list[Member], Job]] = {}
    for job in jobs:
        program = signature(job.config, job.model, job.task.sha256)
        schedule = job.model.stack.schedule.positions
        for seed in job.unfinished():
            member = job.member(seed)
            try:
                member.state = restored(member, job.model)
            except ConfigurationError as error:
                raise ConfigurationError(f"{error}; --rerun={job.cell.name} starts over") from None
            key = (program, schedule, member.step)
            found.setdefault(key, ([], job))[0].append(member)
    for members, job in found.values():
        width = replicas or fitting(job, len(members))
        for start in range(0, len(members), width):
            yield members[start : start + width], job


def restored(member: Member, model: Model) -> states.TrainState | None:
    """The member's newest whole state, on the host; None where it starts fresh."""
    if not member.own.checkpoints.is_dir():
        return None
    checkpoints = Checkpoints(member.own.checkpoints, member.config.save.keep)
    try:
        found = checkpoints.newest(states.shapes(member.config, model))
        checkpoints.discard_after(found[0] if found else -1)
        return found[1] if found else None
    finally:
        checkpoints.close()


def fitting(job: Job, members: int) -> int:
    """How many of so many replicas of a job the device holds: all of them on CPU."""
    limit = machine.memory_limit()
    if limit is None:
        return members
    # states of all, and room as large again for activations
    each = 2 * describe.state_bytes(job.config, job.model)
    return max(1, min(members, int(0.85 * limit // each)))
