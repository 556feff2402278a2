"""`audit`: which committed results the present code would not make again."""

from pathlib import Path

from arch.commands import flags, terminal
from arch.commands.answers import answer
from arch.commands.known import known
from arch.registry import ConfigurationError
from arch.sweeps.audit import again, audit, result_folders, twins
from arch.sweeps.sweep import RESULTS


def run(command: flags.Audit) -> int:
    """Print what differs, folder by folder; with --rerun, what training the cheapest seed says."""
    folders = result_folders()
    if not folders:
        raise ConfigurationError(f"{RESULTS}/: nothing is here; run this where the repository is")
    if command.directory:
        names = [folder.name for folder in folders]
        folders = [RESULTS / known(command.directory, names, f"{RESULTS}/")]
    audited = {folder: audit(folder) for folder in folders}
    if command.json:
        for folder, found in audited.items():
            said = {"again": _again(folder)} if command.rerun else {}
            answer({"name": folder.name, "findings": [one._asdict() for one in found], **said})
        return 0
    table = terminal.table("Audit", "results", "lines", "what", "cells")
    for found in audited.values():
        for one in found:
            table.add_row(one.folder, str(one.lines), one.what, ", ".join(one.cells))
    good = sum(not found for found in audited.values())
    if good < len(folders):
        terminal.show(table)
    print(f"{good} of {len(folders)} folders: the present code would make every line again")
    for said in twins(result_folders()):
        print(f"one and the same run: {said}")
    if command.rerun:
        for folder in folders:
            print(f"{folder.name}: {_again(folder)}", flush=True)
    return 0


def _again(folder: Path) -> str:
    """What training the cheapest seed of a folder says."""
    try:
        return again(folder)
    except ConfigurationError as error:
        return f"cannot be made: {error}"
