"""Ours and the peers in alternating turns, and the line of what came of it."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from arch.bench.others import Meter
from arch.bench.protocol import Side
from arch.runs import provenance

ROUNDS = 7  # quiet ones, in which others took less than QUIET of the cores in every turn
MOST_ROUNDS = 15
LEAST_QUIET = 3  # with fewer the figures are of all rounds, and said to be disturbed
QUIET = 0.1
SECONDS = 3.0  # of a turn
PRODUCTS = 3  # in a turn; the fastest counts
PAUSE = 0.3  # seconds before a turn, in which the threads of the side before go to sleep
OURS = "ours"
UNEQUAL = 0.03  # share by which parameters may differ before it is said

Turns = Mapping[str, Sequence[Mapping[str, Any]]]  # side → its turn of each round


def alternate(
    sides: Mapping[str, Side],
    tell: Callable[[str], None] = lambda _: None,
    action: str = "train",
    products: int = PRODUCTS,
) -> dict[str, list[dict[str, Any]]]:
    """Side → for each round {'tokens_per_second': of the action, 'flops': of the fastest of so many
    products, 0 of none, 'others': the share of the cores that other processes took, None where that
    is not known}.

    Every side has one turn a round; every other round goes through them backwards, so that a
    machine that slows down or speeds up meanwhile does so for all. Rounds end with the last of
    ROUNDS quiet ones, or after MOST_ROUNDS.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    number = 0
    while number < MOST_ROUNDS and len(quiet_rounds(found)) < ROUNDS:
        names = list(sides)
        for name in names if number % 2 == 0 else reversed(names):
            time.sleep(PAUSE)
            found[name].append(_turn(sides[name], action, products))
        number += 1
        tell(f"round {number}, {len(quiet_rounds(found))} of {ROUNDS} quiet")
    return found


def _turn(side: Side, action: str, products: int) -> dict[str, Any]:
    meter = Meter()
    turn = side.do(action, seconds=SECONDS)
    others = meter.others(turn["cpu_seconds"])
    flops = [side.do("product")["flops"] for _ in range(products)]
    speed = turn["tokens"] / turn["seconds"]
    return {"tokens_per_second": speed, "flops": max(flops, default=0.0), "others": others}


def quiet_rounds(turns: Turns) -> list[int]:
    """The rounds in which other processes left every side alone."""
    rounds = zip(*turns.values(), strict=True)
    return [i for i, sides in enumerate(rounds) if all((s["others"] or 0) < QUIET for s in sides)]


def counted_rounds(turns: Turns) -> tuple[Sequence[int], bool]:
    """The rounds that count, and whether they are disturbed: too few were quiet, so that all do."""
    quiet = quiet_rounds(turns)
    disturbed = len(quiet) < LEAST_QUIET
    return (range(len(turns[OURS])) if disturbed else quiet), disturbed


def line(
    peer: str, turns: Turns, about: Mapping[str, Mapping[str, Any]], more: Mapping[str, Any]
) -> dict[str, Any]:
    """The result of ours beside one peer; `more` says of what and where.

    ratio is the median over rounds of our tokens/s over the peer's, ratio_low and ratio_high the
    lowest and the highest; ceiling_flops the median of the fastest products, and ceiling_share
    what model FLOPs (ours, of both) a second are of it. All of quiet rounds alone where these are
    LEAST_QUIET or more; else of all, and `disturbed` is true.
    """
    counted, disturbed = counted_rounds(turns)
    ours, theirs = ([turns[name][i] for i in counted] for name in (OURS, peer))
    ratios = [
        one["tokens_per_second"] / other["tokens_per_second"]
        for one, other in zip(ours, theirs, strict=True)
    ]
    flops = about[OURS]["flops_per_token"]
    return {
        **more,
        "peer": peer,
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "ratios": ratios,
        "disturbed": disturbed,
        "rounds": len(turns[OURS]),
        "turn_seconds": SECONDS,
        "turns": {"ours": turns[OURS], "theirs": turns[peer]},
        "ours": _side(ours, about[OURS], flops),
        "theirs": _side(theirs, about[peer], flops),
        "git": provenance.git(),
        "numerics": provenance.NUMERICS,
    }


def _side(turns: Sequence[Mapping], about: Mapping, flops_per_token: float) -> dict[str, Any]:
    speed, ceiling = (
        statistics.median(turn[name] for turn in turns) for name in ("tokens_per_second", "flops")
    )
    return {
        "tokens_per_second": speed,
        "ceiling_flops": ceiling,
        "ceiling_share": flops_per_token * speed / ceiling,
        **about,
    }


def unequal(line: Mapping[str, Any]) -> str:
    """A sentence where the sides have unequal numbers of parameters; else ''."""
    ours, theirs = (line[side]["parameters"] for side in ("ours", "theirs"))
    if abs(theirs / ours - 1) <= UNEQUAL:
        return ""
    return f"{line['peer']} has {theirs:,} parameters, {theirs / ours - 1:+.1%} of our {ours:,}"
