"""Time and memory over length: Beneš blocks, full attention, LSH attention, Universal Transformer.

    python launch.py sweep --config=experiments/shuffle_exchange_scaling.py
    python launch.py sweep --config=experiments/shuffle_exchange_scaling.py:scale=small

tiny   about 190,000 parameters a model, one sequence of 64 to 131,072 positions, and the
       residual network's to 524,288
small  about 3 million parameters, to 524,288 positions; an hour on one GPU (estimated)

Draguns et al. 2020 say that the Residual Shuffle-Exchange network takes 128 times as long inputs as
the Universal Transformer in equal memory; Freivalds et al. 2019 print seconds of one evaluation
(below). Here: loss and gradient of one sequence, and its evaluation; the median of five runs, of
fewer where they are long; a seed is a repetition. Memory is what the compiler says the gradient
needs besides itself; what would need more than nine tenths of the machine's memory, eight of an
accelerator's, is not run. All models keep of a layer its input alone, and work the rest out again
for the gradient. Full attention takes `path=plain`, which holds its whole matrix of weights, as the
papers' did. On a CPU attention that is not causal has no other path; at scale small, in bfloat16 on
a GPU, the code's default is a fused kernel that never holds it, and is measured beside. How much
longer the residual network takes for twice the length is measured by itself, both lengths in turn,
to twice the longest: a machine's speed changes from minute to minute.

At tiny scale the Residual Shuffle-Exchange network is faster than full attention from 1,024 on: 7.2
times at 4,096, 15 times at 8,192, 52 times at 16,384, beyond which full attention does not fit. In
the memory that full attention takes at 4,096 its input may be 23 times as long, 15 times in that of
a Universal Transformer. LSH attention takes about the same time, and 1.3 to 1.8 times the memory
from 1,024 on. From 4,096 on, doubling the length takes at most 2.3 times as long (2.29 at 65,536,
2.21 at 131,072, 2.19 at 262,144); evaluation alone, at most 2.5 times, at 131,072. At 524,288 an
evaluation takes 9.6 s on two cores and a gradient 40 s and 8.1 GiB (one run, another machine); the
authors' lecture has 8 s on a GPU of 11 GB.
"""

import jax.numpy as jnp
import numpy as np

from arch import config, variants
from arch.context import Context
from arch.report import scaling
from arch.report.sections import number_text
from arch.report.verdicts import Claim
from arch.sweeps import machine
from arch.sweeps.experiment import Cell
from arch.tasks.contract import Window
from arch.training import bench
from arch.training.program import build
from experiments.papers import freivalds2019

ARGUMENTS = {"scale": ("tiny", "small")}
VARIES = (
    "model.order",
    "model.width",
    "model.embedding.positions",
    "model.stack.*",
    "model.sublayers.x.unit",
    "model.sublayers.s.path",  # at scale small
    "task.lengths",
    "task.bins",
)

SCALES = {  # (width, blocks), (width, layers), (width, steps)
    "tiny": {
        "benes": (48, 2), "attention": (64, 4), "universal": (128, 4), "heads": 4,
        "longest": 131072, "dtype": "float32",
    },
    "small": {
        "benes": (192, 2), "attention": (256, 4), "universal": (512, 6), "heads": 8,
        "longest": 524288, "dtype": "bfloat16",
    },
}  # fmt: skip
NAMES = {
    "rse": "Residual Shuffle-Exchange",
    "nse": "Neural Shuffle-Exchange",
    "full": "full attention",
    "lsh": "LSH attention",
    "ut": "Universal Transformer",
    "full_default": "full attention, default path",
    "ut_default": "Universal Transformer, default path",
}
RESIDUAL, GATED = NAMES["rse"], NAMES["nse"]
SHORTEST = 64
AS_LONG = 128  # how many times as long the paper's inputs are in equal memory
PLAIN = "Full attention and the Universal Transformer hold their whole matrix of weights "
PATHS = {
    "tiny": PLAIN + "(path=plain): on a CPU attention that is not causal has no other path, so "
    "that this is what the code takes by default, too.",
    "small": PLAIN + "(path=plain); by the default path, a fused kernel, they do not.",
}
CHARTS = {  # metric → name, title and axis of its picture
    "seconds": ("time", "Loss and gradient of one sequence", "seconds"),
    "evaluation_seconds": ("evaluation", "Evaluation of one sequence", "seconds"),
    "MiB": ("memory", "Memory of the gradient of one sequence", "MiB"),
}
AT = (4096, 16384, 65536)  # whose memory the residual network's inputs may fill
TURNS = 3  # of a length and its half
QUADRATIC = ("full", "ut", "full_default", "ut_default")
MOST = 65536  # of these the compiler is not asked for more
REACH = 524288  # of the residual network, as in the authors' lecture


def lengths(arg, model=""):
    longest = SCALES[arg.scale]["longest"]
    longest = min(longest, MOST) if model in QUADRATIC else longest
    longest = REACH if model == "rse" else longest
    return [SHORTEST << i for i in range((longest // SHORTEST).bit_length())]


def get_config(arg):
    scale = SCALES[arg.scale]
    width, blocks = scale["benes"]
    letters = {
        "s": {"kind": "attention", "heads": scale["heads"], "path": "plain"},
        "l": {"kind": "lsh_attention", "heads": scale["heads"]},
        "f": {"kind": "feed_forward"},
    }
    return config.make(
        model=variants.benes(width, blocks, "residual", sublayers=letters, dtype=scale["dtype"]),
        task={"kind": "algorithmic_bins", "algorithm": "sorting"},
        train={"batch": 1},
        evaluate={"splits": ("valid",)},
    )


def models(arg):
    scale = SCALES[arg.scale]
    width, layers = scale["attention"]
    wider, steps = scale["universal"]
    beside = {"model.stack.final_norm": True, "model.stack.remat": "full"}
    beside["model.embedding.positions"] = "sinusoidal"
    full = {**beside, "model.width": width, "model.order": f"(sf){layers}"}
    universal = {"model.width": wider, "model.order": "sf", "model.stack.kind": "universal"}
    found = {
        "rse": {},
        "nse": {"model.sublayers.x.unit": "gated"},
        "full": full,
        "lsh": {**full, "model.order": f"(lf){layers}"},
        "ut": {**beside, **universal, "model.stack.steps": steps},
    }
    if arg.scale == "small":
        default = {"model.sublayers.s.path": "auto"}
        found |= {f"{model}_default": found[model] | default for model in ("full", "ut")}
    return found


def cells(arg, results):
    """By length, so that what is compared is measured shortly after each other; then `growth-l…`:
    the length and its half, of the residual network, to twice the longest."""
    single = [
        Cell(f"{model}-l{n}", overrides | of_lengths(n), variant=model)
        for n in lengths(arg, "rse")
        for model, overrides in models(arg).items()
        if n in lengths(arg, model)
    ]
    growth = [Cell(f"growth-l{2 * n}", of_lengths(n, 2 * n), variant="rse") for n in lengths(arg)]
    return single + growth


def of_lengths(*lengths):
    return {"task.bins": lengths, "task.lengths": lengths}


def measure(config, task, model, seed):
    if len(config.task.lengths) == 2:
        return growth(config)
    program = bench.Gradient(config, task, model, machine.platform())
    figures = {"MiB": program.activation_bytes / 2**20}
    if program.activation_bytes > machine.memory_for_programs():
        return figures
    figures["seconds"] = program.seconds()
    return figures | {"evaluation_seconds": bench.median_seconds(evaluation(task, model))}


def growth(settings):
    """How many times as long the longer of two lengths takes, median of some turns; its seconds."""
    single = [config.override(settings, of_lengths(n)) for n in settings.task.lengths]
    platform = machine.platform()
    built = [build(one, platform) for one in single]
    programs = [bench.Gradient(settings, *pair, platform) for pair in built]
    evaluations = [evaluation(*pair) for pair in built]
    turns = np.array([[program.seconds(1) for program in programs] for _ in range(TURNS)])
    runs = np.array([[bench.median_seconds(run) for run in evaluations] for _ in range(TURNS)])
    return {
        "seconds": float(np.median(turns[:, 1])),
        "evaluation_seconds": float(np.median(runs[:, 1])),
        "growth": float(np.median(turns[:, 1] / turns[:, 0])),
        "evaluation_growth": float(np.median(runs[:, 1] / runs[:, 0])),
    }


def evaluation(task, model):
    """A run of the model on one sequence, for bench.median_seconds."""
    ids = jnp.asarray(task.examples("valid", Window(tokens=1)).inputs)
    context = Context(causal=False, inference=True, platform=machine.platform())
    return bench.forward(model, ids, context)


def TABLE(arg, cells, results):
    shown = lengths(arg, "rse")
    doubled = sorted({*shown, 2 * lengths(arg)[-1]})

    def curve(model, metric):
        of_length = {n: f"{model}-l{n}" for n in doubled}
        return scaling.curve(results, of_length, metric, "measured")

    measured = models(arg)
    found = {name: {NAMES[model]: curve(model, name) for model in measured} for name in CHARTS}
    growth = {kind: curve("growth", f"{kind}growth") for kind in ("", "evaluation_")}
    half = f"Half the length: both in turn, the median of {TURNS} turns; mean ± SD of those. "
    counted = "As the compiler counts it, besides the gradients; what needs too much is not run. "
    gradient, alone, memory = found.values()
    return {
        "title": "Time and memory of one sequence over its length",
        "metric": "seconds",
        "split": "measured",
        "columns": ("order", "parameters.unique"),
        "sections": [
            over(arg, "Loss and gradient: milliseconds", doubled, gradient, half, growth[""]),
            over(arg, "Evaluation: milliseconds", doubled, alone, half, growth["evaluation_"]),
            over(arg, "Memory of the gradient: MiB", shown, memory, counted),
            meets(list(found.values())),
            paper(),
        ],
        "charts": [
            scaling.chart(name, title, found[metric], "length", label)
            for metric, (name, title, label) in CHARTS.items()
        ],
    }


def CLAIMS(arg, cells, results):
    longest = lengths(arg)[-1]
    short, top = longest // AS_LONG, 2 * longest
    nse, ut = freivalds2019.SECONDS["nse"], freivalds2019.SECONDS["ut"]
    claims = [
        Claim(
            f"freivalds2019-seconds-{n}",
            f"At length {n:,} the {GATED} network is evaluated faster than the {NAMES['ut']}",
            "Freivalds et al. 2019, seconds over length (read off a figure)", "lower",
            {f"nse-l{n}": 1, f"ut-l{n}": -1}, effect=nse[n] / ut[n] - 1,
            metric="evaluation_seconds",
        )
        for n in (64, 4096)
    ] + [
        Claim(
            "draguns2020-memory",
            f"At {AS_LONG} times the length ({longest:,}) the residual network needs no more "
            f"memory than the Universal Transformer (at {short:,})",
            "Draguns et al. 2020, the authors' words", "lower",
            {f"rse-l{longest}": 1, f"ut-l{short}": -1}, metric="MiB",
        )
    ]  # fmt: skip
    # n log n: twice the length takes 2 log(2n) / log(n) times as long
    expected = 2 * np.log2(top) / np.log2(longest)
    grown = results.values(f"growth-l{top}", "growth", "measured")
    if grown:
        claims += [
            Claim(
                "freivalds2019-n-log-n",
                f"From length {longest:,} to {top:,} time grows as n log n, {expected:.2f} times "
                "(ours to that)",
                "Freivalds et al. 2019, the network's cost", "equal",
                values={seed: float(value / expected - 1) for seed, value in grown.items()},
                effect=0.0, margin=0.1,
            )
        ]  # fmt: skip
    return claims


def others(curves):
    return [name for name in curves if name not in (RESIDUAL, GATED)]


def over(arg, title, shown, curves, note, growth=None):
    """A row for each length: the models' figures, and how many times the residual network's. Of
    times also the growth of the Beneš block's."""
    ratios = {f"{name} / residual": (curves[name], curves[RESIDUAL]) for name in others(curves)}
    return scaling.section_over(
        title, "length", shown, curves, ratios, note=note + PATHS[arg.scale],
        factor=1e3 if growth else 1.0,
        beside={"residual / that of half the length": growth} if growth else {},
    )  # fmt: skip


def meets(curves):
    """From which length on the residual network needs less than each of the others, and how much
    longer its inputs may be in the memory of the others."""
    return scaling.section_of_meetings(
        f"{RESIDUAL} against the others", "than",
        {name: [(of[RESIDUAL], of[name]) for of in curves] for name in others(curves[0])},
        ("faster from", "faster in evaluation from", "smaller from"),
        {n: f"as long in the memory of {n:,}" for n in AT},
        "As long: how many times the length may be in which the gradient of the residual network "
        "needs the memory that the other needs at the length named, by a line through what was "
        "measured, to powers of length; beyond the longest measured, ≥.",
    )  # fmt: skip


def paper():
    """What Freivalds et al. 2019 print of evaluation, in seconds."""
    nse, ut = freivalds2019.SECONDS["nse"], freivalds2019.SECONDS["ut"]
    return {
        "title": "Freivalds et al. 2019: seconds of one evaluation, read off a figure",
        "columns": ["length", GATED, NAMES["ut"]],
        "rows": [[f"{n:,}", number_text(nse[n], "g"), number_text(ut.get(n), "g")] for n in nse],
        "note": "The Universal Transformer ran out of memory beyond 4,096.",
    }
