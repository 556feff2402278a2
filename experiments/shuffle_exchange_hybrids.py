"""Beneš blocks beside attention: hidden tokens, with a block before, amid or behind a Transformer.

    python launch.py sweep --config=experiments/shuffle_exchange_hybrids.py
    python launch.py sweep --config=experiments/shuffle_exchange_hybrids.py:scale=small

tiny   width 64, eight layers of s f or a block and four; an hour and a half on one core
small  width 256, an hour on one GPU (estimated)

Nobody has published this. A Beneš block of residual switches has the parameters of four layers of
attention and feed-forward at its width, 48 m² to 12 m². All models have about the same number:
eight layers, four layers and a block in three places, two blocks alone. Switches normalise over
the features, in one more cell over the sequence.

At tiny scale attention alone is best: test perplexity 23.6 of hidden subwords, 32.7 % found. A
block in the place of four of its layers costs 3.1 behind the others, 5.6 amid and 5.8 before them,
4.2 amid when it normalises over the sequence; blocks alone reach 51.9. The block before and amid
are not told apart by three seeds.
"""

from arch import config
from arch.report.sections import Mean, means_by_cell
from arch.sweeps.experiment import Cell
from experiments.papers.lan2019 import ADAM

ARGUMENTS = {"scale": ("tiny", "small"), "corpus": ""}
VARIES = ("model.order",)

SCALES = {
    "tiny": {
        "width": 64,
        "heads": 4,
        "task": {"corpus": "stdlib", "tokenizer": "bpe:512", "length": 64},
        "train": {"steps": 1200, "batch": 32, "optimizer": ADAM},
        "every": 200,
        "model": {},
    },
    "small": {
        "width": 256,
        "heads": 8,
        "task": {"corpus": "stdlib", "tokenizer": "bpe:8192", "length": 256},
        "train": {"steps": 20000, "batch": 64, "optimizer": {**ADAM, "learning_rate": 1e-3}},
        "every": 1000,
        "model": {"dtype": "bfloat16"},
    },
}
# x has 48 m² + 24 m parameters, s and f have 12 m² + 13 m together
ORDERS = {
    "attention": "(sf)8",
    "before": "x(sf)4",
    "amid": "(sf)2x(sf)2",
    "behind": "(sf)4x",
    "blocks": "xx",
}


def get_config(arg):
    scale = SCALES[arg.scale]
    corpus = {"corpus": arg.corpus} if arg.corpus else {}
    return config.make(
        model={
            "family": "encoder",
            "width": scale["width"],
            "order": ORDERS["attention"],
            "sublayers": {
                "s": {"kind": "attention", "heads": scale["heads"]},
                "f": {"kind": "feed_forward"},
                "x": {"kind": "benes", "blocks": 1, "normalisation": "features"},
            },
            "embedding": {"positions": "rotary"},
            "head": {"kind": "masked"},
            **scale["model"],
        },
        task={
            "kind": "masked_language_model",
            "sentence": "none",
            "spans": 1,
            **scale["task"],
            **corpus,
        },
        train=scale["train"],
        evaluate={"every": scale["every"], "tokens": 0},
        save={"every": scale["every"]},
    )


def cells(arg, results):
    found = [Cell(name, {"model.order": order}, variant="hybrid") for name, order in ORDERS.items()]
    sequence = {"model.sublayers.x.normalisation": "sequence"}
    amid = {"model.order": ORDERS["amid"], **sequence}
    return [*found, Cell("amid-sequence", amid, variant="hybrid")]


def TABLE(arg, cells, results):
    found = [Mean("accuracy", "accuracy", "test", 4)]
    return {
        "title": "A Beneš block beside attention",
        "metric": "perplexity",
        "split": "test",
        "baseline": "attention",
        "columns": ["order", "parameters.unique", "flops_per_token"],
        "sections": [means_by_cell("Hidden tokens found", results, cells, found)],
    }
