"""Question answering on bAbI: an encoder reads the facts and the question, a word is the answer."""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from arch.checks import at_least, below_one, holds, one_of
from arch.context import Context
from arch.data.batches import buckets as buckets_of
from arch.data.corpora import babi
from arch.data.corpora.babi import Examples, Question
from arch.models.families import Model
from arch.registry import ConfigurationError, tasks
from arch.stacks.parameters import Parameters
from arch.tasks import objective
from arch.tasks.babi.metric import accuracies, figures
from arch.tasks.babi.questions import QuestionSplits
from arch.tasks.buckets import Bucket, Bucketed
from arch.tasks.contract import WHOLE, Sums, Window

FACTS, FACTS_OF_TASK_3 = 70, 130


class Batch(NamedTuple):
    """Stories with their question last. `mask` is 1 at sentences, `real` at rows that count."""

    sentences: Int[Array, "batch sentences words"]
    mask: Bool[Array, "batch sentences"]
    answers: Int[Array, "batch 1"]
    task: Int[Array, " batch"]
    support: Int[Array, " batch"]
    real: Float[Array, " batch"]


@tasks.register("babi")
class Babi(Bucketed):
    """p(answer | facts, question), the question being the last sentence; see
    `arch.data.corpora.babi`.

    The model is an encoder of sentences: embedding.kind='sentence', head.pool='mean'. A row of its
    input is the facts before the question, the question, then padding, which `context.mask` hides;
    the answer is one word of the vocabulary, which is that of the training files (held-out stories
    included). A word that they do not have is <unk>, and an answer of that kind is always wrong.

    Args:
        tasks: numbers from 1 to 20; several are trained on together.
        size: 1k | 10k questions a task to train on.
        facts: only the last so many are read; 0 stands for the 70 of Dehghani et al. 2018, or 130
            where task 3 is among the tasks.
        held_out: the share of each task's training stories, the last of its file, that is 'valid'.
        label_smoothing: in training, ε of the target's weight goes to all words alike.
    """

    families = ("encoder",)
    metric = "error_percent"
    asks, gives = ("sequence",), "sentences"
    splits = ("valid", "test")

    def __init__(
        self,
        *,
        tasks: tuple[int, ...] = (1,),
        size: str = "1k",
        facts: int = 0,
        held_out: float = 0.1,
        label_smoothing: float = 0.0,
    ):
        if not tasks or len(set(tasks)) < len(tasks) or not set(tasks) <= set(babi.TASKS):
            raise ConfigurationError(
                f"task.tasks={tasks!r}: allowed are different numbers from 1 to 20"
            )
        one_of(babi.FOLDERS, of="task", size=size)
        at_least(0, "the paper's", of="task", facts=facts)
        holds(0 < held_out < 1, "between 0 and 1", of="task", held_out=held_out)
        below_one(of="task", label_smoothing=label_smoothing)
        self.tasks, self.facts = tuple(sorted(tasks)), facts or _facts(tasks)
        self.data = QuestionSplits(self.tasks, size, self.facts, held_out)
        self.label_smoothing = label_smoothing
        self.corpus = f"babi-{size}, task{'s' * (len(tasks) > 1)} {', '.join(map(str, self.tasks))}"

    @property
    def questions(self) -> dict[str, tuple[Question, ...]]:
        """The questions of 'train', 'valid' and 'test' as they are read."""
        return self.data.splits

    @property
    def arrays(self) -> dict[str, Examples]:
        """The same as arrays of one extent, the greatest of all splits."""
        return self.data.arrays

    @property
    def words(self) -> dict[str, int]:
        """Word → id, from 1 on; 0 is padding."""
        return self.data.words

    def sentence_text(self, ids: Int[np.ndarray, " words"]) -> str:
        """The words of a sentence, without its padding."""
        words = {number: word for word, number in self.words.items()}
        return " ".join(words[i] for i in ids.tolist() if i)

    @property
    def sha256(self) -> str:
        """Of the files that are used."""
        return self.data.files.sha256

    @property
    def details(self) -> dict[str, object]:
        """Questions of each split, and the extents of the arrays."""
        sentences, words = self.arrays["train"].sentences.shape[1:]
        return {
            "questions": {split: len(part) for split, part in self.questions.items()},
            "sentences": sentences,
            "words": words,
            "facts": self.facts,
        }

    @property
    def about(self) -> str:
        """How many questions there are to train and evaluate on."""
        sizes = ", ".join(f"{split} {len(part):,}" for split, part in self.questions.items())
        return f"{sizes} questions of up to {self.length} sentences"

    @property
    def vocabulary(self) -> int:
        """Words, and padding."""
        return len(self.words) + 1

    @property
    def length(self) -> int:
        """Sentences of a row, the question and padding included."""
        return self.arrays["train"].sentences.shape[1]

    @property
    def tokens_per_sequence(self) -> float:
        """Sentences of a training question on the average; a token is a sentence here."""
        return float(self.arrays["train"].length.mean())

    # Training. A batch is of stories of about one length: rows of task 3 have 131 sentences at
    # most and 50 on the average.

    @functools.cached_property
    def schedule(self) -> buckets_of.BucketSchedule:
        """Which bucket a step takes, in proportion to its questions."""
        sizes = tuple(len(rows) for _, rows in self.data.buckets)
        return buckets_of.schedule(sizes, (1,) * len(sizes))

    @functools.cached_property
    def batches(self) -> tuple[Bucket, ...]:
        """The buckets, from the shortest stories."""
        return tuple(
            Bucket(self.schedule, place, share=1, size=len(rows))
            for place, (_, rows) in enumerate(self.data.buckets)
        )

    def source(self) -> tuple[Examples, ...]:
        """By bucket, its questions with no more sentences than it needs."""
        train = self.arrays["train"]
        parts = []
        for longest, rows in self.data.buckets:
            part = jax.tree.map(lambda a, rows=rows: jnp.asarray(a[rows]), train)
            parts.append(part._replace(sentences=part.sentences[:, :longest]))
        return tuple(parts)

    def assemble(self, gathered: Any) -> Batch:
        """The batch with the mask of its sentences."""
        places = jnp.arange(gathered.sentences.shape[1])
        return Batch(
            sentences=gathered.sentences.astype(jnp.int32),
            mask=places[None] < gathered.length[:, None],
            answers=gathered.answer[:, None],
            task=gathered.task,
            support=gathered.support,
            real=gathered.real,
        )

    def sums(
        self, model: Model, parameters: Parameters, batch: Batch, context: Context
    ) -> tuple[Sums, Sums]:
        """Nats an answer, the share of right answers, and in evaluation that of each task and the
        mean number of supporting facts."""
        score, extras = model.score(
            parameters, batch.sentences, batch.answers, context.replace(mask=batch.mask)
        )
        log_p = objective.log_likelihood(score, context, self.label_smoothing)[:, 0]
        real, weight = batch.real > 0, batch.real.sum()
        known = batch.answers != babi.UNKNOWN
        right = real & jnp.all((score.best == batch.answers) & known, axis=1)
        losses: Sums = {"loss": (objective.cross_entropy_of(log_p, real), weight)}
        statistics: Sums = {"accuracy": (right.sum(dtype=jnp.float32), weight)}
        if not context.train:
            statistics["supporting_facts"] = objective.share(batch.support, batch.real)
            statistics |= accuracies(right, batch.task, batch.real, self.tasks)
        return objective.with_extras(losses, statistics, extras)

    # Evaluation

    def examples(self, split: str, window: Window = WHOLE) -> Examples:
        """The split's questions, or about `window.tokens` sentences of it: the first questions of
        each task, as large a share of all, but at least one."""
        arrays = self.arrays[split]
        share = window.tokens / int(arrays.length.sum())
        if not window.tokens or share >= 1:
            return arrays
        of_task = [np.flatnonzero(arrays.task == task) for task in self.tasks]
        chosen = np.concatenate([places[: math.ceil(share * len(places))] for places in of_task])
        return jax.tree.map(lambda a: a[chosen], arrays)

    def figures(
        self, split: str, means: Mapping[str, float], count: int, window: Window = WHOLE
    ) -> dict[str, Any]:
        """Wrong answers in percent, see `metric.figures`."""
        return figures(means, count)


def _facts(tasks: tuple[int, ...]) -> int:
    """How many facts the paper reads."""
    return FACTS_OF_TASK_3 if 3 in tasks else FACTS
