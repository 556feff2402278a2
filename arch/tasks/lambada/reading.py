"""Reading: which word of the text before it is the next one?

An example is a place of the corpus whose word stands among the `length` words before it; the
answer is one of the input's own tokens, so that a pointer over positions can give it (Kadlec et al.
2016; `arch.models.heads.pointer`), or a softmax over the vocabulary with pool='mean'. Chu et al.
2017 put LAMBADA in this form, trained on places of its novels whose word stands before them.
Dehghani et al.
2018 say that the word is in 81 % of the passages; of the test passages in lower case and clitics
apart we count 82.7 %, and 74.7 % within 64 tokens.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from arch.checks import at_least, below_one, holds
from arch.context import Context, Extras
from arch.data.batches import permutation
from arch.data.tokenizers.kinds import encode_open
from arch.models.families import Model
from arch.registry import Config, ConfigurationError
from arch.stacks.parameters import Parameters
from arch.tasks import objective
from arch.tasks.contract import WHOLE, Sums, Window
from arch.tasks.lambada.passages import Passages
from arch.tasks.objective import Arrays

SPECIAL = 2  # <unk> and <eos>, the first entries of a words tokenizer; then words by frequency


class ReadingBatch(NamedTuple):
    """Texts and the word to be found in each."""

    inputs: Int[Arrays, "batch length"]
    targets: Int[Arrays, "batch 1"]
    mask: Bool[Arrays, "batch length"] | None  # None: a token everywhere
    answerable: Float[Arrays, " batch"]  # 1 where the target is among the inputs, and no <unk>
    real: Float[Arrays, " batch"]  # 0 in the rows that fill up a batch


class Chosen(NamedTuple):
    """What to evaluate: passages by their number, or places in the corpus's tokens."""

    index: Int[np.ndarray, " n"]


class Reading(Passages):
    """An encoder looks for the last word among the words before it.

        loss        nats an answer, over the examples whose answer is in the text
        accuracy    share of all examples that are answered rightly; the others count as wrong
        answerable_share    of examples whose answer is in the text; 1 by choice in the corpus

    Args:
        common: places of so many of the most frequent words are no examples.
        shortest: a training text has between so many words and `length`, and the padding around it
            is shared out between front and end, both at random, but always the same for a place;
            0: every text has `length` words. Only those whose answer is left count.
        paddings: a passage is read so many times, with padding before and behind it shared out at
            random (Freivalds et al. 2019 take 10), and the answer is the token that most of them
            give, where the authors count positions; its loss is their mean. 1: once, at the end.
        label_smoothing: in training, of the head's `mean`.
        corpus, tokenizer, passages, length, vocabulary, sampling, resident_bytes: of `Passages`.
    """

    families, metric = ("encoder",), "accuracy"
    asks = ("occurrence", "sequence")

    def __init__(
        self,
        *,
        corpus: str = "stdlib",
        tokenizer: str = "words:10000",
        passages: str = "lower",
        length: int = 64,
        common: int = 200,
        shortest: int = 0,
        paddings: int = 1,
        label_smoothing: float = 0.0,
        vocabulary: int = 0,
        sampling: str = "permutation",
        resident_bytes: int = 1 << 30,
    ):
        super().__init__(
            corpus=corpus,
            tokenizer=tokenizer,
            passages=passages,
            length=length,
            vocabulary=vocabulary,
            sampling=sampling,
            resident_bytes=resident_bytes,
        )
        if not tokenizer.startswith("words"):
            raise ConfigurationError(
                f"task.tokenizer={tokenizer!r}: task.form='reading' points at a word, "
                "allowed are words, words:N"
            )
        at_least(0, of="task", common=common)
        short = f"0 to task.length={length}"
        holds(0 <= shortest <= length, short, of="task", shortest=shortest)
        at_least(1, of="task", paddings=paddings)
        below_one(of="task", label_smoothing=label_smoothing)
        self.common, self.shortest, self.paddings = common, shortest, paddings
        self.label_smoothing = label_smoothing
        self.places = functools.cache(self._places)
        self.encoded = functools.cache(self._encoded)

    def _places(self, split: str) -> Int[np.ndarray, " n"]:
        """Where the examples of a split of the corpus are."""
        ids = self.dataset.splits[split].ids
        found = places(ids, self.length, SPECIAL + self.common)
        if not len(found):
            raise ConfigurationError(
                f"task.common={self.common}: no word of the {split} split of {self.text.corpus!r} "
                f"beside these stands among the {self.length} before it"
            )
        return found

    # Training

    def source(self) -> tuple[Array, Array]:
        """The corpus's tokens and the places of its examples."""
        ids = self.dataset.splits["train"].ids
        return jnp.asarray(ids), jnp.asarray(self.places("train"))

    def indices(
        self, key: Key[Array, ""], step: Int[Array, ""], batch: int
    ) -> Int[Array, " batch"]:
        """Which examples the step trains on: each epoch is all of them in an order of its own."""
        n = len(self.places("train"))
        return permutation.shuffled(key, step * batch + jnp.arange(batch), n)

    def gather(self, source: tuple, indices: Any) -> Any:
        """(batch, length + 1) tokens, the answer last, and where the answer is in the corpus."""
        tokens, where = source
        where = where[indices]
        return tokens[where[..., None] + jnp.arange(-self.length, 1)[None]], where

    def gathered_shapes(self, batch: int) -> Any:
        """As `gather`, whether the corpus is here or not."""
        return self.text.gathered_shapes(batch), jax.ShapeDtypeStruct((batch,), jnp.int32)

    def assemble(self, gathered: tuple[Int[Array, "batch length+1"], Array]) -> ReadingBatch:
        """Texts and answers, cut at random where `shortest` says so."""
        tokens = gathered[0].astype(jnp.int32)
        inputs, targets, ones = tokens[:, :-1], tokens[:, -1:], jnp.ones(len(tokens), jnp.float32)
        if not self.shortest:
            return ReadingBatch(inputs, targets, None, ones, ones)
        length = inputs.shape[1]

        def cut(where):
            of_size, of_front = jax.random.split(jax.random.fold_in(jax.random.key(0), where))
            size = jax.random.randint(of_size, (), self.shortest, length + 1)
            return size, jax.random.randint(of_front, (), 0, length - size + 1)

        size, front = (a[:, None] for a in jax.vmap(cut)(gathered[1]))
        place = jnp.arange(length)[None]
        mask = (place >= front) & (place < front + size)
        inputs = jnp.where(mask, turned(inputs, length - size - front), 0)
        answerable = ((inputs == targets) & mask).any(1).astype(jnp.float32)
        return ReadingBatch(inputs, targets, mask, answerable, ones)

    def sums(
        self, model: Model, parameters: Parameters, batch: ReadingBatch, context: Context
    ) -> tuple[Sums, Sums]:
        """Nats an answer that is in the text, and the shares of right and of possible answers."""
        log_p, best, extras = self._answers(model, parameters, batch, context)
        answerable = batch.answerable > 0
        right = (best == batch.targets[:, 0]) & answerable
        statistics: Sums = {
            "accuracy": objective.share(right, batch.real),
            "answerable_share": objective.share(answerable, batch.real),
        }
        loss = objective.cross_entropy_of(log_p, answerable), jnp.sum(batch.answerable)
        return objective.with_extras({"loss": loss}, statistics, extras)

    def _answers(
        self, model: Model, parameters: Parameters, batch: ReadingBatch, context: Context
    ) -> tuple[Float[Array, " batch"], Int[Array, " batch"], Extras]:
        """(log p of each target, each best token, extras)."""

        targets = jnp.asarray(batch.targets)

        def read(inputs, mask):
            score, extras = model.score(parameters, inputs, targets, context.replace(mask=mask))
            log_p = objective.log_likelihood(score, context, self.label_smoothing)
            return log_p[:, 0], score.best[:, 0], extras

        if context.train or self.paddings == 1 or batch.mask is None:
            return read(batch.inputs, batch.mask)
        mask = jnp.asarray(batch.mask)
        padding = (~mask).sum(1)
        # of the passage, not of its place in the batch: figures do not depend on the batch's size
        factors = jnp.arange(1, mask.shape[1] + 1, dtype=jnp.uint32)
        passage = jnp.sum(jnp.asarray(batch.inputs).astype(jnp.uint32) * factors[None], axis=1)

        def front(key, passage, padding):
            return jax.random.randint(jax.random.fold_in(key, passage), (), 0, padding + 1)

        def once(key):
            by = jax.vmap(front, in_axes=(None, 0, 0))(key, passage, padding)[:, None]
            return read(turned(batch.inputs, by), turned(mask, by))

        log_p, best, extras = jax.lax.map(once, jax.random.split(jax.random.key(0), self.paddings))
        votes = jnp.sum(best[:, None] == best[None], axis=1)
        chosen = jnp.take_along_axis(best, jnp.argmax(votes, axis=0)[None], axis=0)[0]
        return log_p.mean(0), chosen, jax.tree.map(lambda a: a.sum(0), extras)

    # Evaluation

    def _encoded(self, split: str) -> tuple[tuple[np.ndarray, int], ...]:
        """(context, word) of each passage, in tokens; a word that is not one token is <unk>."""
        tokenizer = self.dataset.tokenizer
        pairs = [
            [encode_open(tokenizer, part) for part in passage] for passage in self.passages(split)
        ]
        return tuple((c, int(w[0]) if len(w) == 1 else 0) for c, w in pairs)

    def examples(self, split: str, window: Window = WHOLE) -> Chosen:
        """The examples of the first of a split, one for each `length` of `window.tokens`."""
        of_split = self.places(split) if split == "valid" else np.arange(len(self.passages(split)))
        n = max(1, window.tokens // self.length) if window.tokens else len(of_split)
        return Chosen(of_split[:n])

    def evaluation_batch(
        self, split: str, examples: Chosen, window: Window = WHOLE
    ) -> ReadingBatch:
        """Texts of `length` tokens; those of shorter passages stand at the end of their row."""
        length, n = self.length, len(examples.index)
        ones = np.ones(n, np.float32)
        if split == "valid":
            ids = self.dataset.splits[split].ids
            rows = ids[examples.index[:, None] + np.arange(-length, 1)].astype(np.int32)
            return ReadingBatch(rows[:, :-1], rows[:, -1:], np.ones((n, length), bool), ones, ones)
        inputs, mask = np.zeros((n, length), np.int32), np.zeros((n, length), bool)
        targets = np.zeros((n, 1), np.int32)
        for row, index in enumerate(examples.index):
            context, targets[row, 0] = self.encoded(split)[index]
            context = context[-length:]
            inputs[row, length - len(context) :] = context
            mask[row, length - len(context) :] = True
        answerable = ((inputs == targets) & mask).any(1) & (targets[:, 0] >= SPECIAL)
        return ReadingBatch(inputs, targets, mask, answerable.astype(np.float32), ones)

    def assemble_evaluation(self, gathered: ReadingBatch) -> ReadingBatch:
        """As `evaluation_batch` made it."""
        return gathered

    def figures(
        self, split: str, means: Mapping[str, float], count: int, window: Window = WHOLE
    ) -> dict[str, Any]:
        """Loss in nats an answer, of which there are `answerable`; texts have `length` words."""
        length = self.length
        return {
            "loss": means["loss"],
            "unit": "word",
            "window": length,
            "stride": length,
            "answerable": count,
        }

    def check_evaluation(self, settings: Config) -> None:
        """Raises ConfigurationError for splits that are not there, windows of another length, and
        a split none of whose answers can be found."""
        super().check_evaluation(settings)
        length = self.length
        for name in ("window", "stride"):
            if settings[name] not in (0, length):
                raise ConfigurationError(
                    f"evaluate.{name}={settings[name]}: task.form='reading' reads task.length="
                    f"{length} tokens; allowed is 0"
                )
        self.places("train")
        for split in settings["splits"]:
            chosen = self.examples(split)
            if not self.evaluation_batch(split, chosen).answerable.any():
                raise ConfigurationError(
                    f"task.length={length}: no {split} passage has its last word, in the "
                    f"vocabulary of {self.text.corpus!r}, among the {length} tokens before it"
                )


def turned(rows: Arrays, by: Int[Array, "batch 1"]) -> Array:
    """Each row turned left: what leaves it in front comes back behind."""
    length = rows.shape[1]
    place = (jnp.arange(length)[None] + by) % length
    return jnp.take_along_axis(jnp.asarray(rows), place, axis=1)


def places(ids: Int[np.ndarray, " n"], length: int, first: int) -> Int[np.ndarray, " m"]:
    """Where a token of at least `first` stands that is among the `length` tokens before it, with
    all of these there."""
    order = np.argsort(ids, kind="stable")
    again = ids[order][1:] == ids[order][:-1]
    distance = np.full(len(ids), len(ids), np.int64)
    distance[order[1:][again]] = np.diff(order)[again]
    found = (distance <= length) & (np.asarray(ids) >= first)
    found[:length] = False
    return np.flatnonzero(found).astype(np.int32)
