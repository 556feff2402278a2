"""Arms differ in the fields that their experiment names, and in nothing else."""

import fnmatch
import itertools
from pathlib import Path

import pytest

from arch.config import differences
from arch.sweeps.experiment import Experiment, Results
from tests.families import always

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path for path in (ROOT / "experiments").glob("*.py") if "def get_config" in path.read_text()
)
# of many or large models: with the slow ones
HEAVY = ("battery", "random_orders", "search", "sharing_meets_order", "universal_babi")


def references(file: Path) -> list[str]:
    """The file with every choice of its arguments."""
    declared = Experiment(str(file)).contents.ARGUMENTS
    choices = [[f"{k}={v}" for v in vs] for k, vs in declared.items() if isinstance(vs, tuple)]
    return [f"{file}:{','.join(chosen)}" for chosen in itertools.product(*choices)]


def strays(reference: str) -> set[str]:
    """The fields in which a cell differs from the baseline, and that VARIES does not name."""
    experiment = Experiment(reference)
    none = Results([], *experiment.metric)
    cells = experiment.cells(none)
    base = experiment.config(experiment.baseline(cells, none))
    found = {cell.name: differences(base, experiment.config(cell)) for cell in cells}
    globs = experiment.contents.VARIES
    return {
        field
        for fields in found.values()
        for field in fields
        if not any(fnmatch.fnmatchcase(field, glob) for glob in globs)
    }


@pytest.mark.parametrize(
    "file", always(FILES, lambda file: file.stem not in HEAVY), ids=[file.stem for file in FILES]
)
def test_cells_differ_in_the_fields_that_the_experiment_names(file):
    for reference in references(file):
        assert strays(reference) == set(), reference


def test_what_the_file_does_not_name_is_found(tmp_path):
    """reversible_orders once changed the final norm with the stack, and did not say so."""
    code = (ROOT / "experiments" / "reversible_orders.py").read_text()
    harmed = tmp_path / "harmed.py"
    harmed.write_text(
        code.replace(
            '"model.stack.final_norm": False', '"model.stack.final_norm": stack != STACKS[0]'
        )
    )
    assert strays(f"{harmed}:scale=tiny") == {"model.stack.final_norm"}
