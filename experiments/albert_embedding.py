r"""How narrow may the token table be: factorised embeddings, with and without sharing in depth.

    python launch.py sweep --config=experiments/albert_embedding.py
    python launch.py sweep --config=experiments/albert_embedding.py:scale=desk \
        --ladder=train.optimizer.learning_rate=1e-3,2e-3,4e-3 --pilot=100

tiny   3 layers at width 96, 1,200 steps; three quarters of an hour on one core
desk   6 layers at width 96, 3,000 steps without a sentence loss; 18 CPU hours to the first look
small  12 layers at width 384, five hours on one GPU (estimated)
paper  ALBERT base, days on a TPU pod (estimated), and on WikiText-103, not Wikipedia and books

Lan et al. 2019, Table 3: embedding sizes of 64, 128, 256 and 768 to a width of 768, and the same
parts of the width at other scales. Without sharing wider is better; with it 128 was best.

At tiny scale the parts are 8, 16, 32 and 96 columns, and wider is better by far, shared or not:
perplexity falls from 162 to 19 and from 164 to 21. A table of 512 tokens has not the paper's excess
of columns, and sharing costs little of anything: 2.0 [-0.5, +4.5] at the full width.
"""

from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments.papers import lan2019

ARGUMENTS = {"scale": ("tiny", "desk", "small", "paper"), "corpus": ""}
VARIES = ("model.embedding.*", "model.stack.share")

SIZES = (64, 128, 256, 768)
PAPER = {
    f"{sharing}-E{size}": lan2019.BASE[sharing, size][1]
    for sharing in ("none", "all")
    for size in SIZES
}


def LOOKS(arg):
    return (3, 5, 8) if arg.scale == "desk" else ()


def get_config(arg):
    return lan2019.make(arg)


def cells(arg, results):
    return [
        Cell(
            f"{sharing}-E{size}",
            {"model.stack.share": lan2019.SHARING[sharing], **lan2019.embedded(arg, size)},
            variant="albert",
        )
        for sharing in ("none", "all")
        for size in SIZES
    ]


def TABLE(arg, cells, results):
    return lan2019.table(
        "Embedding sizes, to a width of 768", cells, results, PAPER, "Table 3, base",
        baseline="none-E768",
    )  # fmt: skip


def CLAIMS(arg, cells, results):
    table3 = "Lan et al. 2019, Table 3 (there of the downstream average)"
    narrow = [
        Claim(
            f"lan2019-table3-none-E{size}",
            f"Without sharing, a token table of {size} / 768 of the width is worse than one as "
            "wide as the model",
            table3,
            "higher",
            {f"none-E{size}": 1, "none-E768": -1},
            margin=lan2019.MARGIN,
        )
        for size in SIZES[:-1]
    ]
    return narrow + [
        Claim(
            f"lan2019-table3-all-E{size}",
            f"With all sublayers shared, a token table of {size} / 768 of the width is worse than "
            "one of 128 / 768",
            table3,
            "higher",
            {f"all-E{size}": 1, "all-E128": -1},
            margin=lan2019.MARGIN,
        )
        for size in SIZES
        if size != 128
    ]
