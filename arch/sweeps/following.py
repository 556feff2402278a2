"""Several hosts as one sweep: the first leads, the others train each group with it.

The leader runs the sweep as it would alone and tells the others of each group before it trains.
They build the same program from the same configuration and make the same steps, each on its part of
a batch. Where all of them see the run's folder, each saves its own parts of a checkpoint there;
else the leader saves what it gathers. Their lines go to a folder of their own that is thrown away.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arch import config as configuration
from arch.devices import hosts
from arch.registry import ConfigurationError
from arch.report.seeds import read_seed
from arch.runs import locks
from arch.runs.checkpoints import Checkpoints
from arch.runs.folders import RunFolder
from arch.sweeps import machine
from arch.training import state as states
from arch.training.group import Group
from arch.training.member import Member
from arch.training.program import Programs, build
from arch.training.state import TrainState
from arch.training.stopping import Interrupted, Stop


def lead(run: Callable[[], int]) -> int:
    """run(), the leader's whole command; the other hosts end with its exit code."""
    code = 1
    try:
        code = run()
    finally:
        hosts.told({"code": code})
    return code


def tell(members: Sequence[Member]) -> None:
    """Tell the other hosts of a group that is to be trained, and of its members' states."""
    if hosts.count() == 1:
        return
    told = [
        {
            "config": json.loads(json.dumps(member.config.to_dict())),
            "hash": member.identity,
            "cell": member.cell,
            "seed": str(member.seed),
            "fresh": member.state is None,
            "step": member.step,
            "folder": str(member.folder.path.absolute()),
            "lock": locks.holder(member.folder.path),
        }
        for member in members
    ]
    hosts.told({"members": told})
    if all_see(told):
        for member in members:
            member.shared = member.own.checkpoints
        return
    for member in members:
        if member.state is not None:
            hosts.told_arrays(member.state)


def all_see(told: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every host sees the run folders that the leader named, in which it now has locks; all
    of them must call it together."""
    seen = all(one["lock"] and locks.holder(Path(one["folder"])) == one["lock"] for one in told)
    return not hosts.agreed(not seen)


def follow() -> int:
    """Train each group with the leader. Returns the exit code that the leader names at the end."""
    programs = Programs(machine.platform(), machine.all_devices())
    with Stop() as stop, tempfile.TemporaryDirectory() as scratch:
        while "code" not in (told := hosts.told()):
            try:
                _train(told["members"], programs, stop, Path(scratch))
            except Interrupted:
                continue  # the leader as well: it says so, and ends
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                hosts.abandon(130 if isinstance(error, KeyboardInterrupt) else 1)
        return told["code"]


def _train(told: list[dict[str, Any]], programs: Programs, stop: Stop, scratch: Path) -> None:
    members, shared = [], all_see(told)
    for one in told:
        config = configuration.make(**one["config"])
        task, model = build(config, machine.platform())
        if configuration.identity(config, task.sha256) != one["hash"]:
            raise ConfigurationError(
                f"cell {one['cell']}: {task.corpus} on this host is not the leader's (sha256 "
                f"{task.sha256[:8]}); give all hosts the same data"
            )
        folder = RunFolder.of(scratch, "follower", one["cell"], one["hash"])
        member = Member(
            one["cell"], read_seed(one["seed"]), config, one["hash"], folder, {}, machine.device()
        )
        if shared:
            member.shared = RunFolder(Path(one["folder"])).seed(member.seed).checkpoints
        if not one["fresh"]:
            member.state = _state(member, one["step"], states.shapes(config, model))
        folder.create(config, one["hash"], one["cell"])
        members.append(member)
    program = programs.get(members[0].config, task, model)
    Group(members, program, lambda group: None).run(stop)


def _state(member: Member, step: int, shapes: TrainState) -> TrainState:
    """The state that the leader goes on from: from the checkpoint, or as it sends it."""
    if member.shared is None:
        return hosts.told_arrays(jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes))
    checkpoints = Checkpoints(member.shared, member.config.save.keep)
    try:
        return checkpoints.restore(step, shapes)[0]
    finally:
        checkpoints.close()
