"""Where sweeps write, from the folder that a command was started in."""

from pathlib import Path

RUNS, RESULTS = Path("runs"), Path("results")
