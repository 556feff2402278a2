"""The front page of evidence: every claim of every experiment, and its summary in the README."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from arch.report.claims import (
    HEADERS,
    NO_EXPERIMENT,
    Judged,
    Untested,
    claimed,
    verdict_texts,
)
from arch.report.columns import MISSING
from arch.report.files import replace_file
from arch.report.verdicts import CONFIRMED, INCONCLUSIVE, REFUTED, UNTESTED, UNTRAINED

VERDICTS = (CONFIRMED, REFUTED, INCONCLUSIVE, UNTRAINED, UNTESTED, NO_EXPERIMENT)
BEGIN, END = "<!-- claims: written by launch.py claims -->", "<!-- end of claims -->"


def write_claims(results: Path, verdicts: Sequence[Judged], untested: Sequence[Untested]) -> str:
    """Replaces `results`/claims.md, and returns its text."""
    text = to_claims_markdown(verdicts, untested)
    replace_file(results / "claims.md", text.encode())
    return text


def write_summary(readme: Path, verdicts: Sequence[Judged], untested: Sequence[Untested]) -> bool:
    """Puts the summary between the two marks of a README; whether it has them."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        return False
    summary = "\n".join(to_summary(verdicts, untested))
    replace_file(readme, f"{before}{BEGIN}\n{summary}\n{END}{after}".encode())
    return True


def to_claims_markdown(verdicts: Sequence[Judged], untested: Sequence[Untested]) -> str:
    """The summary, what its words mean, then the claims of each paper with their figures."""
    lines = [
        "# What the papers claim, and what our runs say",
        "",
        *to_summary(verdicts, untested),
        "",
        "A claim is a contrast between cells, paired by seed. Its interval is corrected for the "
        "claims of its experiment (Holm). Confirmed: the interval lies on the claimed side of 0. "
        "Refuted: at our scale, it excludes the claimed direction, or lies within the margin below "
        "which a difference does not matter. A figure that no seed changes, for example a count of "
        "parameters, is refuted at any. Untrained: a cell of the contrast has learned no "
        "more than the frequencies of tokens, and says nothing; of a claim about what can be "
        "learned at all, every cell. Inconclusive: else; beside it stands the number of seeds, or "
        "of orders, that would decide it.",
    ]
    for paper in papers(verdicts, untested):
        lines += [
            "",
            f"## {paper}",
            "",
            f"| {' | '.join(('claim', 'source', 'scale', *HEADERS[2:]))} |",
            "| --- | --- | --- | ---: | ---: | ---: | --- | --- |",
        ]
        for folder, scale, v, _ in verdicts:
            if paper_of(v.claim.source) == paper:
                named = f"[{_escape(claimed(v.claim))}]({folder}/table.md)"
                texts = " | ".join(verdict_texts(v))
                lines.append(f"| {named} | {_place(v.claim.source)} | {scale} | {texts} |")
        for claim in untested:
            if paper_of(claim.source) == paper:
                lines.append(
                    f"| {_escape(claim.statement)} | {_place(claim.source)} | — | — | — | — | "
                    f"{NO_EXPERIMENT} | {_escape(claim.why)} |"
                )
    lines += ["", "To make this page again:", "", "```sh", "python launch.py claims", "```", ""]
    return "\n".join(lines)


def to_summary(verdicts: Sequence[Judged], untested: Sequence[Untested]) -> list[str]:
    """The lines of a table: how many claims of each paper have which verdict."""
    counts = count_verdicts(verdicts, untested)
    shown = [verdict for verdict in VERDICTS if counts[verdict]]
    lines = [
        f"| paper | {' | '.join(shown)} | seeds or orders to decide those |",
        f"| --- | {' | '.join('---:' for _ in shown)} | --- |",
    ]
    for paper in papers(verdicts, untested):
        own = [judged for judged in verdicts if paper_of(judged.verdict.claim.source) == paper]
        others = [claim for claim in untested if paper_of(claim.source) == paper]
        found = count_verdicts(own, others)
        numbers = " | ".join(str(found[verdict] or MISSING) for verdict in shown)
        lines.append(f"| {paper} | {numbers} | {_to_decide(own)} |")
    numbers = " | ".join(f"**{counts[verdict]}**" for verdict in shown)
    return [*lines, f"| **all** | {numbers} | |"]


def _to_decide(verdicts: Iterable[Judged]) -> str:
    needed = sorted(
        v.seeds for v in (one.verdict for one in verdicts) if v.verdict == INCONCLUSIVE and v.seeds
    )
    if not needed:
        return MISSING
    if needed[0] == needed[-1]:
        return str(needed[0])
    return f"{needed[0]} to {needed[-1]}, median {statistics.median_low(needed)}"


def papers(verdicts: Iterable[Judged], untested: Iterable[Untested]) -> list[str]:
    """Whose claims they are, by name."""
    sources = [judged.verdict.claim.source for judged in verdicts]
    return sorted({paper_of(source) for source in (*sources, *(c.source for c in untested))})


def paper_of(source: str) -> str:
    """The paper of a source: what stands before its first comma."""
    return source.partition(",")[0]


def _place(source: str) -> str:
    """The rest of a source: the table or figure."""
    return source.partition(",")[2].strip() or MISSING


def count_verdicts(verdicts: Iterable[Judged], untested: Sequence[Untested]) -> dict[str, int]:
    """Verdict → number of claims."""
    counts: dict[str, int] = dict.fromkeys(VERDICTS, 0)
    for judged in verdicts:
        counts[judged.verdict.verdict] += 1
    return {**counts, NO_EXPERIMENT: len(untested)}


def _escape(text: str) -> str:
    return text.replace("|", r"\|")
