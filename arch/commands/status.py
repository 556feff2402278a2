"""`status`: each cell's steps, last sign of life, cause of death and the way on; or all sweeps."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from arch.commands import flags, terminal
from arch.commands.answers import answer
from arch.commands.known import known
from arch.report import lines
from arch.runs import provenance
from arch.runs.folders import RunFolder
from arch.sweeps.places import RESULTS, RUNS

STOPPED = ("killed", "failed", "interrupted")


def run(command: flags.Status) -> int:
    """Print a table of the cells of one sweep, or of all sweeps, and the commands that go on with
    what has not finished."""
    names = sorted({*_folders(RUNS, "*/config.json"), *_folders(RESULTS, lines.RUNS)})
    if command.directory:
        known(command.directory, names, f"{RUNS}/ and {RESULTS}/")
        found = _cells(command.directory)
    else:
        found = [_summed(name, _cells(name)) for name in names]
    if command.json:
        answer(*found)
    elif command.directory:
        _print_cells(command.directory, found)
    else:
        _print_sweeps(found)
    return 0


def _folders(place: Path, holding: str) -> list[str]:
    """The names of the folders in a place that hold such a file."""
    return [path.name for path in place.glob("*") if any(path.glob(holding))]


def _cells(name: str) -> list[dict]:
    """An object a cell: of its folder in runs/, or where it has none here, of its results."""
    found = []
    for path in sorted((RUNS / name).glob("*/config.json")):
        held = RunFolder(path.parent)
        state, cause = _verdict(held.state)
        found.append({
            "name": name, "cell": held.config["cell"], "hash": held.config["hash"], "state": state,
            "step": held.state.get("step", 0), "steps": held.state.get("steps"),
            "heartbeat": held.state.get("heartbeat"), "cause": cause, "run": str(path.parent),
            "command": held.state.get("command") if state in STOPPED else None,
        })  # fmt: skip
    here = {cell["hash"] for cell in found}
    kept: dict[str, list[lines.Line]] = {}
    for line in lines.read_lines(RESULTS / name):
        if line["hash"] not in here:
            kept.setdefault(line["hash"], []).append(line)
    for identity, those in kept.items():
        states = Counter(line["status"] for line in those)
        steps = max(line.get("steps") or 0 for line in those)
        found.append({
            "name": name, "cell": those[0]["cell"], "hash": identity,
            "state": ", ".join(states), "step": steps, "steps": steps, "heartbeat": None,
            "cause": next((x["error"] for x in those if x.get("error")), ""), "run": None,
            "command": None,
        })  # fmt: skip
    return found


def _summed(name: str, cells: list[dict]) -> dict:
    """An object for a sweep."""
    beats = [cell["heartbeat"] for cell in cells if cell["heartbeat"]]
    return {
        "name": name,
        "cells": len(cells),
        "states": dict(Counter(cell["state"] for cell in cells)),
        "heartbeat": max(beats, default=None),
        "runs": str(RUNS / name) if (RUNS / name).is_dir() else None,
        "results": str(RESULTS / name) if (RESULTS / name / lines.RUNS).exists() else None,
        "commands": list(dict.fromkeys(c["command"] for c in cells if c["command"])),
    }


def _print_cells(name: str, cells: list[dict]) -> None:
    table = terminal.table(name, "cell", "state", "step", "last sign of life", "cause")
    for cell in cells:
        table.add_row(
            cell["cell"], cell["state"], f"{cell['step']}/{cell['steps'] or '?'}",
            cell["heartbeat"] or ("never" if cell["run"] else "in results/ alone"), cell["cause"],
        )  # fmt: skip
    terminal.show(table)
    terminal.print_runs(RunFolder(Path(cell["run"])) for cell in cells if cell["run"])
    for way_on in dict.fromkeys(cell["command"] for cell in cells if cell["command"]):
        print(f"to go on: {way_on}")


def _print_sweeps(sweeps: list[dict]) -> None:
    if not sweeps:
        print(f"no sweep in {RUNS}/ or {RESULTS}/ here ({Path.cwd()})")
        return
    table = terminal.table("Sweeps", "name", "cells", "states", "last sign of life", "where")
    for sweep in sweeps:
        states = ", ".join(f"{n} {state}" for state, n in sweep["states"].items())
        where = " ".join(f"{place}/" for place in ("runs", "results") if sweep[place])
        beat = sweep["heartbeat"] or ""
        table.add_row(sweep["name"], str(sweep["cells"]), states, beat, where)
    terminal.show(table)
    print("the cells of one: status --name=NAME")
    for sweep in sweeps:
        for way_on in sweep["commands"]:
            print(f"to go on with {sweep['name']}: {way_on}")


def _verdict(state: Mapping) -> tuple[str, str]:
    """(state, cause) as it is now: what says it runs may have been killed since."""
    name = state.get("state", "not started")
    if name in ("running", "starting") and provenance.gone(state):
        return "killed", f"process {state['pid']} is gone without a word (kill -9, out of memory)"
    job = f"SLURM job {state['job']}" if "job" in state else ""
    return name, "; ".join(filter(None, (job, state.get("error", ""))))
