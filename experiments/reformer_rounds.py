r"""How many hashes does attention need: perplexity over rounds, against full attention.

    python launch.py sweep --config=experiments/reformer_rounds.py
    python launch.py sweep --config=experiments/reformer_rounds.py:scale=desk \
        --ladder=train.optimizer.learning_rate=1e-3,2e-3,4e-3 --pilot=100

tiny   3 layers of width 64, 512 bytes; an hour on one core
desk   3 layers of width 96, 512 bytes, 8M bytes a run, reversible too; ten CPU hours
       to the first look without the ladder, twenty with it
small  6 layers of width 512, 4,096 bytes; three hours on one GPU (estimated)
paper  3 layers of width 1024, enwik8 in 12,288 bytes, Adafactor; days on 8 GPUs (estimated)

Kitaev, Kaiser and Levskaya 2020, Figures 3 and 4: shared queries and keys do no harm, and eight
rounds come near to full attention. Every model is evaluated with 1, 2, 4 and 8 rounds besides its
own, by the same weights.
At paper scale a sequence is as long as the paper's images, and not the 65,536 bytes of its enwik8:
full attention with shared keys has its whole matrix of weights here, which would be 1 TiB.

At tiny scale each doubling of the rounds comes nearer to full attention with shared keys, whose
perplexity is 10.25: one round is 0.9 behind, eight are 0.2 [0.1, 0.3]. Trained with one or two,
more in evaluation gain little or nothing; trained in full, hashing costs 1.1 with eight and 4 with
one. Shared keys themselves do harm here, 1.4 [1.2, 1.5]: 1,600 steps are few.
"""

from arch import config, variants
from arch.report.sections import Mean, means_by_cell
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell

ARGUMENTS = {"scale": ("tiny", "desk", "small", "paper"), "corpus": ""}
VARIES = (
    "model.sublayers.s.*",
    "evaluate.models.*",
    "model.stack.*",  # at desk scale
    "model.head.tie",
)

ADAM = {"name": "adamw", "learning_rate": 2e-3, "beta2": 0.98, "weight_decay": 0.01}
SCALES = {
    "tiny": {
        "model": {"layers": 3, "width": 64, "heads": 4},
        "chunk": 32,
        "task": {"corpus": "stdlib", "length": 512},
        "train": {"steps": 1600, "batch": 4, "optimizer": ADAM},
        "every": 400,
    },
    "desk": {
        "model": {"layers": 3, "width": 96, "heads": 4},
        "chunk": 32,
        "task": {"corpus": "stdlib", "length": 512},
        "train": {"steps": 2000, "batch": 8, "optimizer": ADAM},
        "every": 400,
    },
    "small": {
        "model": {"layers": 6, "width": 512, "heads": 8, "dropout": 0.1, "dtype": "bfloat16"},
        "chunk": 64,
        "task": {"corpus": "stdlib", "length": 4096},
        "train": {"steps": 10000, "batch": 8, "optimizer": ADAM},
        "every": 1000,
    },
    "paper": {
        "model": {"layers": 3, "width": 1024, "heads": 8, "dtype": "bfloat16"},
        "chunk": 64,
        "task": {"corpus": "enwik8", "length": 12288},
        "train": {
            "steps": 140000,
            "batch": 8,
            "clip": 0.0,
            "optimizer": {"name": "adafactor"},
        },
        "every": 5000,
    },
}
ROUNDS = (1, 2, 4, 8)
DESK = ("full", "lsh4", "lsh8")  # with what is reversible, the arms of that scale
MARGIN = 0.02  # of perplexity: a smaller difference does not matter
LETTER = "sublayers.s"


def LOOKS(arg):
    return (3, 5, 8) if arg.scale == "desk" else ()


def get_config(arg):
    scale = SCALES[arg.scale]
    corpus = {"corpus": arg.corpus} if arg.corpus else {}
    return config.make(
        model=variants.vanilla(**scale["model"], embedding={"positions": "axial"}),
        task={**scale["task"], **corpus},
        train=scale["train"],
        evaluate={"every": scale["every"]},
        save={"every": scale["every"]},
    )


def letter(arg, attention, **options):
    """Fields of the attention letter; those of one kind have the same parameters."""
    fields = {"kind": attention, "heads": SCALES[arg.scale]["model"]["heads"], "bias": False}
    return {f"{LETTER}.{name}": value for name, value in {**fields, **options}.items()}


def shown(arg):
    """`evaluate.models`: full attention with shared keys, and each number of rounds."""
    models = {"full": letter(arg, "attention", shared_qk=True)}
    chunk = SCALES[arg.scale]["chunk"]
    for n in ROUNDS:
        models[f"lsh{n}"] = letter(arg, "lsh_attention", rounds=n, chunk=chunk)
    return models


def cells(arg, results):
    models = shown(arg)
    every = {
        f"evaluate.models.{name}.{field}": value
        for name, fields in models.items()
        for field, value in fields.items()
    }
    separate = Cell("separate", {f"model.{k}": v for k, v in letter(arg, "attention").items()})
    by_weights = [
        Cell(name, {f"model.{k}": v for k, v in fields.items()} | every)
        for name, fields in models.items()
    ]
    if arg.scale != "desk":
        return [separate, *by_weights]
    full = dict(by_weights[0].overrides)
    reversible = {"model.stack.kind": "reversible"}
    concatenated = {**reversible, "model.stack.merge": "concatenate", "model.head.tie": False}
    return [
        separate,
        *(cell for cell in by_weights if cell.name in DESK),
        Cell("reversible", full | reversible),
        Cell("reversible_concatenated", full | concatenated),
    ]


def TABLE(arg, cells, results):
    by_weights = [cell for cell in cells if cell.name in shown(arg)]
    columns = [Mean(cell.name, "perplexity", f"test@{cell.name}") for cell in by_weights]
    return {
        "title": "Rounds of hashing",
        "metric": "perplexity",
        "split": "test",
        "baseline": "full",
        "columns": ["bits_per_byte"],
        "sections": [
            means_by_cell(
                "Trained with, in rows; evaluated with, in columns",
                results,
                by_weights,
                columns,
                first="perplexity",
                counted=False,
                note="separate: queries and keys of their own, shown above alone.",
            )
        ],
    }


def CLAIMS(arg, cells, results):
    def claim(name, statement, figure, direction, ours, base):
        return Claim(
            f"kitaev2020-{name}",
            statement,
            f"Kitaev et al. 2020, Figure {figure} (curves without numbers)",
            direction,
            {ours: 1, base: -1},
            margin=MARGIN,
        )

    near = [
        claim(
            "figure3-shared-keys", "Shared queries and keys do no harm", 3,
            "equal", "full", "separate",
        ),
        claim(
            "figure4-eight-rounds", "Eight rounds nearly match full attention", 4,
            "equal", "lsh8", "full",
        ),
    ]  # fmt: skip
    if arg.scale == "desk":
        return near + [
            claim(
                f"figure3-{ours}", f"Reversible residual streams{how} cost nothing", 3,
                "equal", ours, "full",
            )
            for ours, how in (
                ("reversible", ""), ("reversible_concatenated", ", both seen by the head,"),
            )
        ]  # fmt: skip
    return near + [
        claim(
            "figure4-more-rounds", "Eight rounds are better than one", 4,
            "lower", "lsh8", "lsh1",
        ),
        claim(
            "figure4-four-rounds", "Four rounds are better than two", 4,
            "lower", "lsh4", "lsh2",
        ),
    ]  # fmt: skip
