"""Which unfinished replicas train together: those of one program, schedule and step."""

import sys
from collections.abc import Iterable, Sequence

from arch.devices.mesh import Sizes
from arch.models.families import Model
from arch.registry import ConfigurationError
from arch.runs import provenance
from arch.runs.checkpoints import Checkpoints
from arch.sweeps import machine
from arch.sweeps.sweep import Job
from arch.training import describe
from arch.training import state as states
from arch.training.member import Member
from arch.training.program import signature


def groups(
    jobs: Sequence[Job], replicas: int = 0, strict: bool = False
) -> Iterable[tuple[list[Member], Job]]:
    """(replicas restored from their checkpoints, the job whose program they share), in the order
    of the cells. It is said where another machine than this trained them so far.

    Args:
        replicas: most replicas a group; 0 for as many as fit on the device.
        strict: refuse those of another machine.

    Raises ConfigurationError for a checkpoint that does not fit its configuration.
    """
    found: dict[tuple, tuple[list[Member], Job]] = {}
    for job in jobs:
        program = signature(job.config, job.model, job.task.sha256)
        schedule = job.model.stack.schedule.positions
        for seed in job.unfinished():
            member = job.member(seed)
            try:
                moved = restore(member, job.model)
            except ConfigurationError as error:
                raise ConfigurationError(f"{error}; --rerun={job.cell.name} starts over") from None
            _say_moved(member, moved, strict)
            key = (program, schedule, member.step)
            found.setdefault(key, ([], job))[0].append(member)
    for members, job in found.values():
        width = replicas or fitting(job, len(members))
        for start in range(0, len(members), width):
            yield members[start : start + width], job


def restore(member: Member, model: Model) -> str:
    """Give the member its newest whole state, on the host; none where it starts fresh.

    Returns in what this machine differs from the one that saved it, and '' where in nothing.
    Raises ConfigurationError for a checkpoint that does not fit.
    """
    if not member.own.checkpoints.is_dir():
        return ""
    checkpoints = Checkpoints(member.own.checkpoints, member.config.save.keep)
    try:
        found = checkpoints.newest(states.shapes(member.config, model))
        checkpoints.discard_after(found[0] if found else -1)
    finally:
        checkpoints.close()
    if found is None:
        return ""
    step, member.state, meta = found
    there = {"machine": meta["machine"], "versions": meta["versions"]}
    moved = provenance.changes(
        {**there["machine"], **there["versions"]}, {**member.device, **provenance.versions()}
    )
    member.moved_from = list(meta.get("moved_from", ()))
    if moved:
        member.moved_from.append({"step": step, **there})
    return moved


def _say_moved(member: Member, moved: str, strict: bool) -> None:
    """Raises ConfigurationError instead where it is `strict`."""
    if not moved:
        return
    said = (
        f"{member.cell} seed {member.seed}: went to step {member.step} on another machine "
        f"({moved}), and its bits may differ from an undisturbed run's"
    )
    if strict:
        raise ConfigurationError(
            f"--strict: {said}; go on where it was, without --strict, or --rerun={member.cell}"
        )
    print(said, file=sys.stderr)


def fitting(job: Job, members: int) -> int:
    """How many of so many replicas of a job the devices hold: all of them on CPU."""
    limit = machine.memory_limit()
    if limit is None:
        return members
    # states of all, and room as large again for activations
    each = 2 * describe.state_bytes(job.config, job.model, Sizes.of(job.config.train.mesh))
    places = len(machine.all_devices()) // Sizes.of(job.config.train.mesh).devices
    return max(1, min(members, int(0.85 * limit // each) * max(1, places)))
