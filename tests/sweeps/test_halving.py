"""Successive halving, and the search for orders that is made of it."""

from collections import Counter
from pathlib import Path

import pytest

import launch
from arch import order as orders
from arch.registry import ConfigurationError
from arch.sweeps.cells import Cell, Results
from arch.sweeps.experiment import Experiment
from arch.sweeps.halving import halve, steps_of_rungs

SEARCH = Path(__file__).resolve().parents[2] / "experiments" / "search.py"
ARMS = [Cell(f"p{i}", {"model.order": "sf" * (i + 1)}, (0,)) for i in range(5)]


def lines(**values):
    return [
        {"cell": cell.replace("_", "-"), "seed": 0, "status": "diverged" if value is None else
         "finished", "evaluations": {"valid": {"loss": value}}}
        for cell, value in values.items()
    ]  # fmt: skip


def halved(**values):
    found = halve(ARMS, (10, 20), Results(lines(**values), "loss", "valid"))
    return [cell.name for cell in found.cells], [arm.name for arm in found.best]


def test_rungs_end_at_all_steps_and_too_many_are_refused():
    assert steps_of_rungs(400, 1) == (400,)
    assert steps_of_rungs(1000, 3, 3) == (111, 333, 1000)
    for steps, rungs in ((400, 0), (3, 3)):
        with pytest.raises(ConfigurationError, match=f"rungs={rungs}: expected"):
            steps_of_rungs(steps, rungs)


def test_the_better_half_goes_on_and_what_diverged_does_not():
    first = [f"p{i}-10" for i in range(5)]
    assert halved() == (first, [])
    assert halved(p0_10=1.0, p1_10=2.0, p2_10=3.0, p3_10=4.0) == (first, [])  # one has not ended
    ended = {"p0_10": None, "p1_10": 4.0, "p2_10": 3.0, "p3_10": 2.0, "p4_10": 5.0}
    assert halved(**ended) == ([*first, "p3-20", "p2-20"], [])
    whole = ended | {"p3_20": 1.5, "p2_20": 1.0}
    assert halved(**whole) == ([*first, "p3-20", "p2-20"], ["p2", "p3"])
    assert halved(**dict.fromkeys(ended)) == (first, [])  # all diverged: nothing goes on


def swept(reference, value):
    """The cells of an experiment in the order in which they are called for, trained by `value`."""
    experiment, known, trained = Experiment(reference), [], {}
    while True:
        results = Results(known, *experiment.metric)
        new = [cell for cell in experiment.cells(results) if cell.name not in trained]
        if not new:
            return experiment, list(trained.values()), results
        for cell in new:
            trained[cell.name] = cell
            known += [
                {"cell": cell.name, "seed": seed, "status": "finished",
                 "evaluations": {"valid": {"perplexity": value(cell)}}}
                for seed in cell.seeds
            ]  # fmt: skip


def attention_first(cell):
    """Lower the earlier the attention, and the longer the training."""
    order = orders.expand(cell.overrides["model.order"])
    late = sum(place for place, letter in enumerate(order) if letter == "s")
    return 10 + late / len(order) - cell.overrides.get("train.steps", 400) / 1000


@pytest.mark.parametrize("space", ["counts", "parameters"])
def test_a_search_finds_better_orders_in_its_space(space):
    reference = f"{SEARCH}:space={space},generations=3"
    experiment, cells, results = swept(reference, attention_first)
    spent = Counter()
    for cell in cells:
        order = orders.expand(cell.overrides["model.order"])
        if space == "counts":
            assert Counter(order) == {"s": 6, "f": 6}
        assert sum({"s": 1, "f": 2}[letter] for letter in order) == 18
        experiment.config(cell)  # there is room for it
        generation, _, rest = cell.name.partition("-")
        if rest:
            assert cell.seeds == (0,)
            spent[generation] += cell.overrides["train.steps"] * 16 * 64
        else:
            assert 0 not in cell.seeds
    assert len(spent) == 3 and sum(spent.values()) <= 10_000_000
    named = {cell.name: cell for cell in cells}
    tried = [c for c in cells if c.overrides.get("train.steps") == 400]
    assert attention_first(named["found"]) == min(map(attention_first, tried))
    first = min(attention_first(c) for c in tried if c.name.startswith("g0"))
    last = min(attention_first(c) for c in tried if c.name.startswith("g2"))
    assert last < first
    # a proposal is never tried twice
    lowest = [c.overrides["model.order"] for c in cells if c.name.endswith("-100")]
    assert len(set(lowest)) == len(lowest)
    claims = experiment.claims(cells, results)
    assert [claim.contrast for claim in claims] == [
        {"found": 1, other: -1} for other in ("baseline", "sandwich")
    ]
    (section,) = experiment.table(cells, results)["sections"]
    assert len(section["rows"]) == 9


def test_a_space_that_cannot_be_and_a_budget_that_buys_nothing_are_refused():
    for arguments, said in (
        ("start=(mf)5sf,m=lstm,space=parameters", "'m' in start has no known cost"),
        ("budget=10000", "buys 0 orders a generation; expected at least 4"),
        ("steps=3", "rungs=3: expected at least 1, and few enough for 3 steps"),
        ("generations=0", "generations=0"),
        ("rungs=0", "rungs=0: expected at least 1"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            Experiment(f"{SEARCH}:{arguments}").first_cells()


@pytest.mark.slow
def test_a_search_trains_from_the_command_line_and_goes_on_where_it_stood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("\n\n".join(f"line {i} of a text" for i in range(600)))
    reference = f"{SEARCH}:steps=4,budget=25000,corpus=file:text.txt"
    command = ["search", f"--config={reference}", "--name=x", "--config.model.width=16"]
    assert launch.main(command) == 0
    table = (tmp_path / "results/x/table.md").read_text()
    assert "| found " in table and "## Generations" in table and "## Claims" in table
    made = {path: path.read_bytes() for path in (tmp_path / "results/x").iterdir()}
    assert launch.main(command) == 0
    assert {path: path.read_bytes() for path in (tmp_path / "results/x").iterdir()} == made
