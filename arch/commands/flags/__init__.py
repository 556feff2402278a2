"""The commands of launch.py with their flags; the body of each is the file of its name."""

from arch.commands.contract import Command
from arch.commands.flags.base import Answers, Configured, Loads, Trains
from arch.commands.flags.of_experiments import Bench, Describe, Plan, Prepare, Run, Search, Sweep
from arch.commands.flags.of_results import (
    Audit,
    Check,
    Claims,
    Evaluate,
    Generate,
    List,
    Report,
    Status,
    Verify,
)

__all__ = [
    "COMMANDS",
    "Answers",
    "Audit",
    "Bench",
    "Check",
    "Claims",
    "Configured",
    "Describe",
    "Evaluate",
    "Generate",
    "List",
    "Loads",
    "Plan",
    "Prepare",
    "Report",
    "Run",
    "Search",
    "Status",
    "Sweep",
    "Trains",
    "Verify",
]

COMMANDS: dict[str, type[Command]] = {
    command.name: command
    for command in (
        List, Check, Describe, Plan, Run, Sweep, Search, Prepare, Status, Report, Claims, Audit,
        Evaluate, Generate, Bench, Verify,
    )
}  # fmt: skip
