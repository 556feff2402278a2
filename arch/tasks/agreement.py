"""Subject-verb agreement: the number of a verb, across nouns of the other number."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from arch.checks import at_least, holds
from arch.context import Context
from arch.data.generated import sentences
from arch.data.generated.sentences import PAD, Sentence
from arch.models.families import Model
from arch.registry import tasks
from arch.stacks.parameters import Parameters
from arch.tasks import objective
from arch.tasks.contract import WHOLE, Sums, Window
from arch.tasks.drawn import Drawn

SPLITS = ("valid", "test")


class Batch(NamedTuple):
    """Sentences up to their verb; `asked` is 1 at the last word of a sentence, where the target is
    its verb."""

    inputs: Int[Array, "batch length"]
    targets: Int[Array, "batch length"]
    asked: Int[Array, "batch length"]


@tasks.register("subject_verb_agreement")
class SubjectVerbAgreement(Drawn):
    """Whether the next word is `is` or `are` (Linzen et al. 2016, number prediction).

    Sentences are drawn from a small grammar, new ones at every step:
    `arch.data.generated.sentences` says which. They are not those of Linzen et al., which are
    Wikipedia's, and figures of that set do not compare. Dehghani et al. 2018 train a language model
    and ask which form of the verb is more probable; here the verb alone is learned.

        loss      nats a verb
        accuracy  the share of verbs whose number is right

    Splits: `valid` and `test`, drawn as in training; `attractors3`, whose sentences have three
    nouns between subject and verb, all of the other number than the subject; so for 0 … `between`.

    Args:
        between: the most nouns between subject and verb.
        more: a share moreᵏ of the sentences has k such nouns or more, so that few of those in
            training have several.
        nouns: how many there are; a few are frequent and most are rare (Zipf's law).
        evaluation_examples: of each split.
    """

    families, evaluation_key = ("decoder",), 0xA62EE
    corpus, metric = "sentences from a grammar", "accuracy"
    sha256 = hashlib.sha256(sentences.VERSION.encode()).hexdigest()

    def __init__(
        self,
        *,
        between: int = 5,
        more: float = 0.1,
        nouns: int = 1000,
        evaluation_examples: int = 512,
    ):
        at_least(0, of="task", between=between)
        holds(0 <= more <= 1, "0 to 1", of="task", more=more)
        at_least(1, of="task", nouns=nouns)
        super().__init__(evaluation_examples)
        self.between, self.more, self.nouns = between, more, nouns
        self.attractors = {f"attractors{k}": k for k in range(between + 1)}
        self.splits = (*SPLITS, *self.attractors)
        self.vocabulary = sentences.vocabulary(nouns)
        self.length = sentences.longest(between)

    @property
    def details(self) -> dict:
        """The options that a line of results names."""
        names = ("between", "more", "nouns", "evaluation_examples")
        return {name: getattr(self, name) for name in names}

    @property
    def about(self) -> str:
        """What there is to train and evaluate on, for `launch.py prepare`."""
        return (
            f"sentences of up to {self.length} words, made as they are needed; "
            f"{', '.join(self.splits)} of {self.evaluation_examples:,}"
        )

    def unigram_loss(self, split: str) -> float:
        """See `Task.unigram_loss`: of the two forms of the verb."""
        return objective.entropy(np.bincount(self.examples(split).verb))

    # Training

    def drawn(self, key: Key[Array, ""]) -> Sentence:
        """A sentence with as many nouns between as `more` gives."""
        of_number, of_words = jax.random.split(key)
        shares = jnp.float32(self.more) ** jnp.arange(1, self.between + 1)
        between = (jax.random.uniform(of_number) < shares).sum()
        return sentences.sentence(of_words, self.between, between, False, self.nouns)

    def assemble(self, gathered: Sentence) -> Batch:
        """The batch of words and verbs; a row of zeros asks for nothing."""
        places = jnp.arange(gathered.words.shape[1])[None]
        asked = places == gathered.size[:, None] - 1
        targets = jnp.where(asked, gathered.verb[:, None], PAD)
        return Batch(gathered.words, targets, asked.astype(jnp.int32))

    def sums(
        self, model: Model, parameters: Parameters, batch: Batch, context: Context
    ) -> tuple[Sums, Sums]:
        """Nats a verb, and the share of right ones."""
        context = context.replace(mask=batch.inputs != PAD)
        score, extras = model.score(parameters, batch.inputs, batch.targets, context)
        asked = batch.asked.astype(jnp.float32)
        right = score.best == batch.targets
        losses: Sums = {"loss": objective.cross_entropy(score.target, asked)}
        return objective.with_extras(losses, {"accuracy": objective.share(right, asked)}, extras)

    # Evaluation

    def examples(self, split: str, window: Window = WHOLE) -> Sentence:
        """The split's sentences, or the first `window.tokens` of them: each has one verb."""
        return self.first(split, window.tokens or self.evaluation_examples)

    def drawn_of(self, split: str, key: Key[Array, ""]) -> Sentence:
        """A sentence as in training, or with that many attractors."""
        if split in SPLITS:
            return self.drawn(key)
        between = jnp.int32(self.attractors[split])
        return sentences.sentence(key, self.between, between, True, self.nouns)

    def figures(
        self, split: str, means: Mapping[str, float], count: int, window: Window = WHOLE
    ) -> dict[str, Any]:
        """loss: nats a verb, of which there are `tokens`."""
        return {"loss": means["loss"], "tokens": count, "unit": "verb"}
