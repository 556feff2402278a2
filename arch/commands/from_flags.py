"""Flags as what they ask for: an experiment, a sweep of it, seeds, replicas, a folder's name."""

import os
from pathlib import Path

from arch.checks import SEED_LIMIT
from arch.commands.flags import Configured, Trains
from arch.devices import hosts
from arch.registry import ConfigurationError
from arch.report import trackers
from arch.report.seeds import Seed, seed_of
from arch.sweeps.executors import named
from arch.sweeps.experiment import Experiment
from arch.sweeps.ladder import Ladder
from arch.sweeps.sweep import Sweep

MOST_SEEDS = 10_000


def experiment(command: Configured, alone: bool = False) -> Experiment:
    """The experiment of --config and its overrides; `alone` without the file's cells."""
    if isinstance(command, Trains) and command.distributed:
        hosts.join()  # before anything asks for a device
    ladder = _ladder(command) if isinstance(command, Trains) else None
    made = Experiment(command.config, command.overrides, alone, ladder)
    if made.config().train.deterministic:  # XLA reads it when the first device is asked for
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    return made


def sweep(
    command: Trains, experiment: Experiment, cells: str = "*", executor: str = "local"
) -> Sweep:
    """The sweep that a command asks for. Raises ConfigurationError for a flag that cannot be."""
    named(executor)
    trackers.check(command.track)
    if command.distributed and executor != "local":
        raise ConfigurationError(
            f"--distributed --executor={executor}: expected one of them; several hosts train one "
            "group after the other"
        )
    if command.reuse and command.fresh:
        raise ConfigurationError("--reuse --fresh: expected one of them; they say the opposite")
    return Sweep(
        experiment=experiment,
        name=plain_name(command.directory or experiment.default_name),
        cells=cells,
        seeds=_seeds(command.seeds),
        rerun=command.rerun,
        keep=command.keep,
        reuse=command.reuse,
        fresh=command.fresh,
        strict=command.strict,
        replicas=_replicas(command.replicas),
        track=command.track,
        executor=executor,
        command=command.command_line,
    )


def plain_name(text: str) -> str:
    """The value of --name, which must be the name of a folder and no path."""
    if text and (Path(text).name != text or text.startswith(".")):
        raise ConfigurationError(f"--name={text}: expected a plain folder name")
    return text


def _seeds(text: str) -> tuple[Seed, ...]:
    """'5' → 0 … 4; '100-104' and '1,3' as they say; '3x2' → each of 0 … 2 for initialisation with
    each of 0 and 1 for data; empty for the configuration's own."""
    if not text:
        return ()
    init, cross, data = text.partition("x")
    inits = _numbers(init)
    seeds = [seed_of(i, j) for i in inits for j in _numbers(data)] if cross else inits
    if not 0 < len(set(seeds)) == len(seeds) <= MOST_SEEDS:
        raise ConfigurationError(
            f"--seeds={text}: expected a count (5), a range (100-104), a list (1,3), each seed "
            f"once, or two of them (3x3: initialisation x data); seeds are below {SEED_LIMIT}"
        )
    return tuple(seeds)


def _numbers(text: str) -> list[int]:
    """The numbers of a count, a range or a list; none where the text is no such thing."""
    return _listed(f"0-{int(text) - 1}" if text.isdecimal() else text)


def _listed(text: str) -> list[int]:
    """The numbers of a range or a list; none where the text is neither."""
    numbers: list[int] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            return []
        last = int(high) if dash else int(low)
        if last - int(low) >= MOST_SEEDS or last >= SEED_LIMIT:
            return []
        numbers += range(int(low), last + 1)
    return numbers


def _ladder(command: Trains) -> Ladder | None:
    """The ladder of --ladder and --pilot; None where neither is there."""
    if not (command.ladder or command.pilot):
        return None
    field, equals, text = command.ladder.partition("=")
    values = tuple(part.strip() for part in text.split(",") if part.strip())
    if not equals or not 1 < len(values) == len(set(values)):
        raise ConfigurationError(
            f"--ladder={command.ladder}: expected a field and values, each once, two at least: "
            "train.optimizer.learning_rate=5e-4,1e-3"
        )
    pilot = _listed(command.pilot)
    if not 0 < len(pilot) == len(set(pilot)):
        raise ConfigurationError(
            f"--pilot={command.pilot}: expected the seeds that choose on the ladder, a range "
            f"(100-101) or a list (7,9), each once and below {SEED_LIMIT}"
        )
    return Ladder(field, values, tuple(pilot))


def _replicas(text: str) -> int:
    if text == "auto":
        return 0
    if not text.isdigit() or int(text) < 1:
        raise ConfigurationError(f"--replicas={text!r}: expected auto, or a number from 1 on")
    return int(text)
