"""Pictures of what a model does with a text, drawn with matplotlib.

Imported where something is drawn: matplotlib takes longer to import than most commands to answer.
"""

import math
from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from jaxtyping import Float, Int
from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from arch.report.curves import Curve
from arch.report.figures import STYLE
from arch.report.learning import LearningCurves

MOST_LABELS = 40  # tokens that are named along an axis; of more, every so many-th
WHITE = {"\n": "↵", "\t": "⇥", " ": "␣"}  # what white space is drawn as
INCHES = 1.7  # of a head's square
COLOUR = "#0072B2"


class Plot(Figure):
    """A matplotlib Figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        with rc_context(STYLE):
            self.savefig(buffer, format="png", dpi=144)
        return buffer.getvalue()


def attention(
    weights: Mapping[int, Float[np.ndarray, "heads queries keys"]],
    tokens: Sequence[str],
    names: Mapping[int, str],
) -> Plot:
    """Attention weights as squares: a row for each place in the order, a column for each head,
    queries down and keys across, from white (0) to dark (1).

    names: place in the order → what stands beside its row.
    """
    heads = max(array.shape[0] for array in weights.values())
    size = (1.2 + INCHES * heads, 0.9 + INCHES * len(weights))
    with rc_context(STYLE):
        figure = Plot(figsize=size, layout="constrained")
        axes = figure.subplots(len(weights), heads, squeeze=False, sharex=True, sharey=True)
        shown = None
        for row, (place, array) in zip(axes, weights.items(), strict=True):
            for head, axis in enumerate(row):
                axis.spines[:].set_visible(False)
                axis.tick_params(length=0)
                if head < len(array):
                    shown = axis.imshow(array[head], cmap="Blues", vmin=0, vmax=1)
                    axis.set_title(f"{names[place]}, head {head}")
                else:
                    axis.set_axis_off()
            _name_tokens(row[0], tokens, "y")
        for axis in axes[-1]:
            _name_tokens(axis, tokens, "x")
        figure.supxlabel("key")
        figure.supylabel("query")
        assert shown is not None
        figure.colorbar(shown, ax=axes, label="weight", shrink=1 / math.sqrt(len(weights)))
    return figure


def halting(steps: Int[np.ndarray, " length"], tokens: Sequence[str]) -> Plot:
    """The number of steps that each token took before it halted, as bars."""
    with rc_context(STYLE):
        figure = Plot(figsize=(max(3.4, 0.9 + 0.16 * len(tokens)), 2.4), layout="constrained")
        axis = figure.subplots()
        axis.bar(np.arange(len(tokens)), steps, color=COLOUR, width=0.8)
        axis.axhline(steps.mean(), color="#555555", lw=0.8, ls=(0, (4, 2)))
        axis.set(
            ylabel="steps", xlabel="token", title=f"Halting: {steps.mean():.3g} steps on average"
        )
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlim(-0.6, len(tokens) - 0.4)
        _name_tokens(axis, tokens, "x")
    return figure


def curves(arms: Mapping[str, Mapping[str, Sequence[Curve]]]) -> Plot:
    """Learning curves as tables have them: see `LearningCurves`."""
    with rc_context(STYLE):
        figure = Plot(figsize=(7.0, 5.0), layout="constrained")
        LearningCurves(arms).fill(figure)
    return figure


def _name_tokens(axis: Axes, tokens: Sequence[str], along: str) -> None:
    places = range(0, len(tokens), -(-len(tokens) // MOST_LABELS))
    size = 7 if len(places) <= MOST_LABELS // 2 else 5
    which = axis.xaxis if along == "x" else axis.yaxis
    which.set_ticks(list(places), [drawn(tokens[place]) for place in places])
    upright = along == "y" or max(map(len, tokens)) == 1
    for label in which.get_ticklabels():
        label.set(parse_math=False, size=size, rotation=0 if upright else 90)


def drawn(token: str) -> str:
    """A token as text that the font has: white space by its signs, bytes that make no character
    as hexadecimal, other characters that it lacks as squares."""
    token = token.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    signs = (WHITE.get(c, c) for c in token)
    return "".join(c if font.get_char_index(ord(c)) else "□" for c in signs)
