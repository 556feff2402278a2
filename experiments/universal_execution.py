"""Learning to execute: strings to copy, double and reverse, programs to run.

    python launch.py sweep --config=experiments/universal_execution.py
    python launch.py sweep --config=experiments/universal_execution.py:scale=small

tiny   strings of 1 to 16 digits, programs of numbers below 1,000 and up to 2 statements; an hour
       on one core
small  strings of up to 40, programs of up to 4 statements; two hours on one GPU (estimated)
paper  strings of up to 55, programs of numbers of up to 5 digits and 3 statements; a day on one GPU
       (estimated)

Dehghani et al. 2018, the tables of learning to execute (Zaremba and Sutskever 2014), in which
Universal Transformers are without a fault on strings, and better than the others on all programs
but those of additions, which a Transformer solves too. Their programs are not published: these are
of the same kind, see `arch.data.generated.programs`, and the sizes of the paper's models are not
stated. Strings and programs that are tested are not among those of training.
"""

from arch import config, variants
from arch.report.sections import mean_text
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments.papers import dehghani2018
from experiments.papers.dehghani2018 import NAMES

ARGUMENTS = {"scale": ("tiny", "small", "paper")}
VARIES = (
    "model.order",
    "model.encoder_order",
    "model.stack.kind",
    "model.stack.steps",
    "task.algorithm",
    "task.length",
)
STRINGS, PROGRAMS = ("copy", "double", "reverse"), ("program", "control", "addition")
ADAM = {"name": "adamw", "learning_rate": 2e-3, "beta2": 0.98, "weight_decay": 0.0, "warmup": 0.1}
SCALES = {
    "tiny": {
        "width": 64, "steps": 3, "digits": 16, "length": 3, "nesting": 2, "examples": 256,
        "train": {"steps": 2000, "batch": 32, "optimizer": ADAM},
    },
    "small": {
        "width": 128, "steps": 4, "digits": 40, "length": 4, "nesting": 4, "examples": 512,
        "train": {"steps": 20000, "batch": 128, "optimizer": {**ADAM, "learning_rate": 1e-3}},
    },
    "paper": {
        "width": 128, "steps": 8, "digits": 55, "length": 5, "nesting": 3, "examples": 1024,
        "train": {
            "steps": 100000, "batch": 100, "clip": 0.0, "optimizer": dehghani2018.adam(128),
        },
    },
}  # fmt: skip


def get_config(arg):
    scale = SCALES[arg.scale]
    every = scale["train"]["steps"] // 4
    return config.make(
        model=variants.encoder_decoder(
            "sf", "scf",
            width=scale["width"], heads=4, sublayers={"l": {"kind": "lstm"}}, dropout=0.0,
            stack={"kind": "universal", "steps": scale["steps"]},
        ),
        task={
            "kind": "learning_to_execute",
            "length": scale["length"],
            "nesting": scale["nesting"],
            "evaluation_examples": scale["examples"],
        },
        train=scale["train"],
        evaluate={"every": every, "tokens": 0, "splits": ("valid", "test")},
        save={"every": every},
    )  # fmt: skip


def models(arg):
    """Model → what makes it of the configuration."""
    steps = SCALES[arg.scale]["steps"]
    plain = {"model.stack.kind": "sequential", "model.stack.steps": None}
    layers = {"model.encoder_order": f"(sf){steps}", "model.order": f"(scf){steps}"}
    return {
        "lstm": {**plain, "model.encoder_order": "l2", "model.order": "(lc)2"},
        "transformer": {**plain, **layers},
        "ut": {},
    }


def cells(arg, results):
    digits = {"task.length": SCALES[arg.scale]["digits"]}
    return [
        Cell(
            f"{algorithm}-{model}",
            {"task.algorithm": algorithm, **(digits if algorithm in STRINGS else {}), **overrides},
            variant=model,
        )
        for algorithm in STRINGS + PROGRAMS
        for model, overrides in models(arg).items()
    ]


def TABLE(arg, cells, results):
    return {
        "title": "Learning to execute",
        "metric": "sequence_accuracy_free_running",
        "lower_is_better": False,
        "split": "test",
        "columns": ("order", "parameters.unique", "parameters.applied"),
        "sections": [accuracies(results)],
    }


def accuracies(results):
    """By algorithm and model, the shares of right characters and of wholly right answers."""
    rows = []
    for algorithm in STRINGS + PROGRAMS:
        for model in ("lstm", "transformer", "ut"):
            ours = [
                " / ".join(
                    mean_text(results, f"{algorithm}-{model}", f"{of}_accuracy_{way}", "test")
                    for of in ("token", "sequence")
                )
                for way in ("free_running", "teacher_forced")
            ]
            paper = dehghani2018.EXECUTION[model, algorithm]
            rows.append([algorithm, NAMES[model], *ours, f"{paper[0]:g} / {paper[1]:g}"])
    return {
        "title": "Accuracy of characters / of whole answers",
        "columns": ["algorithm", "model", "free-running", "teacher-forced", "paper"],
        "rows": rows,
        "note": "Mean ± SD over seeds, the end counted. The paper (Dehghani et al. 2018) has "
        "longer strings and programs of its own, and does not say which way it decodes.",
    }


def CLAIMS(arg, cells, results):
    return [
        Claim(
            f"dehghani2018-execute-{algorithm}-{other}",
            f"{algorithm.capitalize()}: the Universal Transformer gets more answers wholly right "
            f"than the {NAMES[other]}",
            "Dehghani et al. 2018, learning to execute",
            "higher",
            {f"{algorithm}-ut": 1, f"{algorithm}-{other}": -1},
            effect=ut - dehghani2018.EXECUTION[other, algorithm][1],
            margin=0.05,
            scale="absolute",
        )
        for algorithm in STRINGS + PROGRAMS
        for other in ("transformer", "lstm")
        if (ut := dehghani2018.EXECUTION["ut", algorithm][1])
        > dehghani2018.EXECUTION[other, algorithm][1]
    ]
