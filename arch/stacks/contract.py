"""The contract of a stack: what runs an order of sublayers in depth, as the rest of the code sees
it."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from arch.context import Context, Extras
from arch.registry import stacks
from arch.stacks.parameters import Definition, Parameters
from arch.stacks.residual import Cache
from arch.stacks.schedule import Schedule


@stacks.require
class Stack(abc.ABC):
    """A map from a sequence to a sequence, made of an order of sublayers. Holds no arrays.

    The constructor is `Stack(width, order, bindings, **options)`: the width of the stream, the
    order as a string, and letter → filled options of its sublayer and of what surrounds it. Its
    keyword-only arguments are the options of `model.stack`. It raises ConfigurationError for what
    cannot be built.

    Attributes:
        kind: the name it is registered by.
        schedule: the positions of the order, and whose weights each uses.
        letters: letter → definition of its branch: the sublayer, its norms and its residual.
        apply: how the positions are walked: auto | unrolled | scan | switch. Under switch, and
            only then, the program takes the order from `context.schedule`.
        output_width: width of the output, which the head reads.
        steps: how often the order is run; with halting at most.
        several: whether `step` takes any number of tokens at once.
        adds_signal: whether the stack itself adds `context.signal`, the signal of the positions;
            else the embedding adds it.
    """

    kind: ClassVar[str]
    schedule: Schedule
    letters: Mapping[str, Definition]
    apply: str
    output_width: int
    steps: int = 1
    several: bool = False
    adds_signal: bool = False

    @abc.abstractmethod
    def init(self, key: Key[Array, ""]) -> Parameters:
        """The initial parameters: letter → tree stacked along a leading owner axis.

        What belongs to no letter stands under a name of several characters, such as 'final_norm'.
        An owner's weights depend on the key, its letter and its index alone, so that reordered
        stacks start from the same weights.
        """

    @abc.abstractmethod
    def __call__(
        self, parameters: Parameters, x: Float[Array, "batch length width"], context: Context
    ) -> tuple[Float[Array, "batch length output"], Extras]:
        """The output, in x's dtype, and the sums of what the sublayers return beside theirs.

        `Extras.record` is name → position → array, for the names in `context.record`.
        """

    @abc.abstractmethod
    def init_cache(
        self, parameters: Parameters, batch: int, length: int, dtype: DTypeLike, context: Context
    ) -> Cache:
        """What decoding `length` tokens of `batch` sequences keeps, before the first."""

    @abc.abstractmethod
    def step(
        self,
        parameters: Parameters,
        x: Float[Array, "batch tokens width"],
        cache: Cache,
        context: Context,
    ) -> tuple[Float[Array, "batch tokens output"], Cache]:
        """One decoding step: the output of the tokens from `context.time` on, and the cache after
        them. It is given one token, or where the stack says `several` any number.

        Steps give the columns of what the causal call gives at once.
        """

    def apart(self, parameters: Parameters) -> Parameters:
        """Its parameters as a loop of decoding steps is given them, or given already.

        The default leaves them as they are. `Block` splits what is stacked, which a loop would else
        copy at every step.
        """
        return parameters

    def steps_at(self, length: int) -> int:
        """How often the order is run over a sequence of this length; with halting at most."""
        return self.steps

    @property
    def depth(self) -> int:
        """Number of sublayers in one run of the order."""
        return len(self.schedule.positions)

    def sublayer(self, letter: str) -> Any:
        """The abstract sublayer that a letter is bound to: its attributes and FLOPs, no arrays."""
        return self.letters[letter].module.sublayer
