"""Pictures of what a model does with a text."""

import jax
import numpy as np
import pytest

import arch
from arch import config
from arch.notebook import plots
from arch.notebook.loaded import Loaded
from arch.registry import ConfigurationError
from arch.training.program import build
from tests import cli


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = cli.copy_swept(tmp_path_factory.mktemp("plots"))
    return arch.load(cli.folder_of(folder / "runs/small", "sf").path)


def test_attention_has_a_square_a_head_with_a_label_a_token(run):
    figure = run.plot_attention("ab c\n")
    first, second, _ = figure.axes  # and the bar of colours
    assert [axis.get_title("left") for axis in (first, second)] == ["0 s, head 0", "0 s, head 1"]
    for labels in (first.get_xticklabels(), first.get_yticklabels(), second.get_xticklabels()):
        assert [label.get_text() for label in labels] == ["a", "b", "␣", "c", "↵"]
    found = run.capture("ab c\n", ["attention.weights"])["attention.weights"][0]
    np.testing.assert_array_equal(second.images[0].get_array(), found[1])
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_curves_are_of_every_seed_and_both_losses(run):
    figure = run.plot_curves(run)
    assert [axis.get_ylabel() for axis in figure.axes[::2]] == [
        "train loss (nats)", "valid loss (nats)",
    ]  # fmt: skip
    metrics = [line["loss"] for line in run.metrics if line.get("split") == "valid"]
    assert list(figure.axes[2].lines[0].get_ydata()) == metrics
    assert len(figure.axes[2].lines) == 3  # two seeds and their mean; the run is there once


def test_what_the_architecture_lacks_is_said_in_one_line(run, monkeypatch):
    with pytest.raises(ConfigurationError, match="'sequential', of which nothing halts: 'univ.*$"):
        run.plot_halting("abc")
    monkeypatch.setattr(plots, "attention", None)
    with pytest.raises(ConfigurationError, match="the text has no tokens"):
        run.plot_attention("")


def test_without_attention_the_kinds_are_named(tmp_path):
    """A convolution alone; nothing is trained for it."""
    (tmp_path / "text.txt").write_text(cli.text(3000))
    made = config.make(
        model={"order": "v", "width": 8, "sublayers": {"v": {"kind": "separable_convolution"}}},
        task={"corpus": f"file:{tmp_path}/text.txt", "length": 16},
    )
    task, model = build(made)
    loaded = Loaded(made, task, model, model.init(jax.random.key(0)))
    with pytest.raises(ConfigurationError, match="its kinds are separable_convolution, full att"):
        loaded.plot_attention("abc")


def test_tokens_are_drawn_as_the_font_has_them():
    texts = ("$x_1$", "\udcff", "東", " der", "\t\n")
    assert [plots.drawn(text) for text in texts] == ["$x_1$", "\\xff", "□", "␣der", "⇥↵"]


def test_many_tokens_are_named_every_so_often():
    figure = plots.halting(np.ones(100, int), ["$a^$"] * 100)
    assert len(figure.axes[0].get_xticklabels()) == 34
    assert figure._repr_png_()
