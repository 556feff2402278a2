"""What the experiments claim: every claim names cells that there are, at every scale."""

import random
from pathlib import Path

import numpy as np
import pytest

from arch.commands.claims import untested_claims
from arch.report.claims import claims_of, judge_all
from arch.report.front_page import BEGIN, END, to_claims_markdown, to_summary
from arch.report.lines import read_experiment, read_lines
from arch.report.specification import TableSpec
from arch.sweeps.experiment import Experiment, Results
from experiments import random_orders

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path.name
    for path in (ROOT / "experiments").glob("*.py")
    if "def get_config" in path.read_text()
)
FOLDERS = sorted(path.parent for path in (ROOT / "results").glob("*/experiment.json"))
# One cell, orders of the user's own, or a question that nobody has published an answer to.
WITHOUT_CLAIMS = {
    "orders.py", "ptb.py", "reversible_error.py", "sharing_meets_order.py",
    "shuffle_exchange_hybrids.py",
}  # fmt: skip


def of_file(file, scale=None):
    reference = str(ROOT / "experiments" / file) + f":scale={scale}" * bool(scale)
    experiment = Experiment(reference)
    known = Results([], *experiment.metric)
    return experiment, experiment.cells(known), known


def scales(file):
    declared = Experiment(str(ROOT / "experiments" / file)).contents.ARGUMENTS.get("scale", ())
    return [(file, scale) for scale in declared] or [(file, None)]


CHEAP = [pair for file in FILES for pair in scales(file) if file != "sharing_meets_order.py"]


@pytest.mark.parametrize(("file", "scale"), CHEAP)
def test_a_table_compares_its_cells_and_claims_name_cells(file, scale):
    experiment, cells, known = of_file(file, scale)
    claims = experiment.claims(cells, known)  # refuses a cell that is not there
    spec = TableSpec.of(experiment.table(cells, known))
    assert "tokens_per_second" not in spec.columns
    names = [cell.rung.arm if cell.rung else cell.name for cell in cells]
    assert spec.baseline in ("", *names)
    assert len(cells) == 1 or spec.baseline or spec.exact or experiment.contents.CLAIMS
    assert all(claim.source and claim.statement for claim in claims)


@pytest.mark.parametrize("file", FILES)
def test_an_experiment_of_a_paper_has_claims(file):
    assert bool(Experiment(str(ROOT / "experiments" / file)).contents.CLAIMS) == (
        file not in WITHOUT_CLAIMS
    )


def test_random_orders_have_intervals_over_the_orders():
    """One value an order, of those after the pilot: those of r have the r of all as their mean, but
    for its bias, and one order far away does not make them sure."""
    experiment, cells, _ = of_file("random_orders.py")
    draw = random.Random(0)
    known = Results(
        [
            {"cell": cell.name, "seed": seed, "status": "finished",
             "evaluations": {"valid": {"perplexity": 9 + draw.random()}}}
            for cell in cells for seed in cell.seeds
        ],
        *experiment.metric,
    )  # fmt: skip
    permutations, budgets, correlation = experiment.claims(cells, known)
    assert len(permutations.values) == len(budgets.values) == 40
    assert {*permutations.values.values(), *budgets.values.values()} == {0.0, 1.0}
    counted = experiment.table(cells, known)["sections"][0]["rows"]
    assert counted[0][2].partition(" (")[0].endswith("of 60")
    assert int(counted[0][2].split()[0]) >= sum(permutations.values.values())
    drawn = random_orders.sampled(experiment.arguments)
    judged = [name for name in drawn if int(name[1:]) >= random_orders.PILOT["tiny"]]
    orders = [drawn[name][0] for name in judged]
    of_order = {order: known.values(name)[0] for name, (order, _) in drawn.items()}
    pairs = [(random_orders.bottom_heavy(order), of_order[order]) for order in orders]
    r = np.corrcoef(np.array(pairs).T)[0, 1]
    values = np.array(list(correlation.values.values()))
    assert np.mean(values) == pytest.approx(r, abs=0.01)
    fisher = (1 - r**2) / np.sqrt(len(pairs))  # of a normal pair
    assert values.std(ddof=1) / np.sqrt(len(pairs)) == pytest.approx(fisher, rel=0.3)
    rows = [(order, pair[1]) for order, pair in zip(orders, pairs, strict=True)]
    middle = min(orders, key=lambda order: abs(random_orders.bottom_heavy(order)))
    far = [(order, 30.0 if order == middle else value) for order, value in rows]
    scores = np.array([(random_orders.bottom_heavy(order), value) for order, value in far])
    products = np.prod((scores - scores.mean(0)) / scores.std(0), axis=1)
    assert np.std(random_orders.pseudo_values(far)) > 1.5 * np.std(products)
    assert {claim.each for claim in experiment.claims(cells, known)} == {"order"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_committed_results_carry_the_claims_of_their_experiment(folder):
    held = read_experiment(folder)
    file = str(ROOT / held["config"])
    experiment = Experiment(file + f":{held['argument']}" * bool(held["argument"]))
    if held["config"].endswith(("sharing_meets_order.py", "orders.py")):
        pytest.skip("their cells take seconds to name, and they have no claims")
    known = Results(read_lines(folder), *experiment.metric)
    cells = experiment.cells(known)
    now = {claim.id for claim in experiment.claims(cells, known)}
    kept = {claim.id for claim in claims_of(held)} - now  # of runs that are not committed
    assert now <= {claim.id for claim in claims_of(held)}
    assert kept <= {"press2020-table7"}
    assert held["selected"] in ("", "valid")


def test_what_nothing_tests_is_named_once_and_says_why(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = untested_claims()
    assert len({claim.id for claim in found}) == len(found) > 20
    assert all(claim.why and claim.statement for claim in found)
    papers = {claim.id.partition("-")[0] for claim in found}
    assert {"press2020", "dehghani2018", "draguns2020", "lan2019", "kitaev2020"} <= papers


def test_the_papers_coefficient_stands_beside_the_same_share_of_layers():
    experiment, cells, known = of_file("sandwich.py")
    paper = experiment.table(cells, known)["paper"]
    # 1, 2 and 3 of 6 layers are 2.7, 5.3 and 8 of 16
    assert [paper[f"k{k}"] for k in (1, 2, 3)] == [18.253, 18.164, 18.000]
    experiment, cells, known = of_file("sandwich.py", "paper")
    assert experiment.table(cells, known)["paper"]["k6"] == 17.839


def test_the_front_page_and_the_readmes_summary_are_of_the_committed_results():
    verdicts, untested = judge_all(ROOT / "results"), untested_claims()
    assert (ROOT / "results/claims.md").read_text() == to_claims_markdown(verdicts, untested)
    summary = "\n".join(to_summary(verdicts, untested))
    assert f"{BEGIN}\n{summary}\n{END}" in (ROOT / "README.md").read_text()
