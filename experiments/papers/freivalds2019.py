"""Settings and printed figures of Shuffle-Exchange networks: Freivalds et al. 2019 (arXiv
1907.07897) and Draguns et al. 2020 (arXiv 2004.04662), settings as the authors' codes have them.
Data only."""

import math

from arch.report.claims import Untested

NAMES = {
    "nse": "Neural Shuffle-Exchange",
    "rse": "Residual Shuffle-Exchange, over the sequence",
    "rse_features": "Residual Shuffle-Exchange, over the features",
    "ut": "Universal Transformer",
    "transformer": "Transformer",
}


def radam(width, times=1.0):
    """RAdam with a rate of `times` .00125 · √(96 / width) that falls to 0 in a line, and decay of
    what has two axes. The authors' own RAdam divides gradients by √v before their momentum is
    taken, and decays no embedding. Gradients are clipped at a norm of 1 here, the default; what the
    authors do is not known."""
    return {
        "name": "radam",
        "learning_rate": times * 0.00125 * math.sqrt(96 / width),
        "epsilon": 1e-5,
        "weight_decay": 0.01,
        "schedule": "linear",
        "warmup": 0.0,
        "final": 0.0,
    }


# Neural Shuffle-Exchange trained up to 64: algorithm → length → accuracy of symbols, of a figure
ACCURACY = {
    "double": {128: 1.0, 256: 1.0, 512: 1.0, 1024: 1.0, 2048: 1.0, 4096: 1.0},
    "reverse": {128: 1.0, 256: 1.0, 512: 1.0, 1024: 1.0, 2048: 0.99, 4096: 0.96},
    "addition": {128: 1.0, 256: 1.0, 512: 0.99, 1024: 0.98, 2048: 0.93, 4096: 0.85},
    "sorting": {128: 1.0, 256: 0.98, 512: 0.97, 1024: 0.96, 2048: 0.94, 4096: 0.93},
    "multiplication": {128: 0.61, 256: 0.51, 512: 0.50, 1024: 0.50, 2048: 0.50, 4096: 0.50},
}

# LAMBADA: accuracy on the test passages, and millions of parameters
LAMBADA = {
    "random": (0.016, None),
    "reader": (0.490, None),  # Gated-Attention Reader
    "nse": (0.5228, 33),
    "rse": (0.5434, 11),
    "ut": (0.5600, 152),
    "human": (0.860, None),
}

# seconds of one evaluation at a length, of a figure of 2019: Shuffle-Exchange, and Universal
# Transformer, for which there was no memory beyond 4096
SECONDS = {
    "nse": {
        64: 0.0043, 512: 0.0086, 1024: 0.0157, 2048: 0.030, 4096: 0.075, 8192: 0.136,
        32768: 0.59, 131072: 2.75,
    },
    "ut": {64: 0.023, 512: 0.028, 1024: 0.046, 2048: 0.112, 4096: 0.227},
}  # fmt: skip

# Statements that no experiment here tests, and why.
UNTESTED = (
    Untested(
        "draguns2020-musicnet",
        "A Residual Shuffle-Exchange network transcribes music better than published models, "
        "with 3 million parameters",
        "Draguns et al. 2020, MusicNet",
        "variants.residual_shuffle_exchange('musicnet') is the model, with its 3.06 · 2²⁰ "
        "parameters; recordings are not among the data that are read here, the task transcription "
        "has made-up tones, and no experiment trains it",
    ),
    Untested(
        "freivalds2019-multiplication",
        "Trained to length 64, the network gets 0.61 of the symbols of products right at 128",
        "Freivalds et al. 2019, accuracy over length",
        "in experiments/shuffle_exchange_algorithmic.py from scale=small on, which has not been "
        "run",
    ),
    Untested(
        "draguns2020-lambada-reader",
        "Residual switches find more of LAMBADA's words than the Gated-Attention Reader",
        "Draguns et al. 2020, LAMBADA",
        "the Gated-Attention Reader is not built",
    ),
)
