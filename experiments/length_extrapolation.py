"""Beyond the length of training: perplexity from 128 to 4,096 tokens, position kinds and mixers.

    python launch.py sweep --config=experiments/length_extrapolation.py --executor=processes
    python launch.py sweep --config=experiments/length_extrapolation.py:scale=desk

tiny   width 64, three layers, bytes in 128; an hour on one core
desk   width 128, six layers; a night on two cores (estimated)

Each arm is trained on 128 bytes and read in windows of up to 4,096, one behind the other: where a
mixer uses what stands further back, the perplexity falls with the window; where its positions
break, it rises. Attention with five kinds of positions (none, absolute, rotary, ALiBi of Press et
al. 2022, the buckets of T5) stands beside recurrences, which have none to break. Within attention
and within the recurrences the parameters are about equal; see the table.

At tiny scale ALiBi alone of attention's positions keeps its perplexity, 6.75 at 128 tokens and 6.63
at 4,096; rotary ones are ahead at 128 (5.77) and worst at 4,096 (23.7). Every recurrence gains a
little from longer windows; Mamba-2 is first, 4.64 and 4.57, with a fifth more parameters.
"""

from arch import config, variants
from arch.report import charts
from arch.report.sections import Mean, means_by_cell
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell

ARGUMENTS = {"scale": ("tiny", "desk"), "corpus": "stdlib"}
VARIES = ("model.order", "model.sublayers.s.positions", "model.embedding.positions")

SCALES = {
    "tiny": {
        "model": {"layers": 3, "width": 64, "heads": 4},
        "train": {"steps": 600, "batch": 16},
        "seeds": (0, 1, 2),
    },
    "desk": {
        "model": {"layers": 6, "width": 128, "heads": 4},
        "train": {"steps": 8000, "batch": 16},
        "seeds": (0, 1, 2, 3, 4),
    },
}
LENGTH = 128  # of training
WINDOWS = (128, 256, 512, 1024, 2048, 4096)
ABSOLUTE = ("none", "sinusoidal", "rotary")  # kinds of the embedding; the others are attention's
POSITIONS = (*ABSOLUTE, "alibi", "t5")
MIXERS = {  # letters beside s and f
    "m": {"kind": "mamba2", "state": 16},
    "r": {"kind": "rwkv4"},
    "d": {"kind": "delta", "heads": 4, "expand": 1.0},
    "g": {"kind": "gru"},
}


def get_config(arg):
    scale = SCALES[arg.scale]
    return config.make(
        seeds=scale["seeds"],
        model=variants.vanilla(**scale["model"], sublayers=MIXERS),
        task={"corpus": arg.corpus, "length": LENGTH},
        train={
            **scale["train"],
            "optimizer": {"learning_rate": 2e-3, "beta2": 0.98, "weight_decay": 0.01},
        },
        evaluate={"every": scale["train"]["steps"] // 4, "windows": WINDOWS, "splits": ("test",)},
        save={"every": scale["train"]["steps"] // 2},
    )


def cells(arg, results):
    layers = SCALES[arg.scale]["model"]["layers"]
    return [
        *(attention(kind) for kind in POSITIONS),
        *(recurrence(letter, layers) for letter in MIXERS),
    ]


def attention(kind):
    """Attention with one kind of positions."""
    absolute = kind if kind in ABSOLUTE else "none"
    own = {} if kind in ABSOLUTE else {"model.sublayers.s.positions": kind}
    return Cell(f"attention-{kind}", {"model.embedding.positions": absolute, **own})


def recurrence(letter, layers):
    """A mixer without positions in the place of attention."""
    fields = {"model.order": f"({letter}f){layers}", "model.embedding.positions": "none"}
    return Cell(MIXERS[letter]["kind"], fields)


def TABLE(arg, cells, results):
    windows = [Mean(f"{n:,}", "perplexity", f"test@{n}", 3) for n in WINDOWS]
    lines = {
        cell.name: [
            (n, mean.summary(results, cell.name)) for n, mean in zip(WINDOWS, windows, strict=True)
        ]
        for cell in cells
    }
    return {
        "title": f"Trained on {LENGTH} tokens, read in longer windows",
        "metric": "perplexity",
        "split": "test",
        "baseline": "attention-sinusoidal",
        "columns": ["order", "parameters.unique"],
        "sections": [
            means_by_cell(
                "Perplexity by the window, in tokens", results, cells, windows, counted=False,
                note="Windows stand one behind the other, so that a longer one also has fewer "
                "tokens with little before them.",
            )
        ],
        "charts": [
            charts.line_chart(
                "windows", "Beyond the length of training", lines, "window (tokens)",
                "perplexity", "xy",
            )
        ],
    }  # fmt: skip


def CLAIMS(arg, cells, results):
    def claim(name, statement, ours, base, length):
        return Claim(
            f"press2022-{name}", statement, "Press et al. 2022 (ALiBi), Figure 1", "lower",
            {ours: 1, base: -1}, split=f"test@{length}",
        )  # fmt: skip

    return [
        claim(
            f"alibi-{other}", f"At eight times the length of training ALiBi is ahead of {other} "
            "positions", "attention-alibi", f"attention-{other}", 8 * LENGTH,
        )
        for other in ("sinusoidal", "rotary", "t5")
    ]  # fmt: skip
