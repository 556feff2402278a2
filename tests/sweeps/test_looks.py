"""An experiment that adds seeds in steps: what each cell gets, and its sweep."""

import pytest

from arch.registry import ConfigurationError
from arch.report.lines import read_experiment, read_lines
from arch.sweeps.experiment import Experiment, Results
from arch.sweeps.sweep import Sweep
from tests import cli

FILE = """
from arch import config
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell

LOOKS = (2, 3, 4)
VARIES = ("train.optimizer.learning_rate",)  # traced: all cells are one program
TABLE = {"title": "t", "metric": "loss", "split": "valid", "baseline": "base"}
CLAIMS = [
    Claim(name, f"{name} differs by less than the margin", "s", "equal", {name: 1, "base": -1},
          margin=margin, scale="absolute")
    for name, margin in (("near", 1000.0), ("far", 1.0))
]

def get_config(arg):
    return config.make(
        model={"order": "f", "width": 8},
        task={"kind": "algorithmic", "format": "decoder", "length": 4, "base": 5},
        train={"steps": 2, "batch": 4}, evaluate={"splits": ("valid",)},
    )

def cells(arg, results):
    rates = {"base": 1e-3, "near": 2e-3, "far": 0.1, "own": 3e-3}
    return [Cell(name, {"train.optimizer.learning_rate": rate}, (7,) if name == "own" else ())
            for name, rate in rates.items()]
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    (tmp_path / "e.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "e.py"


def results(**cells):
    return Results(
        [{"cell": cell, "seed": seed, "status": "finished",
          "evaluations": {"valid": {"loss": value}}}
         for cell, values in cells.items() for seed, value in enumerate(values)],
        "loss", "valid",
    )  # fmt: skip


def seeds(known):
    return {cell.name: cell.seeds for cell in Experiment("e.py").cells(known)}


def test_cells_get_the_seeds_that_their_claims_call_for(file):
    first = {"base": (0, 1), "near": (0, 1), "far": (0, 1), "own": (7,)}
    assert seeds(results()) == seeds(results(base=[1.0], near=[1.0])) == first
    # what is decided goes no further; what it is compared with goes on with the others
    known = results(base=[1.0, 1.0], near=[1.0, 1.1], far=[1.0, 3.0])
    assert seeds(known) == first | {"base": (0, 1, 2), "far": (0, 1, 2)}
    more = results(base=[1.0] * 3, near=[1.0, 1.1], far=[1.0, 3.0, 2.0])
    assert seeds(more) == first | {"base": (0, 1, 2, 3), "far": (0, 1, 2, 3)}
    last = results(base=[1.0] * 4, near=[1.0, 1.1], far=[1.0, 3.0, 2.0, 2.0])
    assert seeds(last) == seeds(more)


def test_arms_on_the_files_own_ladder_have_looks_and_its_pilots_none(file):
    ladder = '"train.optimizer.weight_decay", (0.001, 0.002), (100,), results)'
    code = FILE.replace("return [Cell", "return ladder([Cell").replace(
        "for name, rate in rates.items()]", f"for name, rate in rates.items()], {ladder}"
    )
    file.write_text("from arch.sweeps.ladder import ladder\n" + code)
    rates = {f"near-weight_decay={rate}": [value] for rate, value in ((0.001, 2.0), (0.002, 1.0))}
    first = seeds(results())
    assert set(first.values()) == {(100,)} and len(first) == 2 * 4
    lines = results(**rates).lines()
    known = Results([line | {"seed": 100} for line in lines], "loss", "valid")
    assert seeds(known) == first | {"near": (0, 1)}


def test_a_product_of_fields_has_other_cells_and_no_looks(file):
    assert Experiment("e.py", {"model.width": "8,16"}).looks == ()


def test_looks_that_are_none_are_refused_before_anything_trains(file):
    file.write_text(FILE.replace("(2, 3, 4)", "(4, 3)"))
    with pytest.raises(ConfigurationError, match=r"e.py: LOOKS.*rising numbers of seeds"):
        Experiment("e.py").cells(results())
    file.write_text(FILE.replace("(2, 3, 4)", "'3, 5'"))
    with pytest.raises(ConfigurationError, match="LOOKS='3, 5': expected numbers of seeds"):
        Experiment("e.py")


@pytest.mark.parametrize("typed", ["1", "1-3", "2x2"])
def test_seeds_are_those_of_a_look_or_refused(typed, file, tmp_path):
    told = cli.run("sweep", "--config=e.py", f"--seeds={typed}", "--dry-run", cwd=tmp_path)
    assert told.code == 2 and "looks at its claims after (2, 3, 4) seeds" in told.err
    assert "expected 2 or 3 or 4 to train so many at once" in told.err


def test_seeds_of_a_look_are_trained_at_once_whatever_is_decided(file):
    at_once = Sweep(Experiment("e.py"), "e", seeds=(0, 1, 2)).jobs()
    own = {"base": (0, 1, 2), "near": (0, 1, 2), "far": (0, 1, 2), "own": (7,)}
    assert {job.cell.name: job.seeds for job in at_once} == own


@pytest.mark.slow
def test_a_sweep_trains_look_by_look_and_its_verdicts_say_at_which(file, tmp_path):
    told = cli.run("sweep", "--config=e.py", cwd=tmp_path)
    assert told.code == 0, told.err
    folder = tmp_path / "results" / "e"
    found = {(line["cell"], line["seed"]) for line in read_lines(folder)}
    counts = {cell: sum(c == cell for c, _ in found) for cell in ("base", "near", "far", "own")}
    assert counts == {"base": 4, "near": 2, "far": 4, "own": 1}
    assert read_experiment(folder)["looks"] == [2, 3, 4]
    table = (folder / "table.md").read_text()
    assert "confirmed, at the look at 2 seeds" in table
    assert "at the look at 4 seeds" in table
    assert cli.run("sweep", "--config=e.py", cwd=tmp_path).code == 0
    assert {(line["cell"], line["seed"]) for line in read_lines(folder)} == found
