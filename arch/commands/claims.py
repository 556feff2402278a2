"""`claims`: every claim of every committed experiment with its verdict, results/claims.md and its
summary in the README."""

from pathlib import Path

from arch import plugins
from arch.commands import flags, terminal
from arch.commands.answers import answer
from arch.registry import ConfigurationError
from arch.report.claims import Untested, counted, judge_all, verdict_rows, verdict_section
from arch.report.front_page import count_verdicts, write_claims, write_summary
from arch.sweeps.sweep import RESULTS

PAPERS = Path("experiments") / "papers"
README = Path("README.md")
UNTESTED = "UNTESTED"  # of a file of published figures: what it has that no experiment tests


def run(command: flags.Claims) -> int:
    """Judge all claims from results/ alone, print them, and write the page."""
    if not RESULTS.is_dir():
        raise ConfigurationError(f"{RESULTS}/: not here; run this where the repository is")
    verdicts, untested = judge_all(RESULTS), untested_claims()
    if command.json:
        answer(*verdict_rows(verdicts))
        answer(*({**claim._asdict(), "verdict": "no experiment"} for claim in untested))
        return 0
    section = verdict_section(verdicts)
    table = terminal.table("Claims", *section["columns"])
    for row in section["rows"]:
        table.add_row(*row)
    terminal.show(table)
    counts = count_verdicts(verdicts, untested)
    print(", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    write_claims(RESULTS, verdicts, untested)
    for folder, other in counted(RESULTS)[1].items():
        print(f"left out: {folder}, of the experiment that {other} is of")
    summed = write_summary(README, verdicts, untested)
    print(f"written: {RESULTS / 'claims.md'}" + f" and its summary in {README}" * summed)
    return 0


def untested_claims() -> list[Untested]:
    """What the files of published figures name as claims that no experiment tests."""
    found: list[Untested] = []
    for path in sorted(PAPERS.glob("*.py")):
        found += vars(plugins.import_file(path, str(path))).get(UNTESTED, ())
    return found
