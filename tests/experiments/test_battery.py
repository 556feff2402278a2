"""The battery: orders by skills, each with its own rate, one map, claims of what is there."""

from pathlib import Path

import pytest

from arch.order import expand
from arch.registry import ConfigurationError
from arch.report.charts import Chart
from arch.report.verdicts import judge
from arch.sweeps.experiment import Experiment, Results
from experiments import battery

FILE = str(Path(__file__).resolve().parents[2] / "experiments" / "battery.py")
PARITY = {"(sf)2": (1.0, 0.6), "(mf)2": (1.0, 0.5), "(lf)2": (1.0, 0.99), "(vf)2": (0.6, 0.5)}


def known(experiment, figures):
    """Results of every cell named so far; figures: (order, skill, rate) → an evaluation."""
    lines = []
    for _ in range(2):  # pilots, then the arms
        results = Results(lines, *experiment.metric)
        for cell in experiment.cells(results):
            order, _, skill = cell.rung.arm.partition("-")
            if any(line["cell"] == cell.name for line in lines):
                continue
            for seed in cell.seeds or (0, 1, 2):
                found = figures(order, skill, cell.rung.value, 0.001 * seed)
                lines.append(
                    {"cell": cell.name, "seed": seed, "status": "finished", "evaluations": found}
                )
    return Results(lines, *experiment.metric)


def figures(order, skill, rate, noise):
    """Attention does with 12 pairs what it does with 4, the others lose; 3e-3 is best."""
    worse = 0.0 if rate == "0.003" else 0.3
    recall = 0.9 if order == "(sf)2" or skill == "mqar" else 0.4
    accuracy = PARITY[order][0] if skill == "parity" else recall
    found = {"valid": {"accuracy": accuracy - noise - worse, "chance": 0.25}}
    if skill == "parity":
        found["n128"] = {"accuracy_beyond": PARITY[order][1] + noise, "chance": 0.5}
    return found


def test_orders_and_skills_are_crossed_and_each_pair_has_its_own_rate():
    experiment = Experiment(f"{FILE}:skills=mqar;hard_mqar;parity")
    results = known(experiment, figures)
    cells = experiment.cells(results)
    arms = [cell for cell in cells if not cell.rung.pilot]
    assert len(cells) == 4 * 3 * (3 + 1) and {cell.rung.value for cell in arms} == {"0.003"}
    configs = {cell.name: experiment.config(cell) for cell in arms}
    for name, made in configs.items():
        order, _, skill = name.partition("-")
        assert expand(made.model.order) == expand(order)
        wanted = battery.SKILLS[skill]
        assert {option: made.task[option] for option in wanted} == wanted
        assert made.train.optimizer.learning_rate == 0.003
    assert configs["(sf)2-parity"].evaluate.splits == ("valid", "n128")


def test_the_table_has_a_map_of_orders_by_skills_with_chance():
    experiment = Experiment(f"{FILE}:skills=mqar;hard_mqar;parity")
    results = known(experiment, figures)
    table = experiment.table(experiment.cells(results), results)
    (chart,) = (Chart.of(chart) for chart in table["charts"])
    assert chart.kind == "map" and list(chart.series) == [*PARITY, "chance"]
    columns = ["mqar", "hard_mqar", "parity", "parity beyond"]
    assert all([point[0] for point in row] == columns for row in chart.series.values())
    means = [point[1] for point in chart.series["(lf)2"]]
    assert means == pytest.approx([0.899, 0.399, 0.999, 0.991])
    assert [point[1] for point in chart.series["chance"]] == [0.25, 0.25, 0.25, 0.5]
    by_skill, differences = table["sections"]
    assert (
        by_skill["rows"][3][0] == "parity beyond" and by_skill["rows"][3][3] == "0.99 [0.99, 0.99]"
    )
    assert differences["columns"] == ["skill", "(mf)2", "(lf)2", "(vf)2"]


def test_claims_are_of_the_orders_that_there_are_and_are_judged():
    experiment = Experiment(f"{FILE}:skills=mqar;hard_mqar;parity")
    results = known(experiment, figures)
    claims = experiment.claims(experiment.cells(results), results)
    verdicts = {v.claim.id: v.verdict for v in judge(claims, results.lines(), "accuracy", "valid")}
    assert verdicts == {
        "arora2023-recall-mamba2": "confirmed",
        "arora2023-pairs-mamba2": "confirmed",
        "arora2023-recall-lstm": "confirmed",
        "arora2023-pairs-lstm": "confirmed",
        "arora2023-recall-separable_convolution": "confirmed",
        "grazzi2024-parity-mamba2": "confirmed",
    }
    alone = Experiment(f"{FILE}:orders=(sf)2;smfsf,skills=mqar;s5")  # a hybrid is in no claim
    cells = alone.cells(Results([], *alone.metric))
    assert alone.claims(cells, Results([], *alone.metric)) == []


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("skills=mqar;jumping", "skills=mqar;jumping: allowed are all, or some of mqar, "),
        ("skills=mqar;mqar", "each once"),
        ("orders=(sf)2;sfsf", "orders=(sf)2;sfsf: expected different orders"),
        ("orders=;", "expected different orders"),
        ("orders=(qf)2,skills=s5", "letter 'q' has no binding; bind it with FILE:q=kind"),
        ("orders=(qf)2,q=nothing,skills=s5", "'nothing'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_a_line(argument, message):
    with pytest.raises(ConfigurationError) as refused:
        experiment = Experiment(f"{FILE}:{argument}")
        for cell in experiment.first_cells():
            experiment.config(cell)
    assert message in str(refused.value) and "\n" not in str(refused.value)
