"""The experiment that a results folder is of, as its experiment.json says."""

from pathlib import Path

from arch.registry import ConfigurationError
from arch.report.lines import read_experiment
from arch.sweeps.experiment import Experiment
from arch.sweeps.ladder import Ladder


def stored_experiment(folder: Path) -> Experiment:
    """The experiment, with the arguments, overrides and ladder that made the folder.

    Raises ConfigurationError where experiment.json names no file, or the file is at fault.
    """
    held = read_experiment(folder)
    if not held.get("config"):
        raise ConfigurationError(f"{folder}: experiment.json names no experiment's file")
    reference = held["config"] + f":{held['argument']}" * bool(held["argument"])
    return Experiment(reference, held["overrides"], ladder=Ladder.of(held.get("ladder")))
