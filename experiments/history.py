"""From n-grams to hybrids: thirty years of language models, equal parameters, one table.

    python launch.py sweep --config=experiments/history.py --executor=processes
    python launch.py sweep --config=experiments/history.py:corpus=ptb
    python launch.py sweep --config=experiments/history.py:scale=desk \
        --ladder=train.optimizer.learning_rate=1e-3,2e-3,4e-3 --pilot=100

tiny   216 thousand parameters with bytes, 840 with words; an hour on one core
desk   1.6 million and 2.9, and a learning rate each; a night on two cores (estimated)

stdlib is read in bytes, ptb in words. A Kneser-Ney model is counted; the others are trained, with
the surroundings of a modern Transformer (residual stream, norm before each sublayer, tied head), so
that their mixers alone differ and not the habits of their years: Bengio et al. 2003's window, LSTM,
GRU, Transformer, Sandwich, Universal Transformer, Mamba-2, RWKV-4, and a small Jamba. Each has one
size chosen so that all have the Transformer's parameters: a width where the whole model is one
layer, else an inner width or a state. The sections compare at equal tokens and at equal CPU time.

At tiny scale on stdlib, 1.2 million bytes a run, every other mixer is ahead of attention alone:
Mamba-2 4.4, the small Jamba 4.8, RWKV-4 5.0, GRU 5.3, a window of seven 5.8, LSTM 7.1, Universal
7.5, Sandwich 7.8, Transformer 8.1. Kneser-Ney, which counts all 8.0 million bytes once and reads
with its whole window everywhere, has 3.2. At equal CPU time GRU, the window, RWKV-4 and Mamba-2 are
within 0.07 nats of each other.

In words of the Penn Treebank, as many tokens of its 0.9 million words (1.3 epochs), nothing that is
trained is near the 141 of a Kneser-Ney model that has counted all of them: Mamba-2 224, Jamba 236,
RWKV-4 240, GRU 258, Transformer 278, Sandwich 293, LSTM 296, a window of seven 299, Universal 327.
"""

import functools
import math

import jax

from arch import config, variants
from arch import order as orders
from arch.models import families as models
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell

ARGUMENTS = {"scale": ("tiny", "desk"), "corpus": ("stdlib", "ptb")}
VARIES = ("model.width", "model.order", "model.sublayers.*", "model.stack.*", "baseline.*",
          "model.embedding.positions")  # fmt: skip

SCALES = {
    "tiny": {"layers": 4, "width": 64, "steps": 600, "seeds": (0, 1, 2)},
    "desk": {"layers": 8, "width": 128, "steps": 8000, "seeds": (0, 1, 2)},
}
CORPORA = {
    "stdlib": {"tokenizer": "bytes", "vocabulary": 256, "grams": 8},
    "ptb": {"tokenizer": "words", "vocabulary": 10_000, "grams": 5},
}
HEADS, LENGTH, BATCH = 4, 128, 16
LETTERS = {
    "w": {"kind": "fixed_window", "tokens": 7},
    "l": {"kind": "lstm"},
    "g": {"kind": "gru"},
    "m": {"kind": "mamba2", "state": 16},
    "r": {"kind": "rwkv4"},
    "k": {"kind": "rwkv_channel_mix"},
    "j": {"kind": "mamba", "selection_norm": True},
    "e": {"kind": "mixture_of_experts", "experts": 4, "activation": "swiglu", "bias": False},
}


def transformer(scale):
    return variants.vanilla(scale["layers"], scale["width"], HEADS, sublayers=LETTERS)


def get_config(arg):
    scale, corpus = SCALES[arg.scale], CORPORA[arg.corpus]
    return config.make(
        seeds=scale["seeds"],
        model=transformer(scale),
        task={"corpus": arg.corpus, "tokenizer": corpus["tokenizer"], "length": LENGTH},
        train={
            "steps": scale["steps"],
            "batch": BATCH,
            "optimizer": {"learning_rate": 2e-3, "beta2": 0.98, "weight_decay": 0.01},
        },
        evaluate={"every": scale["steps"] // 10},
        save={"every": scale["steps"] // 2},
    )


def arms(layers):
    """Name → (fields of the model, the fields that are free to make it as large as the Transformer,
    what one unit of their size is)."""
    jamba = orders.compress("jfjesfje" * (layers // 4))
    alone = {"embedding.positions": "none"}
    swiglu = {"sublayers.f.activation": "swiglu", "sublayers.f.bias": False}
    inner = ("sublayers.f.inner_width", "sublayers.e.inner_width")
    return {
        "feed-forward": ({"order": "w", **alone}, ("width",), 1),
        "lstm": ({"order": "l2", **alone}, ("sublayers.l.inner_width",), 1),
        "gru": ({"order": "g2", **alone}, ("sublayers.g.inner_width",), 1),
        "transformer": ({}, (), 0),
        "sandwich": ({"order": orders.compress(orders.sandwich(layers, layers // 2))}, (), 0),
        "universal": (
            {"order": "sf", "stack.kind": "universal", "stack.steps": layers}, ("width",), HEADS
        ),
        "mamba2": ({"order": f"m{2 * layers - 1}", **alone}, ("sublayers.m.state",), 1),
        "rwkv4": ({"order": f"(rk){layers}", **alone}, ("sublayers.k.expand",), 1 / 16),
        "jamba": ({"order": jamba, **alone, **swiglu}, inner, 1),
    }  # fmt: skip


@functools.cache
def fields_of(name, scale, vocabulary):
    """The fields of an arm, its free size chosen."""
    fields, free, unit = arms(SCALES[scale]["layers"])[name]
    if not free:
        return fields
    base = config.make(model=transformer(SCALES[scale]))

    def sized(n):
        return {**fields, **dict.fromkeys(free, n * unit)}

    def count(changes):
        changed = {f"model.{field}": value for field, value in changes.items()}
        found = config.override(base, changed, on_drop=lambda dropped: None)
        model = models.build(found.model, vocabulary, LENGTH)
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))

    size, target, known = 64, count({}), (32, count(sized(32)))
    for _ in range(20):  # along the line through the last two sizes
        found = count(sized(size))
        step = round((target - found) * (size - known[0]) / (found - known[1]))
        if not step:
            break
        known, size = (size, found), max(1, size + step)
    return sized(size)


def cells(arg, results):
    corpus = CORPORA[arg.corpus]
    counted = {"baseline.kind": "kneser_ney", "baseline.n": corpus["grams"]}
    trained = []
    for name in arms(SCALES[arg.scale]["layers"]):
        fields = fields_of(name, arg.scale, corpus["vocabulary"])
        trained.append(Cell(name, {f"model.{field}": value for field, value in fields.items()}))
    return [Cell("kneser-ney", counted, variant="kneser_ney", seeds=(0,)), *trained]


def TABLE(arg, cells, results):
    return {
        "title": f"From n-grams to hybrids, {CORPORA[arg.corpus]['tokenizer']} of {arg.corpus}",
        "metric": "perplexity",
        "split": "test",
        "baseline": "transformer",
        "columns": ["order", "parameters.unique", "flops_per_token"],
        "equal": ["tokens", "cpu_seconds"],
    }


def CLAIMS(arg, cells, results):
    def claim(name, statement, source, ours, base):
        return Claim(
            f"history-{arg.corpus}-{name}", statement, source, "lower", {ours: 1, base: -1}
        )

    return [
        claim(
            "recurrence", "An LSTM is ahead of a feed-forward network over a window",
            "Mikolov and Zweig 2012; Zaremba et al. 2014", "lstm", "feed-forward",
        ),
        claim(
            "attention", "At equal parameters and few tokens a Transformer is ahead of an LSTM",
            "Kaplan et al. 2020, Figure 7 (for models of a million parameters)",
            "transformer", "lstm",
        ),
        claim(
            "mamba2", "Mamba-2 is ahead of a Transformer of equal parameters",
            "Dao and Gu 2024, Figure 9 (equal FLOPs)", "mamba2", "transformer",
        ),
        claim(
            "hybrid", "A hybrid of Mamba and attention is ahead of a Transformer",
            "Lieber et al. 2024, Section 6.1", "jamba", "transformer",
        ),
    ]  # fmt: skip
