"""What a sweep says before it trains and while it does."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from arch.sweeps.experiment import Experiment
from arch.sweeps.plan import Plan, estimate, lasting, scaled
from arch.sweeps.progress import Progress, Whole
from arch.sweeps.sweep import Sweep
from tests import cli


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Two unfinished cells of two seeds."""
    folder = cli.write_small(tmp_path_factory.mktemp("plan"))
    return Sweep(Experiment(str(folder / "small.py")), "plan", runs=folder / "runs").jobs()


def group(job, step: int):
    """What progress reads of a group of the job's seeds."""
    return SimpleNamespace(
        members=[job.member(seed) for seed in job.seeds], step=step, steps=80,
        losses=[2.0, 2.0], validation=[float("nan")] * 2, tokens_per_second=10.0,
        program=SimpleNamespace(compiled=SimpleNamespace(seconds=5.0 * (step > 0))),
    )  # fmt: skip


def test_a_plan_counts_what_is_left(jobs):
    plan = Plan.of(jobs)
    assert (plan.cells, plan.replicas, plan.programs, plan.steps) == (2, 4, 2, 320)
    assert plan.tokens == 320 * 4 * 16
    assert plan.flops == 3 * plan.tokens * jobs[0].details["flops_per_token"]
    assert "2 cells, 4 runs of a cell and a seed, 2 programs to compile; 20.5 k tokens" in (
        plan.said()
    )
    assert Plan.of(jobs, replicas=1).memory == plan.memory / 2
    assert estimate(jobs) == "", "so little is left that timing it takes longer than training"
    assert Plan.of([]).said() == "nothing is left to train"


def test_progress_is_of_the_whole_sweep(jobs):
    whole = Whole(jobs)
    whole.begin(group(jobs[0], 0))
    assert whole.said(group(jobs[0], 40)).startswith("cell 1 of 2, 25 % of the sweep, ")
    whole.end(group(jobs[0], 20))  # all its seeds went NaN
    whole.begin(group(jobs[1], 0))
    assert whole.said(group(jobs[1], 20)).startswith("cell 2 of 2, 62 % of the sweep, ")


def test_progress_of_a_single_cell_counts_no_cells(jobs):
    whole = Whole(jobs[:1])
    whole.begin(group(jobs[0], 0))
    assert whole.cells(group(jobs[0], 0)) == ""
    assert whole.said(group(jobs[0], 40)).startswith("50 %, ")


def test_progress_names_losses_and_says_when_it_compiles(jobs):
    out = io.StringIO()
    with Progress(Whole(jobs), Console(file=out, width=120)) as progress:
        progress.begin(group(jobs[0], 0))
        progress.update(group(jobs[0], 40))
    said = out.getvalue()
    assert said.index("(cell 1 of 2)") < said.index("compiling") < said.index("compiled in 5 s")
    assert "loss: train 2.0000 2.0000  valid – –" in said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (89, "89 s"), (720, "12 min"), (12_240, "3.4 h")]
)
def test_times_are_said_in_their_unit(seconds, said):
    assert lasting(seconds) == said


def test_large_numbers_have_a_prefix():
    assert [scaled(v) for v in (7, 256_000, 1.18e10)] == ["7 ", "256 k", "11.8 G"]
