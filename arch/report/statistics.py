"""What may be said from a few seeds: means with intervals, paired differences, correlations.

Every function is pure and takes plain numbers. Intervals are 95 % Student t intervals: with two to
five seeds a normal interval would be far too narrow (t is 12.7 with two values, 2.78 with five,
where the normal has 1.96). A value that is not finite is refused, never skipped: a run that went
NaN is a result, to be counted by the caller.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy  # whose parts load at their first use: most commands need none

from arch.report import crossed
from arch.report.seeds import Seed, both

CONFIDENCE = 0.95


class Summary(NamedTuple):
    """n values, their mean, SD with n - 1, and the 95 % Student t interval [low, high] of the mean.

    All in the unit of the values. sd, low and high are nan for n = 1; mean too for n = 0.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """True if the interval exists and 0 lies outside it."""
        return self.low > 0 or self.high < 0


class Welch(NamedTuple):
    """t statistic, Welch-Satterthwaite degrees of freedom, two-sided p."""

    t: float
    df: float
    p: float


class Correlation(NamedTuple):
    """A correlation in [-1, 1], its two-sided p, and the number of pairs."""

    r: float
    p: float
    n: int


def summary(values: Iterable[float]) -> Summary:
    """Mean, SD and interval: mean ± t(0.975, n - 1) · SD / √n.

    Raises ValueError for a value that is not finite.
    """
    x = _finite(values, "values")
    if len(x) == 0:
        return Summary(0, math.nan, math.nan, math.nan, math.nan)
    mean = float(x.mean())
    if len(x) == 1:
        return Summary(1, mean, math.nan, math.nan, math.nan)
    sd = float(x.std(ddof=1))
    half = float(scipy.special.stdtrit(len(x) - 1, (1 + CONFIDENCE) / 2)) * sd / math.sqrt(len(x))
    return Summary(len(x), mean, sd, mean - half, mean + half)


def over_seeds(values: Mapping[Seed, float]) -> Summary:
    """Summary of the values of seeds, that of independent ones being `summary`.

    Where seeds of initialisation and data are crossed, runs share one or the other: the error is
    that of the largest complete crossing by `crossed.mean_error`, told as that of n independent
    values, n - 1 being its degrees of freedom rounded down. Of one row or column it is the
    summary: there only the other seed varies.
    """
    seeds = sorted(values, key=both)
    if crossed.independent(seeds):
        return summary([values[seed] for seed in seeds])
    _finite(values.values(), "values")
    grid = crossed.complete_grid(values)
    if not grid.crossed:
        return summary(grid.values.ravel())
    error, freedom = crossed.mean_error(grid.values)
    n, mean = int(freedom) + 1, float(grid.values.mean())
    half = float(scipy.special.stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * error
    return Summary(n, mean, error * math.sqrt(n), mean - half, mean + half)


def paired_difference(ours: Mapping[Seed, float], baseline: Mapping[Seed, float]) -> Summary:
    """Summary of ours - baseline over the seeds that both have, by `over_seeds`.

    Arms of one experiment see the same data under the same seed, so the pairs share the seed's
    luck and their difference is usually less noisy than a difference of means.
    """
    return over_seeds({seed: ours[seed] - baseline[seed] for seed in ours.keys() & baseline.keys()})


def welch(a: Sequence[float], b: Sequence[float]) -> Welch:
    """Welch's test of mean(a) = mean(b), for unpaired values of unequal variance.

    t = (mean a - mean b) / √(va + vb) with v = SD² / n; t > 0 where a is the larger.
    Raises ValueError for fewer than two values on a side or where neither side varies.
    """
    x, y = _finite(a, "a"), _finite(b, "b")
    for name, side in (("a", x), ("b", y)):
        if len(side) < 2:
            raise ValueError(f"welch: {name} has {len(side)} value(s), two or more are needed")
    va, vb = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
    if va + vb == 0:
        raise ValueError("welch: neither a nor b varies, so t is not defined")
    t = float((x.mean() - y.mean()) / math.sqrt(va + vb))
    df = float((va + vb) ** 2 / (va**2 / (len(x) - 1) + vb**2 / (len(y) - 1)))
    return Welch(t, df, float(2 * scipy.special.stdtr(df, -abs(t))))


def pearson(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Pearson's r. Raises ValueError for fewer than three pairs or a side that does not vary."""
    a, b = _pairs(x, y, "pearson")
    result: Any = scipy.stats.pearsonr(a, b)
    return Correlation(float(result.statistic), float(result.pvalue), len(a))


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Spearman's rho: Pearson's r of the ranks, ties sharing their mean rank. Raises as pearson."""
    a, b = _pairs(x, y, "rank_correlation")
    result: Any = scipy.stats.spearmanr(a, b)
    return Correlation(float(result.statistic), float(result.pvalue), len(a))


def decimals(values: Iterable[float]) -> int:
    """Decimals that give the median magnitude four significant digits; 3 without values."""
    sizes = [abs(v) for v in values if v and math.isfinite(v)]
    return min(max(3 - math.floor(math.log10(np.median(sizes))), 0), 6) if sizes else 3


def number(value: float, places: int, sign: bool = False) -> str:
    """1,234.50 with a true minus, '—' for nan; sign: a plus too."""
    if math.isnan(value):
        return "—"
    return f"{value:{'+' if sign else ''},.{places}f}".replace("-", "−")


def mean_and_sd(s: Summary, places: int) -> str:
    """'18.65 ± 0.34', or '18.65 (single run)' since one value has no SD; '—' without values."""
    sd = f" ± {number(s.sd, places)}" if s.n > 1 else " (single run)" if s.n else ""
    return number(s.mean, places) + sd


def mean_and_interval(s: Summary, places: int) -> str:
    """'−0.67 [−1.02, −0.31] *': a difference, its interval, and * where that excludes 0."""
    interval = f" [{number(s.low, places, True)}, {number(s.high, places, True)}]"
    return number(s.mean, places, True) + interval * (s.n > 1) + " *" * s.excludes_zero


def _finite(values: Iterable[float], name: str) -> np.ndarray:
    x = np.asarray(list(values), dtype=float)
    for index in np.flatnonzero(~np.isfinite(x)):
        raise ValueError(f"{name}[{index}] is {x[index]}: count it apart, no mean contains it")
    return x


def _pairs(x: Sequence[float], y: Sequence[float], name: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = _finite(x, "x"), _finite(y, "y")
    if len(a) != len(b):
        raise ValueError(f"{name}: x has {len(a)} values and y has {len(b)}")
    if len(a) < 3:
        raise ValueError(f"{name}: {len(a)} pair(s), three or more are needed")
    for side, array in (("x", a), ("y", b)):
        if np.all(array == array[0]):
            raise ValueError(f"{name}: {side} does not vary, so there is no correlation")
    return a, b
