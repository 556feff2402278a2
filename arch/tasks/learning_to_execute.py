"""Learning to execute: what a short program prints, character by character."""

import functools
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from arch.checks import at_least, below_one, one_of
from arch.context import Context
from arch.data.generated import programs
from arch.models.families import Model
from arch.models.generation import PAD, Prompt
from arch.registry import ConfigurationError, tasks
from arch.stacks.parameters import Parameters
from arch.tasks import objective, sequence_to_sequence
from arch.tasks.contract import WHOLE, Sums, Task, Window
from arch.tasks.sequence_to_sequence import END, Pairs, free_running

FIRST = END + 1  # id of the first character
IDS = {character: FIRST + place for place, character in enumerate(programs.CHARACTERS)}


class Texts(NamedTuple):
    """Examples in ids, END behind each side; a row of zeros is none."""

    source: UInt8[Any, "n source"]
    targets: UInt8[Any, "n length"]


@tasks.register("learning_to_execute")
class LearningToExecute(Task):
    """The output of a program for an encoder-decoder, or a string to copy, double or reverse
    (Zaremba and Sutskever 2014; Dehghani et al. 2018, §3.3). `arch.data.generated.programs` says
    what exactly is drawn.

    The examples are all different; the first evaluation_examples are the split test, as many more
    valid, and the rest is trained on, so that no text that is tested has been seen.

    Args:
        algorithm: copy | double | reverse | addition | control | program.
        length: digits of a string or a number are 1 to this many.
        nesting: statements of a program are 1 to this many; strings have none.
        training_examples: how many different ones are trained on.
        evaluation_examples: of each split.
        label_smoothing: in training.
    """

    families = ("encoder_decoder",)
    corpus = "learning to execute"
    sha256 = hashlib.sha256(programs.VERSION.encode()).hexdigest()
    splits = ("valid", "test")
    decodes, metric = True, "sequence_accuracy_free_running"
    vocabulary = FIRST + len(programs.CHARACTERS)

    def __init__(
        self,
        *,
        algorithm: str = "program",
        length: int = 3,
        nesting: int = 2,
        training_examples: int = 50_000,
        evaluation_examples: int = 512,
        label_smoothing: float = 0.0,
    ):
        one_of(programs.ALGORITHMS, of="task", algorithm=algorithm)
        at_least(1, of="task", length=length)
        at_least(1, of="task", nesting=nesting)
        at_least(1, of="task", training_examples=training_examples)
        at_least(1, of="task", evaluation_examples=evaluation_examples)
        below_one(of="task", label_smoothing=label_smoothing)
        self.algorithm, self.digits, self.nesting = algorithm, length, nesting
        self.counts = {"test": evaluation_examples, "valid": evaluation_examples}
        self.counts["train"] = training_examples
        self.label_smoothing = label_smoothing

    @functools.cached_property
    def texts(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Split → (program, what it prints). Raises ConfigurationError where there are too few
        different ones."""
        of = self.algorithm, self.digits, self.nesting
        try:
            every = programs.different(*of, sum(self.counts.values()))
        except ValueError as error:
            raise ConfigurationError(
                f"task.training_examples={self.counts['train']}: {error}; take fewer, or a "
                f"greater task.length than {self.digits}"
            ) from None
        places = np.cumsum([0, *self.counts.values()])
        return {
            split: every[a:b]
            for split, a, b in zip(self.counts, places[:-1], places[1:], strict=True)
        }

    @functools.cached_property
    def arrays(self) -> dict[str, Texts]:
        """The same in ids, every split as wide as the longest text of all."""
        sides = [[pair[side] for part in self.texts.values() for pair in part] for side in (0, 1)]
        widths = [max(map(len, texts)) + 1 for texts in sides]
        return {
            split: Texts(*(_ids([p[side] for p in part], widths[side]) for side in (0, 1)))
            for split, part in self.texts.items()
        }

    @property
    def details(self) -> dict:
        """The options that a line of results names."""
        return {
            "algorithm": self.algorithm,
            "length": self.digits,
            "nesting": self.nesting,
            "training_examples": self.counts["train"],
            "evaluation_examples": self.counts["test"],
        }

    @property
    def about(self) -> str:
        """How many examples there are, and the longest, for `launch.py prepare`."""
        counts = ", ".join(f"{split} {count:,}" for split, count in self.counts.items())
        source, target = (side.shape[1] - 1 for side in self.arrays["train"])
        return f"{self.algorithm}: {counts}, of up to {source} characters with {target} to answer"

    @property
    def length(self) -> int:
        """Of a target with its END."""
        return self.arrays["train"].targets.shape[1]

    @property
    def max_length(self) -> int:
        """Of the longest side, and a start in decoding."""
        return 1 + max(side.shape[1] for side in self.arrays["train"])

    @functools.cached_property
    def tokens_per_sequence(self) -> float:
        """Characters of a mean training target, its END counted."""
        targets = self.arrays["train"].targets
        return float((targets != PAD).sum() / len(targets))

    def unigram_loss(self, split: str) -> float:
        """See `Task.unigram_loss`; END is counted."""
        return objective.entropy(np.bincount(self.arrays[split].targets.reshape(-1))[1:])

    # Training

    def source(self) -> Texts:
        """The training examples on the device."""
        return jax.tree.map(jnp.asarray, self.arrays["train"])

    def indices(
        self, key: Key[Array, ""], step: Int[Array, ""], batch: int
    ) -> Int[Array, " batch"]:
        """Rows of the training examples, drawn anew at every step."""
        return jax.random.randint(
            jax.random.fold_in(key, step), (batch,), 0, self.counts["train"], jnp.int32
        )

    def gather(self, source: Texts, indices: Int[Array, " batch"]) -> Texts:
        """These rows."""
        return Texts(*(side[indices] for side in source))

    def assemble(self, gathered: Texts) -> Pairs:
        """The batch of sources and targets."""
        return sequence_to_sequence.pairs(*gathered)

    def sums(
        self, model: Model, parameters: Parameters, batch: Pairs, context: Context
    ) -> tuple[Sums, Sums]:
        """Nats a character, and teacher-forced accuracies."""
        return sequence_to_sequence.sums(model, parameters, batch, context, self.label_smoothing)

    # Evaluation

    def examples(self, split: str, window: Window = WHOLE) -> Texts:
        """The split's examples: as many of the first as have `window.tokens` characters to
        answer."""
        every = self.arrays[split]
        if not window.tokens:
            return every
        n = 1 + int(np.searchsorted(np.cumsum((every.targets != PAD).sum(1)), window.tokens))
        return Texts(*(side[:n] for side in every))

    def figures(
        self, split: str, means: Mapping[str, float], count: int, window: Window = WHOLE
    ) -> dict[str, Any]:
        """loss: nats a character, of which there are `tokens`."""
        return {"loss": means["loss"], "tokens": count}

    def prompt(self, batch: Pairs) -> Prompt:
        """Every output begins after a 0, and ends at END or where the longest would."""
        n, steps = batch.targets.shape
        return Prompt(
            batch.source, jnp.zeros((n, 1), jnp.int32), jnp.ones(n, jnp.int32), steps, END
        )

    def decoded_figures(
        self, split: str, ids: Int[np.ndarray, "n steps"], gathered: Texts
    ) -> dict[str, float]:
        """Accuracies of outputs decoded freely."""
        targets = np.asarray(gathered.targets)
        return free_running(ids, targets, targets != PAD)

    # Text

    def written_prompt(self, text: str, steps: int) -> Prompt:
        """A program to run, or a string, of at most as many characters as the longest."""
        longest = self.arrays["train"].source.shape[1]
        if strange := sorted(set(text) - set(IDS)):
            raise ConfigurationError(
                f"generate: {''.join(strange)!r} is in no program; allowed are "
                f"{programs.CHARACTERS!r}"
            )
        if len(text) >= longest:
            raise ConfigurationError(
                f"generate: a text of {len(text)} characters; expected at most {longest - 1}"
            )
        source = jnp.asarray(_ids([text], longest))
        made = self.prompt(sequence_to_sequence.pairs(source, source))
        return made._replace(steps=min(steps, self.length))

    def text_of(self, ids: Int[np.ndarray, " steps"]) -> str:
        """The characters up to END."""
        kept = ids[: np.argmax(ids == END)] if (ids == END).any() else ids
        return "".join(programs.CHARACTERS[i - FIRST] for i in kept.tolist() if i >= FIRST)


def _ids(texts: list[str], width: int) -> UInt8[np.ndarray, "n width"]:
    """Each text, END and padding."""
    ids = np.zeros((len(texts), width), np.uint8)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text) + 1] = [*(IDS[character] for character in text), END]
    return ids
