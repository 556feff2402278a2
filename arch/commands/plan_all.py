"""`plan --all`: the paper scale of every experiment, each planned in a process of its own, since a
compiler may run out of memory or time; lines and tables in results/plan/."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from arch import NUMERICS
from arch.checks import holds
from arch.commands import flags
from arch.commands.answers import answer
from arch.registry import Config, ConfigurationError
from arch.report import plans
from arch.runs.provenance import versions
from arch.sweeps.experiment import Cell, Experiment
from arch.sweeps.sweep import RESULTS
from arch.training.program import build

EXPERIMENTS, LAUNCH = Path("experiments"), Path("launch.py")
FOLDER = RESULTS / "plan"


def run(command: flags.Plan) -> int:
    """Plan what has no line yet, each written as soon as it is there. Returns 0: what does not fit
    or compile is a line as well."""
    if command.config or command.overrides or command.cell:
        raise ConfigurationError("plan --all: expected neither --config nor --cell beside it")
    holds(command.minutes > 0, "above 0", of="plan", minutes=command.minutes)
    if not LAUNCH.is_file():
        raise ConfigurationError(f"{LAUNCH}: not here; run this where the repository is")
    there = [
        line
        for line in plans.read(FOLDER)
        if line["topology"] == command.topology and line["of"] == _of(command)
    ]
    for experiment in paper_scales():
        if experiment.reference in {line["experiment"] for line in there}:
            continue
        there.append(line := planned(experiment, command, there))
        plans.add(FOLDER, line)
        if command.json:
            answer(line)
        else:
            print(line["experiment"], line["cell"], line["error"] or "planned", flush=True)
    print(f"written: {FOLDER / 'table.md'}")
    return 0


def paper_scales() -> list[Experiment]:
    """Every file in experiments/ that trains and has scale=paper, at that scale."""
    found = []
    for path in sorted(EXPERIMENTS.glob("*.py")):
        if "def get_config" not in path.read_text(encoding="utf-8"):
            continue
        plain = Experiment(str(path))
        if plain.trains and "paper" in plain.contents.ARGUMENTS.get("scale", ()):
            found.append(Experiment(f"{path}:scale=paper"))
    return found


def dearest(experiment: Experiment) -> Cell:
    """The cell whose training step has the most FLOPs, the first of several. Raises
    ConfigurationError where a corpus is missing whose vocabulary only it can tell."""

    def flops(cell: Cell) -> float:
        config = experiment.config(cell)
        task, model = build(config)
        tokens = config.train.batch * task.planned_tokens
        return model.flops_per_token(task.length) * tokens

    return max(experiment.first_cells(), key=flops)


def planned(experiment: Experiment, command: flags.Plan, there: Sequence[Mapping]) -> dict:
    """A line of plan.jsonl; `error` says in a line why there is no plan.

    there: lines, of which one of the very same step is taken over.
    """
    line = {
        "experiment": experiment.reference, "cell": "", "step": "", "topology": command.topology,
        "command": "", "error": "", "of": _of(command),
    }  # fmt: skip
    try:
        cell = dearest(experiment)
    except ConfigurationError as error:
        return {**line, "error": str(error)}
    typed = [
        str(LAUNCH), "plan", f"--config={experiment.reference}", f"--cell={cell.name}",
        f"--topology={command.topology}", f"--efficiency={command.efficiency:g}", "--first",
        "--json",
    ]  # fmt: skip
    said = " ".join(["python", *typed])
    line |= {"cell": cell.name, "step": _step(experiment.config(cell)), "command": said}
    if same := next((one for one in there if one["step"] == line["step"]), None):
        return {**same, **line, "error": same["error"]}
    try:
        done = subprocess.run(
            [sys.executable, *typed],
            capture_output=True,
            text=True,
            timeout=60 * command.minutes,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
    except subprocess.TimeoutExpired:
        return {**line, "error": f"not compiled in {command.minutes:g} minutes"}
    if not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        return {**line, "error": f"exit code {done.returncode}: {last[:300]}"}
    return line | json.loads(done.stdout)


def _step(config: Config) -> str:
    """Equal for configurations whose training step is the same."""
    parts = {name: config[name].to_dict() for name in ("model", "task", "train")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _of(command: flags.Plan) -> dict:
    """What a line depends on beside its step; one of another is planned again."""
    return {"jax": versions()["jax"], "numerics": NUMERICS, "efficiency": command.efficiency}
