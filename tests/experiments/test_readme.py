"""The examples of the README, written to files as they stand and run."""

import re
from pathlib import Path

import pytest

import launch
from arch.report import plans
from arch.report.lines import read_lines
from arch.sweeps.experiment import Experiment, Results

ROOT = Path(__file__).resolve().parents[2]
QUICK = [
    f"--config.{field}"
    for field in (
        "train.steps=2", "train.batch=2", "task.length=8", "evaluate.tokens=64",
        "model.stack.apply=scan",
    )
]  # fmt: skip


@pytest.fixture
def examples(tmp_path, monkeypatch, corpus):
    """A folder with every example of the README that begins with its file's name."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(# (\w+\.py)\n.*?)```", (ROOT / "README.md").read_text(), re.S)
    for text, name in blocks:
        (tmp_path / name).write_text(text)
    assert {name for _, name in blocks} == {"wide_or_sandwiched.py", "gated_linear.py"}
    return corpus


def test_the_experiment_crosses_two_fields_and_fills_its_table(examples):
    reference = f"wide_or_sandwiched.py:corpus={examples}"
    cells = Experiment("wide_or_sandwiched.py").cells(Results([], "perplexity", "valid"))
    assert [cell.name for cell in cells] == ["vanilla-2", "vanilla-4", "sandwich-2", "sandwich-4"]
    command = ["sweep", f"--config={reference}", "--name=x", "--cells=*-4", "--seeds=2", *QUICK]
    assert launch.main(command) == 0
    lines = read_lines("results/x")
    assert [(line["cell"], line["seed"], line["status"]) for line in lines] == [
        (cell, seed, "finished") for cell in ("vanilla-4", "sandwich-4") for seed in (0, 1)
    ]
    assert len({line["parameters"]["unique"] for line in lines}) == 1
    table = Path("results/x/table.md").read_text()
    assert "difference to vanilla-4" in table and "## Beside perplexity" in table
    assert "(single run)" not in table and " bits a byte |" in table


@pytest.mark.slow
def test_the_sublayer_takes_the_place_of_a_letter_in_both_experiments(examples):
    plugin = "--config.plugins=gated_linear.py"
    reference = f"wide_or_sandwiched.py:f=gated_linear,corpus={examples}"
    command = ["sweep", f"--config={reference}", plugin, "--name=x", "--cells=sandwich-2"]
    assert launch.main([*command, "--seeds=1", *QUICK]) == 0
    (line,) = read_lines("results/x")
    # a map to 2 · 2 · 32 with biases, one back; four of them, each with the stack's norm
    assert line["parameters"]["by_letter"]["f"] == 4 * (32 * 128 + 128 + 64 * 32 + 32 + 2 * 32)
    reference = f"{ROOT}/experiments/sandwich.py:f=gated_linear"
    assert launch.main(["describe", f"--config={reference}", plugin]) == 0


def test_the_sandwich_papers_plan_is_that_of_the_committed_table():
    lines = plans.read(ROOT / "results" / "plan")
    (line,) = (
        one
        for one in lines
        if one["topology"] == "h100:1x1x8" and "sandwich.py" in one["experiment"]
    )
    found, text = line["cheapest"], " ".join((ROOT / "README.md").read_text().split())
    assert f"{found['chip_hours']:,.0f} chip-hours, {found['hours']:.1f} hours of eight" in text
    assert f"with {found['peak'] / 2**30:.2f} GiB in use on each" in text
    assert (ROOT / "results" / "plan" / "table.md").read_text() == plans.to_page(lines)
