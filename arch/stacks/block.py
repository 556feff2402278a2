"""What every stack is made of: an order's letters, their weights, and a walk through them once."""

from collections.abc import Mapping

from jaxtyping import Array, Float, Key

from arch.context import Context, Extras, named
from arch.layers import norm
from arch.registry import ConfigurationError
from arch.stacks import depth
from arch.stacks.parameters import Definition, Parameters, init_owners, residual_outputs, scale
from arch.stacks.residual import Branch, check_placement
from arch.stacks.schedule import make_schedule


class Block:
    """An order of sublayers, each with its norm and residual: what a stack runs, once or often.

    Args:
        norm: placement of the norms: pre | post | peri | none.
        norm_kind: layer | rms.
        epsilon: of the norms.
        final_norm: a norm after all.
        share: letters whose occurrences share weights (ALBERT: 'sf'); empty for none.
        groups: owners of each shared letter along the depth.
        inner_groups: so many owners a group, taking turns (ALBERT's inner_group_num).
        apply: auto | unrolled | scan | switch; never touches the parameters.
        remat: none | full | dots: what the backward pass recomputes, a sublayer at a time.
        scale_output_init: the kernels that end in the residual stream (each kind declares its
            `residual_outputs`) start at 1/√depth of their size (Radford et al. 2019).
    """

    adds_signal = False  # True: the stack adds the position signal itself, the embedding does not
    steps = 1  # how often the order is run
    output_width: int  # of what comes out, which the head reads

    def __init__(
        self,
        width: int,
        order: str,
        bindings: Mapping[str, Mapping],
        *,
        norm="pre",
        norm_kind="layer",
        epsilon=1e-5,
        final_norm=True,
        share="",
        groups=1,
        inner_groups=1,
        apply="auto",
        remat="none",
        scale_output_init=False,
    ):
        check_placement(norm, "model.stack.norm")
        if not epsilon > 0:
            raise ConfigurationError(f"model.stack.epsilon={epsilon}: allowed is above 0")
        self.output_width, self.norm_kind, self.epsilon = width, norm_kind, epsilon
        self.schedule = make_schedule(order, share, groups, inner_groups)
        self.depth = len(self.schedule.positions)
        self.apply = depth.choose(apply, self.depth)
        depth.rematerialise(lambda: None, remat)
        self.remat = remat
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
        """letter → parameters stacked over owners, and 'final_norm'."""
        parameters = {
            letter: init_owners(definition, named(key, letter), self.schedule.owners[letter])
            for letter, definition in self.letters.items()
        }
        for letter, paths in self.scaled.items():
            parameters[letter] = scale(parameters[letter], paths, self.depth**-0.5)
        if self.final_norm is not None:
            parameters["final_norm"] = self.final_norm.init(key)
        return parameters

    def walk(
        self, parameters: Parameters, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """The order once."""
        # records are kept by position, which only the unrolled walk knows
        apply = "unrolled" if context.record else self.apply
        return depth.walk(
            self.letters, parameters, self.schedule, x, context, apply=apply, remat=self.remat
        )

    def normalise(self, parameters: Parameters, x: Array) -> Array:
        """The norm after all, where there is one."""
        if self.final_norm is None:
            return x
        return self.final_norm.bind(parameters["final_norm"])(x).astype(x.dtype)

    def sublayer(self, letter: str):
        """The abstract sublayer a letter is bound to: its attributes and FLOPs, no arrays."""
        return self.letters[letter].module.sublayer

    def init_caches(
        self, parameters: Parameters, batch: int, length: int, dtype, context: Context
    ) -> list:
        """A cache for each position of the order."""
        return [
            branch.init_cache(batch, length, dtype, context)
            for branch in depth.branches(self.letters, parameters, self.schedule)
        ]

    def walk_step(
        self, parameters: Parameters, x: Float[Array, "batch 1 width"], caches, context: Context
    ) -> tuple[Float[Array, "batch 1 width"], list]:
        """The order once, for one decoding step."""
        moved = []
        branches = depth.branches(self.letters, parameters, self.schedule)
        for branch, cache in zip(branches, caches, strict=True):
            x, cache = branch.step(x, cache, context)
            moved.append(cache)
        return x, moved


def _define(letter, width, binding, placement, norm_kind, epsilon) -> Definition:
    def create(rngs):
        return Branch(
            width, binding, placement=placement, norm_kind=norm_kind, epsilon=epsilon, rngs=rngs
        )

    try:
        return Definition(create)
    except ConfigurationError as error:
        raise ConfigurationError(f"model.sublayers.{letter}: {error}") from None


def norm_definition(kind: str, width: int, epsilon: float) -> Definition:
    return Definition(lambda rngs: norm(kind, width, epsilon, rngs))
