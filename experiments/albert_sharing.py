r"""Which sublayers may share their weights in depth: all, attention, feed-forward, none.

    python launch.py sweep --config=experiments/albert_sharing.py
    python launch.py sweep --config=experiments/albert_sharing.py:scale=desk \
        --ladder=train.optimizer.learning_rate=1e-3,2e-3,4e-3 --pilot=100

tiny   3 layers at width 96, 1,200 steps; three quarters of an hour on one core
desk   6 layers at width 96, the wide table, 3,000 steps without a sentence loss; nine CPU
       hours to the first look
small  12 layers at width 384, five hours on one GPU (estimated)
paper  ALBERT base, days on a TPU pod (estimated), and on WikiText-103, not Wikipedia and books

Lan et al. 2019, Table 4, at two embedding sizes, 128 and 768 to the paper's width of 768: sharing
feed-forward costs most of what sharing costs, sharing attention nearly nothing. All cells apply the
same sublayers and take the same time: sharing saves memory. They differ in their parameters, so no
cell starts from another's weights; seeds share the data.

So it is at tiny scale with the wide table: perplexity 18.8 without sharing, +0.2 [-0.4, +0.8] with
attention shared, +1.6 [+1.2, +2.0] with feed-forward, +2.0 [-0.5, +4.5] with all. The narrow table,
16 columns, costs sixty, and what is shared beside it does not show.

At desk scale and one rate for all, with everything shared, seven of eight seeds still had the loss
of single tokens after 2,440 steps of a trial on a GPU, so a rate for each arm is no luxury there.
"""

from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments.papers import lan2019

ARGUMENTS = {"scale": ("tiny", "desk", "small", "paper"), "corpus": ""}
VARIES = ("model.stack.share", "model.embedding.*")

SIZES = (768, 128)
PAPER = {
    f"E{size}-{sharing}": lan2019.BASE[sharing, size][1]
    for size in SIZES
    for sharing in lan2019.SHARING
} | {"E128-none": lan2019.TABLE4_NONE_128}


def LOOKS(arg):
    return (3, 5, 8) if arg.scale == "desk" else ()


def sizes(arg):
    """The wide table alone at desk scale: what is shared does not show beside the narrow one."""
    return SIZES[:1] if arg.scale == "desk" else SIZES


def get_config(arg):
    return lan2019.make(arg)


def cells(arg, results):
    return [
        Cell(
            f"E{size}-{sharing}",
            {"model.stack.share": letters, **lan2019.embedded(arg, size)},
            variant="albert",
        )
        for size in sizes(arg)
        for sharing, letters in lan2019.SHARING.items()
    ]


def TABLE(arg, cells, results):
    paper = {name: PAPER[name] for name in PAPER if name in {cell.name for cell in cells}}
    return lan2019.table(
        "Sharing by letter", cells, results, paper, "Table 4, base", baseline="E768-none"
    )


def CLAIMS(arg, cells, results):
    table4 = "Lan et al. 2019, Table 4 (there of the downstream average)"
    claims, said = [], {768: "a wide token table", 128: "a narrow token table"}
    for size in sizes(arg):
        words = said[size]
        none, attention = f"E{size}-none", f"E{size}-attention"
        claims += [
            Claim(
                f"lan2019-table4-E{size}-attention",
                f"Sharing attention alone costs hardly anything, with {words}",
                table4,
                "equal",
                {attention: 1, none: -1},
                margin=lan2019.MARGIN,
            ),
            Claim(
                f"lan2019-table4-E{size}-ffn",
                f"Sharing feed-forward costs more than sharing attention, with {words}",
                table4,
                "higher",
                {f"E{size}-ffn": 1, attention: -1},
                margin=lan2019.MARGIN,
            ),
            Claim(
                f"lan2019-table4-E{size}-all",
                f"Sharing all sublayers costs something, with {words}",
                table4,
                "higher",
                {f"E{size}-all": 1, none: -1},
                margin=lan2019.MARGIN,
            ),
        ]
    return claims
