"""Short programs with what they print, and strings to remember (Zaremba and Sutskever 2014, arXiv
1410.4615, §3 to 5), made from a seed.

copy, double, reverse  a string of digits; the same, itself twice, backwards
addition               print((3208+94))
control                assignments, if and for, no arithmetic but that of the loops
program                all of them, with sums, differences and products

    h=(731-2506)
    for x in range(5):h+=88
    print((h if 41<907 else 6))

A program is an expression that grows by `nesting` statements: each wraps it, or moves it into a
variable. They are Python, and take time linear in their length. The set of the paper is not
published; this one is of its kind, and not the same programs.
"""

import functools
import random
from collections.abc import Callable
from typing import NamedTuple

VERSION = "programs 1"  # a change of what is made is another number
CHARACTERS = "\n ()*+-0123456789:<=>abcdefghijklmnopqrstuvwxyz"
LOOP = "x"
NAMES = "abcdefghijklmnopqrstuvwyz"


class Growing(NamedTuple):
    """A program so far: its lines, and the expression that it will print with its value."""

    lines: tuple[str, ...]
    text: str
    value: int
    free: tuple[str, ...]  # names that no variable has


class Source:
    """Draws that are the same in every version of Python, which promises `random` alone to be."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""
        return int(self._random.random() * n)

    def one_of(self, choices):
        """One of them."""
        return choices[self.below(len(choices))]

    def number(self, digits: int) -> int:
        """A number of at most so many digits."""
        return self.below(10**digits)


def _add(held: Growing, digits: int, source: Source) -> Growing:
    n = source.number(digits)
    return held._replace(text=f"({held.text}+{n})", value=held.value + n)


def _subtract(held: Growing, digits: int, source: Source) -> Growing:
    n = source.number(digits)
    return held._replace(text=f"({held.text}-{n})", value=held.value - n)


def _multiply(held: Growing, digits: int, source: Source) -> Growing:
    n = 1 + source.below(4 * digits)
    return held._replace(text=f"({held.text}*{n})", value=held.value * n)


def _choose(held: Growing, digits: int, source: Source) -> Growing:
    a, b, other = (source.number(digits) for _ in range(3))
    sign = source.one_of("<>")
    holds = a < b if sign == "<" else a > b
    text = f"({held.text} if {a}{sign}{b} else {other})"
    return held._replace(text=text, value=held.value if holds else other)


def _assign(held: Growing, digits: int, source: Source) -> Growing:
    name, *free = held.free
    return Growing((*held.lines, f"{name}={held.text}"), name, held.value, tuple(free))


def _repeat(held: Growing, digits: int, source: Source) -> Growing:
    held = _assign(held, digits, source)
    times, n = 1 + source.below(4 * digits), source.number(digits)
    line = f"for {LOOP} in range({times}):{held.text}+={n}"
    return held._replace(lines=(*held.lines, line), value=held.value + times * n)


Statement = Callable[[Growing, int, Source], Growing]
STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "addition": (_add,),
    "control": (_choose, _assign, _repeat),
    "program": (_add, _subtract, _multiply, _choose, _assign, _repeat),
}
MEMORISED: dict[str, Callable[[str], str]] = {
    "copy": lambda text: text,
    "double": lambda text: text + text,
    "reverse": lambda text: text[::-1],
}
ALGORITHMS = (*MEMORISED, *STATEMENTS)


def example(algorithm: str, length: int, nesting: int, source: Source) -> tuple[str, str]:
    """A text and what it gives.

    Args:
        algorithm: one of ALGORITHMS.
        length: digits of the string, or of a number, are 1 to this many, drawn once an example.
        nesting: statements of a program are 1 to this many; a string has none.
    """
    digits = 1 + source.below(length)
    if algorithm in MEMORISED:
        text = "".join(str(source.below(10)) for _ in range(digits))
        return text, MEMORISED[algorithm](text)
    first, start = source.number(digits), source.below(len(NAMES))
    held = Growing((), str(first), first, (*NAMES[start:], *NAMES[:start]))
    for _ in range(1 + source.below(nesting)):
        held = source.one_of(STATEMENTS[algorithm])(held, digits, source)
    return "\n".join((*held.lines, f"print({held.text})")), str(held.value)


@functools.lru_cache(maxsize=16)
def different(algorithm: str, length: int, nesting: int, count: int) -> tuple[tuple[str, str], ...]:
    """So many examples, no two of which have the same text; ValueError where hardly so many are.

    The same for every caller, and the first of more are those of fewer.
    """
    source, found = Source(length * 1000 + nesting), {}
    for _ in range(20 * count):
        text, result = example(algorithm, length, nesting, source)
        found[text] = result
        if len(found) == count:
            return tuple(found.items())
    raise ValueError(f"of {20 * count:,} examples only {len(found):,} are different")
