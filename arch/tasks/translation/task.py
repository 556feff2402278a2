"""Translation: a sentence from one in another language, its BLEU under beam search."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from arch.checks import at_least, below_one, holds, no_windows
from arch.context import Context
from arch.data.batches import buckets as buckets_of
from arch.data.tokenizers import kinds as tokenizers
from arch.data.tokens import Tokens, smallest
from arch.models.families import Model
from arch.models.generation import PAD, Prompt, Search
from arch.registry import Config, ConfigurationError, tasks
from arch.stacks.parameters import Parameters
from arch.tasks import objective, sequence_to_sequence
from arch.tasks.buckets import Bucket, Bucketed
from arch.tasks.contract import WHOLE, Sums, Window
from arch.tasks.sequence_to_sequence import END, Pairs
from arch.tasks.translation.examples import Data, load, rising
from arch.tasks.translation.metric import bleu
from arch.tasks.translation.tokens import SHIFT, padded, sentence_lengths, source_of, text_of


class Rows(NamedTuple):
    """Sentences under evaluation; a row of zeros is none."""

    source: Int[np.ndarray, "n length"]
    targets: Int[np.ndarray, "n length"]
    row: Int[np.ndarray, " n"]  # of the split


@tasks.register("translation")
class Translation(Bucketed):
    """p(target | source), one sentence at a time, in tokens of a BPE that both languages share
    (Vaswani et al. 2017).

    A pair belongs to the smallest bucket that holds both its sides, each with its END. A step
    takes pairs of one bucket of length L: train.batch · (length // L) of them, so that steps are
    of about one size. In training pairs longer than `length` are left out. In evaluation no
    sentence is: a longer source is cut to its first length - 1 tokens and END, a longer target to
    its first `length` tokens, and `details` counts both. Free-running output has at most `length`
    tokens, END among them, whatever the source's length.

    Args:
        corpus: multi30k | wmt14 | file:DIR (see `arch.data.parallel`).
        source, target: the languages, as the files' names end.
        tokenizer: bpe:N.
        length: tokens of the longest sentence, END among them.
        buckets: rising lengths, the last of them `length`; none: one of `length`.
        label_smoothing: the share of the training target spread evenly over the vocabulary.
        beam: hypotheses kept in decoding; 1 is greedy.
        length_penalty: α of (5 + tokens)^α / 6^α, which divides a hypothesis' log-probability
            (Wu et al. 2016).
    """

    families = ("encoder_decoder",)
    metric, unit = "bleu", "subword"
    decodes = True

    def __init__(
        self,
        *,
        corpus: str = "multi30k",
        source: str = "de",
        target: str = "en",
        tokenizer: str = "bpe:8000",
        length: int = 64,
        buckets: tuple[int, ...] = (16, 24, 32, 64),
        label_smoothing: float = 0.1,
        beam: int = 4,
        length_penalty: float = 0.6,
    ):
        other = f"another language than the source's, {source!r}"
        holds(source != target, other, of="task", target=target)
        at_least(2, of="task", length=length)
        below_one(of="task", label_smoothing=label_smoothing)
        at_least(1, of="task", beam=beam)
        at_least(0, of="task", length_penalty=length_penalty)
        holds(tokenizer.startswith("bpe:"), "bpe:N", of="task", tokenizer=tokenizer)
        try:
            self.vocabulary = tokenizers.fixed_size(tokenizer) + SHIFT
        except ValueError as error:
            raise ConfigurationError(f"task.tokenizer={tokenizer!r}: {error}") from None
        self.corpus, self.languages, self.tokenizer_name = corpus, (source, target), tokenizer
        self.length, self.buckets = length, rising(tuple(buckets) or (length,), length)
        self.label_smoothing, self.search = label_smoothing, Search(beam, length_penalty)

    @functools.cached_property
    def data(self) -> Data:
        """The corpus in tokens; raises ConfigurationError where it cannot serve this task."""
        return load(self.corpus, self.languages, self.tokenizer_name, self.buckets)

    @property
    def sha256(self) -> str:
        """Of the corpus's files."""
        return self.data.text.sha256

    @property
    def details(self) -> dict[str, object]:
        """Pairs of each bucket, left out, and cut."""
        return self.data.details

    @property
    def about(self) -> str:
        """How many pairs there are to train and evaluate on."""
        first = self.languages[0]
        sizes = {k: len(sides[first].documents) for k, sides in self.data.splits.items()}
        told = ", ".join(f"{split} {n:,}" for split, n in sizes.items())
        return f"{told} pairs in {self.tokenizer_name}"

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits but the training split."""
        return tuple(split for split in self.data.splits if split != "train")

    def unigram_loss(self, split: str) -> float:
        """See `Task.unigram_loss`; of the target's tokens, each sentence's END among them."""
        target = self.data.splits[split][self.languages[1]]
        return objective.entropy(np.append(np.bincount(target.ids), len(target.documents)))

    @property
    def max_length(self) -> int:
        """Positions in decoding: a start, and `length` tokens after it."""
        return self.length + 1  # decoding: a start, and `length` tokens after it

    @functools.cached_property
    def tokens_per_sequence(self) -> float:
        """Target tokens of a mean step over train.batch: a step has `length // L` times as many
        pairs as that where its bucket is of length L."""
        lengths = sentence_lengths(self.data.splits["train"][self.languages[1]])
        counts = self.schedule.counts
        tokens = sum(
            count * bucket.share * lengths[rows].mean()
            for count, bucket, rows in zip(counts, self.batches, self.data.pairs, strict=True)
        )
        return float(tokens / sum(counts))

    @property
    def planned_tokens(self) -> float:
        """Target positions, of which some are padding: as many in every bucket's step."""
        return float(self.length)

    # Training

    def gathered_shapes(self, batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Of the longest bucket, whose step takes most memory."""
        side = jax.ShapeDtypeStruct((batch, self.length), smallest(self.vocabulary))
        return side, side

    @functools.cached_property
    def schedule(self) -> buckets_of.BucketSchedule:
        """Which bucket a step takes, in proportion to its steps per epoch."""
        sizes = tuple(len(rows) for rows in self.data.pairs)
        return buckets_of.schedule(sizes, self._shares)

    @property
    def _shares(self) -> tuple[int, ...]:
        """By bucket, the pairs of a step for each of `train.batch`."""
        return tuple(self.length // longest for longest in self.data.buckets)

    @functools.cached_property
    def batches(self) -> tuple[Bucket, ...]:
        """The buckets, from the shortest sentences."""
        return tuple(
            Bucket(self.schedule, place, share, len(rows))
            for place, (share, rows) in enumerate(zip(self._shares, self.data.pairs, strict=True))
        )

    def source(self) -> tuple:
        """By bucket of length L the (pairs, L) ids of sources and of targets, on the device."""
        sides = [self.data.splits["train"][language] for language in self.languages]
        return tuple(
            tuple(jnp.asarray(self._ids(side, rows, length)) for side in sides)
            for length, rows in zip(self.data.buckets, self.data.pairs, strict=True)
        )

    def assemble(self, gathered: Any) -> Pairs:
        """The batch of sources and targets."""
        return sequence_to_sequence.pairs(*gathered)

    def sums(
        self, model: Model, parameters: Parameters, batch: Pairs, context: Context
    ) -> tuple[Sums, Sums]:
        """Nats a target token, and teacher-forced accuracies."""
        return sequence_to_sequence.sums(model, parameters, batch, context, self.label_smoothing)

    # Evaluation

    def check_evaluation(self, settings: Config) -> None:
        """Raises ConfigurationError for a window or stride, or a split that is not there."""
        no_windows(settings, "translation is evaluated by the sentence")
        for split in settings["splits"]:
            if split not in self.splits:
                raise ConfigurationError(
                    f"evaluate.splits={split!r}: {self.corpus!r} has {', '.join(self.splits)}"
                )

    def examples(self, split: str, window: Window = WHOLE) -> Int[np.ndarray, " n"]:
        """The first rows of a split, so many that they have `window.tokens` target tokens."""
        lengths, tokens = (
            sentence_lengths(self.data.splits[split][self.languages[1]]),
            window.tokens,
        )
        enough = np.searchsorted(np.cumsum(lengths), tokens) + 1 if tokens else len(lengths)
        return np.arange(min(enough, len(lengths)))

    def evaluation_batch(
        self, split: str, examples: Int[np.ndarray, " n"], window: Window = WHOLE
    ) -> Rows:
        """The sentences of these rows, padded or cut to `length`."""
        source, target = (self.data.splits[split][language] for language in self.languages)
        sources = self._ids(source, examples, self.length)
        long = sources[:, -1] > END
        sources[long, -1] = END
        targets = self._ids(target, examples, self.length)
        return Rows(sources, targets, examples.astype(np.int32))

    def assemble_evaluation(self, gathered: Rows) -> Pairs:
        """The batch of the rows' sources and targets."""
        return self.assemble((gathered.source, gathered.targets))

    def figures(
        self, split: str, means: Mapping[str, float], count: int, window: Window = WHOLE
    ) -> dict[str, Any]:
        """Loss in nats and perplexity, over `count` target tokens that are teacher-forced."""
        return {
            "loss": means["loss"],
            "perplexity": objective.perplexity(means["loss"]),
            "unit": self.unit,
            "tokens": count,
        }

    def prompt(self, batch: Pairs) -> Prompt:
        """Every output begins after a 0, and ends at END or after `length` tokens."""
        n = batch.source.shape[0]
        zeros, ones = jnp.zeros((n, 1), jnp.int32), jnp.ones((n,), jnp.int32)
        return Prompt(batch.source, zeros, ones, self.length, END)

    def decoded_figures(
        self, split: str, ids: Int[np.ndarray, "n steps"], gathered: Rows
    ) -> dict[str, Any]:
        """BLEU of the output for these rows against the corpus's own lines, see `metric.bleu`, and
        cut_sources: how many of the sources the model saw only the beginning of."""
        real = np.asarray(gathered.targets)[:, 0] != PAD
        rows = np.asarray(gathered.row)[real]
        references = self.data.text.splits[split][self.languages[1]]
        outputs = [self.text_of(row) for row in np.asarray(ids)[real]]
        source = sentence_lengths(self.data.splits[split][self.languages[0]])
        return {
            **bleu(outputs, [references[row] for row in rows]),
            "cut_sources": int((source[rows] > self.length).sum()),
        }

    def written_prompt(self, text: str, steps: int) -> Prompt:
        """A sentence to translate, cut at `length` tokens, into at most `steps` tokens."""
        source = jnp.asarray(source_of(text, self.data.tokenizer, self.length))[None]
        return self.prompt(sequence_to_sequence.pairs(source, source))._replace(
            steps=min(steps, self.length)
        )

    def text_of(self, ids: Int[np.ndarray, " steps"]) -> str:
        """The text of an output up to its END."""
        return text_of(ids, self.data.tokenizer)

    def _ids(
        self, tokens: Tokens, rows: Int[np.ndarray, " n"], length: int
    ) -> Int[np.ndarray, "n length"]:
        return padded(tokens, rows, length, self.vocabulary)
