"""`baseline.kind`: a cell whose model is counted from the task's training split, not trained.

Its lines bear the same evaluations as a trained model's, over the same targets; what it is known by
besides is the order of its n-grams and their discounts. It has no parameters trained by gradient,
no checkpoints, and is the same for every seed.
"""

import time
from typing import Any

import numpy as np

from arch.baselines.kneser_ney import KneserNey
from arch.data.tokenizers.kinds import line_end
from arch.registry import Config, ConfigurationError
from arch.tasks.contract import Task, Window
from arch.tasks.language_model import LanguageModel


def is_counted(config: Config) -> bool:
    """Whether a configuration's results are of counting, and its `model` and `train` have no part
    in them."""
    return config["baseline"]["kind"] != "none"


def check(config: Config, task: Task) -> None:
    """Raises ConfigurationError for a baseline that is not of this task."""
    if is_counted(config) and not isinstance(task, LanguageModel):
        raise ConfigurationError(
            f"baseline.kind={config['baseline']['kind']!r}: it models a stream of tokens, and "
            f"task.kind={config['task']['kind']!r} has none; allowed is language_model"
        )


def counted(config: Config, task: Task) -> tuple[dict[str, dict], dict[str, Any]]:
    """(split → figures, what its line says besides: `n_grams`, tokens and CPU seconds).

    Every token but a split's first is a target, as in `LanguageModel.examples`. Its context is the
    n - 1 tokens before it; where lines are marked, as by the tokenizer `words`, those of its line.
    """
    assert isinstance(task, LanguageModel)
    began, n = time.process_time(), config["baseline"]["n"]
    tokenizer, splits = task.dataset.tokenizer, task.dataset.splits
    train = np.asarray(splits["train"].ids)
    model = KneserNey(train, n, tokenizer.entries, line_end(tokenizer))
    evaluations = {}
    for split in (split for split in config["evaluate"]["splits"] if split in task.splits):
        losses = -model.log_probabilities(np.asarray(splits[split].ids))[1:]
        means = {"loss": float(losses.mean())}
        evaluations[split] = task.figures(split, means, len(losses), Window(0, max(1, n - 1), 1))
    said = {
        "n": n,
        "entries": model.entries,
        "discounts": [[round(d, 6) for d in level] for level in model.discounts],
        "fallback": model.fallback,
    }
    seconds = time.process_time() - began
    return evaluations, {"n_grams": said, "tokens": len(train), "cpu_seconds": seconds}
