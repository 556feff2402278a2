"""Reversible residual layers (Gomez et al. 2017; Kitaev, Kaiser and Levskaya 2020, §3) for any
order: activations are not kept but worked out again, from the last sublayer to the first.

    x1, x2 ← x2, x1 + F(x2)          each sublayer F of the order
    x2, x1 ← y1, y2 - F(y1)          and back

Attention and feed-forward in turn give the paper's y1 = x1 + A(x2), y2 = x2 + F(y1). What the
backward pass must not work out anew, such as the buckets of a hash, is replayed: see `Extras`.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from arch.checks import one_of
from arch.context import Context, Extras
from arch.registry import ConfigurationError, stacks
from arch.stacks import inverse
from arch.stacks.block import Binding, Block, norm_definition
from arch.stacks.depth import Turn, Walker
from arch.stacks.extras import by_position
from arch.stacks.inverse import SideInputs, Streams
from arch.stacks.parameters import Parameters
from arch.stacks.residual import Cache

MERGES = ("average", "concatenate")


@stacks.register("reversible")
class Reversible(Block):
    """The order once, on two streams that both start as the input.

    The streams are float32 whatever the sublayers compute in; the inverse gives them back but for
    rounding. Sublayers are pre-norm, peri-norm, or without norms.

    Args:
        merge: average | concatenate: of the streams at the end, before the final norm. The paper
            concatenates, and its head is of twice the width; average fits a head that is tied.
        apply: auto | switch | scan | unrolled; auto is switch. Both passes are loops, with one
            compiled body under switch and one per group under scan. Unrolled, activation memory
            grows with depth again: the compiler orders the recomputation as it likes.
        remat: none, since everything is worked out again.

    Raises ConfigurationError for a letter that cannot be taken back: one that is normalised after
    the sum, or that brings its own residual.
    """

    several = True

    def __init__(
        self,
        width: int,
        order: str,
        bindings: Mapping[str, Binding],
        *,
        merge: str = "average",
        apply: str = "switch",
        **block: Any,
    ):
        apply = "switch" if apply == "auto" else apply
        super().__init__(width, order, bindings, apply=apply, **block)
        one_of(MERGES, of="model.stack", merge=merge)
        if self.remat != "none":
            raise ConfigurationError(
                f"model.stack.remat={self.remat!r}: the reversible stack keeps no activations; "
                "allowed is none"
            )
        for letter in self.letters:
            self._check_letter(letter)
        self.merge = merge
        self.output_width = width if merge == "average" else 2 * width
        if self.final_norm is not None:
            self.final_norm = norm_definition(self.norm_kind, self.output_width, self.epsilon)
        # one object for all calls: it is a static argument, by which programs are known again
        self._order = inverse.ReversibleOrder(self.letters, Walker(self.schedule, self.apply))

    def _check_letter(self, letter: str) -> None:
        branch = self.letters[letter].module
        if branch.placement == "post":
            raise ConfigurationError(
                f"model.stack.norm='post', of letter {letter!r}: a sum that is normalised cannot "
                "be taken back; allowed with model.stack.kind='reversible' are pre, peri, none"
            )
        if branch.own_residual:
            raise ConfigurationError(
                f"model.sublayers.{letter}.kind={branch.sublayer.kind!r} brings its own residual, "
                "which model.stack.kind='reversible' cannot take back"
            )

    def __call__(
        self, parameters: Parameters, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length output"], Extras]:
        """The merged and normalised streams at the end, and the sums of the letters' extras."""
        rows, dtype = self.letter_rows(parameters), jnp.dtype(x.dtype)
        sides = SideInputs(context.memory, context.dropout)
        data = context.replace(signal=None, memory=None, dropout=None)
        if context.record:  # the forward pass alone, since a custom_vjp would have to return them
            order = inverse.ReversibleOrder(self.letters, self.walker(context))
            end, records = inverse.forward(
                order, dtype, rows, Streams.of(x), sides, data, keep=False
            )
            streams = end.streams
            extras = Extras(end.losses, end.statistics, by_position(records))
        else:
            streams, *sums = inverse.run(self._order, dtype, rows, Streams.of(x), sides, data)
            extras = Extras(*sums)
        return self._merged(parameters, streams, dtype), extras

    def _merged(
        self, parameters: Parameters, streams: Streams, dtype: DTypeLike
    ) -> Float[Array, "batch length output"]:
        if self.merge == "average":
            y = (streams.first + streams.second) / 2
        else:
            y = jnp.concatenate(streams, axis=-1)
        return self.normalise(parameters, y.astype(dtype))

    def init_cache(
        self, parameters: Parameters, batch: int, length: int, dtype: DTypeLike, context: Context
    ) -> list[Cache]:
        """A cache for each position of the order."""
        return self.init_order_cache(parameters, batch, length, dtype, context)

    def step(
        self,
        parameters: Parameters,
        x: Float[Array, "batch tokens width"],
        cache: list[Cache],
        context: Context,
    ) -> tuple[Float[Array, "batch tokens output"], list[Cache]]:
        """The output of one decoding step, and the caches after it."""

        def body(streams: Streams, turn: Turn) -> tuple[Streams, Cache]:
            def run(letter: str):
                branch = self.letters[letter].bind(turn.read(letter))
                entered = streams.second.astype(x.dtype)
                return branch.branch_step(entered, cache[int(turn.position)], context)

            y, moved = turn.choose(run)
            return streams.plus(y), moved

        walker = Walker(self.schedule, "unrolled")
        streams, moved = walker(body, Streams.of(x), self.letter_rows(parameters))
        return self._merged(parameters, streams, x.dtype), list(moved.values())
