"""Any orders from the command line, in one table against the first of them.

    python launch.py sweep --config='experiments/orders.py:orders=(sf)6;s3(sf)3f3;f6s6'
    python launch.py sweep --config='experiments/orders.py:orders=(sf)6;(hsh)6,h=feed_forward' \\
        --config.model.sublayers.h.scale=0.5 --config.model.sublayers.h.expand=2
    python launch.py sweep --config='experiments/orders.py:orders=(sf)6;s9f3;s3f9,match=parameters'

Orders are separated by `;`. A letter other than s and f is bound beside them. `match` makes orders
of unequal counts comparable: it solves for the width at which each has the parameters, or the
forward FLOPs a token, of the first, as near as the heads allow. A tiny order takes about 20 seconds
a seed on two cores.
"""

import functools
import math

from arch import config, variants
from arch import order as orders
from arch.sweeps.experiment import Cell
from arch.training.program import build

ARGUMENTS = {
    "orders": "(sf)6;s3(sf)3f3",
    "match": ("none", "parameters", "flops"),
    "width": 64,
    "heads": 4,
    "corpus": "stdlib",
}
VARIES = ("model.order",)


def get_config(arg):
    letters = {letter: {"kind": kind} for letter, kind in arg.letters.items()}
    return config.make(
        model=variants.decoder(named(arg)[0], arg.width, arg.heads, sublayers=letters),
        task={"corpus": arg.corpus, "length": 64},
        train={"steps": 400, "batch": 16, "optimizer": {"learning_rate": 2e-3, "beta2": 0.98}},
        evaluate={"tokens": 16384},
    )


def named(arg):
    """The orders in canonical form."""
    return [orders.compress(text) for text in arg.orders.split(";") if text.strip()]


def cells(arg, results):
    chosen, base = [], get_config(arg)
    for order in named(arg):
        overrides: dict = {"model.order": order}
        if arg.match != "none" and order != named(arg)[0]:
            cost = flops if arg.match == "flops" else None
            step = math.lcm(2, arg.heads)
            overrides["model.width"] = width_for(base, {"model.order": order}, step, cost)
        chosen.append(Cell(order.replace(" ", ""), overrides))
    return chosen


def width_for(base, changes, step, cost=None):
    """The width, a multiple of `step`, at which a changed `base` costs most nearly what it costs
    unchanged: unique parameters, or what `cost` says of (task, model)."""

    def of(changes):
        task, model = build(config.override(base, changes))
        return cost(task, model) if cost else model.parameter_counts()["unique"]

    @functools.cache
    def at(n):
        return of({**changes, "model.width": n * step})

    def near(n):
        """Costs grow about as the square of the width."""
        return round(n * math.sqrt(wanted / at(n)))

    wanted = of({})
    low, high = 1, max(1, base.model.width // step)
    while at(high) < wanted:
        low, high = high, max(high + 1, near(high))
    while high - low > 1:
        end = min((low, high), key=lambda n: abs(at(n) - wanted))
        middle = min(max(near(end), low + 1), high - 1)
        low, high = (middle, high) if at(middle) < wanted else (low, middle)
    return step * min((low, high), key=lambda n: abs(at(n) - wanted))


def flops(task, model):
    return model.flops_per_token(task.length)


def TABLE(arg, cells, results):
    matched = {"none": "one width", "parameters": "equal parameters", "flops": "equal FLOPs"}
    return {
        "title": f"Orders at {matched[arg.match]}",
        "baseline": cells[0].name,
        "columns": ["order", "parameters.unique", "flops_per_token"],
        "equal": [] if arg.match == "flops" else ["flops"],
    }
