"""Sandwich coefficients: s^k (sf)^(n-k) f^k at equal parameters, perplexity over k.

    python launch.py sweep --config=experiments/sandwich.py
    python launch.py sweep --config=experiments/sandwich.py:scale=desk --executor=processes

tiny   n = 6, about 20 minutes on two cores
desk   n = 12, a night on two cores: see below
small  n = 12, half an hour on one GPU (estimated)
paper  n = 16 on WikiText-103, days on 8 GPUs (estimated)

Press, Smith and Levy 2020, Figures 5 and 6. Every coefficient is trained from the same initial
weights on the same batches, so differences are paired by seed. Once all coefficients are there, the
best one and the baseline are trained again with five fresh seeds: the best of many is better than
it will be again. At tiny scale expect every sandwich a little ahead of the baseline after 1,000
steps, the inner ones most (1.2 % at k = 2, on fresh seeds): less than the paper's 3.6 % after
286,000 at n = 16, and too little for these seeds to decide. After 400 steps k = 5 was ahead; that
was of the beginning alone. The paper's test figures slide by 512:
`launch.py evaluate --run=… --stride=512`.

At desk scale the claims are named before anything trains, so that no seed chooses: a coefficient
in the middle beats the baseline and the largest one, which is behind the baseline. 4M tokens a run
(four epochs of the Penn Treebank) at one rate for all arms, as the paper has it; then 3, 5, 8 and
12 seeds until the claims are decided; two more coefficients follow for the curve. A step was
measured at 0.42 to 0.9 CPU seconds on one core of two machines, so the first look takes 2 to 5
hours of one. A rate of each arm's own, by --ladder=train.optimizer.learning_rate=1e-3,2e-3,4e-3
--pilot=100, takes as long again. `--replicas=1` gives the lines seed by seed.
With a chance of 80 %, at an SD of 1 % of the paired difference, a single claim's look at 5 seeds
sees 4.7 %, that at 8 seeds 1.6 % and that at 12 0.9 %; the paper has 3.5 % (k = 8 of 16).

An H100 trains twelve seeds of a cell together (`--seeds=12`) in a minute. There k = 6 and k = 11
are both ahead of the baseline, by 1.2 and 1.5 %: that the middle is ahead is confirmed, that the
last is behind is refuted at this scale, and which of the two is better is open. Three seeds on a
CPU say the same of both.
"""

from arch import config, variants
from arch.report import statistics
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments.papers import press2020

ARGUMENTS = {"scale": ("tiny", "desk", "small", "paper"), "corpus": ""}
VARIES = ("model.order",)

ADAM = {"name": "adamw", "learning_rate": 2e-3, "beta2": 0.98, "weight_decay": 0.01}
# fairseq's transformer_lm_wiki103: warm-up and cosine in steps, final rate 1e-4 of a peak of 1.0
NESTEROV = {
    "name": "nag",
    "momentum": 0.99,
    "learning_rate": 1.0,
    "warmup_steps": 16000,
    "warmup_initial": 1e-7,
    "final": 1e-4,
}
ADAPTIVE = {"kind": "adaptive", "cutoffs": (20000, 60000), "factor": 4}
SCALES = {
    "tiny": {
        "model": {"layers": 6, "width": 64, "heads": 4},
        "task": {"corpus": "stdlib", "length": 64},
        "train": {"steps": 400, "batch": 16, "optimizer": ADAM},
        "evaluate": {"every": 100, "tokens": 16384, "splits": ("valid",)},
        "save": {"every": 200},
    },
    "desk": {
        "model": {"layers": 12, "width": 96, "heads": 4, "dropout": 0.1},
        "task": {"corpus": "ptb", "tokenizer": "bpe:2000", "length": 128},
        "train": {"steps": 2000, "batch": 16, "optimizer": ADAM},
        "evaluate": {"every": 200, "tokens": 16384, "splits": ("valid", "test")},
        "save": {"every": 200},
    },
    "small": {
        "model": {"layers": 12, "width": 384, "heads": 6, "dropout": 0.1, "dtype": "bfloat16"},
        "task": {"corpus": "stdlib", "length": 512},
        "train": {"steps": 5000, "batch": 32, "optimizer": ADAM},
        "evaluate": {"every": 500},
        "save": {"every": 1000},
    },
    "paper": {
        "model": {
            "layers": 16,
            "width": 1024,
            "heads": 8,
            "dropout": 0.3,
            "dtype": "bfloat16",
            "embedding": ADAPTIVE,
            "head": {"kind": "adaptive", "tail_dropout": 0.2},
            "sublayers": {
                "s": {"kind": "attention", "heads": 8, "attention_dropout": 0.1},
                "f": {"kind": "feed_forward", "activation_dropout": 0.1},
            },
        },
        "task": {
            "corpus": "wikitext-103",
            "tokenizer": "words",
            "vocabulary": 267744,
            "length": 3072,
        },
        "train": {"steps": 286000, "batch": 24, "clip": 0.1, "optimizer": NESTEROV},
        "evaluate": {"every": 2000, "tokens": 0},
        "save": {"every": 2000},
    },
}
STEPS = {"tiny": 1000}  # all coefficients are one program, and differences need them
FRESH = (100, 101, 102, 103, 104)


def LOOKS(arg):
    return (3, 5, 8, 12) if arg.scale == "desk" else ()


def layers(arg):
    return SCALES[arg.scale]["model"]["layers"]


def middle_coefficient(arg):
    """The paper's 6 of 16, in proportion; half of the layers at desk scale."""
    return layers(arg) // 2 if arg.scale == "desk" else round(layers(arg) * 6 / 16)


def middle_in_paper(arg):
    """(the middle coefficient's share of the layers, the paper's figure, its perplexity there)."""
    if arg.scale == "desk":
        return "half", "Figure 5 (k = 8 of 16)", press2020.SWEEP[8]
    six = statistics.summary(press2020.SANDWICH_6).mean
    return "three eighths", "Figures 5 and 6 (k = 6 of 16)", six


def paper_coefficient(arg, k):
    """The paper's coefficient of 16 nearest to the share k / n of the layers moved; None where two
    are as near, half a layer away."""
    there = k * press2020.LAYERS / layers(arg)
    return None if there % 1 == 0.5 else round(there)


def setting(arg):
    """The model and its training, which other experiments on orders share."""
    scale = SCALES[arg.scale]
    # the setting has no norm after the last sublayer
    model = variants.sandwich(coefficient=0, stack={"final_norm": False}, **scale["model"])
    corpus = {"corpus": arg.corpus} if arg.corpus else {}
    return config.make(
        model=model,
        task={**scale["task"], **corpus},
        train=scale["train"],
        evaluate=scale["evaluate"],
        save=scale["save"],
    )


def get_config(arg):
    steps = {"train.steps": STEPS[arg.scale]} if arg.scale in STEPS else {}
    return config.override(setting(arg), {"model.stack.apply": "switch", **steps})


def cell(arg, coefficient, suffix="", seeds=()):
    order = variants.sandwich(layers(arg), coefficient)["order"]
    return Cell(f"k{coefficient}{suffix}", {"model.order": order}, seeds, variant="sandwich")


def best(arg, results):
    """The coefficient of the lowest mean; 0 while one is missing."""
    means = {k: results.mean(f"k{k}") for k in range(layers(arg))}
    if None in means.values():
        return 0
    return min((k for k in means if k > 0), key=lambda k: means[k])


def desk_cells(arg, results):
    """The three coefficients of the claims first; then two between them."""
    n = layers(arg)
    claimed, between = (0, middle_coefficient(arg), n - 1), (n // 4, 3 * n // 4)
    decided = all(results.mean(f"k{k}", (0, 1, 2)) is not None for k in claimed)
    return [cell(arg, k) for k in claimed + (between if decided else ())]


def cells(arg, results):
    if arg.scale == "desk":
        return desk_cells(arg, results)
    sweep = [cell(arg, k) for k in range(layers(arg))]
    chosen = best(arg, results)
    return sweep + [cell(arg, k, "-fresh", FRESH) for k in (0, chosen) if chosen]


def TABLE(arg, cells, results):
    coefficients = {c.name: int(c.name[1:]) for c in cells if c.name[1:].isdecimal()}
    table = {
        "title": f"Sandwich coefficients, n = {layers(arg)}",
        "metric": "perplexity",
        "split": "valid",
        "baseline": "k0",
        "x": coefficients,
        "x_label": "sandwich coefficient k",
        "paper": {"k0": {"value": 18.65, "sd": 0.34, "n": 5}} | printed(arg, coefficients),
        "paper_label": "Press et al. 2020, Figure 5: WikiText-103 dev, windows of 3072, n = 16 at "
        "the coefficient that moves the nearest share of the layers, k / n",
        "paper_unit": "word",
    }
    chosen = best(arg, results)
    if arg.scale != "desk" and chosen and results.values(f"k{chosen}-fresh"):
        table["sections"] = [fresh_seeds(arg, chosen, results)]
    return table


def printed(arg, coefficients):
    """Cell → the paper's figure at the same share of layers moved."""
    there = {name: paper_coefficient(arg, k) for name, k in coefficients.items()}
    return {name: press2020.SWEEP[k] for name, k in there.items() if k in press2020.SWEEP}


def CLAIMS(arg, cells, results):
    mean, margin = statistics.summary(press2020.BASELINE).mean, 0.005
    middle, last = middle_coefficient(arg), layers(arg) - 1
    share, figure, there = middle_in_paper(arg)
    claims = [
        Claim(
            "press2020-figure6-middle",
            f"A sandwich with {share} of the layers moved beats the interleaved baseline",
            f"Press et al. 2020, {figure}",
            "lower",
            {f"k{middle}": 1, "k0": -1},
            effect=there / mean - 1,
            margin=margin,
        ),
        Claim(
            "press2020-figure5-last",
            "With all layers but one moved, a sandwich is behind the baseline",
            "Press et al. 2020, Figure 5 (k = 15 of 16)",
            "higher",
            {f"k{last}": 1, "k0": -1},
            effect=press2020.SWEEP[15] / mean - 1,
            margin=margin,
        ),
    ]
    if arg.scale == "desk":
        claims.append(
            Claim(
                "press2020-figure5-inside",
                "A sandwich with half of the layers moved beats one with all moved but one",
                "Press et al. 2020, Figure 5 (k = 8 and 15 of 16)",
                "lower",
                {f"k{middle}": 1, f"k{last}": -1},
                effect=press2020.SWEEP[8] / press2020.SWEEP[15] - 1,
                margin=margin,
            )
        )
    elif chosen := best(arg, results):
        six = statistics.summary(press2020.SANDWICH_6).mean
        baseline = statistics.summary(press2020.BASELINE_FIGURE6).mean
        claims.append(
            Claim(
                "press2020-figure6",
                "The best coefficient beats the baseline on seeds that had no part in its choice",
                "Press et al. 2020, Figure 6",
                "lower",
                {f"k{chosen}-fresh": 1, "k0-fresh": -1},
                effect=six / baseline - 1,
                margin=margin,
            )
        )
    return claims


def fresh_seeds(arg, chosen, results):
    """Figure 6: the baseline and the chosen coefficient on seeds that had no part in the choice."""
    ours, base = results.values(f"k{chosen}-fresh"), results.values("k0-fresh")
    rows = []
    paper = {0: press2020.BASELINE_FIGURE6, chosen: press2020.SANDWICH_6}
    for k, values in ((0, base), (chosen, ours)):
        own = statistics.summary(values.values())
        theirs = statistics.summary(paper[k])
        rows.append(
            [
                f"k = {k}" + (" (paper: 6)" if k else ""),
                str(own.n),
                statistics.mean_and_sd(own, 3),
                " ".join(f"{v:.3f}" for v in values.values()),
                statistics.mean_and_sd(theirs, 2),
            ]
        )
    difference = statistics.paired_difference(ours, base)
    return {
        "title": f"Fresh seeds: k = {chosen}, chosen on seeds 0 to 2, against the baseline",
        "columns": ["cell", "n", "perplexity", "each seed", "paper, Figure 6"],
        "rows": rows,
        "note": f"Paired difference {statistics.mean_and_interval(difference, 3)}, "
        f"n = {difference.n}.",
    }
