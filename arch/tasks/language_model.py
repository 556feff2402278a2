"""Language modelling: the next token of a stream, its perplexity by window and stride."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from arch.checks import at_least, one_of
from arch.context import Context
from arch.data.batches import permutation
from arch.data.corpora.files import encode
from arch.data.tokenizers.kinds import Tokenizer, encode_open
from arch.data.tokens import Tokens, said_losses
from arch.models.families import Model
from arch.models.generation import Prompt
from arch.registry import Config, ConfigurationError, tasks
from arch.stacks.parameters import Parameters
from arch.tasks import objective
from arch.tasks.contract import WHOLE, Sums, Window
from arch.tasks.text import Text

# Above it a perplexity is mostly of how often <unk> comes: it is no word perplexity.
MOST_UNKNOWN = 0.03
SAMPLING = ("permutation", "uniform")


class Batch(NamedTuple):
    """Tokens, and the tokens one later; `weights` are 1 at targets that count."""

    inputs: Int[Array, "batch length"]
    targets: Int[Array, "batch length"]
    weights: Float[Array, "batch length"]


class Windows(NamedTuple):
    """Where evaluation windows start, and which of their targets count."""

    starts: Int[np.ndarray, " n"]
    first: Int[np.ndarray, " n"]  # the first target that counts
    end: Int[np.ndarray, " n"]  # the first that no longer does


@tasks.register("language_model")
class LanguageModel(Text):
    """p(tokenᵢ | the tokens before it in its window), over the corpus as one stream.

    Args:
        corpus: a name of `arch.data.corpora.named`, or file:PATH.
        tokenizer: bytes | characters | words | words:N | bpe:N | file:PATH.
        length: tokens of a training sequence.
        vocabulary: size of the token table; 0 is the tokenizer's own. A larger one leaves rows
            unused (fairseq pads WikiText-103's 267,735 words to 267,744) and makes parameters
            known without the corpus.
        sampling: permutation (each epoch is every block once, in an order of its own) | uniform
            (any offset).
        resident_bytes: token arrays up to this size live on the device; larger ones are read from
            a memory map.
    """

    families = ("decoder",)
    slides = True

    def __init__(
        self,
        *,
        corpus: str = "stdlib",
        tokenizer: str = "bytes",
        length: int = 128,
        vocabulary: int = 0,
        sampling: str = "permutation",
        resident_bytes: int = 1 << 30,
    ):
        one_of(SAMPLING, of="task", sampling=sampling)
        at_least(1, of="task", length=length)
        super().__init__(corpus=corpus, tokenizer=tokenizer, length=length, vocabulary=vocabulary)
        self.sampling, self.resident_bytes = sampling, resident_bytes

    def _check_split(self, split: str, tokens: Tokens) -> None:
        least = self.length + 1 if split == "train" and not self.evaluates_only else 2
        if len(tokens.ids) < least:
            raise ConfigurationError(
                f"task.length={self.length}: the {split} split of {self.corpus!r} has "
                f"{len(tokens.ids)} tokens, and {least} are needed"
            )

    def _needed(self, tokenizer: Tokenizer) -> int:
        return tokenizer.size

    @property
    def about(self) -> str:
        """What there is to train and evaluate on, for `launch.py prepare`."""
        sizes = ", ".join(f"{k} {len(t.ids):,}" for k, t in self.dataset.splits.items())
        lost = said_losses(self.dataset.splits)
        return f"{sizes} tokens of {self.tokenizer_name}" + f" ({lost})" * bool(lost)

    @property
    def vocabulary(self) -> int:
        """Entries of the token table."""
        return self._vocabulary or self.entries

    @property
    def streamed(self) -> bool:
        """The training tokens are read from a memory map, a batch at a time."""
        return self.dataset.splits["train"].ids.nbytes > self.resident_bytes

    # Training: indices are pure in (key, step), gathering is the same on device and host.

    def source(self) -> Int[Array, " tokens"]:
        """The training tokens, on the device."""
        return jnp.asarray(self.dataset.splits["train"].ids)

    def stream(self) -> Int[np.ndarray, " tokens"]:
        """The training tokens, on the host."""
        return self.dataset.splits["train"].ids

    def indices(
        self, key: Key[Array, ""], step: Int[Array, ""], batch: int
    ) -> Int[Array, " batch"]:
        """Which blocks (or offsets, where uniform) the step trains on."""
        size = len(self.dataset.splits["train"].ids)
        if self.sampling == "uniform":
            return jax.random.randint(
                jax.random.fold_in(key, step), (batch,), 0, size - self.length
            )
        blocks = (size - 1) // self.length
        return permutation.shuffled(key, step * batch + jnp.arange(batch), blocks)

    def gather(self, source: Any, indices: Any) -> Any:
        """(batch, length + 1) tokens at the indices, from a device array or a memory map."""
        host = isinstance(source, np.ndarray)
        library = np if host else jnp
        starts = indices.astype(np.int64) if host else indices
        if self.sampling == "permutation":
            starts = starts * self.length
        return source[starts[..., None] + library.arange(self.length + 1)[None]]

    def gathered_shapes(self, batch: int) -> Any:
        """(batch, length + 1) tokens, whether the corpus is here or not."""
        return jax.ShapeDtypeStruct((batch, self.length + 1), jnp.int32)

    def assemble(self, gathered: Int[Array, "batch length+1"]) -> Batch:
        """Inputs, and targets one token later."""
        gathered = gathered.astype(jnp.int32)
        inputs, targets = gathered[:, :-1], gathered[:, 1:]
        return Batch(inputs, targets, jnp.ones(inputs.shape, jnp.float32))

    def sums(
        self, model: Model, parameters: Parameters, batch: Batch, context: Context
    ) -> tuple[Sums, Sums]:
        """Cross-entropy in nats a token, and the share of tokens that were the most probable."""
        score, extras = model.score(parameters, batch.inputs, batch.targets, context)
        losses: Sums = {"loss": objective.cross_entropy(score.target, batch.weights)}
        statistics: Sums = {"accuracy": objective.share(score.best == batch.targets, batch.weights)}
        return objective.with_extras(losses, statistics, extras)

    # Text of its own

    def written_prompt(self, text: str, steps: int) -> Prompt:
        """A text to go on with, for so many tokens."""
        ids = encode_open(self.tokenizer, text)
        if len(ids) == 0:
            raise ConfigurationError("generate: the prompt has no tokens")
        length = jnp.array([len(ids)])
        ids = jnp.asarray(ids, jnp.int32)[None]
        return Prompt(None, ids, length, steps, -1, self.tokenizer.entries)

    def text_of(self, ids: Int[np.ndarray, " steps"]) -> str:
        """The decoded text."""
        return self.tokenizer.decode(ids)

    # Evaluation

    def _check_windows(self, settings: Config) -> None:
        longest, stride = settings["window"] or self.length, settings["stride"]
        if stride > longest:
            raise ConfigurationError(
                f"evaluate.stride={stride}: allowed is 1 to the window, {longest}; 0 stands for it"
            )

    def examples(self, split: str, window: Window = WHOLE) -> Windows:
        """Where the windows over the split start, and which of their targets count.

        Every target counts once: all of the first window's, then the last `stride` of each, so
        that a target has between window - stride and window - 1 tokens of context.
        """
        size = len(self.dataset.splits[split].ids)
        targets = min(size, window.tokens or size) - 1
        length, stride = self._extent(window)
        n = 1 + max(0, math.ceil((targets - length) / stride))
        starts = np.arange(n) * stride
        first = np.where(np.arange(n) == 0, 0, length - stride)
        return Windows(starts, first, np.minimum(length, targets - starts))

    def _extent(self, window: Window) -> tuple[int, int]:
        """Window and stride in tokens."""
        length = window.window or self.length
        return length, window.stride or length

    def evaluation_batch(self, split: str, examples: Windows, window: Window = WHOLE) -> tuple:
        """The tokens and weights of some windows, padded at the end of the split."""
        ids = self.dataset.splits[split].ids
        length, _ = self._extent(window)
        where = np.minimum(examples.starts[:, None] + np.arange(length + 1), len(ids) - 1)
        offsets = np.arange(length)[None]
        weights = (offsets >= examples.first[:, None]) & (offsets < examples.end[:, None])
        return ids[where], weights

    def assemble_evaluation(self, gathered: tuple) -> Batch:
        """Inputs and targets, with the weights of the windows."""
        ids, weights = gathered
        batch = self.assemble(ids)
        return batch._replace(weights=weights.astype(jnp.float32))

    def figures(
        self, split: str, means: Mapping[str, float], count: int, window: Window = WHOLE
    ) -> dict[str, Any]:
        """Perplexity and bits per byte of a mean loss in nats a token over `count` targets."""
        loss = means["loss"]
        length, stride = self._extent(window)
        tokenizer, part = self.dataset.tokenizer, self.dataset.splits[split]
        result = {
            "loss": loss,
            "perplexity": objective.perplexity(loss),
            "unit": tokenizer.unit + _said_unknown(part),
            "window": length,
            "stride": stride,
            "tokens": count,
        }
        if part.unknown:
            result["unknown"] = part.unknown
        # over the whole split every token but the first is a target
        if tokenizer.lossless and count == len(part.ids) - 1:
            first = len(encode(tokenizer.decode(part.ids[:1])))
            result["bits_per_byte"] = loss * count / math.log(2) / (part.bytes - first)
            if tokenizer.unit != "word":
                result["word_perplexity"] = objective.perplexity(loss * count / part.words)
        return result


def _said_unknown(part: Tokens) -> str:
    """For the unit of a perplexity: tokens of which too many are <unk> are none of text."""
    return f" with {part.unknown:.0%} <unk>" if part.unknown > MOST_UNKNOWN else ""
