"""Sorting, reversal, duplication, addition: Shuffle-Exchange networks, learned short, tested long.

python launch.py sweep --config=experiments/shuffle_exchange_algorithmic.py
python launch.py sweep --config=experiments/shuffle_exchange_algorithmic.py:scale=small
"""

from arch import config, variants
from arch.experiment import Cell
from experiments import freivalds2019

ARGUMENTS = {"scale": ("tiny", "small", "paper")}

ADAM = {"name": "adamw", "learning_rate": 1e-3, "beta2": 0.98, "warmup": 0.1}
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
SCALES = {
    "tiny": {
        "algorithms": ("sorting", "reverse", "double", "addition"),
        "width": 48,
        "blocks": {},
        "attention": {"layers": 2, "width": 64, "heads": 4},
        "universal": {"steps": 4, "width": 96},
        "bins": (8, 16, 32),
        "examples": 64,
        "train": {"steps": 2000, "batch": 32},
        "every": 500,
    },
    "small": {
        "algorithms": ("sorting", "reverse", "double", "addition", "multiplication"),
        "width": 96,
        "blocks": {"addition": 2, "multiplication": 2},
        "attention": {"layers": 4, "width": 96, "heads": 4},
        "universal": {"steps": 6, "width": 192},
        "bins": (8, 16, 32, 64),
        "examples": 256,
        "train": {"steps": 20000, "batch": 32},
        "every": 1000,
    },
    "paper": {
        "algorithms": ("sorting", "reverse", "double", "addition", "multiplication"),
        "width": 192,
        "widths": {"multiplication": 384},
        "blocks": {"addition": 2, "multiplication": 2},
        "attention": {"layers": 6, "width": 192, "heads": 8},
        "universal": {"steps": 8, "width": 384},
        "bins": (8, 16, 32, 64),
        "examples": 1024,
        "train": {"steps": 20000, "batch": 32},
        "every": 1000,
    },
}


def get_config(arg):
    scale = SCALES[arg.scale]
    return config.make(
        model=variants.benes(scale["width"], 1, "residual"),
        task={
            "kind": "algorithmic_bins",
            "bins": scale["bins"],
            "lengths": (*scale["bins"], *(n for n in LENGTHS if n not in scale["bins"])),
            "evaluation_examples": scale["examples"],
        },
        train={**scale["train"], "optimizer": freivalds2019.radam(scale["width"])},
        evaluate={
            "every": scale["every"],
            "tokens": 0,
            "splits": ("valid", *(f"n{n}" for n in sorted({*scale["bins"], *LENGTHS}))),
        },
        save={"every": scale["every"]},
    )


def cells(arg, results):
    found = []
    for algorithm in SCALES[arg.scale]["algorithms"]:
        base = 2 if algorithm in ("addition", "multiplication") else 11
        of_task = {"task.algorithm": algorithm, "task.base": base}
        for name in ("nse", "rse"):
            overrides = {"model.sublayers.x.unit": "gated" if name == "nse" else "residual"}
            found.append(Cell(f"{algorithm}-{name}", of_task | overrides, variant=name))
    return found
