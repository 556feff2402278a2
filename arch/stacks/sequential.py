"""The plain stack: the schedule once, from the first sublayer to the last."""

from collections.abc import Mapping

from jaxtyping import Array, Float, Key

from arch.context import Context, Extras, named
from arch.layers import norm
from arch.registry import ConfigurationError, stacks
from arch.stacks import depth
from arch.stacks.parameters import Definition, Parameters, init_owners, scale_outputs, schedule
from arch.stacks.residual import Branch, check_placement


@stacks.register("sequential")
class Sequential:
    """x through every sublayer of the order, each with its norm and residual.

    Args:
        norm: placement of the norms: pre | post | peri | none.
        norm_kind: layer | rms.
        epsilon: of the norms.
        final_norm: a norm after the last sublayer.
        share: letters whose occurrences share weights (ALBERT: 'sf'); empty for none.
        groups: owners of each shared letter along the depth.
        apply: auto | unrolled | scan | switch; never touches the parameters.
        remat: none | full | dots: what the backward pass recomputes, a sublayer at a time.
        scale_output_init: initial `output` kernels times 1/√depth (GPT-2).
    """

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
        apply="auto",
        remat="none",
        scale_output_init=False,
    ):
        check_placement(norm, "model.stack.norm")
        if not epsilon > 0:
            raise ConfigurationError(f"model.stack.epsilon={epsilon}: allowed is above 0")
        self.schedule = schedule(order, share, groups)
        self.depth = len(self.schedule.positions)
        self.apply = depth.choose(apply, self.depth)
        depth.rematerialise(lambda: None, remat)
        self.remat = remat
        self.output_scale = self.depth**-0.5 if scale_output_init else 1.0
        self.letters = {
            letter: _define(letter, width, bindings[letter], norm, norm_kind, epsilon)
            for letter in self.schedule.letters
        }
        self.final_norm = Definition(_norm(norm_kind, width, epsilon)) if final_norm else None

    def init(self, key: Key[Array, ""]) -> Parameters:
        parameters = {
            letter: init_owners(definition, named(key, letter), self.schedule.owners[letter])
            for letter, definition in self.letters.items()
        }
        parameters = scale_outputs(parameters, self.output_scale)
        if self.final_norm is not None:
            parameters["final_norm"] = self.final_norm.init(key)
        return parameters

    def __call__(
        self, parameters: Parameters, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        # records are kept by position, which only the unrolled walk knows
        apply = "unrolled" if context.record else self.apply
        x, extras = depth.walk(
            self.letters, parameters, self.schedule, x, context, apply=apply, remat=self.remat
        )
        if self.final_norm is not None:
            x = self.final_norm.bind(parameters["final_norm"])(x).astype(x.dtype)
        return x, extras

    def sublayer(self, letter: str):
        """The abstract sublayer a letter is bound to: its attributes and FLOPs, no arrays."""
        return self.letters[letter].module.sublayer


def _define(letter, width, binding, placement, norm_kind, epsilon) -> Definition:
    def create(rngs):
        return Branch(
            width, binding, placement=placement, norm_kind=norm_kind, epsilon=epsilon, rngs=rngs
        )

    try:
        return Definition(create)
    except ConfigurationError as error:
        raise ConfigurationError(f"model.sublayers.{letter}: {error}") from None


def _norm(kind, width, epsilon):
    return lambda rngs: norm(kind, width, epsilon, rngs)
