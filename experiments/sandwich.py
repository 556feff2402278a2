"""Sandwich coefficients: s^k (sf)^(n-k) f^k at equal parameters, perplexity over k."""

from arch import config, variants
from arch.experiment import Cell

ARGUMENTS = {"scale": ("tiny", "small", "paper"), "corpus": "stdlib"}


def get_config(arg):
    return config.make(
        model=variants.sandwich(4, 0, width=64, heads=4),
        task={"corpus": arg.corpus, "length": 64},
        train={"steps": 60, "batch": 8},
        log={"every": 10},
        save={"every": 20},
        evaluate={"every": 20, "tokens": 4096},
    )


def cells(arg, results):
    return [
        Cell(f"k{k}", {"model.order": variants.sandwich(4, k)["order"]}, variant="sandwich")
        for k in range(4)
    ]


TABLE = {"title": "Sandwich", "baseline": "k0", "x": {f"k{k}": k for k in range(4)}, "x_label": "k"}
