"""Finite groups as tables of products, for word problems."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

Permutation = tuple[int, ...]


def permutations(points: int, even: bool = False) -> list[Permutation]:
    """All of some points, or the even ones, in lexicographic order; the identity is the first."""
    found = itertools.permutations(range(points))
    return [p for p in found if not even or not _odd(p)]


def _odd(p: Permutation) -> bool:
    return sum(a > b for a, b in itertools.combinations(p, 2)) % 2 == 1


def products(elements: Sequence[Permutation]) -> Int[np.ndarray, "order order"]:
    """table[a, b] = the number of a·b, which maps i to a[b[i]]."""
    number = {p: n for n, p in enumerate(elements)}
    return np.array([[number[tuple(a[i] for i in b)] for b in elements] for a in elements])


def cyclic(order: int) -> Int[np.ndarray, "order order"]:
    """Addition modulo the order."""
    return np.add.outer(np.arange(order), np.arange(order)) % order


def direct(a: Int[np.ndarray, "n n"], b: Int[np.ndarray, "m m"]) -> Int[np.ndarray, "nm nm"]:
    """The table of the direct product; the pair (i, j) has the number i·m + j."""
    n, m = len(a), len(b)
    table = a[:, None, :, None] * m + b[None, :, None, :]
    return table.reshape(n * m, n * m)


GROUPS = {
    "z2": lambda: cyclic(2),
    "z3": lambda: cyclic(3),
    "z60": lambda: cyclic(60),
    "s3": lambda: products(permutations(3)),
    "a4": lambda: products(permutations(4, even=True)),
    "s4": lambda: products(permutations(4)),
    "a4xz5": lambda: direct(products(permutations(4, even=True)), cyclic(5)),
    "a5": lambda: products(permutations(5, even=True)),
    "s5": lambda: products(permutations(5)),
}
