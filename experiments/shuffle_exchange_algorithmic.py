"""Sorting, reversal, duplication, addition: Shuffle-Exchange networks, learned short, tested long.

    python launch.py sweep --config=experiments/shuffle_exchange_algorithmic.py
    python launch.py sweep --config=experiments/shuffle_exchange_algorithmic.py:scale=small

tiny   width 64, trained up to 32; two hours and a half on one core
small  width 96, trained up to 64; an hour on one GPU (estimated)
paper  width 192, 384 for multiplication, trained up to 64; some hours on one GPU (estimated)

Freivalds et al. 2019 and Draguns et al. 2020: all lengths in every step, tested to 4096. Beside the
Neural and the Residual Shuffle-Exchange network stand a Transformer and a Universal Transformer of
about the same parameters, encoders that label the same positions; in training their positions start
at a random offset, so that those of long inputs have been seen. Residual switches normalise over
the sequence, as the authors' code does, or over the features, as their words have it. The authors'
figures are of the Neural Shuffle-Exchange network at the paper scale, read off a figure.

At tiny scale the Neural Shuffle-Exchange network and the residual one over the features are at 99 %
and more of lengths 8, 16 and 32 in all four. Beyond, they fall off earlier than the paper's, which
is wider and trained longer: sorting is at 78 % at 4,096 (residual: 48 %). Over the sequence,
residual switches learn more slowly: sorting and reversal are at 92 and 94 % of length 32 when the
steps are over. The Transformers have learned none of the four by then: 56 % of sorting and 61 % of
duplication at length 32, and of the others less.
"""

from arch import config, variants
from arch.report import charts, statistics
from arch.report.sections import number_text
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments.papers import freivalds2019
from experiments.papers.freivalds2019 import NAMES

ARGUMENTS = {"scale": ("tiny", "small", "paper")}
VARIES = (
    "model.order",
    "model.width",
    "model.embedding.*",
    "model.stack.kind",
    "model.stack.steps",
    "model.stack.final_norm",
    "model.sublayers.x.*",
    "task.algorithm",
    "task.position_offsets",
    "train.steps",
    "train.optimizer.*",
)

LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
TITLES = {"reverse": "reversal", "double": "duplication"}
# two blocks for multiplication, and of residual switches for addition
BLOCKS = {
    **{(model, "multiplication"): 2 for model in ("nse", "rse", "rse_features")},
    **{(model, "addition"): 2 for model in ("rse", "rse_features")},
}
SCALES = {
    "tiny": {
        "algorithms": ("sorting", "reverse", "double", "addition"),
        "width": 64,
        "attention": (88, 2),  # width, layers
        "universal": (128, 3),  # width, steps
        "bins": (8, 16, 32),
        "blocks": {},
        "examples": 64,
        "steps": 3000,
        "fewer": {"reverse": 1500, "double": 1500},
        "rate": 3.0,  # times the authors', who train seven times as long
        "every": 500,
    },
    "small": {
        "algorithms": tuple(freivalds2019.ACCURACY),
        "width": 96,
        "attention": (96, 4),
        "universal": (192, 6),
        "bins": (8, 16, 32, 64),
        "blocks": BLOCKS,
        "examples": 256,
        "steps": 20000,
        "fewer": {},
        "rate": 1.0,
        "every": 1000,
    },
    "paper": {
        "algorithms": tuple(freivalds2019.ACCURACY),
        "width": 192,
        "attention": (192, 4),
        "universal": (384, 8),
        "bins": (8, 16, 32, 64),
        "blocks": BLOCKS,
        "examples": 1024,
        "steps": 20000,
        "fewer": {},
        "rate": 1.0,
        "every": 1000,
    },
}
HEADS = 4


def get_config(arg):
    scale = SCALES[arg.scale]
    width = scale["width"]
    letters = {"s": {"kind": "attention", "heads": HEADS}, "f": {"kind": "feed_forward"}}
    return config.make(
        model=variants.benes(width, 1, "residual", sublayers=letters, embedding={"init_std": 0.22}),
        task={
            "kind": "algorithmic_bins",
            "bins": scale["bins"],
            "lengths": lengths(arg),
            "evaluation_examples": scale["examples"],
        },
        train={
            "steps": scale["steps"],
            "batch": 32,
            "optimizer": freivalds2019.radam(width, times=scale["rate"]),
        },
        evaluate={
            "every": scale["every"],
            "tokens": 0,
            "splits": ("valid", *(f"n{n}" for n in lengths(arg))),
        },
        save={"every": scale["every"]},
    )


def lengths(arg):
    return tuple(sorted({*SCALES[arg.scale]["bins"], *LENGTHS}))


def models(arg):
    """Model → what makes it of the configuration."""
    scale = SCALES[arg.scale]
    attention = {
        "model.stack.final_norm": True,
        "model.embedding.init_std": 0.0,
        "model.embedding.scale": True,
        "model.embedding.positions": "sinusoidal",
        "task.position_offsets": LENGTHS[-1] - scale["bins"][-1],
        "train.optimizer.name": "adamw",
        "train.optimizer.learning_rate": 1e-3,
        "train.optimizer.beta2": 0.98,
        "train.optimizer.epsilon": 1e-8,
        "train.optimizer.weight_decay": 0.0,
        "train.optimizer.warmup": 0.1,
    }
    width, layers = scale["attention"]
    wider, steps = scale["universal"]
    return {
        "nse": {
            "model.sublayers.x.unit": "gated",
            "model.embedding.kind": "squashed",
            "model.embedding.init_std": None,
        },
        "rse_features": {"model.sublayers.x.normalisation": "features"},
        "ut": {
            **attention,
            "model.width": wider,
            "model.order": "sf",
            "model.stack.kind": "universal",
            "model.stack.steps": steps,
        },
        "transformer": {**attention, "model.width": width, "model.order": f"(sf){layers}"},
        "rse": {},
    }


def cells(arg, results):
    scale, found = SCALES[arg.scale], []
    for algorithm in scale["algorithms"]:
        for model, overrides in models(arg).items():
            of_cell = {"task.algorithm": algorithm, **overrides}
            if algorithm in scale["fewer"]:
                of_cell["train.steps"] = scale["fewer"][algorithm]
            if "model.order" not in overrides:
                of_cell["model.sublayers.x.blocks"] = scale["blocks"].get((model, algorithm), 1)
                if arg.scale == "paper" and algorithm == "multiplication":
                    of_cell["model.width"] = 384
                    rate = freivalds2019.radam(384)["learning_rate"]
                    of_cell["train.optimizer.learning_rate"] = rate
            found.append(Cell(f"{algorithm}-{model}", of_cell, variant=model))
    return found


def TABLE(arg, cells, results):
    scale = SCALES[arg.scale]
    longest = scale["bins"][-1]
    return {
        "title": f"Algorithms learned at lengths up to {longest}",
        "metric": "token_accuracy",
        "lower_is_better": False,
        "split": f"n{longest}",
        "columns": ("order", "parameters.unique"),
        "sections": [over_lengths(arg, results, a) for a in scale["algorithms"]],
        "charts": [over_length(arg, results, a) for a in scale["algorithms"]],
    }


def CLAIMS(arg, cells, results):
    claims, longest = [], LENGTHS[-1]
    for algorithm in SCALES[arg.scale]["algorithms"]:
        name = str(TITLES.get(algorithm, algorithm))
        paper = freivalds2019.ACCURACY[algorithm][longest]
        values = results.values(f"{algorithm}-nse", "token_accuracy", f"n{longest}")
        if not values:
            continue
        claims.append(
            Claim(
                f"freivalds2019-{name}",
                f"{name.capitalize()}, trained on short inputs: the Neural Shuffle-Exchange "
                f"network gets {paper:.2f} of the symbols right at length {longest:,} (ours less "
                "that)",
                "Freivalds et al. 2019, accuracy over length (read off a figure)",
                "equal",
                values={seed: value - paper for seed, value in values.items()},
                effect=0.0,
                margin=0.05,
                scale="absolute",
            )
        )
    return claims


def found(results, algorithm, model, length, metric="token_accuracy"):
    values = results.values(f"{algorithm}-{model}", metric, f"n{length}")
    return statistics.summary(values.values())


def over_lengths(arg, results, algorithm):
    """Accuracies of symbols and of sequences over the length, the paper's below."""
    rows = []
    for model, name in NAMES.items():
        for metric, what in (("token_accuracy", "symbols"), ("sequence_accuracy", "sequences")):
            cell = [found(results, algorithm, model, n, metric) for n in lengths(arg)]
            rows.append([name, what, *(statistics.mean_and_sd(s, 3) for s in cell)])
    paper = freivalds2019.ACCURACY[algorithm]
    printed = [number_text(paper.get(n), ".2f") for n in lengths(arg)]
    rows.append([f"{NAMES['nse']}, paper, trained to 64", "symbols", *printed])
    return {
        "title": f"{TITLES.get(algorithm, algorithm)}: accuracy by length",
        "columns": ["model", "of", *map(str, lengths(arg))],
        "rows": rows,
        "note": "Mean ± SD over seeds. Of symbols: of the positions where the target or the "
        f"prediction is not padding; of sequences: without a fault, of "
        f"{SCALES[arg.scale]['examples']} a length.",
    }


def over_length(arg, results, algorithm):
    """A chart: accuracy of symbols over the length."""
    series = {
        name: [(n, found(results, algorithm, model, n)) for n in lengths(arg)]
        for model, name in NAMES.items()
    }
    paper = freivalds2019.ACCURACY[algorithm]
    series["Neural Shuffle-Exchange, paper"] = [
        (n, statistics.summary([value])) for n, value in paper.items()
    ]
    title = TITLES.get(algorithm, algorithm)
    longest = SCALES[arg.scale]["bins"][-1]
    return charts.line_chart(
        f"length-{algorithm}",
        f"{title}, trained at lengths up to {longest}",
        series,
        "length",
        "accuracy of symbols",
        "x",
    )
