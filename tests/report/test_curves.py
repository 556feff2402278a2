"""Learning curves: what is kept of a run, and arms compared at equal budgets."""

import json
import math

import pytest
from matplotlib.figure import Figure

from arch.report import budgets, figures, tables
from arch.report.curves import CURVES, Curve, curve_line, read_curves, write_curves
from arch.report.folder import write_report
from arch.report.lines import read_lines
from arch.report.seals import is_broken, sealed
from tests.report.test_report import folder, line  # noqa: F401  folder is a fixture

pytestmark = pytest.mark.usefixtures("pictures")

# 100 tokens a step; one arm's FLOPs a token are twice the other's
CHEAP, DEAR = {"flops_per_token": 10}, {"flops_per_token": 20}


def curve(of, losses, seconds=1.0):
    """The line of a run of 10, 20, … steps, evaluated every 10."""
    steps = [10 * (n + 1) for n in range(len(losses))]
    metrics = [{"step": s, "loss": 9.0} for s in steps]
    metrics += [
        {"step": s, "split": "valid", "loss": x} for s, x in zip(steps, losses, strict=True)
    ]
    timing = [{"step": step, "cpu_seconds": seconds} for step in steps]
    summary = {**of, "steps": steps[-1], "tokens": 100 * steps[-1]}
    return curve_line(summary, metrics, timing)


def arms():
    """(lines, curves) of two arms with three seeds. At 60,000 training FLOPs the cheap one is at
    step 20, after which it goes on to 40; the dear one is at step 10, half way to 20."""
    lines, curves = [], []
    for seed, (low, high) in enumerate([(2.0, 1.0), (2.2, 1.0), (2.1, 1.1)]):
        lines += [line("cheap", seed, **CHEAP), line("dear", seed, **DEAR)]
        curves += [curve(lines[-2], [4.0, 3.0, low, low]), curve(lines[-1], [3.0, high])]
    return lines, curves


@pytest.fixture
def two(folder):  # noqa: F811
    lines, curves = arms()
    path = folder(lines, {"baseline": "cheap", "equal": ["flops", "tokens", "cpu_seconds"]})
    write_curves(path, curves, read_lines(path))
    return path


def section(path, title):
    (found,) = [s for s in tables.tabulate(path).sections if s.title == title]
    return {row[0]: dict(zip(found.columns, row, strict=True)) for row in found.rows}


def test_arms_are_compared_at_the_largest_budget_that_all_reached(two):
    # FLOPs of training: cheap 3 · 10 · 100 a step, to 120,000 at step 40; dear 6,000 a step, to
    # 120,000 at step 20: there 2.0, 2.2, 2.1 against 1.0, 1.0, 1.1
    flops = section(two, "At equal training FLOPs")
    assert flops["cheap"]["training FLOPs"] == flops["dear"]["training FLOPs"] == "1.2e+05"
    assert flops["cheap"]["valid loss"] == "2.1000 ± 0.1000"
    # differences −1, −1.2, −1: mean −1.0667, SD 0.11547, half width 4.30265 · 0.0667 = 0.2868
    assert flops["dear"]["difference to cheap"] == "−1.067 [−1.354, −0.780] *"
    # at 2,000 tokens, step 20 of both, the cheap one is at 3.0: −2, −2, −1.9
    tokens = section(two, "At equal tokens")
    assert tokens["cheap"]["tokens"] == "2000"
    assert tokens["dear"]["difference to cheap"].startswith("−1.967")
    assert section(two, "At equal CPU seconds")["dear"]["CPU seconds"] == "2"


def test_a_loss_between_evaluations_is_interpolated_and_none_is_made_up():
    one = Curve.of(curve(line("dear", 0, **DEAR), [3.0, 1.0]))
    assert one.spent("flops") == (60_000, 120_000) and one.spent("tokens") == (1000, 2000)
    assert one.loss_at("flops", 75_000) == pytest.approx(2.5)
    assert one.loss_at("cpu_seconds", 1.5) == pytest.approx(2.0)
    assert one.loss_at("tokens", 999) is None and one.loss_at("tokens", 2001) is None


def test_the_training_loss_is_smoothed_over_steps_evenly_apart_in_their_logarithm():
    metrics = [{"step": 20 * n, "loss": float(n), "gradient_norm": 1.0} for n in range(1, 1001)]
    found = curve_line(line(steps=20_000, tokens=20_000 * 64, **CHEAP), metrics, [])["train"]
    steps, losses = found["step"], found["loss"]
    assert len(steps) <= 32 and steps[0] == 20 and steps[-1] == 20_000
    # the last point is the mean of the lines since the one before it
    before = steps[-2] // 20
    assert losses[-1] == pytest.approx((before + 1 + 1000) / 2, rel=1e-5)
    ratios = [b / a for a, b in zip(steps[15:], steps[16:], strict=False)]
    assert max(ratios) < 1.35
    assert found["cpu_seconds"] is None  # it does not say, and nothing is made up


def test_a_long_run_takes_few_kilobytes():
    metrics = [{"step": 100 * n, "loss": 1 / 3} for n in range(1, 3000)]
    metrics += [{"step": 100 * n, "split": "valid", "loss": 2 / 3} for n in range(1, 3000)]
    timing = [{"step": 100 * n, "cpu_seconds": 1 / 3} for n in range(1, 3000)]
    found = curve_line(line(steps=299_900, tokens=299_900, **CHEAP), metrics, timing)
    assert len(json.dumps(found)) < 4096
    assert found["valid"]["step"][-1] == 299_900 and len(found["valid"]["step"]) == 64


def test_curves_are_sealed_kept_for_their_lines_and_a_damaged_one_is_named(two, caplog):
    before = read_curves(two)
    assert len(before) == 6 and not any(is_broken(one) for one in before)
    text = (two / CURVES).read_text()
    (two / CURVES).write_text(text.replace("[3.0, 1.1]", "[3.0, 0.1]"))
    assert len(read_curves(two)) == 5 and "dear, seed 2: it was changed" in caplog.text
    (two / CURVES).write_text(text)
    lines = read_lines(two)
    write_curves(two, before, lines[:1])
    assert [(c["cell"], c["seed"]) for c in read_curves(two)] == [("cheap", 0)]


def test_what_did_not_finish_has_no_curve_and_a_folder_without_any_no_section(folder, two):  # noqa: F811
    lines, curves = arms()
    rows = tables.group_rows([{**one, "status": "diverged"} for one in lines], (), "valid", "loss")
    assert budgets.arms(rows, curves) == []
    bare = tables.tabulate(folder(lines, {"equal": ["flops"]}, name="bare"))
    assert bare.sections == () and bare.charts == ()


def test_the_figure_shows_both_losses_of_each_seed_and_their_mean_over_tokens_and_flops(
    two, tmp_path
):
    (chart,) = tables.tabulate(two).charts
    figure = Figure()
    chart.fill(figure)
    assert [axis.get_xlabel() for axis in figure.axes] == ["", "", "tokens", "training FLOPs"]
    assert figure.axes[0].get_ylabel() == "train loss (nats)"
    valid = figure.axes[3].lines
    assert [line.get_linewidth() for line in valid] == [0.4, 0.4, 0.4, 1.5] * 2
    seeds, mean = valid[:3], valid[3]
    assert [line.get_ydata()[2] for line in seeds] == [2.0, 2.2, 2.1]
    assert mean.get_xdata()[2] == 90_000 and mean.get_ydata()[2] == pytest.approx(2.1)
    assert figure.axes[2].lines[3].get_xdata()[2] == 3_000
    assert list(figure.axes[0].lines[0].get_ydata()) == [9.0] * 4
    assert chart.name == "curves"
    assert figures.image(chart.picture(), "svg") == figures.image(chart.picture(), "svg")
    write_report(two, ("md", "svg"))
    assert "![Learning curves](curves.svg)" in (two / "table.md").read_text()


def test_a_budget_that_is_none_is_refused_by_name(folder):  # noqa: F811
    with pytest.raises(ValueError, match="table.equal: 'time' is not known; allowed: tokens, fl"):
        tables.tabulate(folder(arms()[0], {"equal": ["time"]}))


def test_a_loss_that_is_not_finite_survives_the_file(folder):  # noqa: F811
    path, one = folder([line("k0", **CHEAP)]), curve(line("k0", **CHEAP), [math.inf])
    write_curves(path, [sealed(one)], read_lines(path))
    assert read_curves(path)[0]["valid"]["loss"] == [math.inf]
