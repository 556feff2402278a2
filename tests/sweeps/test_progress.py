"""What a sweep says before it trains and while it does."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from arch.sweeps import progress
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


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set: clock[0] = seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_progress_is_of_the_whole_sweep_and_compiling_is_no_training(jobs, clock):
    """Programs take 5 s to compile, and 10 s train a quarter of the sweep."""
    whole = Whole(jobs)
    whole.begin(group(jobs[0], 0))
    clock[0] = 15.0
    said = whole.said(group(jobs[0], 40))
    assert said == "cell 1 of 2, 25 % of the sweep, 30 s left"
    whole.end(group(jobs[0], 20))  # all its seeds went NaN
    whole.begin(group(jobs[1], 0))
    clock[0] = 35.0
    said = whole.said(group(jobs[1], 20))
    assert said == "cell 2 of 2, 62 % of the sweep, 15 s left"


def test_progress_of_a_single_cell_counts_no_cells(jobs, clock):
    whole = Whole(jobs[:1])
    whole.begin(group(jobs[0], 0))
    assert whole.cells(group(jobs[0], 0)) == ""
    clock[0] = 5.0
    assert whole.said(group(jobs[0], 40)) == "50 %", "nothing but compiling has taken time"


def test_losses_of_many_replicas_are_their_mean_and_range():
    nan = float("nan")
    assert progress._several([2.0, nan]) == "2.0000 –"
    assert progress._several([nan] * 12) == "–"
    assert progress._several([1.0, 2.0, 2.0, 3.0, 2.0]) == "2.0000 (1.0000 to 3.0000)"
    assert progress._several([1.0, 2.0, nan, 3.0, 2.0]) == "2.0000 (1.0000 to 3.0000, 1 –)"


def test_progress_names_losses_and_says_when_it_compiles(jobs):
    out = io.StringIO()
    with Progress(Whole(jobs), Console(file=out, width=120)) as shown:
        shown.begin(group(jobs[0], 0))
        shown.update(group(jobs[0], 40))
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
