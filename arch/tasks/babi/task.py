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
from arch.data.corpora.files import CorpusError
from arch.models.families import Model
from arch.registry import ConfigurationError, tasks
from arch.stacks.parameters import Parameters
from arch.tasks import objective
from arch.tasks.buckets import Bucket, Bucketed
from arch.tasks.contract import WHOLE, Sums, Window

FACTS, FACTS_OF_TASK_3 = 70, 130
SHORTEST_BUCKET = 16  # sentences: below that a step costs the same
FAILED = 5.0  # percent of wrong answers above which a task counts as failed (Weston et al. 2015)


class Batch(NamedTuple):
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
    splits = ("valid", "test")

    def __init__(self, *, tasks=(1,), size="1k", facts=0, held_out=0.1, label_smoothing=0.0):
        if not tasks or len(set(tasks)) < len(tasks) or not set(tasks) <= set(babi.TASKS):
            raise ConfigurationError(
                f"task.tasks={tasks!r}: allowed are different numbers from 1 to 20"
            )
        one_of(babi.FOLDERS, of="task", size=size)
        at_least(0, "the paper's", of="task", facts=facts)
        holds(0 < held_out < 1, "between 0 and 1", of="task", held_out=held_out)
        below_one(of="task", label_smoothing=label_smoothing)
        self.tasks, self.size, self.held_out = tuple(sorted(tasks)), size, held_out
        self.facts = facts or (FACTS_OF_TASK_3 if 3 in tasks else FACTS)
        self.label_smoothing = label_smoothing
        self.corpus = f"babi-{size}, task{'s' * (len(tasks) > 1)} {', '.join(map(str, self.tasks))}"

    @functools.cached_property
    def questions(self) -> dict[str, tuple[Question, ...]]:
        """The questions of 'train', 'valid' and 'test' as they are read; see
        `arch.data.corpora.babi`."""
        try:
            train, valid = babi.hold_out(self._files.train, self.held_out)
        except CorpusError as error:
            raise ConfigurationError(f"task.held_out={self.held_out}: {error}") from None
        return {"train": train, "valid": valid, "test": self._files.test}

    @functools.cached_property
    def arrays(self) -> dict[str, Examples]:
        """The same as arrays of one extent, the greatest of all splits."""
        extents = [babi.extent(part, self.facts) for part in self.questions.values()]
        sentences, words = (max(sizes) for sizes in zip(*extents, strict=True))
        return {
            split: babi.encode(part, self.words, self.facts, sentences, words)
            for split, part in self.questions.items()
        }

    @functools.cached_property
    def words(self) -> dict[str, int]:
        """Word → id; 0, padding, is none."""
        return babi.vocabulary(self._files.train)

    @functools.cached_property
    def _files(self) -> babi.Questions:
        try:
            return babi.load(self.tasks, self.size)
        except CorpusError as error:
            raise ConfigurationError(
                f"task.tasks={self.tasks}, task.size={self.size!r}: {error}"
            ) from None

    @property
    def sha256(self) -> str:
        return self._files.sha256

    @property
    def details(self) -> dict[str, object]:
        sentences, words = self.arrays["train"].sentences.shape[1:]
        return {
            "questions": {split: len(part) for split, part in self.questions.items()},
            "sentences": sentences,
            "words": words,
            "facts": self.facts,
        }

    @property
    def about(self) -> str:
        """What there is to train and evaluate on, for `launch.py prepare`."""
        sizes = ", ".join(f"{split} {len(part):,}" for split, part in self.questions.items())
        return f"{sizes} questions of up to {self.length} sentences"

    @property
    def vocabulary(self) -> int:
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
    def buckets(self) -> tuple[tuple[int, Int[np.ndarray, " n"]], ...]:
        """(sentences, training questions of at most so many that the bucket before cannot hold)."""
        found, lengths, longest = [], self.arrays["train"].length, self.length
        while longest:
            shorter = longest // 2 if longest // 2 >= SHORTEST_BUCKET else 0
            rows = np.flatnonzero((lengths <= longest) & (lengths > shorter))
            found += [(longest, rows)] if len(rows) else []
            longest = shorter
        return tuple(reversed(found))

    @functools.cached_property
    def schedule(self) -> buckets_of.BucketSchedule:
        sizes = tuple(len(rows) for _, rows in self.buckets)
        return buckets_of.schedule(sizes, (1,) * len(sizes))

    @functools.cached_property
    def batches(self) -> tuple[Bucket, ...]:
        return tuple(
            Bucket(self.schedule, place, share=1, size=len(rows))
            for place, (_, rows) in enumerate(self.buckets)
        )

    def source(self) -> tuple[Examples, ...]:
        """By bucket, its questions with no more sentences than it needs."""
        train = self.arrays["train"]
        parts = []
        for longest, rows in self.buckets:
            part = jax.tree.map(lambda a, rows=rows: jnp.asarray(a[rows]), train)
            parts.append(part._replace(sentences=part.sentences[:, :longest]))
        return tuple(parts)

    def assemble(self, gathered: Any) -> Batch:
        places = jnp.arange(gathered.sentences.shape[1])
        return Batch(
            sentences=gathered.sentences.astype(jnp.int32),
            mask=places[None] < gathered.length[:, None],
            answers=gathered.answer[:, None],
            task=gathered.task,
            support=gathered.support,
            real=gathered.real,
        )

    def weight(self, batch: Batch) -> Float[Array, ""]:
        """The questions: what the objective's sum is divided by."""
        return batch.real.sum()

    def sums(
        self, model: Model, parameters: Parameters, batch: Batch, context: Context
    ) -> tuple[Sums, Sums]:
        """Nats an answer, the share of right answers, and in evaluation that of each task and the
        mean number of supporting facts."""
        score, extras = model.score(
            parameters, batch.sentences, batch.answers, context.replace(mask=batch.mask)
        )
        log_p = objective.log_likelihood(score, context, self.label_smoothing)[:, 0]
        real, weight = batch.real > 0, self.weight(batch)
        known = batch.answers != babi.UNKNOWN
        right = real & jnp.all((score.best == batch.answers) & known, axis=1)
        losses = {"loss": (objective.cross_entropy_of(log_p, real), weight)}
        statistics = {"accuracy": (right.sum(dtype=jnp.float32), weight)}
        if not context.train:
            statistics["supporting_facts"] = objective.share(batch.support, batch.real)
            statistics |= self._accuracies(batch, right)
        return objective.with_extras(losses, statistics, extras)

    def _accuracies(self, batch: Batch, right: Bool[Array, " batch"]) -> Sums:
        """That of each task where there are several."""
        if len(self.tasks) == 1:
            return {}
        among = {task: (batch.task == task) * batch.real for task in self.tasks}
        return {
            f"accuracy_task_{task:02}": objective.share(right, weights)
            for task, weights in among.items()
        }

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
        """The percentage of wrong answers; with several tasks also of how many it exceeds 5."""
        figures = {
            "loss": means["loss"],
            "error_percent": 100 * (1 - means["accuracy"]),
            "unit": "answer",
            "questions": count,
        }
        by_task = [means[name] for name in means if name.startswith("accuracy_task_")]
        if by_task:
            figures["failed_tasks"] = sum(100 * (1 - value) > FAILED for value in by_task)
        return figures
