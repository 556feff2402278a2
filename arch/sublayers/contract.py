"""What every kind of sublayer promises: the members that stacks, models and training read."""

import abc
from typing import Any

from flax import nnx
from jaxtyping import Array, Float, Int

from arch.context import Context, Extras
from arch.registry import ConfigurationError, sublayers


@sublayers.require
class Sublayer(nnx.Module):
    """A map from a sequence to a sequence of the same shape, without residual, norm or dropout
    around it: the stack adds these.

    A kind is a class registered by `@sublayers.register("kind")`. Its constructor takes the model's
    width, its options as keyword-only arguments, whose defaults are their types, and `rngs`. It may
    subclass `Sublayer`, or be any `nnx.Module` with the abstract members; it is then given the
    defaults below. Every array that it keeps is an `nnx.Param`: parameters are held outside of the
    module, and other state would be lost. An option that cannot be raises ConfigurationError in
    the constructor.

    Members that are declared, on the class or by the constructor:
        kind: the name it is registered by; set by the registry.
        causal: y at a position depends on x at that position and before it alone, where
            `context.causal`. A decoder refuses a kind that is not causal.
        not_causal: why it is not, for that message.
        own_residual: y is the new stream itself: the stack adds neither residual, norm nor dropout.
        positionwise: y at a position depends on x at that position alone. It needs no cache.
        several: its `step` takes any number of tokens at once, those from `context.time` on, as a
            prompt gives them. Else a stack hands it one after the other.
        cross: it reads `context.memory`, which the decoder of an encoder-decoder alone has.
        biased: its scores have a bias that tells distances apart: alibi or t5. A kind that can have
            one has the option `positions`, where '' stands for `model.embedding.positions`.
        not_biased: why it attends and has no place for one, for the message that refuses it.
        not_turned: why it attends and has no place for rotary positions, likewise.
        residual_outputs: the paths of the parameters that make y, such as ("output.kernel",).
            `model.stack.scale_output_init=True` scales their initial values by 1/√depth (Radford et
            al. 2019). () is none; None is not declared, which that option refuses.
        sharding: rules of its own for `train.mesh`, before the general ones: (a regular expression
            for the path of a parameter, a mesh axis for each of its dimensions), such as
            ("gates.kernel", ("", "tensor")); see `arch.devices.sharding`.
    """

    kind: str
    causal: bool = False
    not_causal: str = ""
    own_residual: bool = False
    positionwise: bool = False
    several: bool = False
    cross: bool = False
    biased: bool = False
    not_biased: str = ""
    not_turned: str = ""
    residual_outputs: tuple[str, ...] | None = None
    sharding: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @abc.abstractmethod
    def __call__(
        self, x: Float[Array, "batch length width"], context: Context
    ) -> Float[Array, "batch length width"] | tuple[Float[Array, "batch length width"], Extras]:
        """y in the shape and dtype of x, or (y, Extras) where there is more to return."""

    @abc.abstractmethod
    def flops(self, length: int) -> int:
        """Forward FLOPs of one sequence of this length; a multiply-add counts as two."""

    def at_layer(self, parameters: Any, layer: Int[Array, ""], layers: int) -> Any:
        """Its initial parameters, where it is owner number `layer` of the `layers` of its letter.

        For kinds whose references start each layer in a way of its own; the default leaves them as
        the constructor drew them. `layer` may be traced: the tree and its shapes may not change.
        """
        return parameters

    @property
    def cached(self) -> bool:
        """Whether it decodes step by step: whether both `init_cache` and `step` are its own."""
        kind = type(self)
        return kind.init_cache is not Sublayer.init_cache and kind.step is not Sublayer.step

    def init_cache(self, batch: int, length: int, dtype: Any, context: Context) -> Any:
        """What `step` keeps, before the first of `length` steps: a tree of arrays whose leading
        axis is the batch. Raises ConfigurationError where the kind has no cache."""
        raise ConfigurationError(f"sublayer {self.kind!r} has no cache: write init_cache and step")

    def step(
        self, x: Float[Array, "batch 1 width"], cache: Any, context: Context
    ) -> tuple[Float[Array, "batch 1 width"], Any]:
        """(y, cache) of the token at `context.time`: the row that `__call__` gives there on the
        whole sequence. Raises ConfigurationError where the kind has no cache."""
        raise ConfigurationError(f"sublayer {self.kind!r} has no cache: write init_cache and step")

    def padded_length(self, length: int) -> int:
        """The length that it would rather be given, at least `length`. A model whose letters all
        ask for more pads the token ids; else the sublayer pads what it is given."""
        return length

    def check_platform(self, platform: str) -> None:
        """Raises ConfigurationError for options that cannot run on a platform (cpu, gpu, tpu).
        It is called before anything is compiled."""
