"""Flags as what they ask for: an experiment, a sweep of it, seeds, replicas."""

import os
from pathlib import Path

from arch.registry import ConfigurationError
from arch.sweeps import sweep as sweeps
from arch.sweeps.experiment import Experiment

MOST_SEEDS = 10_000


def experiment_of(arguments) -> Experiment:
    experiment = Experiment(arguments.config, arguments.overrides)
    if experiment.config().train.deterministic:  # XLA reads it when the first device is asked for
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    return experiment


def sweep_of(arguments, experiment: Experiment) -> sweeps.Sweep:
    return sweeps.Sweep(
        experiment=experiment,
        name=_name(arguments.name or experiment.default_name),
        cells=getattr(arguments, "cells", "*"),
        seeds=_seeds(arguments.seeds),
        rerun=getattr(arguments, "rerun", ""),
        replicas=_replicas(arguments.replicas),
        executor=getattr(arguments, "executor", "local"),
        command=arguments.command_line,
    )


def _name(text: str) -> str:
    if text and (Path(text).name != text or text.startswith(".")):
        raise ConfigurationError(f"--name={text}: a plain folder name is wanted")
    return text


def _seeds(text: str) -> tuple[int, ...]:
    """'5' → 0 … 4; '100-104' and '1,3' as they say; empty for the configuration's own."""
    if not text:
        return ()
    try:
        if text.isdigit():
            text = f"0-{int(text) - 1}"
        seeds: list[int] = []
        for part in text.split(","):
            low, dash, high = part.partition("-")
            last = int(high) if dash else int(low)
            if last - int(low) < MOST_SEEDS and last < 2**31:
                seeds += range(int(low), last + 1)
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigurationError(
            f"--seeds={text}: wanted is a count (5), a range (100-104) or a list (1,3), "
            "each seed once"
        )
    return tuple(seeds)


def _replicas(text: str) -> int:
    if text == "auto":
        return 0
    if not text.isdigit() or int(text) < 1:
        raise ConfigurationError(f"--replicas={text!r}: allowed are auto and numbers from 1 on")
    return int(text)
