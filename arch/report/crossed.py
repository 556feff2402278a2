"""Seeds of initialisation crossed with seeds of data: what may be said of a mean, and which of the
two the spread comes from.

One run y[i, j] per pair of seeds, by the two-way random-effects model without replication:

    y[i, j] = mean + a[i] + b[j] + e[i, j],    variances A, B, E

The mean squares of rows, columns and the rest have the expectations E + J·A, E + I·B and E. The
runs of one row share their initialisation and those of one column their data, so that I·J runs say
less of the mean than as many independent ones.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy  # whose parts load at their first use
from jaxtyping import Float

from arch.report.seeds import Seed, both, seed_of


class Grid(NamedTuple):
    """A complete crossing: values[i, j] is of the i-th seed of initialisation and the j-th of
    data."""

    inits: tuple[int, ...]
    datas: tuple[int, ...]
    values: Float[np.ndarray, "inits datas"]

    @property
    def crossed(self) -> bool:
        """Whether both kinds of seed vary."""
        return min(self.values.shape) > 1


class Components(NamedTuple):
    """SDs of initialisation, data and the rest, an estimate below 0 as 0; and the p of there being
    none of the first, or of the second (F tests)."""

    init: float
    data: float
    rest: float
    p_init: float
    p_data: float

    @property
    def shares(self) -> tuple[float, float, float]:
        """Each one's share of their joint variance; nan where nothing varies."""
        parts = [sd**2 for sd in self[:3]]
        a, b, e = (part / sum(parts) if sum(parts) else math.nan for part in parts)
        return a, b, e


def independent(seeds: Sequence[Seed]) -> bool:
    """Whether no two share a seed of initialisation or one of data, as plain ones never do."""
    inits, datas = zip(*map(both, seeds), strict=True) if seeds else ((), ())
    return len(set(inits)) == len(seeds) == len(set(datas))


def complete_grid(values: Mapping[Seed, float]) -> Grid:
    """The largest complete crossing among the values of seeds, of which there is one at least."""
    by_init: dict[int, set[int]] = {}
    for init, data in map(both, values):
        by_init.setdefault(init, set()).add(data)
    datas = {data for those in by_init.values() for data in those}
    found: tuple[list[int], list[int]] = ([], [])
    for wanted in [*by_init.values(), *({data} for data in sorted(datas))]:
        inits = sorted(init for init, has in by_init.items() if wanted <= has)
        if len(inits) * len(wanted) > len(found[0]) * len(found[1]):
            found = inits, sorted(wanted)
    inits, those = found
    table = np.array([[values[seed_of(i, j)] for j in those] for i in inits], float)
    return Grid(tuple(inits), tuple(those), table)


def mean_error(values: Float[np.ndarray, "inits datas"]) -> tuple[float, float]:
    """(standard error of the mean, its degrees of freedom) where both kinds of seed are drawn anew.

    (rows + columns - rest) / (I·J) estimates the variance A/I + B/J + E/(I·J), and is held to the
    rest's own share at least. Degrees of freedom are Satterthwaite's (1946), 1 at least.
    """
    rows, columns, rest = _mean_squares(values)
    i, j = values.shape
    total = max(rows + columns - rest, rest)
    parts = rows**2 / (i - 1) + columns**2 / (j - 1) + rest**2 / ((i - 1) * (j - 1))
    freedom = total**2 / parts if parts else 1.0
    return math.sqrt(total / (i * j)), max(freedom, 1.0)


def decompose(values: Float[np.ndarray, "inits datas"]) -> Components:
    """Where the spread comes from, by the mean squares."""
    rows, columns, rest = _mean_squares(values)
    i, j = values.shape
    freedom = (i - 1) * (j - 1)

    def p(mean_square: float, own: int) -> float:
        if rest == 0:
            return 0.0 if mean_square else 1.0
        return float(scipy.special.fdtrc(own, freedom, mean_square / rest))

    return Components(
        math.sqrt(max(rows - rest, 0.0) / j),
        math.sqrt(max(columns - rest, 0.0) / i),
        math.sqrt(rest),
        p(rows, i - 1),
        p(columns, j - 1),
    )


def _mean_squares(values: Float[np.ndarray, "inits datas"]) -> tuple[float, float, float]:
    """(of rows, of columns, of the rest)."""
    i, j = values.shape
    rows, columns = values.mean(1) - values.mean(), values.mean(0) - values.mean()
    rest = values - values.mean() - rows[:, None] - columns
    return (
        j * float(rows @ rows) / (i - 1),
        i * float(columns @ columns) / (j - 1),
        float((rest**2).sum()) / ((i - 1) * (j - 1)),
    )
