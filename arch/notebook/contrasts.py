"""One run beside another: their difference over the seeds that both have finished."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from arch.registry import ConfigurationError
from arch.report import inference, statistics
from arch.report.cards import Card, Shown
from arch.report.lines import Line, corpus_digest, of_one_device
from arch.report.rows import Setting, measured
from arch.report.seeds import Seed, line_seed
from arch.report.statistics import Summary


class Contrast(NamedTuple):
    """One run minus another, paired by seed.

    ours, others: mean, SD and interval of each over the shared seeds. difference: of the pairs,
    with its 95 % Student t interval; no interval for a single seed. p: two-sided, of the paired t
    test; 1 for a single seed.
    """

    names: tuple[str, str]
    metric: str
    setting: Setting
    seeds: tuple[Seed, ...]
    ours: Summary
    others: Summary
    difference: Summary
    p: float

    def card(self) -> Card:
        """What `repr` shows."""
        places = statistics.decimals([self.ours.mean, self.others.mean])
        sides = zip(self.names, (self.ours, self.others), strict=True)
        facts = {name: statistics.mean_and_sd(side, places) for name, side in sides}
        facts["difference"] = statistics.mean_and_interval(self.difference, places)
        if self.difference.n > 1:
            facts["p"] = f"{self.p:.3g}"
        facts["seeds"] = ", ".join(map(str, self.seeds))
        return Card(f"{self.metric} ({self.setting}): {self.names[0]} − {self.names[1]}", facts)

    __repr__ = Shown.__repr__
    _repr_html_ = Shown._repr_html_


def contrast(
    ours: Sequence[Line], others: Sequence[Line], metric: str = "loss", split: str = "valid"
) -> Contrast:
    """The difference of two runs in a metric, by the lines of their seeds.

    ConfigurationError where no seed is finished in both on one kind of device, or they were not
    measured alike: another corpus, unit, window or stride.
    """
    together = of_one_device([*ours, *others])
    sides = [[line for line in lines if line in together] for lines in (ours, others)]
    mine, theirs = (_measure(lines, metric, split) for lines in sides)
    seeds = tuple(seed for seed in mine.values if seed in theirs.values)
    if not seeds:
        have = [", ".join(map(str, side.values)) or "none" for side in (mine, theirs)]
        raise ConfigurationError(
            f"compare: no seed is finished in both{_on(together)}: there are {have[0]} and "
            f"{have[1]}; train the same seeds on one kind of device with launch.py sweep --seeds"
        )
    if mine.how != theirs.how:
        raise ConfigurationError(
            f"compare: {metric} was measured in two ways, {mine.how} and {theirs.how}; compare "
            "runs of one corpus, unit, window and stride"
        )
    shared = [{seed: side.values[seed] for seed in seeds} for side in (mine, theirs)]
    difference = statistics.paired_difference(*shared)
    names = ours[0]["cell"], others[0]["cell"]
    if names[0] == names[1]:
        names = f"{names[0]}-{ours[0]['hash'][:8]}", f"{names[1]}-{others[0]['hash'][:8]}"
    return Contrast(
        names, metric, mine.how.setting, seeds,
        statistics.over_seeds(shared[0]), statistics.over_seeds(shared[1]),
        difference, inference.p_value(difference),
    )  # fmt: skip


def _on(lines: Sequence[Line]) -> str:
    return next((f" on {line['device']}" for line in lines), "")


class _How(NamedTuple):
    """What two figures need to have in common to be compared."""

    setting: Setting
    corpus: str

    def __str__(self) -> str:
        return f"{self.setting} on corpus {self.corpus[:8]}"


class _Measure(NamedTuple):
    how: _How
    values: dict[Seed, float]


def _measure(lines: Sequence[Line], metric: str, split: str) -> _Measure:
    """The finite figures of the seeds that have finished."""
    finished = [line for line in lines if line["status"] == "finished"]
    found = {line_seed(line): m for line in finished if (m := measured(line, split, metric))}
    if finished and not found:
        have = ", ".join(
            f"{name}.{key}"
            for name, figures in finished[0]["evaluations"].items()
            for key, value in figures.items()
            if isinstance(value, float)
        )
        raise ConfigurationError(f"compare: {split}.{metric} was not measured; there are {have}")
    setting = next((m.setting for m in found.values()), Setting(split))
    values = {seed: m.value for seed, m in found.items() if math.isfinite(m.value)}
    return _Measure(_How(setting, corpus_digest(finished[0]) if finished else ""), values)
