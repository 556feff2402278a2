"""What a sublayer is given besides its input: memory, positions, masks, keys, rates.

Three parts, because three transforms treat them differently: gradients flow into the first, the
second is data that no gradient touches, the third is fixed when the program is traced.
"""

import dataclasses
import operator
import zlib
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key


def _static(default: Any) -> Any:
    return dataclasses.field(default=default, metadata={"static": True})


class Spread(NamedTuple):
    """A standard deviation, as what may be summed over parts: Σ w x², Σ w x and Σ w."""

    squares: Array
    total: Array
    weight: Array


class Rotary(NamedTuple):
    """How rotary positions turn, see `model.embedding.rotary_base` and the options after it."""

    base: float = 10000.0
    scaling: str = "none"  # none | linear | ntk
    factor: float = 1.0  # by which sequences are longer than those that the angles are for
    share: float = 1.0  # of each head's channels, the first ones, that are turned


Sums = dict[str, tuple[Array, Array] | Spread]  # name → (sum, weight), or a Spread


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Context:
    """Side inputs of every sublayer; one that does not need them ignores them."""

    # differentiable
    memory: Float[Array, "batch memory width"] | None = None
    signal: Float[Array, "batch length width"] | None = None  # positions, for stacks that add them
    dropout: Float[Array, ""] | float = 0.0  # the rate, which a sweep may vary inside one program

    # data without gradients
    key: Key[Array, ""] | None = None
    positions: Int[Array, "batch length"] | None = None  # None: 0 … length - 1
    segments: Int[Array, "batch length"] | None = None  # types of tokens; None: 0 everywhere
    mask: Bool[Array, "batch length"] | None = None  # True where a token is, None: everywhere
    counted: Bool[Array, " batch"] | None = None  # rows that sums are of, None: all
    memory_mask: Bool[Array, "batch memory"] | None = None
    memory_positions: Int[Array, "batch memory"] | None = None
    time: Int[Array, ""] | None = None  # of a decoding step: the place of the cache that it fills
    schedule: Int[Array, "2 depth"] | None = None  # (letter, owner): the order as data, for switch
    replay: dict[str, Array] | None = None  # the sublayer's Extras.replay in the forward pass

    # static
    platform: str = _static("cpu")  # what the program is compiled for, as jax says it: gpu, tpu
    mesh: Mesh | None = _static(None)  # the devices that share the batch; None: one device
    causal: bool = _static(True)
    train: bool = _static(False)
    inference: bool = _static(False)  # no gradient will be asked for: loops may stop early
    has_dropout: bool = _static(False)  # never `rate == 0`: the rate may be traced
    rotary_base: float = _static(0.0)  # 0: the model's positions are not rotary
    rotary: Rotary = _static(Rotary())  # of letters that are, and of the model's
    max_length: int = _static(0)  # of a sequence, which sizes depend on; 0: not known
    record: frozenset[str] = _static(frozenset())
    norms: bool = _static(False)  # whether stacks measure the stream, see `stacks.norms`

    def replace(self, **changes: Any) -> "Context":
        """The context with some fields changed."""
        return dataclasses.replace(self, **changes)

    def at(self, index: int | Int[Array, ""]) -> "Context":
        """The context of one place in the depth, whose key is folded with the index, so that its
        random numbers are its own."""
        return self if self.key is None else self.replace(key=jax.random.fold_in(self.key, index))

    def key_for(self, use: str) -> Key[Array, ""]:
        """A key for one named use inside a sublayer."""
        assert self.key is not None, f"{use}: the context has no key"
        return named(self.key, use)


def named(key: Key[Array, ""], name: str) -> Key[Array, ""]:
    """The key of a name: the same on every platform, in every process and order of calls."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Extras:
    """What a sublayer returns besides its output.

    losses: name → (sum, weight); added to the objective as sum / weight.
    statistics: name → (sum, weight), logged as sum / weight, or a `Spread`.
    record: name → array, only for the names in `context.record`; a stack adds the position.
    replay: integers that a reversible backward pass must reuse.
    """

    losses: Sums = dataclasses.field(default_factory=dict)
    statistics: Sums = dataclasses.field(default_factory=dict)
    record: dict[str, Any] = dataclasses.field(default_factory=dict)
    replay: dict[str, Array] = dataclasses.field(default_factory=dict)


def add_sums(left: Sums, right: Sums) -> Sums:
    """The sums of both; what has the same name is added."""
    both = dict(left)
    for name, term in right.items():
        both[name] = jax.tree.map(operator.add, both[name], term) if name in both else term
    return both


def figure(term: tuple[Any, Any] | Spread) -> Any:
    """What is reported of a term: sum / weight, or the standard deviation of a `Spread`.

    It is taken once all parts are summed: a mean of means or of deviations is another number.
    """
    if not isinstance(term, Spread):
        total, weight = term
        return total / weight
    mean = term.total / term.weight
    variance = term.squares / term.weight - mean * mean
    return (variance * (variance > 0)) ** 0.5  # rounding may leave less than none
