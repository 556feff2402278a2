"""Settings of Dehghani et al. 2018 (arXiv 1807.03819), as tensor2tensor has them, and what the
authors print of bAbI. Data only."""

from arch.report.claims import Untested

NAMES = {
    "lstm": "LSTM",
    "transformer": "Transformer",
    "ut": "Universal Transformer",
    "ut_act": "Universal Transformer, ACT",
}

# Of every size, in attention and feed-forward; the authors' attention has no biases.
ATTENTION = {"bias": False, "attention_dropout": 0.1}
FEED_FORWARD = {"activation_dropout": 0.1}
UNIVERSAL = {"model.stack.step_signal": "learned"}
LABEL_SMOOTHING = 0.1


def adam(width):
    """Adam with a rate of 2 · width^-½ · step^-½ after 8000 steps of linear warm-up."""
    return {
        "name": "adamw",
        "learning_rate": 2.0 * width**-0.5 * 8000**-0.5,
        "beta2": 0.997,
        "epsilon": 1e-9,
        "schedule": "rsqrt",
        "warmup_steps": 8000,
    }


# bAbI, percent of wrong answers over the twenty tasks: (size, training) → model → best of ten
# seeds, picked by validation
BABI_BEST = {
    ("10k", "single"): {"transformer": 15.2, "ut": 0.23, "ut_act": 0.21},
    ("10k", "joint"): {"transformer": 22.1, "ut": 0.47, "ut_act": 0.29},
    ("1k", "single"): {"transformer": 21.8, "ut": 5.31, "ut_act": 4.55},
    ("1k", "joint"): {"transformer": 26.8, "ut": 8.50, "ut_act": 7.78},
}
BABI_MEANS = {  # mean and SD of the ten, with halting
    ("10k", "single"): (0.73, 0.89),
    ("10k", "joint"): (1.12, 1.62),
    ("1k", "single"): (6.34, 3.32),
    ("1k", "joint"): (11.21, 6.65),
}
# Number of supporting facts → mean and spread of the ponder time over the test set's positions.
BABI_PONDER = {1: (2.3, 0.8), 2: (3.1, 1.1), 3: (3.8, 2.2)}

# Subject-verb agreement: model → accuracy of all sentences of Linzen et al. 2016, and of those with
# five attractors. The LSTM is another paper's.
AGREEMENT = {
    "lstm": {"test": 0.991, "attractors5": 0.842},
    "transformer": {"test": 0.962, "attractors5": 0.883},
    "ut": {"test": 0.992, "attractors5": 0.892},
    "ut_act": {"test": 0.992, "attractors5": 0.907},
}

# Learning to execute: (model, algorithm) → accuracy of characters and of whole answers
EXECUTION = {
    ("lstm", "copy"): (0.78, 0.11),
    ("lstm", "double"): (0.51, 0.047),
    ("lstm", "reverse"): (0.91, 0.32),
    ("lstm", "program"): (0.53, 0.12),
    ("lstm", "control"): (0.68, 0.21),
    ("lstm", "addition"): (0.83, 0.11),
    ("transformer", "copy"): (0.98, 0.63),
    ("transformer", "double"): (0.94, 0.55),
    ("transformer", "reverse"): (0.81, 0.26),
    ("transformer", "program"): (0.71, 0.29),
    ("transformer", "control"): (0.93, 0.66),
    ("transformer", "addition"): (1.0, 1.0),
    ("ut", "copy"): (1.0, 1.0),
    ("ut", "double"): (1.0, 1.0),
    ("ut", "reverse"): (1.0, 1.0),
    ("ut", "program"): (0.89, 0.63),
    ("ut", "control"): (1.0, 1.0),
    ("ut", "addition"): (1.0, 1.0),
}

# Statements that no experiment here tests, and why.
UNTESTED = (
    Untested(
        "dehghani2018-execute-memory",
        "Universal Transformers copy, double and reverse strings of the learning-to-execute set "
        "without a fault",
        "Dehghani et al. 2018, learning to execute, memorisation",
        "experiments/universal_execution.py has the cells, and was not run yet",
    ),
    Untested(
        "dehghani2018-execute-programs",
        "Universal Transformers evaluate short programs better than an LSTM, and all but one "
        "kind better than a Transformer",
        "Dehghani et al. 2018, learning to execute, programs",
        "experiments/universal_execution.py has the cells, and was not run yet",
    ),
    Untested(
        "dehghani2018-lambada-perplexity",
        "Universal Transformers have a far lower perplexity of the last word of LAMBADA than a "
        "Transformer",
        "Dehghani et al. 2018, LAMBADA, language modelling",
        "experiments/universal_lambada.py has the cells; tiny models have perplexities of "
        "millions, which say nothing",
    ),
    Untested(
        "dehghani2018-neural-gpu",
        "A Neural GPU trained by a curriculum solves copying, reversal and addition at ten "
        "times the length",
        "Dehghani et al. 2018, algorithmic tasks",
        "variants.neural_gpu is that model; no experiment trains it yet",
    ),
)
