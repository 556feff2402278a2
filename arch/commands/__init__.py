"""The commands of launch.py: each takes the parsed arguments and returns an exit code."""

from arch.commands.catalogue import catalogue, describe_cells
from arch.commands.runs import evaluate, generate, show_report, status, verify
from arch.commands.training import benchmark, prepare, run, sweep

COMMANDS = {
    "list": catalogue,
    "describe": describe_cells,
    "run": run,
    "sweep": sweep,
    "prepare": prepare,
    "bench": benchmark,
    "status": status,
    "report": show_report,
    "evaluate": evaluate,
    "generate": generate,
    "verify": verify,
}
