"""Sounds of a few notes at once, made on the device as pure functions of a key: sums of harmonic
tones, and noise.

A note n of MIDI's 128 has the frequency 440 · 2^((n - 69) / 12) hertz, and HARMONICS partials whose
amplitude falls as 1 / partial; loudness and phases are drawn. No recording is read.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

VERSION = "tones 1"  # another one wherever a key's examples change
NOTES = 128
HARMONICS = 4
RATE = 11025  # samples a second
QUIETEST = 0.5  # of a note, whose loudness is uniform from here to 1


class Sound(NamedTuple):
    """One sound, or with a leading axis a batch; a row of zeros is none.

    notes: those that sound.
    """

    samples: Float[Array, "*batch samples"]
    notes: Bool[Array, "*batch notes"]


def highest_note() -> int:
    """The highest whose partials all lie below half of RATE."""
    return max(n for n in range(NOTES) if frequency(n) * HARMONICS < RATE / 2)


def frequency(note: float | Array) -> Any:
    """In hertz."""
    return 440.0 * 2.0 ** ((note - 69) / 12)


def sound(
    key: Key[Array, ""], samples: int, bounds: tuple[int, int], most: int, noise: float
) -> Sound:
    """1 … most different notes, their number uniform, of those from bounds[0] to bounds[1].

    noise: standard deviation of what is added to each sample, where the loudest partial has 1.
    """
    of_number, of_notes, of_loudness, of_phase, of_noise = jax.random.split(key, 5)
    low, high = bounds
    number = jax.random.randint(of_number, (), 1, most + 1)
    notes = low + jax.random.permutation(of_notes, high - low + 1)[:most]
    sounds = jnp.arange(most) < number
    loudness = jax.random.uniform(of_loudness, (most,), minval=QUIETEST) * sounds
    phase = jax.random.uniform(of_phase, (most, HARMONICS))
    partial = jnp.arange(1, HARMONICS + 1)
    cycles = frequency(notes)[:, None] * partial[None] / RATE
    turns = cycles[:, :, None] * jnp.arange(samples)[None, None] + phase[:, :, None]
    waves = jnp.sin(2 * jnp.pi * turns) / partial[None, :, None]
    mixed = (loudness[:, None, None] * waves).sum((0, 1))
    mixed = mixed + noise * jax.random.normal(of_noise, (samples,))
    return Sound(mixed, jnp.zeros(NOTES, bool).at[notes].max(sounds))
