"""`report`: tables and figures, from results/ alone."""

import sys

from arch.commands import flags, terminal
from arch.commands.known import known
from arch.registry import ConfigurationError, suggestion
from arch.report import lines
from arch.report.folder import FORMATS, write_report
from arch.report.renderers import print_table
from arch.runs.folders import RunFolder
from arch.sweeps.gathering import refresh
from arch.sweeps.sweep import RESULTS, RUNS


def run(command: flags.Report) -> int:
    """Write the table and figures in the formats asked for and print the table."""
    there = [p.parent.name for p in RESULTS.glob(f"*/{lines.RUNS}")]
    folder = RESULTS / known(command.directory, there, f"{RESULTS}/")
    against = None
    if command.against:
        against = RESULTS / known(command.against, there, f"{RESULTS}/", "--against")
    formats = tuple(filter(None, command.format.split(",")))
    for name in formats:
        if name not in FORMATS:
            raise ConfigurationError(
                f"--format={command.format}: {name!r} is none; allowed are "
                f"{', '.join(FORMATS)}{suggestion(name, FORMATS)}"
            )
    for said in refresh(folder) if command.refresh else ():
        print(said, file=sys.stderr)
    html = RUNS / command.directory / "report.html"
    print_table(write_report(folder, formats, against, html, command.notes))
    beside = ", ".join(name for name in formats if name != "html")
    places = [f"{folder} ({beside})"] * bool(beside) + [str(html)] * ("html" in formats)
    print(f"written: {' and '.join(places)}")
    held = sorted((RUNS / command.directory).glob("*/config.json"))
    terminal.print_runs(RunFolder(path.parent) for path in held)
    return 0
