"""The figures of Press et al. 2020, recounted from the orders and perplexities they printed."""

import subprocess
import sys
from pathlib import Path
from statistics import correlation, fmean, median, pstdev, stdev

import pytest

from experiments.papers.press2020 import (
    BASELINE,
    BASELINE_FIGURE6,
    BUDGET,
    COST,
    FIGURE4,
    INCOMPLETE,
    PERMUTATIONS,
    SANDWICH_6,
    SWEEP,
    TABLE3,
    TABLE4,
    TABLE5,
    TABLE6,
    half_means,
    halves,
)

BUDGET_COUNTS = [
    *[(10, 19), (28, 10), (22, 13), (12, 18), (18, 15), (16, 16), (14, 17), (12, 18), (20, 14)],
    *[(12, 18), (14, 17), (18, 15), (16, 16), (20, 14), (20, 14), (20, 14), (26, 11), (14, 17)],
    *[(14, 17), (12, 18)],
]


def perplexities(rows):
    return [perplexity for _, perplexity in rows]


def bottom_heaviness(rows):
    """s in the bottom half minus s in the top half, for each row."""
    pairs = [halves(order) for order, _ in rows]
    return [bottom["s"] - top["s"] for bottom, top in pairs]


# Tables 1 and 2


def test_each_table_has_twenty_different_orders_from_worst_to_best():
    for rows in (PERMUTATIONS, BUDGET):
        assert len({order for order, _ in rows}) == 20
        assert perplexities(rows) == sorted(perplexities(rows), reverse=True)


def test_permutations_have_16_of_each_but_for_the_one_known_to_lack_a_letter():
    counts = {order: (order.count("s"), order.count("f")) for order, _ in PERMUTATIONS}
    assert counts.pop(INCOMPLETE) == (16, 15)
    assert set(counts.values()) == {(16, 16)}
    assert all(set(order) == {"s", "f"} for order in counts)


def test_budget_orders_spend_48_units():
    assert [(order.count("s"), order.count("f")) for order, _ in BUDGET] == BUDGET_COUNTS
    assert {COST["s"] * s + COST["f"] * f for s, f in BUDGET_COUNTS} == {48}


@pytest.mark.parametrize(
    "rows, at_least_as_good", [(PERMUTATIONS, 7), (BUDGET, 4)], ids=["Table 1", "Table 2"]
)
def test_so_many_random_orders_are_at_least_as_good_as_the_average_baseline(rows, at_least_as_good):
    assert sum(p <= fmean(BASELINE) for p in perplexities(rows)) == at_least_as_good


@pytest.mark.parametrize(
    "rows, mean, middle, deviation",
    [(PERMUTATIONS, 19.23, 18.87, 0.83), (BUDGET, 19.78, 19.80, 1.11)],
    ids=["Table 1", "Table 2"],
)
def test_means_medians_and_deviations_of_the_random_orders(rows, mean, middle, deviation):
    values = perplexities(rows)
    # Half a unit of the last digit, and rounding of the printed perplexities.
    assert fmean(values) == pytest.approx(mean, abs=0.0051)
    assert median(values) == pytest.approx(middle, abs=0.0051)
    assert stdev(values) == pytest.approx(deviation, abs=0.0051)


# Figure 4


def test_both_halves_cost_the_same_and_hold_the_whole_order():
    for order, _ in PERMUTATIONS + BUDGET:
        bottom, top = halves(order)
        cost = [sum(COST[x] * half[x] for x in COST) for half in (bottom, top)]
        assert cost[0] == pytest.approx(cost[1])
        assert {x: bottom[x] + top[x] for x in COST} == {x: order.count(x) for x in COST}


def test_a_straddling_sublayer_is_shared_by_what_lies_in_each_half():
    assert halves("sffs") == ({"s": 1, "f": 1}, {"s": 1, "f": 1})
    assert halves("sfs") == ({"s": 1, "f": 0.5}, {"s": 1, "f": 0.5})
    assert halves("fs") == ({"s": 0, "f": 0.75}, {"s": 1, "f": 0.25})
    assert halves("abb", {"a": 4, "b": 1}) == ({"a": 0.75, "b": 0}, {"a": 0.25, "b": 2})


def figure_4_deviations():
    ours = half_means(PERMUTATIONS + BUDGET, fmean(BASELINE))
    return {
        (group, half, letter): ours[group][half][letter] - figure
        for group, halves_of in FIGURE4.items()
        for half, letters in halves_of.items()
        for letter, figure in letters.items()
    }


def test_figure_4_is_recounted_within_what_half_means_states():
    deviations = figure_4_deviations()
    assert all(abs(x) < 0.175 for (group, *_), x in deviations.items() if group == "better")
    assert all(abs(x) < 0.41 for x in deviations.values())
    assert abs(deviations["better", "bottom", "s"]) < 0.02
    assert abs(deviations["better", "top", "f"]) < 0.02


def test_figure_4_with_the_bottom_bars_of_the_worse_rows_exchanged_agrees_within_a_sixth():
    ours = half_means(PERMUTATIONS + BUDGET, fmean(BASELINE))["worse"]["bottom"]
    exchanged = {"s": FIGURE4["worse"]["bottom"]["f"], "f": FIGURE4["worse"]["bottom"]["s"]}
    others = [x for key, x in figure_4_deviations().items() if key[:2] != ("worse", "bottom")]
    assert all(abs(x) < 0.175 for x in [*others, *(ours[k] - exchanged[k] for k in "sf")])


def test_better_orders_have_more_attention_below_and_more_feed_forward_above():
    means = half_means(PERMUTATIONS + BUDGET, fmean(BASELINE))
    for source in (means, FIGURE4):
        assert source["better"]["bottom"]["s"] > source["worse"]["bottom"]["s"]
        assert source["better"]["top"]["f"] > source["worse"]["top"]["f"]


def test_the_incomplete_order_gives_the_same_means_wherever_its_letter_belongs():
    def means(replacement):
        rows = [(replacement if o == INCOMPLETE else o, p) for o, p in PERMUTATIONS + BUDGET]
        return half_means(rows, fmean(BASELINE))

    completed = [means(INCOMPLETE[:i] + "f" + INCOMPLETE[i:]) for i in range(32)]
    assert all(x == completed[0] for x in completed)
    for half in ("bottom", "top"):
        for letter in "sf":
            found = means(INCOMPLETE)["worse"][half][letter]
            assert found == pytest.approx(completed[0]["worse"][half][letter], abs=0.02)


def test_means_need_rows_on_both_sides_of_the_baseline():
    with pytest.raises(ValueError, match="baseline 10.0: all 20 rows lie on one side"):
        half_means(BUDGET, 10.0)


@pytest.mark.parametrize(
    "rows, r",
    [(PERMUTATIONS, -0.57), (BUDGET, -0.31), (PERMUTATIONS + BUDGET, -0.44)],
    ids=["Table 1", "Table 2", "both"],
)
def test_attention_at_the_bottom_goes_with_lower_perplexity(rows, r):
    assert correlation(bottom_heaviness(rows), perplexities(rows)) == pytest.approx(r, abs=0.005)


# Figures 5 and 6


def test_the_deviation_of_the_baseline_is_0_34_with_n_minus_1_and_0_30_with_n():
    assert fmean(BASELINE) == pytest.approx(18.65, abs=0.005)
    assert stdev(BASELINE_FIGURE6) == pytest.approx(0.340, abs=0.0005)
    assert pstdev(BASELINE_FIGURE6) == pytest.approx(0.304, abs=0.0005)


def test_figure_6_repeats_the_baselines_of_table_1():
    assert BASELINE_FIGURE6 == pytest.approx(BASELINE, abs=0.0051)


def test_only_the_two_largest_coefficients_are_worse_than_the_average_baseline():
    assert list(SWEEP) == list(range(1, 16))
    assert [k for k, p in SWEEP.items() if p > fmean(BASELINE)] == [14, 15]
    assert [k for k, p in SWEEP.items() if p < min(BASELINE)] == [5, 6, 8, 9, 10, 11]


def test_the_sweep_spreads_less_than_the_seeds_of_the_baseline():
    assert stdev(SWEEP.values()) == pytest.approx(0.28, abs=0.005)
    assert stdev(SWEEP.values()) < stdev(BASELINE)


def test_five_seeds_of_the_sandwich_beat_five_of_the_baseline():
    assert min(SANDWICH_6) == SWEEP[6]
    assert max(SANDWICH_6) < min(BASELINE_FIGURE6)
    assert fmean(SANDWICH_6) == pytest.approx(17.98, abs=0.005)
    assert stdev(SANDWICH_6) == pytest.approx(0.10, abs=0.005)
    error = ((stdev(SANDWICH_6) ** 2 + stdev(BASELINE_FIGURE6) ** 2) / 5) ** 0.5
    welch = (fmean(BASELINE_FIGURE6) - fmean(SANDWICH_6)) / error
    assert welch == pytest.approx(4.2, abs=0.05)


# Tables 3 to 6


def test_the_sandwich_is_better_than_the_mean_baseline_in_every_language_modelling_table():
    for table in (TABLE3, TABLE4, *TABLE5.values()):
        sandwich = next(figure for name, (figure, *_) in table.items() if "sandwich" in name)
        assert sandwich < table["baseline"][0]


def test_no_translation_sandwich_is_better_than_the_baseline_by_one_deviation():
    deviation = 0.15
    best = max(max(TABLE6["encoder"].values()), max(TABLE6["decoder"].values()))
    assert best < TABLE6["baseline"][0] + deviation


def test_the_data_need_no_jax():
    program = 'import sys, experiments.papers.press2020; sys.exit("jax" in sys.modules)'
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root).returncode == 0
