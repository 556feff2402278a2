"""The order language: an architecture is a string over single-letter sublayers.

    order = item+                    s6 (sf)10 f6
    item  = letter count?            s  s6
          | '(' order ')' count?     (sf)10  (s2 (fs)3)2

A letter is one of A-Z, a-z; a count is a whole number of at least 1, written directly after
its letter or bracket; no count means 1. White space may stand between items and means nothing.
Errors give columns, counted from 1 in the text as it was written.

The samplers draw from `random.Random(seed).random()` (Mersenne Twister) alone, the one method
whose sequence Python promises to keep from version to version; `shuffle` and `choice` may change.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from random import Random
from string import digits

MAXIMUM_LENGTH = 100_000  # sublayers
SEARCHED_LENGTH = 1_000  # compress looks at every repetition up to here, beyond at short ones


class OrderError(ValueError):
    """An order that cannot be read; the message quotes it and names the column, from 1."""


def expand(order: str) -> str:
    """One letter a sublayer: `s2 (sf)2 f` becomes `sssfsff`.

    Raises OrderError where the text is not an order or expands to over 100,000 sublayers.
    """
    if not isinstance(order, str):
        raise OrderError(f'order {order!r}: must be a string such as "s6 (sf)10 f6"')

    def error(problem: str) -> OrderError:
        return OrderError(f"order '{order if len(order) <= 80 else order[:79] + '…'}': {problem}")

    done, brackets = [""], []  # text of each open group, outermost first; column of its bracket
    for found in re.finditer(r"([A-Za-z)])([0-9]*)|(\S)", order):
        (unit, number, other), start = found.groups(), found.start() + 1
        if other == "(":
            brackets.append(start)
            done.append("")
            continue
        if other and other in digits:
            raise error(f"count at {start} does not directly follow a letter or a group")
        if other:
            raise error(f"character {other!r} at {start} is not a letter, count or bracket")
        if unit == ")":
            if not brackets:
                raise error(f"')' at {start} closes no bracket")
            start, unit = brackets.pop(), done.pop()
            if not unit:
                raise error(f"group at {start} is empty")
        number = number.lstrip("0") if number else "1"
        if not number:
            raise error(f"count at {found.start(2) + 1} is zero, must be at least 1")
        # Cut to 9 digits, still too many: Python refuses to convert a number of thousands.
        if len(done[-1]) + len(unit) * int(number[:9]) > MAXIMUM_LENGTH:
            raise error(f"item at {start} makes it longer than {MAXIMUM_LENGTH:,} sublayers")
        done[-1] += unit * int(number)
    if brackets:
        raise error(f"bracket at {brackets[-1]} is never closed")
    if not done[0]:
        raise error("is empty, must name at least one sublayer")
    return done[0]


def compress(order: str) -> str:
    """The canonical short form, one for each sequence: `s6 (sf)10 f6`, `(sf)16`, `s3`.

    It prints as few letters as possible; of such forms the one with more sublayers inside
    brackets (`s6 (sf)10 f6`, not `s7 (fs)9 f7`), then the one whose first item reaches further
    (`(sf)2 s`, not `s (fs)2`). Over 1,000 sublayers not every form is tried.
    """
    return _text(_best(expand(order), {})[1])


def segments(order: str) -> tuple[tuple[str, int], ...]:
    """The top level of the canonical form as (unit, repeats), each unit expanded.

    `s6 (sf)2 fs` gives `(('s', 6), ('sf', 2), ('fs', 1))`: letters without a count are one unit.
    """
    return tuple((unit, repeats) for unit, repeats, _ in _best(expand(order), {})[1])


def counts(order: str) -> dict[str, int]:
    """How often each letter occurs, in order of first appearance."""
    return dict(Counter(expand(order)))


def room(orders: Iterable[str]) -> str:
    """The counts of the orders, each once and sorted, as `model.stack.room` takes them.

    >>> room(["(sf)2", "s2 f2", "s f3"])
    'f2s2;f3s1'
    """
    each = {"".join(f"{x}{n}" for x, n in sorted(counts(order).items())) for order in orders}
    return ";".join(sorted(each))


def vanilla(layers: int) -> str:
    """(sf)^n, attention and feed-forward in turn (Vaswani et al. 2017, arXiv 1706.03762)."""
    return sandwich(layers, 0)


def compress_parts(orders: str) -> str:
    """Each of the orders between | compressed: `sfsf|scfscf` is `(sf)2 | (scf)2`."""
    return " | ".join(map(compress, orders.split("|")))


def sandwich(layers: int, coefficient: int, attention: str = "s", feed_forward: str = "f") -> str:
    """s^k (sf)^(n-k) f^k: k attentions moved to the bottom, k feed-forwards to the top.

    Press, Smith and Levy 2020 (arXiv 1911.03864). k = 0 is vanilla, k = n-1 is s^n f^n (k = n
    would be the same again: ValueError). Attention `sc`, n = 3, k = 1 gives `scscfscff`.
    """
    _at_least(1, layers=layers)
    if not 0 <= coefficient <= layers - 1:
        allowed = f"0 to {layers - 1} (layers - 1)"
        raise ValueError(f"sandwich coefficient {coefficient}: must be {allowed}")
    s, f = expand(attention), expand(feed_forward)
    return s * coefficient + (s + f) * (layers - coefficient) + f * coefficient


def random_permutation(attention: int, feed_forward: int, seed: int) -> str:
    """So many s and f in random order, all orders equally likely (Press et al., Table 1).

    A Fisher-Yates shuffle of s…sf…f, from the last place down.
    """
    _at_least(0, attention=attention, feed_forward=feed_forward, seed=seed)
    _at_least(1, sublayers=attention + feed_forward)
    draw = _index_sampler(seed)
    letters = ["s"] * attention + ["f"] * feed_forward
    for last in range(len(letters) - 1, 0, -1):
        other = draw(last + 1)
        letters[last], letters[other] = letters[other], letters[last]
    return "".join(letters)


def random_budget(units: int, seed: int, cost: Mapping[str, int] | None = None) -> str:
    """Letters drawn with equal probability until a budget is spent exactly (Press et al., Table 2).

    cost is what a letter takes of the budget, {'s': 1, 'f': 2} if not given: in the paper f has
    twice the parameters of s, and 48 units are those of 16 layers. Only letters after which the
    rest can still be spent exactly are drawn: with one unit left, s. The order of the mapping
    does not matter. Raises ValueError where no sequence of letters costs `units`.
    """
    cost = {"s": 1, "f": 2} if cost is None else cost
    _at_least(0, seed=seed)
    _at_least(1, units=units, **{f"cost of {expand(x)}": price for x, price in cost.items()})
    spendable = [True]
    for left in range(1, units + 1):
        spendable.append(any(p <= left and spendable[left - p] for p in cost.values()))
    if not spendable[units]:
        raise ValueError(f"budget of {units} units: cannot be spent exactly with costs {cost}")
    draw = _index_sampler(seed)
    left, letters = units, ""
    while left:
        fitting = [x for x in sorted(cost) if cost[x] <= left and spendable[left - cost[x]]]
        drawn = fitting[draw(len(fitting))]
        letters, left = letters + drawn, left - cost[drawn]
    return letters


def macaron(layers: int, half: str = "h") -> str:
    """(hsh)^n: half a feed-forward step, attention, half a feed-forward step.

    Lu et al. 2019 (arXiv 1906.02762). The half letter is bound elsewhere, to a feed-forward kind
    with scale 0.5; parameters match vanilla only where its inner width is halved as well.
    """
    _at_least(1, layers=layers)
    return expand(f"{half}s{half}") * layers


def par(layers: int) -> str:
    """PAR: one sublayer in five is attention, spread evenly over the first two thirds.

    Mandava, Migacz and Fit-Florea 2020 (arXiv 2009.04534). NOT VERIFIED as the published order:
    our rule from the proportions they state (63 % of the attention replaced by feed-forward, 1:5,
    attention in the first two thirds of the depth). x-transformers (`par_ratio=5`) agrees, n > 7.
    Of 2n sublayers floor(2n / 5), at least 1, are s, equally far apart from the first to at most
    place floor(4n / 3). par(16) is `(s f3)6 f8`: 62.5 % of the attention replaced. Not matched in
    parameters: as many sublayers as vanilla, but f is larger than s.
    """
    _at_least(1, layers=layers)
    attention = max(2 * layers // 5, 1)
    gap = (4 * layers // 3 - 1) // max(attention - 1, 1)
    places = {gap * index for index in range(attention)}
    return "".join("s" if place in places else "f" for place in range(2 * layers))


def _at_least(minimum: int, **values: int) -> None:
    for name, value in values.items():
        if value < minimum:
            raise ValueError(f"{name} {value}: must be at least {minimum}")


def _index_sampler(seed: int) -> Callable[[int], int]:
    """draw(n): one of 0 … n-1, equally likely."""
    source = Random(seed)
    return lambda size: int(source.random() * size)


# A unit (expanded), its repeats, and the unit's own items where it is a bracketed group.
_Item = tuple[str, int, tuple]


def _best(sequence: str, memory: dict) -> tuple[int, tuple[_Item, ...]]:
    """Letters printed and items of the form that `compress` describes, from the end backwards."""
    if len(sequence) == 1:
        return 1, ((sequence, 1, ()),)
    if sequence in memory:
        return memory[sequence]
    repetitions = _repetitions(sequence)
    # best[i] is for sequence[i:]: (letters printed, -sublayers in brackets), first item's size.
    best = [((0, 0), 0, 0)] * (len(sequence) + 1)
    for start in range(len(sequence) - 1, -1, -1):
        ranked = []
        for period, most in [(1, 1), *repetitions[start]]:
            letters, _ = _best(sequence[start : start + period], memory)
            # Fewer than fit may be better: the next group may begin within this one.
            fewest = max(min(2, most), most - 8 if len(sequence) > SEARCHED_LENGTH else 0)
            for repeats in range(fewest, most + 1):
                reach = period * repeats
                (rest, covered), *_ = best[start + reach]
                covered -= reach if period > 1 else 0
                ranked.append(((letters + rest, covered), -reach, period, repeats))
        cost, _, period, repeats = min(ranked)
        best[start] = (cost, period, repeats)
    items, start = [], 0
    while start < len(sequence):
        _, period, repeats = best[start]
        unit = sequence[start : start + period]
        start += period * repeats
        if repeats == 1 and items and items[-1][1] == 1:
            items[-1] = (items[-1][0] + unit, 1, ())
        else:
            items.append((unit, repeats, _best(unit, memory)[1] if period > 1 else ()))
    memory[sequence] = best[0][0][0], tuple(items)
    return memory[sequence]


def _repetitions(sequence: str) -> list[list[tuple[int, int]]]:
    """For each start the (period, repeats >= 2) found there, of units not themselves repeats."""
    length = len(sequence)
    found: list[list[tuple[int, int]]] = [[] for _ in sequence]
    for period in range(1, min(length // 2, SEARCHED_LENGTH**2 // length) + 1):
        agree = 0  # how many letters from here on equal the one a period later
        for start in range(length - period - 1, -1, -1):
            agree = agree + 1 if sequence[start] == sequence[start + period] else 0
            repeats = agree // period + 1
            if repeats > 1 and all(period % p or p * r < period for p, r in found[start]):
                found[start].append((period, repeats))
    return found


def _text(items: tuple[_Item, ...]) -> str:
    return " ".join(
        (f"({_text(inner)})" if inner else unit) + (str(repeats) if repeats > 1 else "")
        for unit, repeats, inner in items
    )
