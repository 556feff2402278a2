"""State tracking: the running product of elements of a group."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from arch.checks import one_of
from arch.registry import tasks
from arch.tasks.recall.draws import whole
from arch.tasks.recall.groups import GROUPS
from arch.tasks.recall.task import Example, Recall, labelled

ASKED = ("every", "last")


class WordProblem(Recall):
    """A begin symbol, then elements of a group, uniform; the target of a position is the product
    of all elements up to it, x₁·x₂·…·xₜ.

    Elements are numbered, 0 the identity; the begin symbol is the number behind them. Each prefix
    is an example of its own length, so none is drawn shorter. Chance: 1 / order of the group.
    """

    def __init__(self, group: str, asked: str, **of_all):
        one_of(ASKED, of="task", asked=asked)
        self.group, self.asked = group, asked
        self.table = GROUPS[group]()
        super().__init__(vocabulary=len(self.table) + 1, **of_all)

    @property
    def details(self) -> dict:
        """The options that a line of results names."""
        return super().details | {"group": self.group, "asked": self.asked}

    def chance(self, length: int) -> float:
        """One of the elements."""
        return 1 / len(self.table)

    def unigram_loss(self, split: str) -> float:
        """See `Task.unigram_loss`: the first product is the first element, and of the others
        everything is as likely to who does not multiply."""
        asked = self.lengths[split] - 1
        told = 1 if self.asked == "every" or asked == 1 else 0
        positions = asked if self.asked == "every" else 1
        return (1 - told / positions) * math.log(len(self.table))

    def example(self, key: Key[Array, ""], length: int, training: bool) -> Example:
        """One example, its products by an associative scan."""
        order, table = len(self.table), jnp.asarray(self.table)
        elements = whole(jax.random.uniform(key, (length - 1,)), 0, order)
        products = jax.lax.associative_scan(lambda a, b: table[a, b], elements)
        place = jnp.arange(length)
        asked = place > 0 if self.asked == "every" else place == length - 1
        inputs, targets = (jnp.pad(a, (1, 0)) for a in (elements, products))
        return labelled(inputs.at[0].set(order), targets, asked)


@tasks.register("parity")
class Parity(WordProblem):
    """The parity of all bits so far: the word problem of the group of order 2.

    A finite-precision recurrence whose transitions have only positive eigenvalues cannot do it at
    every length (Grazzi et al. 2024). Symbols: the bits 0 and 1; 2 begins. Chance: 1/2.

    Args:
        length: positions of a training sequence, the begin symbol included.
        lengths: of more splits, n256 for 256.
        asked: every | last: at each position behind the first, or at the last one alone.
        training_examples: how many different ones; 0: every step has new ones.
        evaluation_examples: of each split.
    """

    def __init__(
        self,
        *,
        length: int = 32,
        lengths: tuple[int, ...] = (64, 256),
        asked: str = "every",
        training_examples: int = 0,
        evaluation_examples: int = 512,
    ):
        super().__init__(
            "z2",
            asked,
            length=length,
            lengths=lengths,
            training_examples=training_examples,
            evaluation_examples=evaluation_examples,
        )


@tasks.register("s5")
class SymmetricGroup(WordProblem):
    """The word problem of the permutations of five, or of another group (Merrill et al. 2024).

    a·b maps i to a[b[i]]; permutations are numbered in lexicographic order. S5 is of order 120, and
    A5, A4×Z5 and Z60 of order 60; of these the first two are not solvable, which takes a depth
    that grows with the length, or a state that is not diagonal. Chance: 1 / order.

    Args:
        group: z2 | z3 | z60 | s3 | a4 | s4 | a4xz5 | a5 | s5.
        length: positions of a training sequence, the begin symbol included.
        lengths: of more splits, n64 for 64.
        asked: every | last: at each position behind the first, or at the last one alone.
        training_examples: how many different ones; 0: every step has new ones.
        evaluation_examples: of each split.
    """

    def __init__(
        self,
        *,
        group: str = "s5",
        length: int = 16,
        lengths: tuple[int, ...] = (32, 64),
        asked: str = "every",
        training_examples: int = 0,
        evaluation_examples: int = 512,
    ):
        one_of(GROUPS, of="task", group=group)
        super().__init__(
            group,
            asked,
            length=length,
            lengths=lengths,
            training_examples=training_examples,
            evaluation_examples=evaluation_examples,
        )
