"""Looking at results more than once: how small p has to be at each look.

Seeds are added in steps, and a claim that is decided at one of them needs no more. Testing at 5 %
each time would find something where nothing is in far more than 5 % of experiments, so the error is
spent over the looks (Lan and DeMets 1983) as O'Brien and Fleming's boundaries spend it: hardly any
at the first, nearly all at the last.

    spent(t) = 4 - 4 Φ(z / √t)    at the share t of all seeds, z = Φ⁻¹(1 - α/4):
                                  their function of a one-sided test at α/2, on either side

The levels are those of a normal test. Student's at the same levels (Jennison and Turnbull 2000,
§3.3) errs in 5.3 % instead of 5 % at 3, 5 and 8 seeds, since its looks are less alike.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy  # whose parts load at their first use
from jaxtyping import Float

from arch.registry import ConfigurationError

NODES = 201  # of the quadrature between two boundaries
FURTHEST = 12.0  # standard deviations at which a boundary is looked for


def check(looks: Sequence[int]) -> tuple[int, ...]:
    """The looks: numbers of seeds, each above the one before, from 2 on.

    Raises ConfigurationError for anything else.
    """
    found = tuple(looks)
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in found)
    if not whole or any(n < 2 for n in found) or list(found) != sorted(set(found)):
        raise ConfigurationError(
            f"LOOKS={found!r}: expected rising numbers of seeds from 2 on, for example (3, 5, 8)"
        )
    return found


@functools.lru_cache(maxsize=256)
def levels(looks: tuple[int, ...], alpha: float) -> tuple[float, ...]:
    """The two-sided level of the test at each look, which together err with probability alpha.

    Args:
        looks: numbers of seeds, rising; the error is spent by their share of the last.
    """
    shares = [n / looks[-1] for n in looks]
    quantile = float(scipy.special.ndtri(1 - alpha / 4))
    spent = [4 * float(scipy.special.ndtr(-quantile / math.sqrt(t))) for t in shares]
    found, nodes, density = [], np.zeros(1), np.ones(1)  # before the first look: a point at 0
    before = (0.0, 0.0)  # share and error spent
    for share, error in zip(shares, spent, strict=True):
        step = math.sqrt(share - before[0])
        bound = _boundary(nodes, density, step, math.sqrt(share), error - before[1])
        found.append(2 * float(scipy.special.ndtr(-bound)))
        nodes, density = _inside(nodes, density, step, bound * math.sqrt(share))
        before = (share, error)
    return tuple(found)


def _boundary(
    nodes: Float[np.ndarray, " n"],
    mass: Float[np.ndarray, " n"],
    step: float,
    scale: float,
    error: float,
) -> float:
    """The z beyond which the walk that is at these nodes is with probability `error`, after a step
    of this standard deviation; its own is then `scale`."""

    def excess(z: float) -> float:
        beyond = scipy.special.ndtr((nodes - z * scale) / step)
        below = scipy.special.ndtr((-z * scale - nodes) / step)
        return float(mass @ (beyond + below)) - error

    if excess(FURTHEST) >= 0:  # as good as nothing is spent at a look this early
        return FURTHEST
    found: Any = scipy.optimize.brentq(excess, 0.0, FURTHEST)
    return found


def _inside(
    nodes: Float[np.ndarray, " n"], mass: Float[np.ndarray, " n"], step: float, bound: float
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Nodes between the boundaries after the step, and the probability that each stands for."""
    points, weights = np.polynomial.legendre.leggauss(NODES)
    points, weights = points * bound, weights * bound
    distance = (points[:, None] - nodes[None]) / step
    density = np.exp(-(distance**2) / 2) / (step * math.sqrt(2 * math.pi))
    return points, weights * (density @ mass)
