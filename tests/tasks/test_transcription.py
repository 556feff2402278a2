"""Transcription: sounds whose spectra show their notes, splits, refusals, a model that learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.data.generated import tones
from arch.registry import ConfigurationError
from arch.tasks import contract
from arch.tasks.contract import Window
from arch.training import evaluation


def task_of(**options):
    return contract.build({"kind": "transcription", "evaluation_examples": 32, **options})


def test_the_spectrum_of_a_sound_peaks_at_its_notes():
    made = task_of(window=8192, most=3, noise=0.0).examples("valid")
    counts = made.notes.sum(1)
    assert set(counts) == {1, 2, 3} and made.notes.shape == (32, 128)
    spectra = np.abs(np.fft.rfft(made.samples * np.hanning(8192)))
    for spectrum, notes in zip(spectra, made.notes, strict=True):
        sounding = np.flatnonzero(notes)
        assert 60 <= sounding.min() and sounding.max() <= 84
        for note in sounding:
            at = round(tones.frequency(note) * 8192 / tones.RATE)
            assert spectrum[at - 1 : at + 2].max() > 0.2 * spectrum.max()
        others = np.ones(len(spectrum), bool)
        for note in sounding:
            for partial in range(1, tones.HARMONICS + 1):
                at = round(partial * tones.frequency(note) * 8192 / tones.RATE)
                others[at - 3 : at + 4] = False
        assert spectrum[others].max() < 0.05 * spectrum.max()


def test_noise_has_its_deviation():
    quiet, loud = (task_of(noise=noise).examples("test").samples for noise in (0.0, 0.5))
    assert np.std(loud - quiet) == pytest.approx(0.5, rel=0.02)


def test_batches_are_a_function_of_key_and_step_and_splits_are_the_same_in_every_run():
    task = task_of(window=64)

    def batch(seed, step):
        indices = task.indices(jax.random.key(seed), jnp.int32(step), 8)
        return task.assemble(task.gather((), indices))

    first = batch(0, 0)
    jax.tree.map(np.testing.assert_array_equal, first, batch(0, 0))
    assert first.samples.shape == (8, 16, 4) and first.real.all()
    for other in (batch(0, 1), batch(1, 0)):
        assert (first.samples != other.samples).any()
    again = task_of(window=64).examples("valid")
    jax.tree.map(np.testing.assert_array_equal, task.examples("valid"), again)
    assert (task.examples("test").samples != again.samples).any()
    assert len(task.examples("valid", Window(tokens=17)).notes) == 2


def test_f1_is_of_all_notes_together():
    means = {"loss": 0.1, "notes_found": 3.0, "notes_hit": 2.0, "notes": 2.5}
    assert task_of().figures("valid", means, 7)["f1"] == pytest.approx(4 / 5.5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"window": 30}, "task.window=30: allowed is a multiple of 4"),
        ({"window": 0}, "task.window=0: allowed is a multiple of 4"),
        ({"lowest": -1}, "task.lowest=-1: allowed is 0 or more"),
        ({"highest": 59}, "task.highest=59: allowed is task.lowest=60 to"),
        ({"highest": 127}, "task.highest=127: allowed is task.lowest=60 to"),
        ({"most": 26}, "task.most=26: allowed is 1 to 25, the notes to draw from"),
        ({"noise": -0.1}, "task.noise=-0.1: allowed is 0 or more"),
        ({"evaluation_examples": 0}, "task.evaluation_examples=0: allowed is 1 or more"),
    ],
)
def test_options_that_cannot_be_are_refused_in_a_line(options, message):
    with pytest.raises(ConfigurationError) as refused:
        task_of(**options)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_shuffle_exchange_network_learns_single_notes(train):
    configuration = config.make(
        model={
            "family": "encoder", "width": 16, "order": "x",
            "sublayers": {"x": {"kind": "benes", "blocks": 1}},
            "embedding": {"kind": "waveform", "positions": "none", "scale": False},
            "stack": {"final_norm": False}, "head": {"tie": False, "bias": True},
        },
        task={
            "kind": "transcription", "window": 256, "most": 1, "noise": 0.0, "lowest": 72,
            "highest": 76, "evaluation_examples": 64,
        },
        train={"steps": 300, "batch": 32, "optimizer": {"learning_rate": 5e-3}},
        evaluate={"splits": ("valid",), "tokens": 0},
    )  # fmt: skip
    run = train([(configuration, 0)], (20,) * 15)
    (figures,) = evaluation.everything(run.program, run.state.parameters)["valid"]
    assert figures["f1"] > 0.8 and figures["sounds"] == 64
