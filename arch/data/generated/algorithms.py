"""Examples of algorithms on strings of digits: pure functions of a key, run inside jit.

A generator makes one example, `generate` a batch of them:

    (key, (low, high), base, size) → Example(inputs, input_length, outputs, output_length)

The input's length is uniform in low … high; its array has the static `size`, at least high. As in
tensor2tensor's algorithmic.py, symbols are digits + 2, because 0 is padding and 1 the end of a
sequence; neither end nor any symbol of a task's own is put here.

Addition and multiplication, as there: numbers are little-endian, their last digit is not 0 unless
it is the only one, and the symbol base + 2 stands between the two. The first one's length is
uniform in 1 … high // 2, the second one's in max(1, low - first - 1) … high - first - 1. With
low <= 3 this is tensor2tensor's distribution (whose total is not uniform); with low = high the
total, separator included, is exactly high. The result likewise has no zeros after its last digit
that is none, and at least one digit. It is at most high - 1 digits long.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

SHIFT = 2  # of digits: 0 is padding, 1 is the end
VERSION = "algorithms 1"  # another one wherever a key's examples change
ARITHMETIC = ("addition", "multiplication")

Bounds = tuple[int, int]


class Example(NamedTuple):
    """One example, or with a leading axis a batch; a row of zeros is none."""

    inputs: Int[Array, "*batch size"]
    input_length: Int[Array, "*batch"]
    outputs: Int[Array, "*batch output"]
    output_length: Int[Array, "*batch"]


def generate(
    algorithm: str, keys: Key[Array, " batch"], bounds: Bounds, base: int, size: int
) -> Example:
    """A batch of examples: row i is a function of keys[i] alone."""
    return jax.vmap(lambda key: GENERATORS[algorithm](key, bounds, base, size))(keys)


@functools.lru_cache(maxsize=32)
def fixed(algorithm: str, stream: int, n: int, bounds: Bounds, base: int) -> Example:
    """n examples as NumPy arrays, the same in every run and on every platform: for evaluation.

    Calls with another `stream` get other examples.
    """
    key = jax.random.fold_in(jax.random.key(0x5EED, impl="threefry2x32"), stream)
    make = jax.jit(lambda keys: generate(algorithm, keys, bounds, base, bounds[1]))
    return jax.tree.map(np.asarray, make(jax.random.split(key, n)))


def widening(algorithm: str) -> int:
    """How many times as long as the input an output may be."""
    return 2 if algorithm == "double" else 1


def symbols(algorithm: str, base: int) -> int:
    """How many symbols there are: padding, end, digits, and between two numbers a separator."""
    return base + SHIFT + (algorithm in ARITHMETIC)


def least_length(algorithm: str) -> int:
    """The shortest possible input: two digits and a separator are three symbols."""
    return 3 if algorithm in ARITHMETIC else 1


def overflows(algorithm: str, base: int, high: int) -> bool:
    """Whether int32 is too small for the sums of `multiplication`.

    A digit of the product is a sum of at most n = high // 2 products of two digits, and a carry. By
    induction a carry is at most n (base - 1): (n (base - 1)² + n (base - 1)) / base is that again.
    So nothing is larger than n (base - 1) base; in base 10 that fits up to n = 23 million.
    """
    return algorithm == "multiplication" and (high // 2) * (base - 1) * base >= 2**31


def copy(key: Key[Array, ""], bounds: Bounds, base: int, size: int) -> Example:
    """The input."""
    digits, length = _string(key, bounds, base, size)
    symbols = _shifted(digits, length)
    return Example(symbols, length, symbols, length)


def reverse(key: Key[Array, ""], bounds: Bounds, base: int, size: int) -> Example:
    """The input backwards."""
    digits, length = _string(key, bounds, base, size)
    backwards = at(digits, length - 1 - jnp.arange(size))
    return Example(_shifted(digits, length), length, _shifted(backwards, length), length)


def double(key: Key[Array, ""], bounds: Bounds, base: int, size: int) -> Example:
    """The input twice; the output's size is 2 size."""
    digits, length = _string(key, bounds, base, size)
    twice = at(digits, jnp.arange(2 * size) % length)
    return Example(_shifted(digits, length), length, _shifted(twice, 2 * length), 2 * length)


def sorting(key: Key[Array, ""], bounds: Bounds, base: int, size: int) -> Example:
    """The input's digits, smallest first."""
    digits, length = _string(key, bounds, base, size)
    ordered = jnp.sort(jnp.where(jnp.arange(size) < length, digits, base))
    return Example(_shifted(digits, length), length, _shifted(ordered, length), length)


def addition(key: Key[Array, ""], bounds: Bounds, base: int, size: int) -> Example:
    """The sum of two numbers."""
    first, second, inputs, length = _operands(key, bounds, base, size)
    return Example(inputs, length, *_number_of(carried(first + second, base)))


def multiplication(key: Key[Array, ""], bounds: Bounds, base: int, size: int) -> Example:
    """The product of two numbers; `overflows` says when it cannot be made."""
    first, second, inputs, length = _operands(key, bounds, base, size)
    return Example(inputs, length, *_number_of(carried(coefficients(first, second), base)))


Generator = Callable[[Key[Array, ""], Bounds, int, int], Example]
GENERATORS: dict[str, Generator] = {
    "copy": copy,
    "reverse": reverse,
    "double": double,
    "addition": addition,
    "multiplication": multiplication,
    "sorting": sorting,
}


def _uniform(key, low, high) -> Int[Array, ""]:
    """A whole number, uniform in low … high."""
    return jax.random.randint(key, (), low, high + 1)


def _string(key, bounds, base, size) -> tuple[Int[Array, " size"], Int[Array, ""]]:
    """Digits, of which those from the length on do not count, and the length."""
    of_length, of_digits = jax.random.split(key)
    return jax.random.randint(of_digits, (size,), 0, base), _uniform(of_length, *bounds)


def at(digits: Int[Array, " n"], index: Int[Array, " m"]) -> Int[Array, " m"]:
    """digits[index]; any digit for an index out of reach."""
    return digits[jnp.clip(index, 0, digits.shape[0] - 1)]


def _shifted(digits: Int[Array, " n"], length) -> Int[Array, " n"]:
    """Digits as symbols, and padding from the length on."""
    return jnp.where(jnp.arange(digits.shape[0]) < length, digits + SHIFT, 0)


def _number(key, length, base, size) -> Int[Array, " size"]:
    """Digits of a number of exactly that length, and zeros; only a single digit may be 0."""
    of_digits, of_last = jax.random.split(key)
    digits = jax.random.randint(of_digits, (size,), 0, base)
    place = jnp.arange(size)
    last = jax.random.randint(of_last, (), 1, base)
    digits = jnp.where((place == length - 1) & (length > 1), last, digits)
    return jnp.where(place < length, digits, 0)


def _operands(key, bounds, base, size):
    """(first, second, both as the symbols of an input, the input's length)."""
    low, high = bounds
    keys = jax.random.split(key, 4)
    m = _uniform(keys[0], 1, high // 2)
    n = _uniform(keys[1], jnp.maximum(1, low - m - 1), high - m - 1)
    first, second = _number(keys[2], m, base, size), _number(keys[3], n, base, size)
    place = jnp.arange(size)
    joined = jnp.where(place < m, first, at(second, place - m - 1))
    joined = jnp.where(place == m, base, joined)
    return first, second, _shifted(joined, m + 1 + n), m + 1 + n


def coefficients(first: Int[Array, " size"], second: Int[Array, " size"]) -> Int[Array, " size"]:
    """Of a product before carries: Σᵢ aᵢ bₖ₋ᵢ for each k."""

    def coefficient(window, digit):  # window: b_k, b_{k-1}, … b_0, 0, … for the k of this turn
        window = jnp.concatenate([digit[None], window[:-1]])
        return window, (first * window).sum()

    # no convolution of XLA's: on a GPU it has none for integers
    return jax.lax.scan(coefficient, jnp.zeros_like(second), second)[1]


def carried(totals: Int[Array, " size"], base: int) -> Int[Array, " size"]:
    """Σ totalsₖ baseᵏ in digits."""

    def digit(carry, total):
        carry, rest = jnp.divmod(total + carry, base)
        return carry, rest

    return jax.lax.scan(digit, jnp.zeros((), totals.dtype), totals)[1]


def _number_of(digits: Int[Array, " size"]) -> tuple[Int[Array, " size"], Int[Array, ""]]:
    """A number's symbols and length, without the zeros after its last digit that is none."""
    length = jnp.max(jnp.where(digits > 0, jnp.arange(digits.shape[0]) + 1, 1))
    return _shifted(digits, length), length
