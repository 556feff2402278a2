"""Committed results in a notebook: `results = arch.results('sandwich')`."""

from pathlib import Path

from arch.registry import ConfigurationError, suggestion
from arch.report.lines import RUNS, of_present, read_experiment, read_lines, several_configurations
from arch.report.specification import TableSpec
from arch.sweeps.cells import Results
from arch.sweeps.sweep import RESULTS


def results(name: str | Path) -> Results:
    """The results of a name, or in a folder: `.rows()` for pandas, `.values(cell)` by seed.

    Of a cell that the name holds in several configurations, those of the present one alone, where
    experiment.json names it.

    ConfigurationError where there are none.
    """
    found = [f for f in (Path(name), RESULTS / name, RESULTS / Path(name).name)
             if (f / RUNS).is_file()]  # fmt: skip
    if not found:
        there = sorted(path.parent.name for path in RESULTS.glob(f"*/{RUNS}"))
        raise ConfigurationError(
            f"results: {name}: no {RUNS} is there; results/ has {', '.join(there) or 'none'}"
            f"{suggestion(str(name), there)}"
        )
    experiment, lines = read_experiment(found[0]), read_lines(found[0])
    spec = TableSpec.of(experiment.get("table", {}))
    present = experiment.get("present", {})
    kept = of_present(lines, present, several_configurations(lines) & present.keys())
    return Results(kept, spec.metric, spec.split, present)
