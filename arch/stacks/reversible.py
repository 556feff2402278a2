"""Reversible residual layers (Gomez et al. 2017; Kitaev, Kaiser and Levskaya 2020, §3) for any
order: activations are not kept but worked out again, from the last sublayer to the first.

    x1, x2 ← x2, x1 + F(x2)          each sublayer F of the order
    x2, x1 ← y1, y2 - F(y1)          and back

Attention and feed-forward in turn give the paper's y1 = x1 + A(x2), y2 = x2 + F(y1). What the
backward pass must not work out anew, such as the buckets of a hash, is replayed: see `Extras`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from arch.checks import one_of
from arch.context import Context, Extras, add_sums
from arch.registry import ConfigurationError, stacks
from arch.stacks import depth, inverse
from arch.stacks.block import Block, norm_definition
from arch.stacks.inverse import Streams
from arch.stacks.parameters import Parameters

MERGES = ("average", "concatenate")
SIDES = ("memory", "dropout")  # of the context: what gradients flow into


@stacks.register("reversible")
class Reversible(Block):
    """The order once, on two streams that both start as the input.

    The streams are float32 whatever the sublayers compute in; so is what comes out of the inverse,
    but for rounding. Sublayers are pre-norm, or without norms, or peri.

    Args:
        merge: average | concatenate: of the streams at the end, before the final norm. The paper
            concatenates, and its head is of twice the width; average fits a head that is tied.
        apply: switch | scan | unrolled: of the two loops, one compiled body, or one a position.
            Without a loop activation memory grows with depth again: the compiler orders the
            recomputation as it likes.
        remat: none, since all is worked out again.
    """

    def __init__(self, width, order, bindings, *, merge="average", apply="switch", **block):
        apply = "switch" if apply == "auto" else apply
        super().__init__(width, order, bindings, apply=apply, **block)
        one_of(MERGES, of="model.stack", merge=merge)
        if self.remat != "none":
            raise ConfigurationError(
                f"model.stack.remat={self.remat!r}: the reversible stack keeps no activations; "
                "allowed is none"
            )
        for letter, definition in self.letters.items():
            if definition.module.placement == "post":
                raise ConfigurationError(
                    f"model.stack.norm='post', of letter {letter!r}: a sum that is normalised "
                    "cannot be taken back; allowed with model.stack.kind='reversible' are pre, "
                    "peri, none"
                )
            if definition.module.own_residual:
                kind = definition.module.sublayer.kind
                raise ConfigurationError(
                    f"model.sublayers.{letter}.kind={kind!r} brings its own residual, which "
                    "model.stack.kind='reversible' cannot take back"
                )
        self.merge = merge
        self.both_ways = inverse.Walk(self.letters, self.schedule, self.apply)
        self.output_width = width if merge == "average" else 2 * width
        if self.final_norm is not None:
            self.final_norm = norm_definition(self.norm_kind, self.output_width, self.epsilon)

    def __call__(
        self, parameters: Parameters, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length output"], Extras]:
        streams, extras = self._through(parameters, x, context)
        return self._merged(parameters, streams, x.dtype), extras

    def _through(self, parameters, x, context) -> tuple[Streams, Extras]:
        streams = Streams.of(x)
        letters = {letter: parameters[letter] for letter in self.letters}
        if context.record:
            return self._recorded(letters, streams, x.dtype, context)
        sides = {name: getattr(context, name) for name in SIDES}
        data = context.replace(signal=None, **dict.fromkeys(SIDES))
        streams, losses, statistics = inverse.run(
            self.both_ways, jnp.dtype(x.dtype), letters, streams, sides, data
        )
        return streams, Extras(losses, statistics)

    def _merged(self, parameters: Parameters, streams: Streams, dtype) -> Array:
        if self.merge == "average":
            y = (streams.first + streams.second) / 2
        else:
            y = jnp.concatenate(streams, axis=-1)
        return self.normalise(parameters, y.astype(dtype))

    def _recorded(self, parameters, streams: Streams, dtype, context: Context):
        """Forward alone, position by position, since records are kept by position."""
        total = Extras()
        bound = depth.branches(self.letters, parameters, self.schedule)
        for position, branch in enumerate(bound):
            x = streams.second.astype(dtype)
            y, extras = branch.branch(x, context.at(position))
            streams = streams.plus(y)
            for name, value in extras.record.items():
                total.record.setdefault(name, {})[position] = value
            losses = add_sums(total.losses, extras.losses)
            total = Extras(losses, add_sums(total.statistics, extras.statistics), total.record)
        return streams, total

    # One token at a time

    def init_cache(self, parameters: Parameters, batch: int, length: int, dtype, context: Context):
        """A cache for each position in the depth."""
        return self.init_caches(parameters, batch, length, dtype, context)

    def step(
        self, parameters: Parameters, x: Float[Array, "batch 1 width"], caches, context: Context
    ):
        """(x, caches) after one decoding step."""
        streams, moved = Streams.of(x), []
        bound = depth.branches(self.letters, parameters, self.schedule)
        for branch, cache in zip(bound, caches, strict=True):
            y, cache = branch.branch_step(streams.second.astype(x.dtype), cache, context)
            streams = streams.plus(y)
            moved.append(cache)
        return self._merged(parameters, streams, x.dtype), moved
