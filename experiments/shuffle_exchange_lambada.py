"""LAMBADA by pointing at the word: Shuffle-Exchange networks, Transformer, Universal Transformer.

    python launch.py sweep --config=experiments/shuffle_exchange_lambada.py
    python launch.py sweep --config=experiments/shuffle_exchange_lambada.py:scale=paper

tiny   Penn Treebank, width 64, 2,000 steps, 3 seeds; half an hour on one core
desk   Penn Treebank, width 96, 6,000 steps, its own text held out; fifty
       minutes on two cores
small  wikitext-103, width 192, hours on one GPU (estimated)
paper  width 384, two blocks, 256 words, a day on one GPU (estimated); give it the folder
       train-novels of the authors' distribution as corpus=file:NOVELS

Freivalds et al. 2019 and Draguns et al. 2020: a softmax over positions, its target spread evenly
over those where the word stands; 5 % of the words dropped, smoothing 0.1; passages are read with
ten shares of padding before and behind, and the majority counts. Their words are vectors of
fastText, which stay as they are; here the table is learned. They train on passages whose last word
is in them, here on places of the corpus whose word stands before them, in texts of a quarter of the
length and more, so that padding has been seen. Accuracy is over all test passages, those without
the word being wrong; `answerable_share` is its bound.

At paper scale residual switches have their 11 M parameters besides the table. The peers do not have
those of the papers: gated switches are as many as residual ones, where the table says 33 M; the
Universal Transformer is one stack of 7 M, where the paper's 152 M are an encoder and a decoder of
width 1024 with two tables; and there is no Transformer in the table. Gradients are clipped at a
norm of 1; what the authors do is not known.

At tiny scale, two million words of newspaper, next to nothing of LAMBADA is learned: 2.9 to 3.8 %
of its passages, where guessing gets 1.6 in the paper and 31 are in reach of the vocabulary. On
newspaper held out, gated switches are ahead, 16.0 % (SD 0.6), of residual ones, 14.3 (0.2) and 14.6
(0.4), and of both Transformers, 14.0 (0.3 and 0.5).
"""

from arch import config, variants
from arch.report.sections import Mean, means_by_cell
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments.papers import freivalds2019
from experiments.papers.freivalds2019 import NAMES

ARGUMENTS = {"scale": ("tiny", "desk", "small", "paper"), "corpus": "", "passages": ""}
VARIES = (
    "model.order",
    "model.width",
    "model.embedding.positions",
    "model.stack.kind",
    "model.stack.steps",
    "model.stack.final_norm",
    "model.sublayers.x.*",
    "train.optimizer.learning_rate",
    "train.optimizer.warmup",
)

SCALES = {
    "tiny": {
        "width": 64,
        "blocks": 1,
        "size": 64,
        "attention": (64, 3),  # width, layers
        "universal": (96, 3),  # width, steps
        "task": {"corpus": "ptb", "passages": "penn", "tokenizer": "words:10000", "length": 64},
        "train": {"steps": 2000, "batch": 16},
        "every": 500,
    },
    "desk": {
        "width": 96,
        "blocks": 1,
        "size": 64,
        "attention": (96, 3),
        "universal": (128, 3),
        "task": {"corpus": "ptb", "passages": "penn", "tokenizer": "words:10000", "length": 64},
        "train": {"steps": 6000, "batch": 16},
        "every": 1000,
    },
    "small": {
        "width": 192,
        "blocks": 2,
        "size": 128,
        "attention": (192, 4),
        "universal": (384, 6),
        "task": {
            "corpus": "wikitext-103",
            "passages": "split",
            "tokenizer": "words:60000",
            "length": 128,
        },
        "train": {"steps": 30000, "batch": 64},
        "every": 2000,
    },
    "paper": {
        "width": 384,
        "blocks": 2,
        "size": 300,
        "attention": (384, 6),
        "universal": (768, 6),
        "task": {
            "corpus": "wikitext-103",
            "passages": "lower",
            "tokenizer": "words:60000",
            "length": 256,
        },
        "train": {"steps": 100000, "batch": 64},
        "every": 5000,
    },
}


def LOOKS(arg):
    return (3, 5, 8) if arg.scale == "desk" else ()


def get_config(arg):
    scale = SCALES[arg.scale]
    given = {k: getattr(arg, k) for k in ("corpus", "passages") if getattr(arg, k)}
    words = {"kind": "factorised", "size": scale["size"], "back": False}
    letters = {"s": {"kind": "attention", "heads": 4}, "f": {"kind": "feed_forward"}}
    return config.make(
        model=variants.benes(
            scale["width"], scale["blocks"], "residual", True, embedding=words, sublayers=letters
        ),
        task={
            "kind": "lambada",
            "form": "reading",
            "paddings": 10,
            "label_smoothing": 0.1,
            "shortest": scale["task"]["length"] // 4,
            **scale["task"],
            **given,
        },
        train={**scale["train"], "optimizer": freivalds2019.radam(scale["width"])},
        evaluate={"every": scale["every"], "tokens": 16384},
        save={"every": scale["every"]},
    )


def cells(arg, results):
    scale = SCALES[arg.scale]
    attention = {
        "model.stack.final_norm": True,
        "model.embedding.positions": "sinusoidal",
        "train.optimizer.learning_rate": 1e-3,
        "train.optimizer.warmup": 0.1,
    }
    width, layers = scale["attention"]
    wider, steps = scale["universal"]
    universal = {"model.stack.kind": "universal", "model.stack.steps": steps}
    return [
        Cell("nse", {"model.sublayers.x.unit": "gated"}, variant="shuffle_exchange"),
        Cell("rse", variant="residual_shuffle_exchange"),
        Cell(
            "rse_features",
            {"model.sublayers.x.normalisation": "features"},
            variant="residual_shuffle_exchange",
        ),
        Cell("ut", {**attention, "model.width": wider, "model.order": "sf", **universal}),
        Cell("transformer", {**attention, "model.width": width, "model.order": f"(sf){layers}"}),
    ]


def TABLE(arg, cells, results):
    printed = freivalds2019.LAMBADA
    columns = [
        Mean("accuracy", "accuracy", "test"),
        Mean("share with the word in reach", "answerable_share", "test"),
        Mean("valid", "accuracy", "valid"),
    ]
    paper = [
        [name, f"{accuracy:.4f}", "—" if millions is None else f"{millions} M"]
        for name, (accuracy, millions) in printed.items()
    ]
    return {
        "title": f"LAMBADA by pointing, {arg.scale}",
        "metric": "accuracy",
        "lower_is_better": False,
        "split": "test",
        "baseline": "rse",
        "columns": ("order", "parameters.unique"),
        "paper": {name: printed[name][0] for name in ("nse", "rse", "ut")},
        "paper_label": "Draguns et al. 2020: LAMBADA, test",
        "sections": [
            means_by_cell(
                "The last word of the test passages, and the training corpus's own text",
                results, cells, columns, first="model", labels=NAMES,
            ),
            {
                "title": "Draguns et al. 2020",
                "columns": ["model", "accuracy", "parameters"],
                "rows": paper,
            },
        ],
    }  # fmt: skip


def CLAIMS(arg, cells, results):
    printed = freivalds2019.LAMBADA

    def claim(statement, ours, base):
        return Claim(
            f"draguns2020-lambada-{ours}-{base}",
            statement,
            "Draguns et al. 2020, LAMBADA",
            "higher",
            {ours: 1, base: -1},
            effect=printed[ours][0] - printed[base][0],
            margin=0.01,
            scale="absolute",
            split="valid" if arg.scale == "desk" else "",  # little of LAMBADA is learned there
        )

    return [
        claim("Residual switches find more of the words than gated ones", "rse", "nse"),
        claim("The Universal Transformer finds more of them than residual switches", "ut", "rse"),
    ]
