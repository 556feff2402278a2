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

import functools
import itertools
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

import arch
from arch.report import statistics
from arch.report.seeds import line_seed
from arch.report.verdicts import Claim
from arch.runs.folders import RunFolder
from experiments import sandwich
from experiments.papers import press2020

ARGUMENTS = {"scale": ("tiny", "small", "paper"), "corpus": ""}
VARIES = ("model.order",)

WINDOWS = 4  # validation windows that the distance is averaged over
QUERIES = 16  # query positions compared in each, from the second half of the window


def get_config(arg):
    return sandwich.setting(arg)


def cells(arg, results):
    return [sandwich.cell(arg, k) for k in (0, sandwich.middle_coefficient(arg))]


def TABLE(arg, cells, results):
    table: dict = {
        "title": "Attention of baselines and sandwiches",
        "metric": "perplexity",
        "split": "valid",
        "baseline": "k0",
    }
    if trained_here(cells, results):
        table["sections"] = [section(distances(cells, results.lines()))]
    return table


def trained_here(cells, results):
    """Whether each cell has two finished seeds, and all runs are here; they are not committed."""
    finished = [results.values(cell.name) for cell in cells]
    runs = [line for line in results.lines() if line["status"] == "finished"]
    here = all(folder(line).seed(line_seed(line)).loadable for line in runs)
    return here and all(len(seeds) > 1 for seeds in finished)


def folder(line):
    """Where the run of a line was trained."""
    return RunFolder.of(Path("runs"), line["name"], line["cell"], line["hash"])


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


def distances(cells, lines):
    """Kind of pair → distances, in thousandths, of all pairs of its models."""
    models = {cell.name: [] for cell in cells}
    for line in sorted(lines, key=lambda line: line["seed"]):
        if line["status"] == "finished" and line["cell"] in models:
            models[line["cell"]].append(attention_of(folder(line).path, line_seed(line)))
    base, other = (models[cell.name] for cell in cells)
    pairs = {
        "baseline, baseline": itertools.combinations(base, 2),
        "sandwich, sandwich": itertools.combinations(other, 2),
        "baseline, sandwich": itertools.product(base, other),
    }
    return {kind: [1e3 * distance(a, b) for a, b in of_kind] for kind, of_kind in pairs.items()}


@functools.cache
def attention_of(path, seed):
    return attention(arch.load(path, seed))


def section(found):
    """The three kinds of pairs."""
    rows = []
    for (kind, values), paper in zip(found.items(), press2020.TABLE7.values(), strict=True):
        summary = statistics.summary(values)
        ours = statistics.mean_and_sd(summary, 2)
        rows.append([kind, str(summary.n), ours, f"{1e3 * paper:.3f}"])
    return {
        "title": "Earth mover's distance of matched heads, ×10⁻³ (Table 7)",
        "columns": ["pair", "pairs", "ours ± SD", "paper"],
        "rows": rows,
        "note": f"{WINDOWS} validation windows, {QUERIES} queries each, positions scaled to 0 … 1; "
        "the paper's normalisation is not stated, so only the order of the three compares.",
    }


def CLAIMS(arg, cells, results):
    """Only where the runs are here: the pairs are no seeds, so all of them make one figure."""
    if not trained_here(cells, results):
        return []
    ours = [statistics.summary(v).mean for v in distances(cells, results.lines()).values()]
    return [
        Claim(
            "press2020-table7",
            "A baseline and a sandwich attend less alike than two of a kind do",
            "Press et al. 2020, Table 7",
            "higher",
            values={0: apart(*ours)},
            effect=apart(*press2020.TABLE7.values()),
        )
    ]


def apart(base, other, mixed):
    """How much farther mixed pairs lie apart, relative to the mean of the two kinds."""
    return 2 * mixed / (base + other) - 1
