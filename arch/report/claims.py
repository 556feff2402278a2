"""Claims and verdicts: the section of an experiment's table, and those of all results folders.

What is made of all of them together is in front_page.py.
"""

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from arch.report.columns import MISSING
from arch.report.comparisons import untrained_cells
from arch.report.inference import Interval
from arch.report.ladders import reported
from arch.report.lines import (
    Line,
    of_one_device,
    of_present,
    read_experiment,
    read_lines,
    several_configurations,
)
from arch.report.rows import group_rows
from arch.report.seeds import read_seed
from arch.report.specification import TableSpec
from arch.report.statistics import number
from arch.report.verdicts import (
    INCONCLUSIVE,
    REFUTED,
    Claim,
    Verdict,
    judge,
)

ARROWS = {"lower": "< 0", "higher": "> 0", "equal": "≈ 0"}
HEADERS = ("claim", "source", "ours, corrected interval", "paper", "n", "verdict", "to decide it")
NO_EXPERIMENT = "no experiment"
DECIDED = (
    "Confirmed: the interval, corrected for the number of claims (Holm), lies on the claimed side "
    "of 0. Refuted at this scale: it excludes the claimed direction, or lies within the margin. "
    "Inconclusive: else. Untrained: a cell has learned no more than the frequencies of tokens."
)


class Untested(NamedTuple):
    """A published statement that no experiment here tests, and why."""

    id: str
    statement: str
    source: str
    why: str


class Judged(NamedTuple):
    """A verdict, and the results folder and scale that it is of; of a folder with lines of several
    kinds of devices the one that it is of, else ''."""

    folder: str
    scale: str
    verdict: Verdict
    device: str = ""


def claims_of(experiment: Mapping[str, Any]) -> list[Claim]:
    """The claims in an experiment.json, as `as_json` wrote them."""
    return [
        Claim(**{**claim, "values": {read_seed(k): v for k, v in claim.get("values", {}).items()}})
        for claim in experiment.get("claims") or ()
    ]


def as_json(claims: Iterable[Claim]) -> list[dict[str, Any]]:
    """Claims as experiment.json holds them: the fields that differ from their defaults."""
    defaults = {f.name: f.default for f in dataclasses.fields(Claim)}
    return [
        {
            name: {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else value
            for name, value in vars(claim).items()
            if value != defaults[name] and value != {}
        }
        for claim in claims
    ]


def judge_folder(folder: Path) -> list[Judged]:
    """The verdicts that the lines of a results folder support today."""
    return judge_lines(folder.name, read_experiment(folder), read_lines(folder))


def judge_lines(name: str, experiment: Mapping[str, Any], lines: Sequence[Line]) -> list[Judged]:
    """The same of a folder that has been read: its name, its experiment.json and its lines."""
    claims = claims_of(experiment)
    if not claims:
        return []
    lines = reported(experiment, lines)
    several = several_configurations(lines)
    every = of_present(lines, experiment.get("present") or {}, several)
    lines = of_one_device(every)
    device = lines[0]["device"] if len(lines) < len(every) else ""
    spec = TableSpec.of(experiment.get("table") or {})
    rows = group_rows(lines, experiment.get("cells", ()), spec.split, spec.metric)
    untrained = untrained_cells(rows, spec.split, experiment.get("trivial") or {})
    looks = tuple(experiment.get("looks") or ())
    found = judge(claims, lines, spec.metric, spec.split, spec.exact, looks, untrained)
    scale = experiment.get("scale", "")
    return [Judged(name, scale, verdict, device) for verdict in found]


def verdict_section(verdicts: Sequence[Judged]) -> dict[str, Any]:
    """The section of an experiment's table that lists its claims."""
    decided = (
        "Confirmed or refuted by figures that no seed changes."
        if all(judged.verdict.exact for judged in verdicts)
        else DECIDED
    )
    devices = {f"{one.folder} those on {one.device}" for one in verdicts if one.device}
    if devices:
        decided += f" Of runs on two kinds of devices one counts: of {', '.join(sorted(devices))}."
    return {
        "title": "Claims",
        "columns": list(HEADERS),
        "rows": [
            [claimed(v.claim), v.claim.source, *verdict_texts(v)]
            for v in (judged.verdict for judged in verdicts)
        ],
        "note": decided,
    }


def verdict_rows(verdicts: Iterable[Judged]) -> list[dict[str, object]]:
    """A flat object per claim, numbers with every digit: for CSV and JSON."""
    verdicts = list(verdicts)
    in_looks = any(judged.verdict.look for judged in verdicts)
    return [
        {
            "id": v.claim.id,
            "folder": folder,
            "scale": scale,
            "statement": v.claim.statement,
            "source": v.claim.source,
            "contrast": " ".join(f"{w:+g}·{cell}" for cell, w in v.claim.contrast.items()),
            "direction": v.claim.direction,
            "unit": v.claim.scale,
            "n": v.difference.n,
            "difference": _plain(v.difference.mean),
            "low": _plain(v.interval.low),
            "high": _plain(v.interval.high),
            "paper": v.claim.effect,
            "margin": v.claim.margin,
            "detectable": _plain(v.detectable),
            "verdict": v.verdict,
            "seeds_to_decide": v.seeds,
            **({"look": v.look or None} if in_looks else {}),
        }
        for folder, scale, v, _ in verdicts
    ]


def to_claims_csv(verdicts: Sequence[Judged]) -> str:
    """claims.csv: one line per claim."""
    rows, file = verdict_rows(verdicts), io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def judge_all(results: Path) -> list[Judged]:
    """The verdicts of every folder below `results` that counts, in the order of their names."""
    return [judged for folder in counted(results)[0] for judged in judge_folder(folder)]


def counted(results: Path) -> tuple[list[Path], dict[str, str]]:
    """(the folders whose claims count, folder → the one that counts in its place).

    Of several folders of one file with the same arguments one counts, so that no claim is listed
    twice: the one with the fewest overrides, then one whose name was not chosen by --name.
    """
    groups: dict[tuple[object, object], list[tuple[int, bool, str]]] = {}
    for path in results.glob("*/experiment.json"):
        held, name = read_experiment(path.parent), path.parent.name
        if held.get("claims"):
            key = held.get("config") or name, held.get("argument")
            rank = len(held.get("overrides") or {}), bool(held.get("name")), name
            groups.setdefault(key, []).append(rank)
    first = {name: min(group)[-1] for group in groups.values() for *_, name in group}
    folders = sorted(results / name for name, best in first.items() if name == best)
    return folders, {name: best for name, best in sorted(first.items()) if name != best}


def claimed(claim: Claim) -> str:
    """The statement, with the side of 0 that it claims."""
    return f"{claim.statement} ({ARROWS[claim.direction]})"


def verdict_texts(v: Verdict) -> list[str]:
    """Ours, the paper's, n, the verdict, and what would decide it."""
    claim = v.claim
    ours = MISSING
    if v.difference.n:
        ours = _amount(claim, v.difference.mean)
        if v.difference.n > 1:
            ours += f" [{_range(claim, v.interval)}]"
    paper = MISSING if claim.effect is None else _amount(claim, claim.effect)
    decide = f"{v.seeds} {claim.each}s" if v.seeds else ""
    if v.verdict == INCONCLUSIVE and v.difference.n < 2:
        decide = f"two {claim.each}s at least"
    elif v.verdict == INCONCLUSIVE and v.difference.sd == 0:
        decide = f"{claim.each}s that differ"  # no number of equal ones tells how many
    elif v.verdict == INCONCLUSIVE and not v.seeds:
        decide = f"over 1,000 {claim.each}s"
    scaled = v.verdict == REFUTED and not v.exact
    verdict = v.verdict + " at this scale" * scaled
    verdict += f", at the look at {v.look} seeds" if v.look else ""
    return [ours, paper, str(v.difference.n), verdict, decide or MISSING]


def _range(claim: Claim, interval: Interval) -> str:
    """The ends of an interval. One that goes beyond ±100 % on both sides says nothing, as a first
    look's may, which has hardly any of the error to spend."""
    if claim.scale == "relative" and interval.low < -1 and interval.high > 1:
        return "beyond ±100 %"
    return f"{_amount(claim, interval.low)}, {_amount(claim, interval.high)}"


def _amount(claim: Claim, value: float) -> str:
    if claim.scale == "relative":
        return f"{number(100 * value, 2, sign=True)} %"
    return number(value, 3, sign=True)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
