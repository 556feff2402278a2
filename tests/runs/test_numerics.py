"""The history of the code's numbers: which results each change touches."""

import pytest

import arch
from arch import config
from arch.runs import numerics, provenance


def test_the_newest_change_is_the_number_that_lines_carry():
    numbers = [change.number for change in numerics.CHANGES]
    assert numbers == list(range(2, arch.NUMERICS + 1))
    assert arch.NUMERICS == provenance.NUMERICS


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({}, 1),
        ({"model": {"dropout": 0.1}}, 2),
        ({"train": {"accumulate": 2}}, 3),
        ({"model": {"dropout": 0.1}, "train": {"accumulate": 2}}, 3),
        ({"task": {"kind": "lambada", "form": "reading", "paddings": 1}}, 1),
        ({"task": {"kind": "lambada", "form": "reading", "paddings": 10}}, 3),
        ({"model": {"sublayers": {"f": {"kind": "feed_forward", "activation": "gelu"}}}}, 4),
        ({"model": {"sublayers": {"f": {"kind": "feed_forward", "activation": "geglu"}}}}, 4),
        ({"model": {"sublayers": {"f": {"kind": "feed_forward", "activation": "gelu_tanh"}}}}, 1),
    ],
)
def test_a_configuration_needs_the_newest_change_that_touches_it(fields, needed):
    assert numerics.needed(config.make(**fields)) == needed
