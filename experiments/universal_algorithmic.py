"""Copy, reverse and addition, trained short and tested long: LSTM, Transformer, Universal, ACT.

    python launch.py sweep --config=experiments/universal_algorithmic.py
    python launch.py sweep --config=experiments/universal_algorithmic.py:scale=small

tiny   trained at lengths 1 to 10, tested up to 100; an hour on two cores that others used too
desk   copy and reverse, trained at lengths 1 to 20, tested up to 200, without the LSTM; 20 CPU
       hours to the first look
small  trained up to 20, tested up to 200; an hour on one GPU (estimated)
paper  trained up to 40, tested up to 400; a day on one GPU (estimated)

Dehghani et al. 2018, the table of algorithmic tasks: decimal symbols, trained at length 40, tested
at 400. All models are encoder-decoders on tensor2tensor's format; the LSTM attends to its encoder
like the others; the Transformer has as many layers of its own as the Universal Transformer has
steps, and with halting a position may take twice as many. Positions start at a random offset in
training, so that those of long inputs have been seen. The paper does not say whether its accuracies
are teacher-forced or free-running, nor the size of its models: both accuracies are measured here,
and the paper scale takes tensor2tensor's `tiny`.

At tiny scale expect every model to copy and reverse at the lengths of training, and only the
Universal Transformers to copy far beyond them (0.88 of the symbols at 40, 0.70 at 100, the
Transformer 0.10 and 0.03), as in the paper. Nothing generalises in reversing, where the paper's
Universal Transformer does, and 4,000 steps are too few for attention to learn addition, which the
LSTM does. With halting, positions stop after one or two of six steps.
"""

from arch import config, variants
from arch.report import charts
from arch.report.sections import Mean, mean_text
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments.papers import dehghani2018
from experiments.papers.dehghani2018 import NAMES

ARGUMENTS = {"scale": ("tiny", "desk", "small", "paper"), "base": 10}
VARIES = (
    "model.order",
    "model.encoder_order",
    "model.stack.kind",
    "model.stack.steps",
    "model.stack.halting",
    "model.stack.step_signal",  # at paper scale
    "task.algorithm",
)

ALGORITHMS = ("copy", "reverse", "addition")
MULTIPLES = {"valid": 1, "x2": 2, "x4": 4, "x10": 10}
ADAM = {"name": "adamw", "learning_rate": 2e-3, "beta2": 0.98, "weight_decay": 0.0, "warmup": 0.1}
SCALES = {
    "tiny": {
        "width": 64,
        "steps": 3,
        "dropout": 0.0,
        "length": 10,
        "examples": 256,
        "train": {"steps": 4000, "batch": 32, "optimizer": ADAM},
        "every": 1000,
    },
    "desk": {
        "width": 64,
        "steps": 4,
        "dropout": 0.0,
        "length": 20,
        "examples": 256,
        "train": {"steps": 20000, "batch": 64, "optimizer": ADAM},
        "every": 2000,
    },
    "small": {
        "width": 128,
        "steps": 4,
        "dropout": 0.0,
        "length": 20,
        "examples": 512,
        "train": {"steps": 20000, "batch": 128, "optimizer": {**ADAM, "learning_rate": 1e-3}},
        "every": 2000,
    },
    "paper": {
        "width": 128,
        "steps": 8,
        "dropout": 0.1,
        "length": 40,
        "examples": 1024,
        "train": {
            "steps": 100000,
            "batch": 100,
            "clip": 0.0,
            "optimizer": dehghani2018.adam(128),
        },
        "every": 5000,
    },
}
# (model, algorithm) → accuracy of symbols and of sequences, at ten times the training length
PAPER = {
    ("lstm", "copy"): (0.45, 0.09),
    ("lstm", "reverse"): (0.66, 0.11),
    ("lstm", "addition"): (0.08, 0.0),
    ("transformer", "copy"): (0.53, 0.03),
    ("transformer", "reverse"): (0.13, 0.06),
    ("transformer", "addition"): (0.07, 0.0),
    ("ut", "copy"): (0.91, 0.35),
    ("ut", "reverse"): (0.96, 0.46),
    ("ut", "addition"): (0.34, 0.02),
}


def LOOKS(arg):
    return (3, 5, 8) if arg.scale == "desk" else ()


def algorithms(arg):
    """Those of the scale; addition takes attention longer than a night."""
    return ALGORITHMS[:2] if arg.scale == "desk" else ALGORITHMS


def get_config(arg):
    scale, paper = SCALES[arg.scale], arg.scale == "paper"
    model = variants.encoder_decoder(
        "sf",
        "scf",
        width=scale["width"],
        heads=4,
        sublayers={"l": {"kind": "lstm"}},
        dropout=scale["dropout"],
        attention=dehghani2018.ATTENTION if paper else {},
        feed_forward=dehghani2018.FEED_FORWARD if paper else {},
        stack={"kind": "universal", "steps": scale["steps"]},
    )
    return config.make(
        model=model,
        task={
            "kind": "algorithmic",
            "algorithm": "copy",
            "base": arg.base,
            "length": scale["length"],
            "multiples": tuple(MULTIPLES.values()),
            "position_offsets": 9 * scale["length"],
            "evaluation_examples": scale["examples"],
            "label_smoothing": dehghani2018.LABEL_SMOOTHING * paper,
        },
        train=scale["train"],
        evaluate={"every": scale["every"], "tokens": 0, "splits": tuple(MULTIPLES)},
        save={"every": scale["every"]},
    )


def models(arg):
    """Model → what makes it of the configuration."""
    steps = SCALES[arg.scale]["steps"]
    plain = {"model.stack.kind": "sequential", "model.stack.steps": None}
    universal = dehghani2018.UNIVERSAL if arg.scale == "paper" else {}
    lstm = {"lstm": {**plain, "model.encoder_order": "l2", "model.order": "(lc)2"}}
    return {
        **({} if arg.scale == "desk" else lstm),
        "transformer": {
            **plain,
            "model.encoder_order": f"(sf){steps}",
            "model.order": f"(scf){steps}",
        },
        "ut": universal,
        "ut_act": {**universal, "model.stack.halting": "act", "model.stack.steps": 2 * steps},
    }


def shown(arg):
    """Model → its name in tables."""
    return {model: name for model, name in NAMES.items() if model in models(arg)}


def cells(arg, results):
    return [
        Cell(f"{algorithm}-{model}", {"task.algorithm": algorithm, **overrides}, variant=model)
        for algorithm in algorithms(arg)
        for model, overrides in models(arg).items()
    ]


def TABLE(arg, cells, results):
    length = SCALES[arg.scale]["length"]
    return {
        "title": f"Algorithms learned at lengths 1 to {length}",
        "metric": "token_accuracy_free_running",
        "lower_is_better": False,
        "split": "valid",
        "columns": ("order", "parameters.unique", "parameters.applied"),
        "sections": [
            *(over_lengths(arg, results, algorithm) for algorithm in algorithms(arg)),
            ponder(arg, results),
        ],
        "charts": [over_length(arg, results, algorithm) for algorithm in algorithms(arg)],
    }


def CLAIMS(arg, cells, results):
    return [
        Claim(
            f"dehghani2018-{algorithm}-{other}",
            f"{algorithm.capitalize()}, at ten times the length of training: the Universal "
            f"Transformer gets more symbols right than the {NAMES[other]}",
            "Dehghani et al. 2018, algorithmic tasks",
            "higher",
            {f"{algorithm}-ut": 1, f"{algorithm}-{other}": -1},
            effect=PAPER["ut", algorithm][0] - PAPER[other, algorithm][0],
            margin=0.05,
            scale="absolute",
            split="x10",
        )
        for algorithm in algorithms(arg)
        for other in ("transformer", "lstm")
        if other in models(arg)
    ]


def over_lengths(arg, results, algorithm):
    """Accuracies of an algorithm over the length of its inputs, the paper's last."""
    length, rows = SCALES[arg.scale]["length"], []
    for model, name in shown(arg).items():
        for way in ("free_running", "teacher_forced"):
            row = [name, way.replace("_", "-")]
            for split in MULTIPLES:
                pair = [
                    mean_text(results, f"{algorithm}-{model}", f"{of}_accuracy_{way}", split)
                    for of in ("token", "sequence")
                ]
                row.append(" / ".join(pair))
            paper = PAPER.get((model, algorithm))
            row.append(f"{paper[0]:.2f} / {paper[1]:.2f}" if paper else "—")
            rows.append(row)
    lengths = [f"1–{length}", *(f"{m * length}" for m in MULTIPLES.values() if m > 1)]
    return {
        "title": f"{algorithm}: accuracy of symbols / of sequences by length of the input",
        "columns": ["model", "decoding", *lengths, "paper: trained at 40, tested at 400"],
        "rows": rows,
        "note": "Mean ± SD over seeds, the end symbol counted. Free-running: every symbol is "
        "decoded greedily from the model's own; teacher-forced: from the right ones. The paper "
        "(Dehghani et al. 2018) does not say which its figures are.",
    }


def ponder(arg, results):
    """Updates a position takes, in the encoder and in the decoder."""
    rows = []
    for algorithm in algorithms(arg):
        row = [algorithm]
        for split in MULTIPLES:
            parts = [
                mean_text(results, f"{algorithm}-ut_act", name, split, 2)
                for name in ("encoder_ponder_time", "ponder_time")
            ]
            row.append(" / ".join(parts))
        rows.append(row)
    return {
        "title": "Ponder time with halting: encoder / decoder",
        "columns": ["algorithm", *MULTIPLES],
        "rows": rows,
        "note": f"Steps of at most {2 * SCALES[arg.scale]['steps']}, teacher-forced, mean ± SD "
        "over seeds.",
    }


def over_length(arg, results, algorithm):
    """A chart: accuracy of symbols, free-running, over the length of the input."""
    length, metric = SCALES[arg.scale]["length"], "token_accuracy_free_running"
    series = {
        name: [
            (multiple * length, Mean("", metric, split).summary(results, f"{algorithm}-{model}"))
            for split, multiple in MULTIPLES.items()
        ]
        for model, name in shown(arg).items()
    }
    return charts.line_chart(
        f"length-{algorithm}",
        f"{algorithm}, trained at lengths 1 to {length}",
        series,
        "length of the input",
        "accuracy of symbols, free-running",
        "x",
    )
