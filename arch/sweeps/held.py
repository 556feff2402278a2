"""What a sweep's name holds of its cells in other configurations, and the fields that tell them
apart. Nothing is trained under such a name before the user has said what is meant."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from arch import config as configuration
from arch.config import canonical, differences, flat, said_differences
from arch.registry import Config, ConfigurationError
from arch.report.again import named_by
from arch.report.lines import Line, read_lines
from arch.runs.folders import RunFolder, read_json
from arch.sweeps.sweep import RESULTS, RUNS, Job, Sweep


class Held(NamedTuple):
    """Another configuration of a job's cell under the same name; config is None where neither its
    run folder is here nor today's code can read it."""

    job: Job
    identity: str
    config: Config | None

    def said(self) -> str:
        """'k0-1a2b3c4d differs in: train.steps 5 → 7'."""
        if self.config is None:
            found = "what cannot be said: its run folder, or its plugin, is not on this machine"
        else:
            said = said_differences(differences(self.config, self.job.config))
            found = said or "the content of the corpus or of a plugin"
        return f"{self.job.cell.name}-{self.identity[:8]} differs in: {found}"


def other_configurations(sweep: Sweep, jobs: Sequence[Job]) -> list[Held]:
    """The configurations of the jobs' cells that have results or begun runs under the sweep's name,
    but for those of cells that are started over."""
    folders = run_configurations(sweep.name)
    found: dict[tuple[str, str], Held] = {}
    lines = read_lines(RESULTS / sweep.name)
    for job in jobs:
        if starts_over(sweep, job.cell.name):
            continue
        held = [line["hash"] for line in lines if line["cell"] == job.cell.name]
        held += [
            identity
            for identity, (folder, cell, _) in folders.items()
            if cell == job.cell.name and folder.seeds()
        ]
        for identity in held:
            if identity != job.identity:
                config = folders[identity][2] if identity in folders else None
                found.setdefault((job.cell.name, identity), Held(job, identity, config))
    return list(found.values())


def starts_over(sweep: Sweep, cell: str) -> bool:
    """Whether --rerun names a cell."""
    return bool(sweep.rerun) and named_by(cell, sweep.rerun)


def check_name(sweep: Sweep, jobs: Sequence[Job]) -> list[str]:
    """What to say of other configurations under the name, one sentence for each.

    Raises ConfigurationError where there are some and the sweep does not keep both.
    """
    found = [held.said() for held in other_configurations(sweep, jobs)]
    if found and not sweep.keep:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ConfigurationError(
            f"--name={sweep.name}: holds another configuration: {found[0]}{more}; say "
            "--name=OTHER, --keep to have both in one table, or --rerun=GLOB to have cells anew"
        )
    return found


def run_configurations(name: str) -> dict[str, tuple[RunFolder, str, Config | None]]:
    """Hash → (folder, cell, configuration) of every run folder of a name."""
    found = {}
    for path in sorted((RUNS / name).glob("*/config.json")):
        held = read_json(path)
        if isinstance(held, dict) and {"hash", "cell", "config"} <= held.keys():
            try:
                RunFolder(path.parent).own_plugins()  # none that came with a run is imported
                config = configuration.make(**held["config"])
            except ConfigurationError:  # of a field that is gone, or a plugin that is not here
                config = None
            found[held["hash"]] = RunFolder(path.parent), held["cell"], config
    return found


def varied_fields(
    name: str, jobs: Iterable[Job], lines: Iterable[Line], before: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Hash → field → value, for every line's hash, of the fields in which the configurations of one
    cell differ; {} where every cell has one. `before` is what was known of hashes whose run folder
    is not here."""
    by_cell: dict[str, dict[str, None]] = {}
    for line in lines:
        by_cell.setdefault(line["cell"], {})[line["hash"]] = None
    if all(len(hashes) < 2 for hashes in by_cell.values()):
        return {}
    configs = {h: config for h, (_, _, config) in run_configurations(name).items() if config}
    configs |= {job.identity: job.config for job in jobs}
    fields = dict.fromkeys(field for values in before.values() for field in values)
    for hashes in by_cell.values():
        there = [configs[h] for h in hashes if h in configs]
        for other in there[1:]:
            fields |= dict.fromkeys(differences(there[0], other))
    found: dict[str, dict[str, Any]] = {h: dict(values) for h, values in before.items()}
    for identity in [h for hashes in by_cell.values() for h in hashes]:
        if identity in configs:
            known = flat(configs[identity].to_dict())
            values = {f: canonical(known.get(f, configuration.ABSENT)) for f in fields}
            found[identity] = values
    return found
