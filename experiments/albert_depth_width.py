"""How deep and how wide with one layer's weights: all sublayers shared.

    python launch.py sweep --config=experiments/albert_depth_width.py
    python launch.py sweep --config=experiments/albert_depth_width.py:scale=small

tiny   1 to 12 layers at width 48, 3 layers to width 192, 600 steps; 20 minutes on one core
small  1 to 48 layers at width 192, 3 layers to width 1152; a night on one GPU (estimated)
paper  1 to 48 layers at width 1024, 3 layers to width 6144; days on a TPU pod (estimated)

Lan et al. 2019, Tables 11 and 12. Depth adds no parameters here, and pays up to 24 layers there;
width, 1, 2, 4 and 6 times the narrowest, pays up to 4 times. L3 is also the narrowest of the
three-layer models. Inner widths are four times the width, heads have one width.

At tiny scale 600 steps are too few to say anything of depth: token tables of 8 columns hold all
back, and post-norm stacks of 6 and 12 layers do not get beyond the frequencies of tokens, which is
a perplexity of 207. Width of three layers pays to twice the narrowest, 147 to 135, as in the paper.
"""

from arch import config
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments.papers import lan2019

ARGUMENTS = {"scale": ("tiny", "small", "paper"), "corpus": ""}
VARIES = ("model.order", "model.width", "model.sublayers.s.heads", "model.sublayers.f.inner_width")

LAYERS = {"tiny": (1, 3, 6, 12), "small": tuple(lan2019.DEPTH), "paper": tuple(lan2019.DEPTH)}
TIMES = {"tiny": (2, 4), "small": (2, 4, 6), "paper": (2, 4, 6)}
NARROWEST = {"tiny": 48, "small": 192, "paper": 1024}


def get_config(arg):
    base = lan2019.make(arg)
    return config.override(base, {"train.steps": 600}) if arg.scale == "tiny" else base


def sized(arg, layers, times):
    scale, width = lan2019.SCALES[arg.scale], NARROWEST[arg.scale] * times
    return {
        "model.order": f"(sf){layers}",
        "model.width": width,
        "model.sublayers.s.heads": width * scale["heads"] // scale["width"],
        "model.sublayers.f.inner_width": 4 * width,
    }


def cells(arg, results):
    deep = [Cell(f"L{n}", sized(arg, n, 1), variant="albert") for n in LAYERS[arg.scale]]
    return deep + [Cell(f"W{n}", sized(arg, 3, n), variant="albert") for n in TIMES[arg.scale]]


def TABLE(arg, cells, results):
    names = {cell.name for cell in cells}
    paper = {f"L{n}": average for n, average in lan2019.DEPTH.items()}
    paper |= {f"W{n}": average for n, average in lan2019.WIDTHS.items()}
    return lan2019.table(
        "Depth and width of shared layers",
        cells,
        results,
        {name: average for name, average in paper.items() if name in names},
        "Tables 11 (L, layers) and 12 (W, width in multiples of 1024, three layers)",
        baseline="L3",
    )


def CLAIMS(arg, cells, results):
    table11 = "Lan et al. 2019, Table 11 (there of the downstream average)"
    table12 = "Lan et al. 2019, Table 12 (there of the downstream average)"
    deeper = "{} layers with one set of weights are better than {}"
    wider = "Three shared layers of {} times the width are better than of {}"
    stated = [
        (table11, deeper, "lower", "L", 3, 1),
        (table11, deeper, "lower", "L", 6, 3),
        (table11, deeper, "lower", "L", 12, 6),
        (table11, deeper, "lower", "L", 24, 12),
        (table11, "{} layers with one set of weights are worse than {}", "higher", "L", 48, 24),
        (table12, wider, "lower", "W", 2, 1),
        (table12, wider, "lower", "W", 4, 2),
        (table12, "Three shared layers of {} times the width are worse than of {}", "higher", "W",
         6, 4),
    ]  # fmt: skip
    names = {cell.name for cell in cells}
    return [
        Claim(
            f"lan2019-{'table11' if letter == 'L' else 'table12'}-{letter}{more}",
            statement.format(more, less),
            source,
            direction,
            {f"{letter}{more}": 1, "L3" if (letter, less) == ("W", 1) else f"{letter}{less}": -1},
            margin=lan2019.MARGIN,
        )
        for source, statement, direction, letter, more, less in stated
        if f"{letter}{more}" in names
    ]
