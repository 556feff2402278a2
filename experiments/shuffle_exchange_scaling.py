"""Time and memory over length: Beneš blocks, full attention, LSH attention, Universal Transformer.

    python launch.py sweep --config=experiments/shuffle_exchange_scaling.py
    python launch.py sweep --config=experiments/shuffle_exchange_scaling.py:scale=small

tiny   about 190,000 parameters a model, one sequence of 64 to 131,072 positions
small  about 3 million parameters, to 524,288 positions; an hour on one GPU (estimated)

Draguns et al. 2020 say that the Residual Shuffle-Exchange network takes 128 times as long inputs as
the Universal Transformer in equal memory; Freivalds et al. 2019 print seconds of one evaluation
(below). Here: loss and gradient of one sequence, and its evaluation; the median of five runs, of
fewer where they are long; a seed is a repetition. Memory is what the compiler says the gradient
needs besides itself; what would need more than nine tenths of the machine's memory, eight of an
accelerator's, is not run. All models keep of a layer its input alone, and work the rest out again
for the gradient. Full attention takes `path=plain`, which holds its whole matrix of weights, as the
papers' did; the paths that never hold it are not measured here. How much longer the residual
network takes for twice the length is measured by itself, both lengths in turn, to twice the
longest: a machine's speed changes from minute to minute.

At tiny scale the Residual Shuffle-Exchange network is faster than full attention from 1,024 on: 7.2
times at 4,096, 15 times at 8,192, 52 times at 16,384, beyond which full attention does not fit. In
the memory that full attention takes at 4,096 its input may be 23 times as long, 15 times in that of
a Universal Transformer. LSH attention takes about the same time, and 1.3 to 1.8 times the memory
from 1,024 on. From 4,096 on, doubling the length takes at most 2.3 times as long (2.29 at 65,536,
2.21 at 131,072, 2.19 at 262,144); evaluation alone, at most 2.5 times, at 131,072.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np

from arch import config, variants
from arch.context import Context
from arch.report import charts, statistics
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
    "task.lengths",
    "task.bins",
)

SCALES = {
    "tiny": {
        "benes": (48, 2),  # width, blocks
        "attention": (64, 4),  # width, layers
        "universal": (128, 4),  # width, steps
        "heads": 4,
        "longest": 131072,
        "dtype": "float32",
    },
    "small": {
        "benes": (192, 2),
        "attention": (256, 4),
        "universal": (512, 6),
        "heads": 8,
        "longest": 524288,
        "dtype": "bfloat16",
    },
}
NAMES = {
    "rse": "Residual Shuffle-Exchange",
    "nse": "Neural Shuffle-Exchange",
    "full": "full attention",
    "lsh": "LSH attention",
    "ut": "Universal Transformer",
}
OTHERS = ("full", "lsh", "ut")  # what the residual network is compared with
RATIOS = [f"{NAMES[model]} / residual" for model in OTHERS]
SHORTEST = 64
AS_LONG = 128  # how many times as long the paper's inputs are in equal memory
PLAIN_PATH = (
    "Full attention and the Universal Transformer hold their whole matrix of weights (path=plain)."
)
TURNS = 3  # of a length and its half
QUADRATIC = ("full", "ut")
MOST = 65536  # of these the compiler is not asked for more


def lengths(arg, model=""):
    longest = SCALES[arg.scale]["longest"]
    longest = min(longest, MOST) if model in QUADRATIC else longest
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
    beside = {
        "model.embedding.positions": "sinusoidal",
        "model.stack.final_norm": True,
        "model.stack.remat": "full",
    }
    full = {**beside, "model.width": width, "model.order": f"(sf){layers}"}
    universal = {"model.width": wider, "model.order": "sf", "model.stack.kind": "universal"}
    return {
        "rse": {},
        "nse": {"model.sublayers.x.unit": "gated"},
        "full": full,
        "lsh": {**full, "model.order": f"(lf){layers}"},
        "ut": {**beside, **universal, "model.stack.steps": steps},
    }


def cells(arg, results):
    """By length, so that what is compared is measured shortly after each other; then `growth-l…`:
    the length and its half, of the residual network, to twice the longest."""
    single = [
        Cell(f"{model}-l{n}", overrides | of_lengths(n), variant=model)
        for n in lengths(arg)
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
    if figures["MiB"] > room():
        return figures
    figures["seconds"] = program.seconds()
    figures["evaluation_seconds"] = bench.median_seconds(evaluation(task, model))
    return figures


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


def room():
    """MiB that a model may need, of the accelerator's or the machine's."""
    limit = machine.memory_limit()
    if limit is not None:
        return 0.8 * limit / 2**20
    return 0.9 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20


def evaluation(task, model):
    """A run of the model on one sequence, for bench.median_seconds."""
    parameters = jax.jit(model.init)(jax.random.key(0))
    ids = jnp.asarray(task.examples("valid", Window(tokens=1)).inputs)
    context = Context(causal=False, inference=True, platform=machine.platform())
    run = jax.jit(lambda parameters: model.logits(parameters, ids, context))
    return lambda turn: run(parameters)


def TABLE(arg, cells, results):
    shown = lengths(arg)
    doubled = [*shown, 2 * shown[-1]]

    def of(model, n, metric):
        return statistics.summary(results.values(f"{model}-l{n}", metric, "measured").values())

    def series(metric):
        return {name: [(n, of(model, n, metric)) for n in shown] for model, name in NAMES.items()}

    return {
        "title": "Time and memory of one sequence over its length",
        "metric": "seconds",
        "split": "measured",
        "columns": ("order", "parameters.unique"),
        "sections": [
            times(doubled, of, "", "Loss and gradient: milliseconds"),
            times(doubled, of, "evaluation_", "Evaluation: milliseconds"),
            memory(shown, of),
            meets(shown, of),
            paper(),
        ],
        "charts": [
            charts.line_chart(name, title, series(metric), "length", label, "xy")
            for name, metric, title, label in (
                ("time", "seconds", "Loss and gradient of one sequence", "seconds"),
                ("evaluation", "evaluation_seconds", "Evaluation of one sequence", "seconds"),
                ("memory", "MiB", "Memory of the gradient of one sequence", "MiB"),
            )
        ],
    }


def CLAIMS(arg, cells, results):
    longest = lengths(arg)[-1]
    short, top = longest // AS_LONG, 2 * longest
    paper = freivalds2019.SECONDS
    claims = [
        Claim(
            f"freivalds2019-seconds-{n}",
            f"At length {n:,} the Neural Shuffle-Exchange network is evaluated faster than the "
            "Universal Transformer",
            "Freivalds et al. 2019, seconds over length (read off a figure)",
            "lower",
            {f"nse-l{n}": 1, f"ut-l{n}": -1},
            effect=paper["nse"][n] / paper["ut"][n] - 1,
            metric="evaluation_seconds",
        )
        for n in (64, 4096)
    ]
    claims.append(
        Claim(
            "draguns2020-memory",
            f"At {AS_LONG} times the length ({longest:,}) the residual network needs no more "
            f"memory than the Universal Transformer (at {short:,})",
            "Draguns et al. 2020, the authors' words",
            "lower",
            {f"rse-l{longest}": 1, f"ut-l{short}": -1},
            metric="MiB",
        )
    )
    # n log n: twice the length takes 2 log(2n) / log(n) times as long
    expected = 2 * np.log2(top) / np.log2(longest)
    grown = results.values(f"growth-l{top}", "growth", "measured")
    if grown:
        claims.append(
            Claim(
                "freivalds2019-n-log-n",
                f"From length {longest:,} to {top:,} time grows as n log n, {expected:.2f} times "
                "(ours to that)",
                "Freivalds et al. 2019, the network's cost",
                "equal",
                values={seed: float(value / expected - 1) for seed, value in grown.items()},
                effect=0.0,
                margin=0.1,
            )
        )
    return claims


def times(shown, of, kind, title):
    """Each model's time, the growth of the Beneš block's, and the others' as many times its own."""
    rows = []
    for n in shown:
        here = {model: of(model, n, f"{kind}seconds").mean for model in NAMES}
        rows.append(
            [
                f"{n:,}",
                *(number(1e3 * here[model]) for model in NAMES),
                statistics.mean_and_sd(of("growth", n, f"{kind}growth"), 2),
                *(number(here[model] / here["rse"]) for model in OTHERS),
            ]
        )
    return {
        "title": title,
        "columns": ["length", *NAMES.values(), "residual / that of half the length", *RATIOS],
        "rows": rows,
        "note": f"Half the length: both in turn, the median of {TURNS} turns; mean ± SD of those. "
        + PLAIN_PATH,
    }


def memory(shown, of):
    rows = []
    for n in shown:
        here = {model: of(model, n, "MiB").mean for model in NAMES}
        ratios = [number(here[model] / here["rse"]) for model in OTHERS]
        rows.append([f"{n:,}", *(number(here[model]) for model in NAMES), *ratios])
    return {
        "title": "Memory of the gradient: MiB",
        "columns": ["length", *NAMES.values(), *RATIOS],
        "rows": rows,
        "note": "As the compiler counts it, besides the gradients; what needs too much is not run. "
        + PLAIN_PATH,
    }


def meets(shown, of):
    """From which length on the residual network needs less than each of the others, and how much
    longer its inputs may be in the memory of the others."""
    rows = []
    for model in OTHERS:
        row = [NAMES[model]]
        for metric in ("seconds", "evaluation_seconds", "MiB"):
            row.append(always_from(shown, of, model, metric))
        ratios = [longer(shown, of, model, n) for n in (4096, 16384, 65536)]
        rows.append([*row, *ratios])
    columns = ["faster from", "faster in evaluation from", "smaller from"]
    as_long = [f"as long in the memory of {n:,}" for n in (4096, 16384, 65536)]
    return {
        "title": "Residual Shuffle-Exchange against the others",
        "columns": ["than", *columns, *as_long],
        "rows": rows,
        "note": "As long: how many times the length may be in which the gradient of the residual "
        "network needs the memory that the other needs at the length named, by a line through "
        "what was measured, to powers of length; beyond the longest measured, ≥.",
    }


def always_from(shown, of, model, metric):
    """The length from which on the residual network needs less, wherever both were measured."""
    found = ""
    for n in shown:
        here, there = (of(name, n, metric).mean for name in ("rse", model))
        if here < there:
            found = found or f"{n:,}"
        elif here >= there:
            found = ""
    return found or "—"


def longer(shown, of, model, n):
    """How many times as long the residual network's input may be in equal memory."""
    goal = of(model, n, "MiB").mean
    points = [(m, of("rse", m, "MiB").mean) for m in shown]
    points = [(m, mib) for m, mib in points if mib == mib]
    if goal != goal or not points:
        return "—"
    if goal > points[-1][1]:
        return f"≥ {points[-1][0] / n:.0f}"
    length = np.exp(np.interp(np.log(goal), *np.log([(mib, m) for m, mib in points]).T))
    return f"{length / n:.1f}"


def paper():
    """What Freivalds et al. 2019 print of evaluation, in seconds."""
    shown = freivalds2019.SECONDS
    rows = []
    for n in shown["nse"]:
        rows.append([f"{n:,}", *(number_text(shown[model].get(n), "g") for model in ("nse", "ut"))])
    return {
        "title": "Freivalds et al. 2019: seconds of one evaluation, read off a figure",
        "columns": ["length", NAMES["nse"], NAMES["ut"]],
        "rows": rows,
        "note": "The Universal Transformer ran out of memory beyond 4,096.",
    }


def number(value):
    """Three digits; a dash where there is none."""
    return number_text(value, ",.0f" if value >= 100 else ".3g")
