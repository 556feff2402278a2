"""How attention tells positions apart by itself: queries and keys that are turned, or a bias on the
scores that depends on how far a key is from its query.

rotary  Su et al. 2021 (RoFormer), with scaled angles and on a share of the channels, see `rotate`
alibi   a slope a head times the distance, nothing learned (Press et al. 2022, ALiBi)
t5      a learned number a head and bucket of distances (Raffel et al. 2020, §2.1)
"""

import functools
import math
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from arch.checks import holds, one_of
from arch.context import Context, Rotary
from arch.registry import ConfigurationError

BIASES = ("alibi", "t5")
RELATIVE = ("rotary", *BIASES)  # what attention does by itself; other kinds are the embedding's
KINDS = ("", "none", *RELATIVE)
Bias = Callable[[Int[Array, "..."]], Float[Array, "heads ..."]]  # of keys that far ahead


class RelativePositions(nnx.Module):
    """The position kind of one attention sublayer.

    Args:
        kind: '' | none | rotary | alibi | t5. '' stands for rotary where the context has a
            `rotary_base`, else for none.
        heads: number of query heads, each of which has a bias of its own.
        width: of the model; entries of the table of t5 start with deviation 1/√width, as T5's.
        buckets: rows of that table. distance: from which on all keys share the last bucket.
        init_std: another deviation of its entries; 0 is 1/√width.

    Raises ConfigurationError for an unknown kind, and for buckets that cannot be.
    """

    def __init__(
        self,
        kind: str,
        heads: int,
        width: int,
        *,
        buckets: int,
        distance: int,
        init_std: float,
        rngs: nnx.Rngs,
    ):
        one_of(KINDS, positions=kind)
        least = "an even number from 4 on"
        holds(buckets >= 4 and buckets % 2 == 0, least, relative_buckets=buckets)
        beyond = (
            f"above relative_buckets / 2 = {buckets // 2}, distances with a bucket of their own"
        )
        holds(distance > buckets // 2, beyond, relative_distance=distance)
        self.kind, self.heads, self.buckets, self.distance = kind, heads, buckets, distance
        std = init_std or width**-0.5
        self.table = (
            nnx.Param(jax.random.normal(rngs.params(), (buckets, heads)) * std)
            if kind == "t5"
            else None
        )

    def base(self, context: Context) -> float:
        """Of the rotary angles; 0 where queries and keys are not turned."""
        return {"": context.rotary_base, "rotary": context.rotary.base}.get(self.kind, 0.0)

    def turned(
        self,
        q: Float[Array, "batch length heads width"],
        k: Float[Array, "batch length kv_heads width"],
        context: Context,
        positions: Int[Array, "batch length"] | None,
    ) -> tuple[Array, Array]:
        """Queries and keys at these positions (None: 0 … length - 1), turned where rotary."""
        base = self.base(context)
        if not base:
            return q, k
        turn = functools.partial(rotate, positions=positions, base=base, rotary=context.rotary)
        return turn(q), turn(k)

    def bias(self, causal: bool) -> Bias | None:
        """A function of how far a key is ahead of its query (negative: behind it), to what is added
        to its score with each head; None where nothing is."""
        if self.kind == "alibi":
            return functools.partial(_alibi, self.heads)
        if self.table is None:
            return None
        table = self.table[...]
        return lambda ahead: jnp.moveaxis(
            table[buckets_of(ahead, self.buckets, self.distance, causal)], -1, 0
        )


def summed(*biases: Bias | None) -> Bias | None:
    """The sum of the biases that are there; None where none is."""
    present = [bias for bias in biases if bias is not None]
    if len(present) < 2:
        return present[0] if present else None
    return lambda ahead: functools.reduce(operator.add, (bias(ahead) for bias in present))


def slopes(heads: int) -> Float[np.ndarray, " heads"]:
    """ALiBi's slopes: 2^(-8 i / heads) for i from 1 on where heads is a power of two; else those of
    the power below it, then every other one of the power above it, as the authors' code and
    BLOOM have it (Press et al. 2022, §3 and footnote 9)."""
    below = 2 ** int(math.log2(heads))
    first = 2.0 ** (-8 / below * np.arange(1, below + 1))
    more = 2.0 ** (-8 / (2 * below) * np.arange(1, 2 * below + 1, 2))
    return np.concatenate([first, more[: heads - below]]).astype(np.float32)


def _alibi(heads: int, ahead: Int[Array, "..."]) -> Float[Array, "heads ..."]:
    """-slope · distance; the same to both sides where attention is not causal."""
    slope = jnp.asarray(slopes(heads)).reshape(-1, *[1] * ahead.ndim)
    return -slope * jnp.abs(ahead)[None].astype(jnp.float32)


def buckets_of(
    ahead: Int[Array, "..."], buckets: int, distance: int, causal: bool
) -> Int[Array, "..."]:
    """T5's bucket of a key that far ahead of its query: the first half are exact distances, the
    other half ever wider ranges of them up to `distance`, beyond which all are in the last one.

    causal: only keys behind the query count, those ahead being in bucket 0; else each side has half
    of the buckets, the later keys the second half.

    The limits of the ranges are found in whole numbers, so that no device rounds them.
    """
    if causal:
        behind, side = jnp.maximum(-ahead, 0), jnp.zeros_like(ahead)
    else:
        buckets //= 2
        behind, side = jnp.abs(ahead), jnp.where(ahead > 0, buckets, 0)
    limits = jnp.asarray(_limits(buckets, distance), ahead.dtype)
    wide = jnp.searchsorted(limits, behind.reshape(-1), side="right", method="compare_all")
    exact = buckets // 2
    return side + jnp.where(behind < exact, behind, exact + wide.reshape(behind.shape))


@functools.cache
def _limits(buckets: int, distance: int) -> tuple[int, ...]:
    """The least distance of each wide bucket after the first: the least d with
    log(d / exact) / log(distance / exact) · wide ≥ j, for j from 1 on."""
    exact = buckets // 2
    wide, found, d = buckets - exact, [], exact
    for j in range(1, wide):
        while d**wide * exact**j < distance**j * exact**wide:
            d += 1
        found.append(d)
    return tuple(found)


def rotate(
    x: Float[Array, "batch length heads width"],
    positions: Int[Array, "batch length"] | None,
    base: float,
    rotary: Rotary = Rotary(),  # noqa: B008  a constant
) -> Float[Array, "batch length heads width"]:
    """Rotary position embedding (Su et al. 2021, eq. 34): channel i is paired with i + width / 2
    and turned by position · base^(-2 i / width), in float32.

    rotary: of its `share` only the first channels are turned, as in GPT-NeoX, and `width` above is
    their number, which is even; scaling 'linear' divides positions by `factor` (Chen et al. 2023),
    'ntk' takes base · factor^(width / (width - 2)), with which the slowest angle is divided by
    `factor` and the fastest kept (bloc97 2023).
    """
    width = x.shape[-1]
    half = width // 2 if rotary.share == 1 else int(width * rotary.share) // 2
    if half == 0 and rotary.share < 1:
        raise ConfigurationError(
            f"model.embedding.rotary_share={rotary.share}: of heads of width {width} it leaves no "
            f"pair of channels to turn; allowed is {2 / width:g} or more"
        )
    if positions is None:
        positions = jnp.arange(x.shape[1])[None]
    if rotary.scaling == "ntk" and half > 1:
        base = base * rotary.factor ** (half / (half - 1))
    frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    if rotary.scaling == "linear":
        frequency = frequency / rotary.factor
    angle = positions[:, :, None].astype(jnp.float32) * frequency[None, None, :]
    cos, sin = jnp.cos(angle)[:, :, None, :], jnp.sin(angle)[:, :, None, :]
    a, b = x[..., :half].astype(jnp.float32), x[..., half : 2 * half].astype(jnp.float32)
    turned = jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)
    if 2 * half == width:
        return turned
    return jnp.concatenate([turned, x[..., 2 * half :]], axis=-1)
