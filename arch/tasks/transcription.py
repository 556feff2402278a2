"""Transcription: which notes sound in a short piece of a waveform."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from arch.checks import at_least, holds
from arch.context import Context
from arch.data.generated import tones
from arch.data.generated.tones import Sound
from arch.models.embeddings.waveform import SAMPLES
from arch.models.families import Model
from arch.registry import tasks
from arch.stacks.parameters import Parameters
from arch.tasks import objective
from arch.tasks.contract import WHOLE, Sums, Window
from arch.tasks.drawn import Drawn

OFFSET = 4.0  # taken from every logit: most notes are silent


class Batch(NamedTuple):
    """Sounds cut into positions; `notes` is 1 at those that sound, `real` at rows that count."""

    samples: Float[Array, "batch length samples"]
    notes: Float[Array, "batch notes"]
    real: Float[Array, " batch"]


@tasks.register("transcription")
class Transcription(Drawn):
    """Which of 128 notes sound in the middle of a window (Draguns et al. 2020, MusicNet, as the
    authors' code has it: a logit for each note, less 4, from the middle position).

    The sounds are not MusicNet's recordings: they are sums of harmonic tones with noise, made anew
    at every step, see `arch.data.generated.tones`. Each of their notes sounds through the window.

        loss  nats a note, of 128
        f1    2 hits / (notes found + notes that sound), where a note is found above one half.
              The paper's figure is the average precision score

    The model is an encoder with embedding.kind='waveform', and a head with a logit for each note.

    Args:
        window: samples of a sound, a multiple of 4; the paper has 8192.
        lowest, highest: MIDI numbers of the notes that are drawn.
        most: notes that sound at once are 1 to this many.
        noise: standard deviation of each sample's noise.
        evaluation_examples: of each split.
    """

    families, gives, evaluation_key = ("encoder",), "samples", 0x707E5
    corpus, metric = "harmonic tones", "f1"
    sha256 = hashlib.sha256(tones.VERSION.encode()).hexdigest()
    splits = ("valid", "test")
    vocabulary = tones.NOTES

    def __init__(
        self,
        *,
        window: int = 1024,
        lowest: int = 60,
        highest: int = 84,
        most: int = 4,
        noise: float = 0.1,
        evaluation_examples: int = 512,
    ):
        fine = window >= SAMPLES and window % SAMPLES == 0
        holds(fine, f"a multiple of {SAMPLES}", of="task", window=window)
        at_least(0, of="task", lowest=lowest, noise=noise)
        last = tones.highest_note()
        within = f"task.lowest={lowest} to {last}, whose partials a sampled sound has"
        holds(lowest <= highest <= last, within, of="task", highest=highest)
        notes = highest - lowest + 1
        holds(1 <= most <= notes, f"1 to {notes}, the notes to draw from", of="task", most=most)
        super().__init__(evaluation_examples)
        self.window, self.bounds, self.most, self.noise = window, (lowest, highest), most, noise
        self.length = window // SAMPLES

    @property
    def details(self) -> dict:
        """The options that a line of results names."""
        names = ("window", "bounds", "most", "noise", "evaluation_examples")
        return {name: getattr(self, name) for name in names}

    @property
    def about(self) -> str:
        """What there is to train and evaluate on, for `launch.py prepare`."""
        return (
            f"sounds of {self.window} samples with 1 to {self.most} notes, made as they are "
            f"needed; {', '.join(self.splits)} of {self.evaluation_examples:,}"
        )

    @property
    def guessing_loss(self) -> None:
        """None: the loss is of each note by itself."""
        return None

    # Training

    def drawn(self, key: Key[Array, ""]) -> Sound:
        """A sound; those of evaluation are like those of training."""
        return tones.sound(key, self.window, self.bounds, self.most, self.noise)

    def drawn_of(self, split: str, key: Key[Array, ""]) -> Sound:
        """See `drawn`."""
        return self.drawn(key)

    def assemble(self, gathered: Sound) -> Batch:
        """The batch, four samples to a position; a sound without a note is no row."""
        samples = gathered.samples.reshape(len(gathered.samples), -1, SAMPLES)
        notes = gathered.notes.astype(jnp.float32)
        return Batch(samples, notes, gathered.notes.any(1).astype(jnp.float32))

    def sums(
        self, model: Model, parameters: Parameters, batch: Batch, context: Context
    ) -> tuple[Sums, Sums]:
        """Nats a note, and of a sound how many are found, sound, and both."""
        x, extras = model.hidden(parameters, batch.samples, context)
        head, tokens = model.bound_head(parameters)
        logits = head.logits(tokens, x[:, x.shape[1] // 2]) - OFFSET
        nats = jax.nn.softplus(logits) - batch.notes * logits
        found = (logits > 0).astype(jnp.float32)
        notes = {"notes_found": found, "notes_hit": found * batch.notes, "notes": batch.notes}
        statistics: Sums = {
            name: objective.share(each.sum(1), batch.real) for name, each in notes.items()
        }
        losses: Sums = {"loss": objective.share(nats.mean(1), batch.real)}
        return objective.with_extras(losses, statistics, extras)

    # Evaluation

    def examples(self, split: str, window: Window = WHOLE) -> Sound:
        """The split's sounds: as many of the first as have `window.tokens` positions."""
        n = -(-window.tokens // self.length) if window.tokens else self.evaluation_examples
        return self.first(split, n)

    def figures(
        self, split: str, means: Mapping[str, float], count: int, window: Window = WHOLE
    ) -> dict[str, Any]:
        """loss: nats a note; `sounds` are counted."""
        both = means["notes_found"] + means["notes"]
        f1 = 2 * means["notes_hit"] / both
        return {"loss": means["loss"], "f1": f1, "sounds": count, "unit": "note"}
