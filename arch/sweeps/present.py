"""Which configuration of a cell is the present one, where a name holds it in several."""

from collections.abc import Sequence

from arch import config as configuration
from arch.report.lines import Line, of_present, several_configurations
from arch.sweeps.cells import Cell, Results
from arch.sweeps.experiment import Experiment
from arch.tasks import contract


def present_results(experiment: Experiment, lines: Sequence[Line], kept: bool = False) -> Results:
    """The results that an experiment's `cells`, TABLE and CLAIMS are of: where --keep has left a
    cell in several configurations, those of today's, so that a figure of a cell is of one.

    Cells may depend on the results of others, so it is asked again until all are named.
    ConfigurationError where a corpus that tells two configurations apart is not here.

    Args:
        kept: other configurations may be there alone, before the present one has any line.
    """
    every = {line["cell"] for line in lines}
    several = every if kept else several_configurations(lines)
    present: dict[str, str] = {}
    while True:
        known = Results(of_present(lines, present, several), *experiment.metric, present)
        if present.keys() >= several:
            return known
        named = [cell for cell in experiment.cells(known) if cell.name in several - present.keys()]
        if not named:  # the experiment has no such cells now
            return known
        present |= {cell.name: _identity(experiment, cell) for cell in named}


def _identity(experiment: Experiment, cell: Cell) -> str:
    config = experiment.config(cell)
    return configuration.identity(config, contract.build(config.task).sha256)
