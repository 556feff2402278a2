"""The Beneš network as a sublayer: Shuffle-Exchange networks (Freivalds et al. 2019; Draguns et al.
2020), in which every position reaches every other in n log n operations, without attention."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from arch.checks import at_least, below_one, one_of
from arch.context import Context
from arch.layers import dropout
from arch.registry import sublayers
from arch.sublayers.benes.switches import NORMALISATIONS, GatedUnit, ResidualUnit
from arch.sublayers.contract import Sublayer

UNITS = ("residual", "gated")
Switch = Callable[[Array, Array, Any], Array]  # (pairs, number of the layer, what is skipped to it)


@sublayers.register("benes")
class Benes(Sublayer):
    """`blocks` Beneš blocks and a last layer of switches, on a sequence of n = 2ᵏ positions.

        block       k - 1 times: switch, forward shuffle;  k - 1 times: switch, reverse shuffle
        switch      one small network, see `switches`, on the positions 0 and 1, 2 and 3, …
        shuffle     forward: y[i] = x[i's k bits, turned left by one]; reverse: turned right

    All forward layers of a block have the same switch, all reverse layers another, the last layer a
    third: 2 · blocks + 1 sets of weights for any length.

    It has its own residual and its own normalisation: the stack adds neither, nor dropout. It is
    not causal. Sequences are padded with zeros to a power of two, at least 2, and cut again; a
    model of such letters alone pads with token 0 instead, as the authors do (see `padded_length`).
    `context.mask` changes nothing: padding is input like any other, takes part in the
    normalisation, and may hold a token on its way through the network.

    Args:
        width: of the input and the output, m.
        blocks: B.
        unit: residual | gated: the switch of 2020 or of 2019.
        normalisation: sequence | features: of the residual unit, see there.
        skips: of the gated unit: from the second block on, a switch also receives the input of the
            same layer of the block before; the last layer receives the input of the last block.
        switch_dropout: k times the rate on a switch's output: the authors' 1 - keep.

    For the gradient a layer keeps its input alone and computes the rest again, which takes an
    eighth of the memory, and less time on CPU too.
    """

    causal = False
    not_causal = "its shuffles carry every position to every other, later ones to earlier ones too"
    own_residual = True
    residual_outputs = ()

    def __init__(
        self,
        width: int,
        *,
        blocks: int = 2,
        unit: str = "residual",
        normalisation: str = "sequence",
        skips: bool = True,
        switch_dropout: float = 0.1,
        rngs: nnx.Rngs,
    ):
        one_of(UNITS, unit=unit)
        one_of(NORMALISATIONS, normalisation=normalisation)
        at_least(1, blocks=blocks)
        below_one(switch_dropout=switch_dropout)
        self.width, self.blocks, self.unit = width, blocks, unit
        self.skips = unit == "gated" and skips and blocks > 1
        self.switch_dropout = switch_dropout

        def switch(block):
            if unit == "gated":
                return GatedUnit(width, skips=self.skips and block > 0, rngs=rngs)
            return ResidualUnit(width, normalisation=normalisation, rngs=rngs)

        self.forward = nnx.List([switch(block) for block in range(blocks)])
        self.reverse = nnx.List([switch(block) for block in range(blocks)])
        self.last = switch(blocks)

    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> Float[Array, "batch length width"]:
        """The new stream, in the shape and dtype of x."""
        length, padded = x.shape[1], self.padded_length(x.shape[1])
        x = jnp.pad(x, ((0, 0), (0, padded - length), (0, 0)))
        pairs = x.reshape(x.shape[0], padded // 2, 2 * self.width)
        layers, earlier, entered = layers_of_half(padded), (None, None), pairs
        for block in range(self.blocks):
            first = 2 * block * layers
            forward = self._switch(self.forward[block], first, layers, context)
            reverse = self._switch(self.reverse[block], first + layers, layers, context)
            entered = pairs
            pairs, earlier = walk(pairs, layers, forward, reverse, earlier, keep=self.skips)
        last = self._switch(self.last, 2 * self.blocks * layers, layers, context)
        pairs = last(pairs, jnp.zeros((), jnp.int32), entered if self.skips else None)
        return pairs.reshape(x.shape)[:, :length]

    def _switch(self, unit, first: int, layers: int, context: Context) -> Switch:
        """The unit with its dropout, whose key depends on the layer's number."""

        def switch(pairs, layer, earlier):
            y = unit(pairs, earlier)
            if context.train and self.switch_dropout:
                key = jax.random.fold_in(context.key_for("switch"), first + layer)
                y = dropout(y, self.switch_dropout / (layers + 1), key, context.platform)
            return y

        return jax.checkpoint(switch)

    def padded_length(self, length: int) -> int:
        """The next power of two, at least 2."""
        return max(2, 1 << (length - 1).bit_length())

    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence, those of its padding included."""
        padded = self.padded_length(length)
        return (2 * self.blocks * layers_of_half(padded) + 1) * (padded // 2) * self.last.flops()


def layers_of_half(length: int) -> int:
    """k - 1 for 2ᵏ positions."""
    return length.bit_length() - 2


def walk(
    pairs: Float[Array, "batch pairs channels"],
    layers: int,
    forward: Switch,
    reverse: Switch,
    earlier: tuple = (None, None),
    keep: bool = False,
) -> tuple[Array, tuple]:
    """(pairs after one block, the inputs of each layer of either half where `keep`).

    earlier: the inputs that the block before kept. A scan over the layers of a half: the compiled
    program does not grow with the length.
    """
    kept = []
    for switch, shuffle, before in (
        (forward, forward_shuffle, earlier[0]),
        (reverse, reverse_shuffle, earlier[1]),
    ):
        pairs, given = jax.lax.scan(
            functools.partial(_layer, switch, shuffle, keep), pairs, (jnp.arange(layers), before)
        )
        kept.append(given)
    return pairs, tuple(kept)


def _layer(switch: Switch, shuffle: Callable, keep: bool, pairs: Array, of: tuple):
    layer, earlier = of
    return shuffle(switch(pairs, layer, earlier)), pairs if keep else None


def forward_shuffle(
    pairs: Float[Array, "batch pairs channels"],
) -> Float[Array, "batch pairs channels"]:
    """y[i] = x[i's bits turned left]: the first of every pair, then the second of every pair. A
    transposition: on CPU its gradient takes between a half and a tenth of that of a gather, the way
    forward as long or less."""
    batch, n, channels = pairs.shape
    return pairs.reshape(batch, n, 2, channels // 2).swapaxes(1, 2).reshape(pairs.shape)


def reverse_shuffle(
    pairs: Float[Array, "batch pairs channels"],
) -> Float[Array, "batch pairs channels"]:
    """y[i] = x[i's bits turned right]: position j of either half makes pair j."""
    batch, n, channels = pairs.shape
    return pairs.reshape(batch, 2, n, channels // 2).swapaxes(1, 2).reshape(pairs.shape)
