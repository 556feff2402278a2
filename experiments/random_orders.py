"""Random orders: does interleaving matter, and where do the good ones keep their attention?

    python launch.py sweep --config=experiments/random_orders.py
    python launch.py sweep --config=experiments/random_orders.py:scale=small

tiny   n = 6, 60 orders of each kind, half an hour on one core
desk   n = 12, 16 orders of each kind, a hundred minutes on two cores
small  n = 12, two hours on one GPU (estimated)
paper  the paper's printed orders, WikiText-103

Press, Smith and Levy 2020, Tables 1 and 2 and Figure 4: 20 permutations of the baseline's sublayers
and 20 orders drawn within its parameters, one run each, beside a baseline of five seeds. At tiny
scale 20 of each kind were too few to say anything: they said how many it takes, and the claims are
judged by the 40 after them alone. At other scales than paper the orders are drawn with sampler
seeds from 0 on, named in the cells (p07 is permutation 7, b07 budget 7), and the claims' intervals
are over orders, not seeds. The half-by-half analysis shares a sublayer that straddles the middle of
the parameters between the halves (`press2020.halves`); the paper's rule is not stated.

At tiny scale one order in forty is at least as good as the mean baseline, of either kind. One order
of the budget has no attention at all and a perplexity of 12.8 where the others have 8.6 to 9.5:
with it r says nothing, -0.14 with an interval of a half to both sides. Looked at afterwards, the
40 permutations alone have r = -0.39, and Spearman's correlation of ranks is -0.32 over all 80.
"""

from arch import config
from arch import order as orders
from arch.report import statistics
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments import sandwich
from experiments.papers import press2020

ARGUMENTS = {"scale": ("tiny", "desk", "small", "paper"), "corpus": ""}
VARIES = ("model.order",)

BASELINE_SEEDS = (0, 1, 2, 3, 4)
SAMPLES = {"tiny": 60, "desk": 16, "small": 20, "paper": 20}  # of each kind
PILOT = {"tiny": 20}  # the first of them, which decide nothing
DESK_STEPS = 1000  # half of the sandwich's: 2M tokens


def get_config(arg):
    """All orders in one program, with room for the counts of each; at paper scale each has its own,
    since what compiling takes is nothing beside days of training."""
    setting = sandwich.setting(arg)
    if arg.scale == "paper":
        return setting
    drawn = [orders.vanilla(sandwich.layers(arg)), *(order for order, _ in sampled(arg).values())]
    stack = {"model.stack.apply": "switch", "model.stack.room": orders.room(drawn)}
    steps = {"train.steps": DESK_STEPS} if arg.scale == "desk" else {}
    return config.override(setting, {**stack, **steps})


def sampled(arg):
    """name → (order, the paper's perplexity or None)."""
    if arg.scale == "paper":
        rows = {"p": press2020.PERMUTATIONS, "b": press2020.BUDGET}
        return {
            f"{kind}{i:02d}": row
            for kind, table in rows.items()
            for i, row in enumerate(table)
            if row[0] != press2020.INCOMPLETE
        }
    n = sandwich.layers(arg)
    seeds = range(SAMPLES[arg.scale])
    drawn = {f"p{i:02d}": orders.random_permutation(n, n, seed=i) for i in seeds}
    drawn |= {f"b{i:02d}": orders.random_budget(3 * n, seed=i) for i in seeds}
    return {name: (order, None) for name, order in drawn.items()}


def cells(arg, results):
    baseline = orders.compress(orders.vanilla(sandwich.layers(arg)))
    return [Cell("baseline", {"model.order": baseline}, BASELINE_SEEDS, variant="vanilla")] + [
        Cell(name, {"model.order": orders.compress(order)}, (0,), variant="random")
        for name, (order, _) in sampled(arg).items()
    ]


def TABLE(arg, cells, results):
    table = {
        "title": f"Random orders of {sandwich.layers(arg)} layers' sublayers",
        "metric": "perplexity",
        "split": "valid",
        "baseline": "baseline",
        "columns": ["order", "parameters.unique"],
    }
    if arg.scale == "paper":
        table["paper"] = {"baseline": {"value": 18.65, "sd": 0.34, "n": 5}}
        table["paper"] |= {name: paper for name, (_, paper) in sampled(arg).items()}
        table["paper_label"] = "Press et al. 2020, Tables 1 and 2: WikiText-103 dev"
        table["paper_unit"] = "word"
    if results.mean("baseline", BASELINE_SEEDS) is not None:
        table["sections"] = [counted(arg, results), half_table(arg, results)]
    return table


def baselines(results):
    """(whose, mean baseline, baseline of the orders' own seed): ours and the paper's.

    An order's seed fixes the batches it sees, so ours has a paired baseline; the paper does not
    say which of its five would be one.
    """
    ours = results.mean("baseline", BASELINE_SEEDS), results.values("baseline")[0]
    return {"ours": ours, "paper": (statistics.summary(press2020.BASELINE).mean, None)}


def finished(arg, results, kind, first=0):
    """(order, perplexity) of a table's orders that have finished, from number `first` on. An order
    drawn twice, of either kind, is one run, which has one of its names."""
    drawn = sampled(arg)
    of_order = {
        order: values[0] for name, (order, _) in drawn.items() if (values := results.values(name))
    }
    return [
        (order, of_order[order])
        for name, (order, _) in drawn.items()
        if name.startswith(kind) and int(name[1:]) >= first and order in of_order
    ]


def counted(arg, results):
    """How many random orders are at least as good as the baseline."""
    rows = []
    for kind, title, paper in (
        ("p", "permutations", press2020.PERMUTATIONS),
        ("b", "parameter-matched", press2020.BUDGET),
    ):
        for whose, data in (("ours", finished(arg, results, kind)), ("paper", paper)):
            mean, paired = baselines(results)[whose]
            values = [value for _, value in data]
            if len(values) < 3:
                continue
            summary = statistics.summary(values)
            r = correlation(data)
            rows.append(
                [title, whose, as_good(values, mean), as_good(values, paired)]
                + [statistics.mean_and_sd(summary, 2), f"{min(values):.2f}", f"{r:+.2f}"]
            )
    return {
        "title": "Random orders at least as good as the baseline",
        "columns": [
            "orders",
            "whose",
            "as good as its mean",
            "as its own seed",
            "mean ± SD",
            "best",
            "r(bottom s - top s)",
        ],
        "rows": rows,
        "note": "In brackets the baseline's perplexity: of five seeds, and of the seed that the "
        "orders were trained with, which has the same batches. Paper: WikiText-103 dev, word "
        "perplexity, recomputed from its printed Tables 1 and 2. r: Pearson's, with perplexity.",
    }


def as_good(values, baseline):
    """'7 of 20 (18.65)'."""
    if baseline is None:
        return "—"
    return f"{sum(v <= baseline for v in values)} of {len(values)} ({baseline:.2f})"


def bottom_heavy(order):
    """Attention sublayers in the bottom half of the parameters, less those in the top half."""
    bottom, top = press2020.halves(order)
    return bottom["s"] - top["s"]


def CLAIMS(arg, cells, results):
    mean = results.mean("baseline", BASELINE_SEEDS)
    first = PILOT.get(arg.scale, 0)
    rows = {kind: finished(arg, results, kind, first) for kind in ("p", "b")}
    enough = SAMPLES[arg.scale] - first - 1
    if mean is None or any(len(found) < enough for found in rows.values()):
        return []
    pooled = rows["p"] + rows["b"]
    printed = {"p": press2020.PERMUTATIONS, "b": press2020.BUDGET}
    paper = statistics.summary(press2020.BASELINE).mean
    both = list(press2020.PERMUTATIONS + press2020.BUDGET)
    named = {"p": "with the baseline's sublayers", "b": "with the baseline's parameters"}
    shares = [
        Claim(
            f"press2020-table{table}",
            f"Some random orders {named[kind]} are at least as good as its mean (their share)",
            f"Press et al. 2020, Table {table}",
            "higher",
            values=dict(enumerate(as_good_each(rows[kind], mean))),
            each="order",
            effect=statistics.summary(as_good_each(printed[kind], paper)).mean,
            scale="absolute",
        )
        for table, kind in ((1, "p"), (2, "b"))
    ]
    return [
        *shares,
        Claim(
            "press2020-figure4",
            "The more attention lies in the bottom half, the lower the perplexity (Pearson's r)",
            "Press et al. 2020, Figure 4 (r recomputed from Tables 1 and 2)",
            "lower",
            values=dict(enumerate(pseudo_values(pooled))),
            each="order",
            effect=correlation(both),
            scale="absolute",
        ),
    ]


def as_good_each(rows, baseline):
    """1 for each order that is at least as good, else 0: their mean is the share of such orders."""
    return [float(value <= baseline) for _, value in rows]


def correlation(rows):
    """Pearson's r of perplexity with the surplus of attention in the bottom half."""
    return statistics.pearson([bottom_heavy(order) for order, _ in rows], [v for _, v in rows]).r


def pseudo_values(rows):
    """Jackknife pseudo-values of r, one an order: their mean is r less its bias, and their spread
    that of r, of which the standard scores' products would be sure because of one far order (Efron
    and Tibshirani 1993, chapter 11)."""
    n, whole = len(rows), correlation(rows)
    return [n * whole - (n - 1) * correlation(rows[:i] + rows[i + 1 :]) for i in range(n)]


def half_table(arg, results):
    """Figure 4: mean sublayers a half, of the orders better and worse than the baseline: than the
    one of equal seed for ours, than the mean of five for the paper's."""
    printed = list(press2020.PERMUTATIONS + press2020.BUDGET)
    sources = [
        ("ours", finished(arg, results, ""), baselines(results)["ours"][1]),
        ("paper, recomputed", printed, baselines(results)["paper"][0]),
    ]
    rows = []
    for whose, data, base in sources:
        better = sum(value <= base for _, value in data)
        if better in (0, len(data)):
            rows.append([whose, f"all {len(data)} on one side", "", "", "", ""])
            continue
        for group, halves in press2020.half_means(data, base).items():
            n = better if group == "better" else len(data) - better
            figures = [halves[half][letter] for half in ("bottom", "top") for letter in "sf"]
            rows.append([whose, group, str(n), *(f"{x:.2f}" for x in figures)])
    rows = [row + [""] * (7 - len(row)) for row in rows]
    return {
        "title": "Mean sublayers in each half of the parameters (Figure 4)",
        "columns": ["whose", "orders", "n", "bottom s", "bottom f", "top s", "top f"],
        "rows": rows,
        "note": "A sublayer that straddles the middle counts in each half by the share that lies "
        "there.",
    }
