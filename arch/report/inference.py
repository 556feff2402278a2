"""What a referee asks of several comparisons: correction, power, equivalence, sampling error.

Every function is pure and takes plain numbers. Differences are paired: one value a seed, normal
with unknown variance, so that tests and intervals are Student's.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy  # whose parts load at their first use: most commands need none

from arch.report.statistics import Summary

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 1000  # beyond this no number of seeds is named


class Interval(NamedTuple):
    """A confidence interval [low, high] at 1 - alpha, in the unit of the values."""

    low: float
    high: float
    alpha: float

    def inside(self, low: float, high: float) -> bool:
        """Whether it lies strictly between the two."""
        return low < self.low and self.high < high


def interval(difference: Summary, alpha: float = ALPHA) -> Interval:
    """mean ± t(1 - alpha/2, n - 1) · SD / √n; from -∞ to ∞ where a single value has no SD."""
    if difference.n < 2:
        return Interval(-math.inf, math.inf, alpha)
    quantile = float(scipy.special.stdtrit(difference.n - 1, 1 - alpha / 2))
    half = quantile * difference.sd / math.sqrt(difference.n)
    return Interval(difference.mean - half, difference.mean + half, alpha)


def p_value(difference: Summary) -> float:
    """Two-sided p of mean = 0 by the paired t test; 1 where a single value has no SD."""
    if difference.n < 2:
        return 1.0
    if difference.sd == 0:
        return 0.0 if difference.mean else 1.0
    t = abs(difference.mean) / (difference.sd / math.sqrt(difference.n))
    return float(2 * scipy.special.stdtr(difference.n - 1, -t))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values (Holm 1979), in the order given.

    The i-th smallest of m, i from 0, becomes (m - i) · p, at least as large as those before it and
    at most 1. Rejecting where it is at most alpha keeps the chance of any false rejection of the
    family at alpha.
    """
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(_ascending(p_values)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def holm_alphas(
    p_values: Sequence[float],
    alpha: float = ALPHA,
    level_of: Callable[[float], float] = lambda share: share,
) -> list[float]:
    """The level at which each comparison's own interval agrees with Holm's decision.

    An interval at 1 - alphas[i] excludes 0 exactly where `holm` gives comparison i at most alpha:
    alpha / m for the smallest p, alpha / (m - 1) for the next, until one is not rejected, whose
    level then holds for all that follow.

    level_of: the level of a test that may spend a share of alpha, where that is not the share
        itself but what one look of several has of it.
    """
    alphas, level, rejecting = [0.0] * len(p_values), alpha, True
    for rank, index in enumerate(_ascending(p_values)):
        if rejecting:
            level = level_of(alpha / (len(p_values) - rank))
            rejecting = p_values[index] <= level
        alphas[index] = level
    return alphas


def power(effect: float, sd: float, n: int, alpha: float = ALPHA) -> float:
    """The chance that a two-sided paired t test of n differences with this SD sees the effect.

    1 - F(t) + F(-t) of the noncentral t distribution with n - 1 degrees of freedom and
    noncentrality effect · √n / SD, t being its critical value. Two differences at a very small
    alpha have one so large that scipy's series ends before it converges: then it is the nearest.
    """
    if n < 2:
        return 0.0
    if sd == 0:
        return 1.0 if effect else alpha
    critical = float(scipy.special.stdtrit(n - 1, 1 - alpha / 2))
    shift = abs(effect) * math.sqrt(n) / sd
    t = scipy.stats.nct(n - 1, shift)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        upper, lower = t.sf(critical), t.cdf(-critical)
    return float(upper + np.nan_to_num(lower))


def detectable_difference(sd: float, n: int, alpha: float = ALPHA) -> float:
    """The smallest true difference that n pairs with this SD show with a chance of 80 %.

    In the unit of the values; ∞ for fewer than two pairs, 0 where nothing varies.
    """
    if n < 2 or not math.isfinite(sd):
        return math.inf
    if sd == 0:
        return 0.0
    unit = sd / math.sqrt(n)
    high = 2 * float(scipy.special.stdtrit(n - 1, 1 - alpha / 2)) + 10
    found: Any = scipy.optimize.brentq(lambda x: power(x * unit, sd, n, alpha) - POWER, 0.0, high)
    return float(found) * unit


def seeds_needed(effect: float, sd: float, alpha: float = ALPHA) -> int | None:
    """The fewest pairs that show the effect with a chance of 80 %; None beyond 1,000."""
    if not effect or not math.isfinite(sd):
        return None
    low, high = 1, 2
    while power(effect, sd, high, alpha) < POWER:
        low, high = high, 2 * high
        if low >= MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(effect, sd, middle, alpha) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high if high <= MOST_SEEDS else None


def equivalence(difference: Summary, margin: float) -> float:
    """p of two one-sided t tests (Schuirmann 1987): that |mean| is not below the margin.

    The larger of the p values of mean ≤ -margin and mean ≥ margin; at most alpha says that the two
    arms are equal within the margin. It is at most alpha exactly where the interval at 1 - 2 alpha
    lies inside ±margin. Raises ValueError for a margin that is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"margin={margin}: expected a number above 0, in the unit of the values")
    if difference.n < 2:
        return 1.0
    if difference.sd == 0:
        return 0.0 if abs(difference.mean) < margin else 1.0
    unit = difference.sd / math.sqrt(difference.n)
    distance = (margin - abs(difference.mean)) / unit
    return float(scipy.special.stdtr(difference.n - 1, -distance))


def with_sampling(difference: Summary, variance: float) -> Summary:
    """The difference with the sampling error of the evaluation set joined to the seeds' spread.

    `variance` is that of the difference when another set of as many examples is drawn. The seeds
    share one set, so that averaging over them takes nothing of it away: the standard error becomes
    √(SD² / n + variance), which is told as an SD of n values. A single value stays as it is.
    """
    if difference.n < 2 or not variance:
        return difference
    error = math.sqrt(difference.sd**2 / difference.n + variance)
    half = float(scipy.special.stdtrit(difference.n - 1, 1 - ALPHA / 2)) * error
    return difference._replace(
        sd=error * math.sqrt(difference.n), low=difference.mean - half, high=difference.mean + half
    )


def share_variance(share: float, examples: int) -> float:
    """Variance of a share of correct answers among so many examples: p (1 - p) / N."""
    return share * (1 - share) / examples


def _ascending(values: Sequence[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda index: (values[index], index))
