"""Examples of algorithms position by position, for the Neural GPU and Shuffle-Exchange networks:
input and output are strings of one length, filled up with 0.

A generator makes one example, `generate` a batch of them:

    (key, length, base, size) → Aligned(inputs, targets)

The length may be traced; arrays have the static `size`, at least the length, and 0 from the length
on. Symbols are digits + 1; 11 stands between two summands, 12 between two factors. There is no end
symbol. Of a length L:

    copy, reverse, sorting      L digits
    double                      ⌊L / 2⌋ digits, then 0;  the digits twice
    addition, multiplication    two numbers of (L - 1) // 2 digits each, the least significant
                                first, any of which may be 0;  of their sum no zeros after the last
                                digit that is none, of their product (L - 1) // 2 · 2 + 1 digits
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from arch.data.generated import algorithms

VERSION = "same length 1"  # another one wherever a key's examples change
SEPARATORS = {"addition": 11, "multiplication": 12}
LARGEST = 10  # base of two numbers; a digit is not to look like their separator


class Aligned(NamedTuple):
    """One example, or with a leading axis a batch; a row of zeros is none."""

    inputs: Int[Array, "*batch size"]
    targets: Int[Array, "*batch size"]


def generate(
    algorithm: str, keys: Key[Array, " batch"], lengths: Int[Array, " batch"], base: int, size: int
) -> Aligned:
    """A batch of examples: row i is a function of keys[i] and lengths[i] alone."""
    make = GENERATORS[algorithm]
    return jax.vmap(lambda key, length: make(key, length, base, size))(keys, lengths)


@functools.lru_cache(maxsize=32)
def fixed(algorithm: str, n: int, length: int, base: int) -> Aligned:
    """n examples of a length as NumPy arrays, the same in every run and on every platform."""
    key = jax.random.fold_in(jax.random.key(0xA119, impl="threefry2x32"), length)
    lengths = jnp.full(n, length)
    make = jax.jit(lambda keys: generate(algorithm, keys, lengths, base, length))
    return jax.tree.map(np.asarray, make(jax.random.split(key, n)))


def symbols(algorithm: str, base: int) -> int:
    """How many symbols there are: padding, digits, and of the authors' 13 the separators."""
    return 13 if algorithm in SEPARATORS else base + 1


def least_length(algorithm: str) -> int:
    """The shortest input that says anything: two digits and a separator are three symbols."""
    return {"double": 2, "addition": 3, "multiplication": 3}.get(algorithm, 1)


def _digits(key, base, size) -> Int[Array, " size"]:
    return jax.random.randint(key, (size,), 0, base)


def _filled(digits: Int[Array, " size"], length) -> Int[Array, " size"]:
    """Digits as symbols, and 0 from the length on."""
    return jnp.where(jnp.arange(digits.shape[0]) < length, digits + 1, 0)


def copy(key: Key[Array, ""], length: Int[Array, ""], base: int, size: int) -> Aligned:
    """The input."""
    inputs = _filled(_digits(key, base, size), length)
    return Aligned(inputs, inputs)


def reverse(key: Key[Array, ""], length: Int[Array, ""], base: int, size: int) -> Aligned:
    """The input backwards."""
    digits = _digits(key, base, size)
    backwards = algorithms.at(digits, length - 1 - jnp.arange(size))
    return Aligned(_filled(digits, length), _filled(backwards, length))


def sorting(key: Key[Array, ""], length: Int[Array, ""], base: int, size: int) -> Aligned:
    """The input's digits, smallest first."""
    digits = jnp.where(jnp.arange(size) < length, _digits(key, base, size), base)
    return Aligned(_filled(digits, length), _filled(jnp.sort(digits), length))


def double(key: Key[Array, ""], length: Int[Array, ""], base: int, size: int) -> Aligned:
    """The input twice."""
    digits, half = _digits(key, base, size), length // 2
    twice = algorithms.at(digits, jnp.arange(size) % jnp.maximum(half, 1))
    return Aligned(_filled(digits, half), _filled(twice, 2 * half))


def addition(key: Key[Array, ""], length: Int[Array, ""], base: int, size: int) -> Aligned:
    """The sum of two numbers."""
    first, second, inputs = _operands(key, length, base, size, SEPARATORS["addition"])
    total = algorithms.carried(first + second, base)
    last = jnp.max(jnp.where(total > 0, jnp.arange(size), 0))
    return Aligned(inputs, _filled(total, last + 1))


def multiplication(key: Key[Array, ""], length: Int[Array, ""], base: int, size: int) -> Aligned:
    """The product of two numbers."""
    first, second, inputs = _operands(key, length, base, size, SEPARATORS["multiplication"])
    product = algorithms.carried(algorithms.coefficients(first, second), base)
    return Aligned(inputs, _filled(product, (length - 1) // 2 * 2 + 1))


def _operands(key, length, base, size, separator):
    """(first, second, both as the symbols of an input)."""
    keys, n, place = jax.random.split(key), (length - 1) // 2, jnp.arange(size)
    first, second = (jnp.where(place < n, _digits(k, base, size), 0) for k in keys)
    joined = jnp.where(place < n, first, algorithms.at(second, place - n - 1))
    inputs = jnp.where(place == n, separator, _filled(joined, 2 * n + 1))
    return first, second, inputs


Generator = Callable[[Key[Array, ""], Int[Array, ""], int, int], Aligned]
GENERATORS: dict[str, Generator] = {
    "copy": copy,
    "reverse": reverse,
    "double": double,
    "addition": addition,
    "multiplication": multiplication,
    "sorting": sorting,
}
