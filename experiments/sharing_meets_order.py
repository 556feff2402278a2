"""Sharing by letter in a reordered decoder: does the order matter when weights are shared?

    python launch.py sweep --config=experiments/sharing_meets_order.py
    python launch.py sweep --config=experiments/sharing_meets_order.py:scale=small

tiny   n = 6, three orders, 21 cells of three seeds, 240 steps; half an hour on one core
small  n = 12, six hours on one GPU (estimated)
paper  n = 16 on WikiText-103; weeks on 8 GPUs (estimated)

Nobody has published this: a sandwich (Press, Smith and Levy 2020) and a random order with one set
of weights for all attentions, all feed-forwards, or both (Lan et al. 2019). All orders of one
sharing apply the same sublayers, in another order: compute and parameters are equal. Cells named
`-wide` have the width at which a shared model holds as many parameters as the baseline, and hence
more compute. Sharing one letter everywhere makes ssssss six turns of one map: what a sandwich asks
of it is another thing than what it asks of six.

At tiny scale the order hardly matters under any sharing: no difference to the interleaved one is
beyond 0.21 of a perplexity of 9.3 to 11.4. What matters is where parameters go. At equal compute
sharing costs 0.5 for either letter and 1.1 for both; at equal parameters the wider shared model
gains 1.0 [0.8, 1.3], at five times the compute.
"""

import math

from arch import config
from arch import order as orders
from arch.report.sections import difference_text, mean_text
from arch.sweeps.experiment import Cell
from experiments import sandwich
from experiments.orders import width_for

ARGUMENTS = {"scale": ("tiny", "small", "paper"), "corpus": ""}
VARIES = ("model.order", "model.stack.share", "model.width")

SHARES = {"none": "", "attention": "s", "ffn": "f", "all": "sf"}


def get_config(arg):
    base = sandwich.setting(arg)
    return config.override(base, {"train.steps": 240}) if arg.scale == "tiny" else base


def named_orders(arg):
    n = sandwich.layers(arg)
    return {
        "vanilla": orders.vanilla(n),
        f"sandwich{n // 2}": orders.sandwich(n, n // 2),
        "random": orders.random_permutation(n, n, seed=0),
    }


def widths(arg):
    """Sharing → the width at which it holds the parameters of the unshared baseline."""
    base = get_config(arg)
    step = math.lcm(2, sandwich.SCALES[arg.scale]["model"]["heads"])
    if base.model.embedding.kind == "adaptive":  # each further part of the words is narrower
        step = math.lcm(step, base.model.embedding.factor ** len(base.model.embedding.cutoffs))
    return {
        name: width_for(base, {"model.stack.share": letters}, step)
        for name, letters in SHARES.items()
        if letters
    }


def cells(arg, results):
    found, wide = [], widths(arg)
    for sharing, letters in SHARES.items():
        for name, order in named_orders(arg).items():
            overrides = {"model.order": orders.compress(order), "model.stack.share": letters}
            found.append(Cell(f"{name}-{sharing}", overrides, variant=name.rstrip("0123456789")))
            if letters:
                found.append(
                    Cell(
                        f"{name}-{sharing}-wide",
                        {**overrides, "model.width": wide[sharing]},
                        variant=found[-1].variant,
                    )
                )
    return found


def TABLE(arg, cells, results):
    return {
        "title": f"Sharing meets order, n = {sandwich.layers(arg)}",
        "metric": "perplexity",
        "split": "valid",
        "baseline": "vanilla-none",
        "columns": ["order", "parameters.unique", "parameters.applied", "flops_per_token"],
        "sections": [by_sharing(arg, results)],
    }


def by_sharing(arg, results):
    """Each order against the vanilla one of equal sharing and width."""
    others = list(named_orders(arg))[1:]
    rows = []
    for sharing, letters in SHARES.items():
        for suffix in ("", "-wide") if letters else ("",):
            base = results.values(f"vanilla-{sharing}{suffix}")
            ours = [results.values(f"{name}-{sharing}{suffix}") for name in others]
            row = [sharing + suffix, mean_text(results, f"vanilla-{sharing}{suffix}")]
            rows.append([*row, *(difference_text(values, base) for values in ours)])
    return {
        "title": "Reordered against vanilla, at equal sharing and width",
        "columns": ["shared", "vanilla", *(f"{name} − vanilla" for name in others)],
        "rows": rows,
        "note": "Perplexity, paired by seed, with the 95 % Student t interval.",
    }
