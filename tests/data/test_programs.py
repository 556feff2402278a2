"""Programs and what they print."""

import contextlib
import io

import pytest

from arch.data.generated import programs
from arch.data.generated.programs import ALGORITHMS, CHARACTERS, MEMORISED, Source


def run(text: str) -> str:
    """What Python prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(text, {})
    return out.getvalue().removesuffix("\n")


@pytest.mark.parametrize("algorithm", sorted(programs.STATEMENTS))
@pytest.mark.parametrize("length, nesting", [(1, 1), (3, 2), (5, 6)])
def test_a_program_gives_what_python_prints(algorithm, length, nesting):
    for seed in range(100):
        text, result = programs.example(algorithm, length, nesting, Source(seed))
        assert run(text) == result, text
        assert set(text + result) <= set(CHARACTERS)


def test_every_statement_is_drawn():
    texts = [programs.example("program", 2, 3, Source(seed))[0] for seed in range(60)]
    for piece in ("+", "-", "*", " if ", "=", "for x in range("):
        assert any(piece in text for text in texts), piece


@pytest.mark.parametrize(
    "algorithm, of", [("copy", str), ("double", lambda x: x * 2), ("reverse", lambda x: x[::-1])]
)
def test_strings_are_remembered(algorithm, of):
    lengths = set()
    for text, result in programs.different(algorithm, 8, 1, 400):
        assert result == of(text) and text.isdecimal()
        lengths.add(len(text))
    assert max(lengths) == 8 and len(lengths) > 4


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_examples_differ_and_the_first_of_more_are_those_of_fewer(algorithm):
    more, fewer = (programs.different(algorithm, 4, 2, n) for n in (300, 100))
    assert len(dict(more)) == 300 and more[:100] == fewer


def test_too_few_different_ones_are_said():
    with pytest.raises(ValueError, match="of 4,000 examples only 100 are different"):
        programs.different("addition", 1, 1, 200)


def test_draws_are_those_of_every_python():
    assert programs.different("program", 3, 2, 3) == PINNED


def test_memorised_strings_have_no_statements():
    assert set(MEMORISED).isdisjoint(programs.STATEMENTS)


PINNED = (("print((6*3))", "18"), ("e=762\nprint(e)", "762"), ("n=12\nprint(n)", "12"))
