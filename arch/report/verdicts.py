"""Claims of papers, and what our runs say of each: confirmed, refuted or inconclusive.

A claim is a contrast between cells, paired by seed. `judge` gives a verdict for each claim of an
experiment, its interval corrected for their number (Holm):

    confirmed     the corrected interval lies on the claimed side of 0
    refuted       it lies on the other side, or within the margin
    inconclusive  else; with the number of seeds that would decide it

Where an experiment adds its seeds in steps, the first look that decides a claim is the one that
counts, at the level that it has of the error (looks.py).

A claim of equality is confirmed within the margin and refuted where the interval has no part of it.
A figure that no seed changes, for example a count of parameters, has no interval: it decides alone.
A claim about a cell that has learned nothing is not judged: `untrained`.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from arch.registry import ConfigurationError
from arch.report import inference
from arch.report.inference import ALPHA, Interval
from arch.report.lines import of_one_device
from arch.report.looks import levels
from arch.report.rows import measured
from arch.report.seeds import Seed, both, line_seed
from arch.report.statistics import Summary, over_seeds

DIRECTIONS = ("lower", "higher", "equal")
SCALES = ("relative", "absolute")
CONFIRMED, REFUTED, INCONCLUSIVE = "confirmed", "refuted", "inconclusive"
UNTESTED, UNTRAINED = "not run", "untrained"


@dataclasses.dataclass(frozen=True)
class Claim:
    """A published statement as a contrast between cells.

    Args:
        id: a short name, the same wherever the claim is listed: press2020-figure6.
        statement: what is claimed, in our words.
        source: paper and table or figure.
        contrast: cell → weight; the weights add up to 0: {'k5': 1, 'k0': -1} is k5 minus k0.
        values: seed → figure, in place of a contrast, where the statement is of another statistic,
            for example of a correlation over cells, of which each order has its share.
        each: what a value is of: seed, or for example order, numbered.
        direction: lower | higher | equal: on which side of 0 the contrast is claimed to lie.
        effect: the paper's own contrast, on the same scale; None where it cannot be told.
        margin: the largest difference that does not matter, on the same scale.
        scale: relative (to the cells of negative weight) | absolute (in the metric's unit).
        metric, split: of the figures; empty for the table's own.
        of_learning: whether it is about what can be learned at all. Then a cell that has learned
            nothing counts beside one that has; else it says nothing, and nor does the claim.
    """

    id: str
    statement: str
    source: str
    direction: str
    contrast: Mapping[str, float] = dataclasses.field(default_factory=dict)
    values: Mapping[Seed, float] = dataclasses.field(default_factory=dict)
    each: str = "seed"
    effect: float | None = None
    margin: float = 0.0
    scale: str = "relative"
    metric: str = ""
    split: str = ""
    of_learning: bool = False

    def __post_init__(self):
        for name, allowed in (("direction", DIRECTIONS), ("scale", SCALES)):
            if getattr(self, name) not in allowed:
                raise ConfigurationError(
                    f"claim {self.id!r}: {name}={getattr(self, name)!r}: allowed are "
                    f"{', '.join(allowed)}"
                )
        whole = math.isclose(sum(self.contrast.values()), 0, abs_tol=1e-9)
        if not (self.contrast or self.values) or not whole:
            raise ConfigurationError(
                f"claim {self.id!r}: contrast={dict(self.contrast)}: expected weights that add up "
                "to 0, for example {'k5': 1, 'k0': -1}"
            )
        if self.margin < 0 or (self.direction == "equal" and not self.margin):
            raise ConfigurationError(
                f"claim {self.id!r}: margin={self.margin}: expected a number from 0 on, and above "
                "0 for a claim of equality"
            )

    def unlearned(self, untrained: frozenset[str]) -> bool:
        """Whether it cannot be judged, by the cells that have learned nothing."""
        cells = set(self.contrast)
        return bool(cells & untrained) and (cells <= untrained or not self.of_learning)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the runs say of a claim.

    difference: of the contrast, on the claim's scale, over the seeds that all its cells have.
    interval: corrected for the number of claims judged together.
    detectable: the smallest true difference that these seeds show with a chance of 80 %.
    seeds: how many would decide it; None where more than 1,000 would be needed, or it is decided.
    exact: whether the figures are such that no seed, and so no larger experiment of the same
        configurations, changes.
    look: seeds at the look that the verdict is of; 0 where seeds are not added in steps, or before
        the first look.
    """

    claim: Claim
    verdict: str
    difference: Summary
    interval: Interval
    detectable: float
    seeds: int | None
    exact: bool = False
    look: int = 0


def judge(
    claims: Sequence[Claim],
    lines: Iterable[Mapping[str, Any]],
    metric: str,
    split: str,
    exact: bool = False,
    looks: tuple[int, ...] = (),
    untrained: frozenset[str] = frozenset(),
) -> list[Verdict]:
    """A verdict for each claim, from the lines of an experiment's results.

    Holm's correction is over the claims that have two seeds and more; with looks over all of them.

    Args:
        lines: of runs.jsonl; those that did not finish count for nothing here, and of several kinds
            of devices one alone counts: see `of_one_device`.
        metric, split: the table's own, for claims that name none.
        exact: True for figures that no seed changes: one of them decides.
        looks: numbers of seeds at which claims are looked at; each uses the first so many seeds.
        untrained: cells that have learned nothing: see `comparisons.untrained_cells`.
    """
    lines = of_one_device(lines)
    unlearned = [claim.unlearned(untrained) for claim in claims]

    def differences_at(most: int | None = None) -> list[Summary]:
        return [
            contrasted(
                claim, () if nothing else lines, claim.metric or metric, claim.split or split, most
            )
            for claim, nothing in zip(claims, unlearned, strict=True)
        ]

    found = _verdicts(claims, differences_at, exact, looks)
    return [
        dataclasses.replace(verdict, verdict=UNTRAINED) if nothing else verdict
        for verdict, nothing in zip(found, unlearned, strict=True)
    ]


def _verdicts(
    claims: Sequence[Claim],
    differences_at: Callable[..., Sequence[Summary]],
    exact: bool,
    looks: tuple[int, ...],
) -> list[Verdict]:
    if looks and not exact:
        return _judged_in_looks(claims, differences_at, looks)
    differences = differences_at()
    if exact:
        return [_measured(claim, found) for claim, found in zip(claims, differences, strict=True)]
    ready = [index for index, found in enumerate(differences) if found.n > 1]
    p_values = [_p(claims[index], differences[index]) for index in ready]
    alphas = dict(zip(ready, inference.holm_alphas(p_values), strict=True))
    return [
        _judged(claim, found, alphas.get(index, ALPHA))
        for index, (claim, found) in enumerate(zip(claims, differences, strict=True))
    ]


def _judged_in_looks(
    claims: Sequence[Claim],
    differences_at: Callable[[int], Sequence[Summary]],
    looks: tuple[int, ...],
) -> list[Verdict]:
    """The verdict of each claim at the first look that decides it, else at its last so far."""
    found: dict[int, Verdict] = {}
    rejected: set[int] = set()  # whose share of the error goes to the others (Holm)
    for number, count in enumerate(looks):
        differences = differences_at(count)
        open_ones = [
            index
            for index, difference in enumerate(differences)
            if difference.n == count
            and (index not in found or found[index].verdict == INCONCLUSIVE)
        ]
        p_values = [
            0.0 if i in rejected else _p(claims[i], differences[i]) if i in open_ones else 1.0
            for i in range(len(claims))
        ]
        alphas = inference.holm_alphas(
            p_values, level_of=lambda share, at=number: levels(looks, share)[at]
        )
        for i in open_ones:
            verdict = _judged(claims[i], differences[i], alphas[i])
            found[i] = dataclasses.replace(verdict, look=count)
            if p_values[i] <= alphas[i]:
                rejected.add(i)
    first = levels(looks, ALPHA / max(1, len(claims)))[0]
    return [
        found[i] if i in found else _before_first_look(claim, difference, first)
        for i, (claim, difference) in enumerate(zip(claims, differences_at(looks[0]), strict=True))
    ]


def _before_first_look(claim: Claim, difference: Summary, alpha: float) -> Verdict:
    verdict = _judged(claim, difference, alpha)
    return dataclasses.replace(verdict, verdict=INCONCLUSIVE) if difference.n else verdict


def seeds_called_for(verdicts: Iterable[Verdict], looks: tuple[int, ...]) -> dict[str, int]:
    """Cell → how many seeds the claims about it call for: those of the look that decided them, or
    of the next one, or of the last."""
    found: dict[str, int] = {}
    for verdict in verdicts:
        beyond = [n for n in looks if n > verdict.look]
        decided = verdict.look and verdict.verdict != INCONCLUSIVE
        needed = verdict.look if decided or not beyond else beyond[0]
        for cell in verdict.claim.contrast:
            found[cell] = max(found.get(cell, 0), needed)
    return found


def contrasted(
    claim: Claim,
    lines: Iterable[Mapping[str, Any]],
    metric: str,
    split: str,
    most: int | None = None,
) -> Summary:
    """The claim's contrast, a value for each seed that all of its cells have finished with.

    most: of these, the first so many by number.
    """
    if not claim.contrast:
        return _of_first(claim.values, most)
    figures: dict[str, dict[Seed, float]] = {cell: {} for cell in claim.contrast}
    for line in lines:
        found = measured(line, split, metric) if line["cell"] in figures else None
        if found is not None and math.isfinite(found[1]):
            figures[line["cell"]][line_seed(line)] = found[1]
    seeds = set.intersection(*(set(values) for values in figures.values()))
    return _of_first({seed: _of_seed(claim, figures, seed) for seed in seeds}, most)


def _of_first(values: Mapping[Seed, float], most: int | None) -> Summary:
    return over_seeds({seed: values[seed] for seed in sorted(values, key=both)[:most]})


def _of_seed(claim: Claim, figures: Mapping[str, Mapping[Seed, float]], seed: Seed) -> float:
    total = sum(weight * figures[cell][seed] for cell, weight in claim.contrast.items())
    if claim.scale == "absolute":
        return total
    return total / sum(-w * figures[cell][seed] for cell, w in claim.contrast.items() if w < 0)


def _p(claim: Claim, difference: Summary) -> float:
    if claim.direction == "equal":
        return inference.equivalence(difference, claim.margin)
    return inference.p_value(difference)


def _judged(claim: Claim, difference: Summary, alpha: float) -> Verdict:
    equal = claim.direction == "equal"
    # two one-sided tests at alpha are the interval at 1 - 2 alpha (Schuirmann 1987)
    interval = inference.interval(difference, 2 * alpha if equal else alpha)
    detectable = inference.detectable_difference(difference.sd, difference.n, alpha)
    verdict = _verdict(claim, difference, interval)
    seeds = None
    if verdict == INCONCLUSIVE and difference.n > 1:
        aim = claim.margin if equal else claim.effect or claim.margin or difference.mean
        needed = inference.seeds_needed(aim, difference.sd, alpha)
        # as many as there are have not decided it
        seeds = needed and max(needed, difference.n + 1)
    return Verdict(claim, verdict, difference, interval, detectable, seeds)


def _measured(claim: Claim, difference: Summary) -> Verdict:
    """The verdict of an exact figure: its interval is itself, and no difference is a decision."""
    point = Interval(difference.mean, difference.mean, 0.0)
    verdict = _verdict(claim, difference, point)
    if verdict == INCONCLUSIVE:
        verdict = REFUTED
    return Verdict(claim, verdict, difference, point, 0.0, None, exact=True)


def _verdict(claim: Claim, difference: Summary, interval: Interval) -> str:
    if difference.n == 0:
        return UNTESTED
    margin = claim.margin
    if claim.direction == "equal":
        if interval.inside(-margin, margin):
            return CONFIRMED
        return REFUTED if interval.low > margin or interval.high < -margin else INCONCLUSIVE
    sign = 1 if claim.direction == "higher" else -1
    nearest, furthest = sorted((sign * interval.low, sign * interval.high))
    if furthest < 0 or interval.inside(-margin, margin):
        return REFUTED
    return CONFIRMED if nearest > 0 else INCONCLUSIVE
