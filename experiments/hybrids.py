"""Where a few attention letters belong among Mamba's: bottom, middle, top, spread, in a sandwich.

    python launch.py sweep --config=experiments/hybrids.py --executor=processes
    python launch.py sweep --config=experiments/hybrids.py:scale=desk

tiny   width 64, twelve sublayers, bytes in 128; an hour on one core
desk   width 128, twenty-four sublayers; a night on two cores (estimated)

Of the mixers of a decoder of Mamba-2 and feed-forward a third is attention. All hybrids are orders
of the same letters, so they have the same parameters; `mamba` and `attention` have one mixer alone,
with the inner width of the feed-forward chosen for about as many. The sandwiches move mixers to the
bottom and feed-forward to the top, with attention below Mamba or above it. Attention has no
positions: Mamba tells it what comes before what, as in Jamba (Lieber et al. 2024); `attention`
alone has rotary ones. After the 1.2 million bytes of tiny scale no hybrid is ahead of Mamba alone;
of the places for attention the top is best, then spread and middle, and the bottom last.
"""

from arch import config, variants
from arch import order as orders
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell

ARGUMENTS = {"scale": ("tiny", "desk"), "corpus": "stdlib"}
VARIES = ("model.order", "model.sublayers.*", "model.embedding.positions")

SCALES = {
    "tiny": {"layers": 6, "width": 64, "steps": 600, "seeds": (0, 1, 2)},
    "desk": {"layers": 12, "width": 128, "steps": 8000, "seeds": (0, 1, 2, 3, 4)},
}
HEADS, BATCH, LENGTH, STATE = 4, 16, 128, 16


def get_config(arg):
    scale = SCALES[arg.scale]
    steps = scale["steps"]
    return config.make(
        seeds=scale["seeds"],
        model=variants.decoder(
            hybrids(scale["layers"])["spread"],
            scale["width"],
            HEADS,
            sublayers={"m": {"kind": "mamba2", "state": STATE}},
            embedding={"positions": "none"},
            stack={"norm_kind": "rms"},
        ),
        task={"corpus": arg.corpus, "length": LENGTH},
        train={
            "steps": steps,
            "batch": BATCH,
            "optimizer": {"learning_rate": 2e-3, "beta2": 0.98, "weight_decay": 0.01},
        },
        evaluate={"every": steps // 4},
        save={"every": steps // 2},
    )


def hybrids(layers):
    """Name → order, of layers of a mixer and f, of whose mixers a third is attention."""
    few = layers // 3
    many, half = layers - few, (layers - few) // 2
    each = many // few  # of Mamba's between two of attention's
    moved = layers // 2  # feed-forward that a sandwich moves
    found = {
        "spread": f"((mf){each // 2}sf(mf){each - each // 2}){few}",
        "bottom": f"(sf){few}(mf){many}",
        "middle": f"(mf){half}(sf){few}(mf){many - half}",
        "top": f"(mf){many}(sf){few}",
        "sandwich-attention-below": sandwich("s" * few + "m" * many, moved),
        "sandwich-mamba-below": sandwich("m" * many + "s" * few, moved),
    }
    return {name: orders.compress(order) for name, order in found.items()}


def sandwich(mixers, moved):
    """These mixers in turn with f, of which `moved` stand at the end, as many mixers before all."""
    amid = "".join(mixer + "f" for mixer in mixers[moved:])
    return mixers[:moved] + amid + "f" * moved


def cells(arg, results):
    scale = SCALES[arg.scale]
    alone = [
        Cell(
            name,
            {
                "model.order": f"({letter}f){scale['layers']}",
                "model.sublayers.f.inner_width": inner_width(arg, name),
                "model.embedding.positions": positions,
            },
        )
        for name, letter, positions in (("mamba", "m", "none"), ("attention", "s", "rotary"))
    ]
    mixed = [Cell(name, {"model.order": order}) for name, order in hybrids(scale["layers"]).items()]
    return [*mixed, *alone]


def inner_width(arg, name):
    """Of the feed-forward of one mixer alone, for the hybrids' parameters."""
    width = SCALES[arg.scale]["width"]
    channels = 2 * width  # of Mamba-2; heads of 64 channels, or of them all where they are fewer
    heads = max(1, channels // 64)
    convolved = channels + 2 * STATE
    mamba = width * (channels + convolved + heads) + 5 * convolved + 3 * heads
    mamba += channels + channels * width
    attention = 4 * width * width + 4 * width
    mean, own = (2 * mamba + attention) / 3, {"mamba": mamba, "attention": attention}[name]
    return 4 * width + round((mean - own) / (2 * width + 1))


def TABLE(arg, cells, results):
    return {
        "title": "Attention among Mamba-2",
        "metric": "perplexity",
        "split": "test",
        "baseline": "spread",
        "columns": ["order", "parameters.unique", "flops_per_token"],
        "equal": ["flops", "cpu_seconds"],
    }


def CLAIMS(arg, cells, results):
    return [
        Claim(
            f"lieber2024-hybrid-{base}",
            f"A hybrid with a third of attention is ahead of {called} of equal parameters",
            "Lieber et al. 2024, Section 6.1",
            "lower",
            {"spread": 1, base: -1},
        )
        for base, called in (("mamba", "Mamba alone"), ("attention", "attention alone"))
    ]
