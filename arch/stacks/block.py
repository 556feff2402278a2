"""What every built-in stack is made of: an order's letters, their weights, and one run of them."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key
from ml_collections import FrozenConfigDict

from arch.checks import holds
from arch.context import Context, Extras, add_sums, named
from arch.devices import scopes
from arch.layers import norm as norm_module
from arch.registry import ConfigurationError, sublayers
from arch.stacks import depth
from arch.stacks.contract import Stack
from arch.stacks.extras import by_position, zero_sums
from arch.stacks.norms import no_norms, norms_at
from arch.stacks.parameters import Definition, Parameters, init_owners, residual_outputs, scale
from arch.stacks.residual import Branch, Cache, check_placement
from arch.stacks.rows import read_row
from arch.stacks.schedule import make_schedule

Binding = Mapping[str, Any]


class Block(Stack):
    """An order of sublayers, each with its norm and residual: what a stack runs, once or often.

    Args:
        width: of the stream.
        order: the order of sublayers, such as 's2 (sf)3 f2'.
        bindings: letter → filled options of its sublayer and of its surroundings.
        norm: placement of the norms: pre | post | peri | none.
        norm_kind: layer | layer_no_bias | rms.
        epsilon: of the norms.
        final_norm: whether a norm follows the last sublayer.
        share: letters whose occurrences share weights (ALBERT: 'sf'); empty for none.
        groups: owners of each shared letter along the depth.
        inner_groups: owners per group, which take turns (ALBERT's inner_group_num).
        apply: auto | unrolled | scan | switch; never touches the parameters. auto: unrolled for
            few sublayers on CPU, else scan.
        room: orders, separated by `;`, that are to have equal trees of parameters, and with
            apply='switch' one program: each letter gets as many owners as any of them needs.
        remat: none | full | dots: what the backward pass recomputes, a sublayer at a time.
        scale_output_init: whether the kernels that end in the residual stream (each kind declares
            its `residual_outputs`) start at 1/√depth of their size (Radford et al. 2019).
    """

    def __init__(
        self,
        width: int,
        order: str,
        bindings: Mapping[str, Binding],
        *,
        norm: str = "pre",
        norm_kind: str = "layer",
        epsilon: float = 1e-5,
        final_norm: bool = True,
        share: str = "",
        groups: int = 1,
        inner_groups: int = 1,
        apply: str = "auto",
        room: str = "",
        remat: str = "none",
        scale_output_init: bool = False,
    ):
        check_placement(norm, "model.stack.norm")
        holds(epsilon > 0, "above 0", of="model.stack", epsilon=epsilon)
        depth.check_apply(apply, remat)
        if room and scale_output_init:
            raise ConfigurationError(
                f"model.stack.room={room!r}: allowed is '' with scale_output_init=True, with "
                "which initial weights depend on the depth"
            )
        self.output_width, self.norm_kind, self.epsilon = width, norm_kind, epsilon
        self.schedule = make_schedule(order, share, groups, inner_groups, room)
        self.apply, self.remat = apply, remat
        self.letters = {
            letter: _define(letter, width, bindings[letter], norm, norm_kind, epsilon)
            for letter in self.schedule.letters
        }
        self.scaled = {
            letter: residual_outputs(definition) if scale_output_init else ()
            for letter, definition in self.letters.items()
        }
        self.final_norm = norm_definition(norm_kind, width, epsilon) if final_norm else None

    def init(self, key: Key[Array, ""]) -> Parameters:
        """letter → parameters stacked over owners, and 'final_norm' where there is one."""
        parameters = {
            letter: init_owners(definition, named(key, letter), self.schedule.owners[letter])
            for letter, definition in self.letters.items()
        }
        for letter, paths in self.scaled.items():
            parameters[letter] = scale(parameters[letter], paths, self.depth**-0.5)
        if self.final_norm is not None:
            parameters["final_norm"] = self.final_norm.init(key)
        return parameters

    def walker(self, context: Context) -> depth.Walker:
        """The walk of the positions on `context.platform`.

        Records are kept by position, which switch does not know: where any are asked for, it is
        unrolled.
        """
        apply = depth.resolve(self.apply, self.schedule.length, context.platform)
        if context.record and apply in ("switch", "branched"):
            apply = "unrolled"
        return depth.Walker(self.schedule, apply)

    def letter_rows(self, parameters: Parameters) -> Parameters:
        """The parameters of the letters alone."""
        return {letter: parameters[letter] for letter in self.letters}

    def apart(self, parameters: Parameters) -> Parameters:
        """The parameters, with a list of its owners' in place of each letter's stacked ones."""
        rows = self.letter_rows(parameters)
        owners = self.schedule.owners
        return parameters | {letter: depth.apart(rows[letter], owners[letter]) for letter in rows}

    def run_order(
        self, parameters: Parameters, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """x through every position of the order once, without the final norm."""
        walker = dataclasses.replace(self.walker(context), body_ends=True)
        rows = self.letter_rows(parameters)
        inner = context.replace(schedule=None)
        bodies = {letter: depth.rematerialise(self._body(letter), self.remat) for letter in rows}
        # a loop carries a structure that must be known before it runs
        shapes = () if walker.apply == "unrolled" else _extras_shapes(bodies, rows, x, inner)
        no_losses, no_statistics = zero_sums(shapes)

        def body(carry: tuple, turn: depth.Turn) -> tuple:
            entered, losses, statistics = carry

            def run(letter: str):
                y, extras = bodies[letter](turn.read(letter), entered, inner.at(turn.position))
                record = extras.record if context.record else {}
                return y, no_losses | extras.losses, no_statistics | extras.statistics, record

            left = entered, no_losses, no_statistics, {}
            x, lost, counted, record = turn.choose(run, lambda: left)
            counted |= norms_at(turn, self.schedule, x, x - entered, context)
            return (x, add_sums(losses, lost), add_sums(statistics, counted)), record

        start = (x, no_losses, no_statistics | no_norms(self.schedule, context))
        (x, losses, statistics), records = walker(body, start, rows, order=context.schedule)
        return x, Extras(losses, statistics, by_position(records))

    def _body(self, letter: str):
        def body(owned: Parameters, x: Array, context: Context):
            with scopes.letter(letter):
                return self.letters[letter].bind(owned)(x, context)

        return body

    def normalise(
        self, parameters: Parameters, x: Float[Array, "batch length output"]
    ) -> Float[Array, "batch length output"]:
        """The final norm of x, or x where there is none."""
        if self.final_norm is None:
            return x
        return self.final_norm.bind(parameters["final_norm"])(x).astype(x.dtype)

    def branches(self, parameters: Parameters) -> list[Branch]:
        """The branch of each position, bound to its owner's parameters."""

        def body(carry: None, turn: depth.Turn):
            return carry, turn.choose(lambda letter: self.letters[letter].bind(turn.read(letter)))

        walker = depth.Walker(self.schedule, "unrolled")
        return list(walker(body, None, self.letter_rows(parameters))[1].values())

    def init_order_cache(
        self, parameters: Parameters, batch: int, length: int, dtype: DTypeLike, context: Context
    ) -> list[Cache]:
        """A cache for each position of the order."""
        branches = self.branches(parameters)
        return [branch.init_cache(batch, length, dtype, context) for branch in branches]

    def step_order(
        self,
        parameters: Parameters,
        x: Float[Array, "batch tokens width"],
        caches: list[Cache],
        context: Context,
    ) -> tuple[Float[Array, "batch tokens width"], list[Cache]]:
        """The order once, for one decoding step."""

        def body(x: Array, turn: depth.Turn):
            def run(letter: str):
                branch = self.letters[letter].bind(turn.read(letter))
                return branch.step(x, caches[int(turn.position)], context)

            return turn.choose(run)

        walker = depth.Walker(self.schedule, "unrolled")
        x, moved = walker(body, x, self.letter_rows(parameters))
        return x, list(moved.values())


def _define(
    letter: str, width: int, binding: Binding, placement: str, norm_kind: str, epsilon: float
) -> Definition:
    try:
        kind = sublayers.get(binding["kind"])
        return _definition(
            FrozenConfigDict(binding), width, placement, norm_kind, epsilon,
            kind, jax.config.read("jax_enable_x64"),
        )  # fmt: skip
    except ConfigurationError as error:
        raise ConfigurationError(f"model.sublayers.{letter}: {error}") from None


@functools.lru_cache(maxsize=512)
def _definition(
    binding: Any, width: int, placement: str, norm_kind: str, epsilon: float,
    kind: type, float64: bool,
) -> Definition:  # fmt: skip
    """The definition of a letter, made once for all models that have the same letter.

    binding: frozen, since it is a key of what is remembered.
    kind, float64: what it depends on beside its arguments: the registered class, and the precision.
    """
    return Definition(
        lambda rngs: Branch(
            width, binding, placement=placement, norm_kind=norm_kind, epsilon=epsilon, rngs=rngs
        )
    )


def norm_definition(kind: str, width: int, epsilon: float) -> Definition:
    """The definition of a norm, by its kind."""
    return Definition(lambda rngs: norm_module(kind, width, epsilon, rngs))


def _extras_shapes(bodies: Mapping, rows: Parameters, x: Array, context: Context) -> list[Extras]:
    """Shapes of what each letter returns beside its output."""

    def of(letter: str):
        return lambda rows, x: bodies[letter](read_row(rows, 0), x, context.at(0))[1]

    return [jax.eval_shape(of(letter), rows[letter], x) for letter in bodies]
