"""Attention distance between models: do sandwiches attend as baselines do?

    python launch.py sweep --config=experiments/attention_distance.py

About 4 minutes on two cores.

Press, Smith and Levy 2020, Table 7: the mean earth mover's distance between the attention of paired
heads, of two baselines, two sandwiches, and one of each. Heads of equal attention depth are matched
one to one so that the sum of distances is least (Hungarian method); a distance is over positions in
the sequence, divided by its length. Trained here are the sandwich experiment's baseline and a
middle coefficient, three seeds each; each figure is a mean over pairs of models, with its spread.
The paper's mixed pairs lie farther apart than pairs of a kind; at tiny scale, after 400 steps, they
do not (0.075 for all three). It is also the first example of `arch.load` and `run.capture`.
"""

import itertools

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

import arch
from arch.report import statistics
from experiments import sandwich
from experiments.papers import press2020

ARGUMENTS = {"scale": ("tiny", "small", "paper"), "corpus": ""}

WINDOWS = 4  # validation windows that the distance is averaged over
QUERIES = 16  # query positions compared in each, from the second half of the window


def get_config(arg):
    return sandwich.get_config(arg)


def coefficient(arg):
    """The paper's 6 of 16, in proportion."""
    return round(sandwich.layers(arg) * 6 / 16)


def cells(arg, results):
    return [sandwich.cell(arg, 0), sandwich.cell(arg, coefficient(arg))]


def TABLE(arg, cells, results):
    table: dict = {
        "title": "Attention of baselines and sandwiches",
        "metric": "perplexity",
        "split": "valid",
        "baseline": "k0",
    }
    seeds = {cell.name: sorted(results.values(cell.name)) for cell in cells}
    if all(len(found) > 1 for found in seeds.values()):
        table["sections"] = [distances(arg, cells, results, seeds)]
    return table


def attention(run) -> list[np.ndarray]:
    """Weights of each attention sublayer, bottom first: (heads, windows · queries, keys)."""
    ids, length = run.task.dataset.splits["valid"].ids, run.task.length
    queries = np.linspace(length // 2, length - 1, QUERIES).astype(int)
    layers = []
    for window in range(WINDOWS):
        part = ids[window * length : (window + 1) * length]
        weights = run.capture_ids(part, ["attention.weights"])["attention.weights"]
        layers.append([w[:, queries] for w in weights.values()])
    return [np.concatenate(parts, axis=1) for parts in zip(*layers, strict=True)]


def distance(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    """Mean distance of the heads of two models, layer by layer, each head with its match."""
    return float(np.mean([matched(x, y) for x, y in zip(a, b, strict=True)]))


def matched(a: np.ndarray, b: np.ndarray) -> float:
    """The least mean distance over one-to-one matchings of the heads of two layers."""
    costs = np.array([[earth_mover(x, y) for y in b] for x in a])
    return costs[linear_sum_assignment(costs)].mean()


def earth_mover(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over queries of the earth mover's distance of two rows of weights, positions in 0 … 1.

    In one dimension it is the area between the cumulative sums; scipy's `wasserstein_distance`
    gives the same and is what a test holds this to.
    """
    return float(np.abs(np.cumsum(a - b, axis=-1)).sum(-1).mean() / a.shape[-1])


def earth_mover_by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    """The same, a row at a time."""
    at = np.arange(a.shape[-1]) / a.shape[-1]
    return float(np.mean([wasserstein_distance(at, at, x, y) for x, y in zip(a, b, strict=True)]))


def distances(arg, cells, results, seeds):
    """The three kinds of pairs."""
    lines = {(line["cell"], line["seed"]): line for line in results.lines()}
    models = {}
    for cell in cells:
        for seed in seeds[cell.name]:
            line = lines[cell.name, seed]
            path = f"runs/{line['name']}/{cell.name}-{line['hash'][:8]}"
            models.setdefault(cell.name, []).append(attention(arch.load(path, seed)))
    base, other = (models[cell.name] for cell in cells)
    kinds = {
        "baseline, baseline": list(itertools.combinations(base, 2)),
        "sandwich, sandwich": list(itertools.combinations(other, 2)),
        "baseline, sandwich": list(itertools.product(base, other)),
    }
    rows = []
    for (name, pairs), paper in zip(kinds.items(), press2020.TABLE7.values(), strict=True):
        summary = statistics.summary([1e3 * distance(a, b) for a, b in pairs])
        ours = statistics.mean_and_sd(summary, 2)
        rows.append([name, str(summary.n), ours, f"{1e3 * paper:.3f}"])
    return {
        "title": "Earth mover's distance of matched heads, ×10⁻³ (Table 7)",
        "columns": ["pair", "pairs", "ours ± SD", "paper"],
        "rows": rows,
        "note": f"{WINDOWS} validation windows, {QUERIES} queries each, positions scaled to 0 … 1; "
        "the paper's normalisation is not stated, so only the order of the three compares.",
    }
