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

import math

from arch import config, variants
from arch import order as orders
from arch.experiment import Cell
from arch.training import build

ARGUMENTS = {
    "orders": "(sf)6;s3(sf)3f3",
    "match": ("none", "parameters", "flops"),
    "width": 64,
    "heads": 4,
    "corpus": "stdlib",
}


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
            overrides["model.width"] = matching_width(arg, base, order)
        chosen.append(Cell(order.replace(" ", ""), overrides))
    return chosen


def matching_width(arg, base, order):
    """The width, a multiple of the heads, at which the order costs most nearly what the first
    does."""

    def cost(order, width):
        task, model = build(config.override(base, {"model.order": order, "model.width": width}))
        if arg.match == "flops":
            return model.flops_per_token(task.length)
        return model.parameter_counts()["unique"]

    wanted = cost(named(arg)[0], arg.width)
    step = math.lcm(2, arg.heads)
    low, high = 1, 1
    while cost(order, high * step) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(order, middle * step) < wanted else (low, middle)
    return step * min((low, high), key=lambda n: abs(cost(order, n * step) - wanted))


def TABLE(arg, cells, results):
    matched = {"none": "one width", "parameters": "equal parameters", "flops": "equal FLOPs"}
    return {
        "title": f"Orders at {matched[arg.match]}",
        "baseline": cells[0].name,
        "columns": ["order", "parameters.unique", "flops_per_token"],
    }
