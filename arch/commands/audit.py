"""`audit`: which committed results the present code would not make again."""

from arch.commands import flags, from_flags, terminal
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
        folders = [RESULTS / from_flags.known(command.directory, names, f"{RESULTS}/")]
    table = terminal.table("Audit", "results", "lines", "what", "cells")
    good = 0
    for folder in folders:
        found = audit(folder)
        good += not found
        for one in found:
            table.add_row(one.folder, str(one.lines), one.what, ", ".join(one.cells))
    if good < len(folders):
        terminal.show(table)
    print(f"{good} of {len(folders)} folders: the present code would make every line again")
    for said in twins(result_folders()):
        print(f"one and the same run: {said}")
    if command.rerun:
        for folder in folders:
            try:
                print(f"{folder.name}: {again(folder)}", flush=True)
            except ConfigurationError as error:
                print(f"{folder.name}: cannot be made: {error}", flush=True)
    return 0
