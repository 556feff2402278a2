"""`status`: each cell's steps, last sign of life, cause of death and the way on."""

from collections.abc import Mapping

from arch.commands import flags, from_flags, terminal
from arch.runs import provenance
from arch.runs.folders import RunFolder
from arch.sweeps.sweep import RUNS


def run(command: flags.Status) -> int:
    """Print a table of the cells and the commands that go on with what has not finished."""
    there = [p.name for p in RUNS.glob("*") if p.is_dir()]
    folder = RUNS / from_flags.known(command.directory, there, f"{RUNS}/")
    table = terminal.table(command.directory, "cell", "state", "step", "last sign of life", "cause")
    ways_on = []
    for path in sorted(folder.glob("*/config.json")):
        held = RunFolder(path.parent)
        state = held.state
        name, cause = _verdict(state)
        table.add_row(
            held.config["cell"], name, f"{state.get('step', 0)}/{state.get('steps', '?')}",
            state.get("heartbeat", "never"), cause,
        )  # fmt: skip
        if name in ("killed", "failed", "interrupted") and state.get("command") not in ways_on:
            ways_on.append(state.get("command"))
    terminal.show(table)
    for way_on in filter(None, ways_on):
        print(f"to go on: {way_on}")
    return 0


def _verdict(state: Mapping) -> tuple[str, str]:
    """(state, cause) as it is now: what says it runs may have been killed since."""
    name = state.get("state", "not started")
    if name in ("running", "starting") and provenance.gone(state):
        return "killed", f"process {state['pid']} is gone without a word (kill -9, out of memory)"
    job = f"SLURM job {state['job']}" if "job" in state else ""
    return name, "; ".join(filter(None, (job, state.get("error", ""))))
