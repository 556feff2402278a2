"""Axial position embeddings (Kitaev et al. 2020, §4): a learned table an axis of a grid."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from arch.registry import ConfigurationError


class AxialPositions(nnx.Module):
    """Position p of a grid n₁ × n₂ has the vector [A₁[p // n₂]; A₂[p % n₂]], a row after the other,
    as in trax and Hugging Face: n₁ d₁ + n₂ d₂ parameters for n₁ n₂ positions.

    Vectors are gathered by index, so that a sequence need not fill the grid, as Hugging Face asks
    for in training. Differs from both in the start, theirs is of unit variance, and in that
    positions have no dropout of their own.

    Args:
        shape: (n₁, n₂). widths: (d₁, d₂). std: of the tables' entries.
    """

    def __init__(self, shape: tuple[int, ...], widths: tuple[int, ...], std: float, rngs: nnx.Rngs):
        self.shape = shape
        sizes = zip(shape, widths, strict=True)
        draws = [jax.random.normal(rngs.params(), size) * std for size in sizes]
        self.tables = nnx.List([nnx.Param(draw) for draw in draws])

    def __call__(self, positions: Int[Array, "batch length"]) -> Float[Array, "batch length width"]:
        """The vectors of positions, each the pair of its row's and its column's.

        Raises ConfigurationError for a length above n₁ · n₂.
        """
        if positions.shape[1] > math.prod(self.shape):
            raise ConfigurationError(
                f"model.embedding.axial_shape={self.shape}: length {positions.shape[1]} exceeds "
                f"its {math.prod(self.shape)} axial positions"
            )
        first, second = (table[...] for table in self.tables)
        columns = self.shape[1]
        return jnp.concatenate([first[positions // columns], second[positions % columns]], axis=-1)


def shape_for(asked: tuple, max_length: int) -> tuple[int, int]:
    """(n₁, n₂) as asked, with room for max_length; () stands for about √max_length each."""
    if not asked:
        columns = math.isqrt(max_length - 1) + 1
        return -(-max_length // columns), columns
    _check_pair("axial_shape", asked)
    if math.prod(asked) < max_length:
        raise ConfigurationError(
            f"model.embedding.axial_shape={asked}: {math.prod(asked)} positions; allowed is a "
            f"product of {max_length}, the longest sequence, or more"
        )
    return asked[0], asked[1]


def widths_for(asked: tuple, width: int) -> tuple[int, int]:
    """(d₁, d₂) as asked, of sum width; () stands for halves."""
    if not asked:
        if width < 2:
            raise ConfigurationError(
                f"model.embedding.positions='axial': the width is {width}; allowed is 2 or more"
            )
        return width // 2, width - width // 2
    _check_pair("axial_widths", asked)
    if sum(asked) != width:
        raise ConfigurationError(
            f"model.embedding.axial_widths={asked}: the sum is {sum(asked)}; allowed is {width}, "
            "the width of the embedding"
        )
    return asked[0], asked[1]


def _check_pair(field: str, asked: tuple) -> None:
    if len(asked) != 2 or any(type(n) is not int or n < 1 for n in asked):
        raise ConfigurationError(
            f"model.embedding.{field}={asked}: allowed are () and two whole numbers from 1 on"
        )
