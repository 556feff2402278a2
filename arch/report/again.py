"""What sweeps a results folder is of: which cells they asked for, and the command lines again.

experiment.json has `asked`, an object for each choice of cells and seeds that sweeps were started
with: {"cells": GLOB, "seeds": TEXT}, each only where it was typed. Without it all were asked for.
"""

import fnmatch
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from arch.report.seeds import Seed

EVERYTHING: dict[str, str] = {}  # what a sweep without --cells and --seeds asks for


def named_by(cell: str, globs: str) -> bool:
    """Whether a glob, or one of several with commas between, names a cell: k0,k3 or k[0,3]."""
    return any(fnmatch.fnmatchcase(cell, glob) for glob in (globs, *globs.split(",")))


def choice(cells: str, seeds: Sequence[Seed]) -> dict[str, str]:
    """An entry of `asked`, of a sweep's glob over cells and its seeds."""
    glob = {"cells": cells} if cells != "*" else {}
    return {**glob, **({"seeds": said(seeds)} if seeds else {})}


def said(seeds: Sequence[Seed]) -> str:
    """Seeds as --seeds takes them: how many from 0 on, else a range or a list."""
    whole = [seed for seed in seeds if isinstance(seed, int)]
    if len(whole) == len(seeds) and whole == list(range(whole[0], whole[0] + len(whole))):
        return str(len(whole)) if whole[0] == 0 else f"{whole[0]}-{whole[-1]}"
    return ",".join(map(str, seeds))


def asked(experiment: Mapping[str, Any]) -> list[dict[str, str]]:
    """The choices, without those of cells alone where all cells were asked for."""
    found = list(experiment.get("asked") or [EVERYTHING])
    if EVERYTHING not in found:
        return found
    return [one for one in found if one == EVERYTHING or "seeds" in one]


def asked_for(experiment: Mapping[str, Any], cell: str) -> bool:
    """Whether a sweep was to train the cell."""
    return any(named_by(cell, one.get("cells", "*")) for one in asked(experiment))


def again(experiment: Mapping[str, Any]) -> str:
    """The command lines that make these results again, one for each choice of cells and seeds; ''
    where the experiment is not known."""
    if not experiment.get("config"):
        return ""
    argument = experiment.get("argument", "")
    config = experiment["config"] + f":{argument}" * bool(argument)
    options = [
        f"--config={config}",
        *(
            f"--config.{name}={tuple(v) if isinstance(v, list) else v}"
            for name, v in (experiment.get("overrides") or {}).items()
        ),
        *_ladder_flags(experiment.get("ladder")),
        *(f"--{flag}={experiment[flag]}" for flag in ("name", "executor") if experiment.get(flag)),
    ]
    lines = [
        ["python", "launch.py", "sweep", *options, *(f"--{k}={v}" for k, v in one.items())]
        for one in asked(experiment)
    ]
    return "\n".join(map(shlex.join, lines))


def _ladder_flags(ladder: Mapping[str, Any] | None) -> list[str]:
    if not ladder:
        return []
    pilot = ",".join(map(str, ladder["pilot"]))
    return [f"--ladder={ladder['field']}={','.join(ladder['values'])}", f"--pilot={pilot}"]
