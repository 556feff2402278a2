"""Examples of algorithms are right for any length and base, as Python's lists and integers say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch.data.generated import algorithms
from arch.data.generated.algorithms import ARITHMETIC, GENERATORS, Example, generate
from tests.families import always

compiled = jax.jit(generate, static_argnums=(0, 4))


def made(algorithm, n, bounds, base, size=None, seed=0) -> Example:
    keys = jax.random.split(jax.random.key(seed), n)
    return jax.tree.map(np.asarray, compiled(algorithm, keys, bounds, base, size or bounds[1]))


def rows(example: Example) -> list[tuple[list[int], list[int]]]:
    """(input, output) of each row as digits; asserts that padding and nothing else is 0."""
    result = []
    for x, m, y, n in zip(*example, strict=True):
        assert (x[:m] >= 2).all() and (x[m:] == 0).all()
        assert (y[:n] >= 2).all() and (y[n:] == 0).all()
        result.append(([int(a) - 2 for a in x[:m]], [int(a) - 2 for a in y[:n]]))
    return result


def number(digits, base) -> int:
    return sum(d * base**i for i, d in enumerate(digits))


def digits_of(value, base) -> list[int]:
    digits = [value % base]
    while value := value // base:
        digits.append(value % base)
    return digits


def expected(algorithm, x, base) -> list[int]:
    """In Python's own lists and integers."""
    if algorithm not in ARITHMETIC:
        assert all(0 <= d < base for d in x)
        return {"copy": x, "reverse": x[::-1], "double": x + x, "sorting": sorted(x)}[algorithm]
    middle = x.index(base)
    parts = x[:middle], x[middle + 1 :]
    for part in parts:
        assert part and all(0 <= d < base for d in part) and (part[-1] or len(part) == 1)
    a, b = (number(part, base) for part in parts)
    return digits_of(a + b if algorithm == "addition" else a * b, base)


@pytest.mark.parametrize("base", [2, 10])
@pytest.mark.parametrize("algorithm", GENERATORS)
@pytest.mark.parametrize("length", always((1, 2, 3, 40, 400), (1, 40)))
def test_outputs_are_those_of_python(algorithm, base, length):
    if length < algorithms.least_length(algorithm):
        return
    n = 16 if length == 400 else 128
    for bounds in [(1, length), (length, length)]:
        example = made(algorithm, n, bounds, base)
        assert example.inputs.shape == (n, length)
        assert example.outputs.shape == (n, length * algorithms.widening(algorithm))
        for x, y in rows(example):
            assert bounds[0] <= len(x) <= length
            assert y == expected(algorithm, x, base)


@given(
    algorithm=st.sampled_from(sorted(GENERATORS)),
    base=st.integers(2, 300),
    seed=st.integers(0, 2**31 - 1),
    low=st.integers(1, 12),
)
@settings(max_examples=15, deadline=None)
def test_any_base_and_range_of_lengths_in_a_larger_array(algorithm, base, seed, low):
    for x, y in rows(made(algorithm, 8, (low, 12), base, size=17, seed=seed)):
        assert len(x) >= low
        assert y == expected(algorithm, x, base)


def test_a_product_of_the_largest_numbers_needs_no_more_than_int32():
    base, size = 10, 400
    ours = algorithms.multiplication
    nines = jnp.full((size,), 9).at[200:].set(0)
    with pytest.MonkeyPatch.context() as patch:
        operands = (nines, nines, nines, jnp.int32(size))
        patch.setattr(algorithms, "_operands", lambda *_: operands)
        product = ours(jax.random.key(0), (1, size), base, size)
    digits = [int(d) - 2 for d in product.outputs[: int(product.output_length)]]
    assert digits == digits_of((10**200 - 1) ** 2, base)


@pytest.mark.parametrize(("base", "high", "over"), [(10, 400, False), (32_768, 8, True)])
def test_int32_overflows_where_it_does(base, high, over):
    assert algorithms.overflows("multiplication", base, high) is over
    assert not algorithms.overflows("addition", base, high)


def chi_square(counts) -> float:
    """In standard deviations from its mean."""
    counts = np.asarray(counts, float)
    mean, free = counts.mean(), len(counts) - 1
    return (((counts - mean) ** 2 / mean).sum() - free) / np.sqrt(2 * free)


@pytest.mark.parametrize("algorithm", ["copy", "reverse", "double", "sorting"])
def test_lengths_and_digits_of_strings_are_uniform(algorithm):
    example = made(algorithm, 20_000, (3, 12), 10)
    lengths = np.bincount(example.input_length, minlength=13)
    assert (lengths[:3] == 0).all()
    assert abs(chi_square(lengths[3:])) < 5
    assert abs(chi_square(np.bincount(example.inputs[example.inputs > 0])[2:])) < 5


@pytest.mark.parametrize("algorithm", ARITHMETIC)
def test_lengths_of_operands_are_those_of_tensor2tensor(algorithm):
    example = made(algorithm, 20_000, (1, 10), 2)
    first = np.argmax(example.inputs == 2 + 2, axis=1)
    second = example.input_length - 1 - first
    assert abs(chi_square(np.bincount(first)[1:])) < 5
    assert sorted(set(first.tolist())) == [1, 2, 3, 4, 5]
    for m in range(1, 6):
        counts = np.bincount(second[first == m])[1:]
        assert len(counts) == 10 - m - 1
        assert abs(chi_square(counts)) < 5


def test_rows_are_functions_of_their_keys_alone():
    keys = jax.random.split(jax.random.key(1), 6)
    whole = compiled("addition", keys, (1, 9), 10, 9)
    part = compiled("addition", keys[2:4], (1, 9), 10, 9)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[2:4], b), whole, part)
    assert len({tuple(row) for row in np.asarray(whole.inputs).tolist()}) > 1
