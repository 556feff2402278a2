"""What tasks share whose examples an algorithm makes as they are needed: nothing is read, and no
window slides over a stream."""

import jax
from jaxtyping import Array, Int, Key

from arch.checks import at_least, below_one
from arch.data.generated import algorithms
from arch.registry import ConfigurationError
from arch.tasks.contract import Task


class Generated(Task):
    """A task of one algorithm, whose training examples are a function of key and step."""

    corpus = "algorithmic"

    def __init__(
        self,
        algorithm: str,
        base: int,
        longest: int,
        evaluation_examples: int,
        position_offsets: int,
        label_smoothing: float,
    ):
        """longest: input of any split."""
        at_least(1, of="task", evaluation_examples=evaluation_examples)
        at_least(0, of="task", position_offsets=position_offsets)
        below_one(of="task", label_smoothing=label_smoothing)
        if algorithms.overflows(algorithm, base, longest):
            raise ConfigurationError(
                f"task.base={base}: products of this length overflow int32; take a smaller base"
            )
        self.algorithm, self.base = algorithm, base
        self.evaluation_examples = evaluation_examples
        self.position_offsets, self.label_smoothing = position_offsets, label_smoothing

    @property
    def about(self) -> str:
        """What there is to train and evaluate on, for `launch.py prepare`."""
        return (
            f"{self.algorithm} in base {self.base}, made as it is needed; "
            f"{', '.join(self.splits)} of {self.evaluation_examples:,} examples"
        )

    def indices(
        self, key: Key[Array, ""], step: Int[Array, ""], batch: int
    ) -> Key[Array, " batch"]:
        """A key for each sequence of the step, or for one of every bin."""
        return jax.random.split(jax.random.fold_in(key, step), batch)
