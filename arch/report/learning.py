"""The learning curves of a table's arms as a picture: both losses, over tokens and over FLOPs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arch.report.charts import COLOURS, DASHES, FEW, GREY, MANY
from arch.report.curves import Curve
from arch.report.figures import STYLE
from arch.report.specification import BUDGETS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPLITS = ("train", "valid")
OVER = ("tokens", "flops")  # budgets


@dataclass(frozen=True)
class LearningCurves:
    """Seeds as thin lines, their mean in bold: a row of frames for each split, a column for each
    budget, so that arms are seen at equal tokens and at equal FLOPs.

    arms: label → split → the curves of its seeds.
    """

    arms: Mapping[str, Mapping[str, Sequence[Curve]]]
    name: str = "curves"
    title: str = "Learning curves"

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(curves for arm in self.arms.values() for curves in arm.values())

    def picture(self) -> "Figure":
        """The picture as a matplotlib Figure; equal curves are equal bytes."""
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        with rc_context(STYLE):
            figure = Figure(figsize=(7.0, 5.0), layout="constrained")
            self.fill(figure)
        return figure

    def fill(self, figure: "Figure") -> None:
        """Draws into an empty figure."""
        axes = figure.subplots(len(SPLITS), len(OVER), sharex="col", sharey="row", squeeze=False)
        for row, split in zip(axes, SPLITS, strict=True):
            for axis, budget in zip(row, OVER, strict=True):
                self._draw_frame(axis, split, budget)
            row[0].set_ylabel(f"{split} loss (nats)")
        for axis, budget in zip(axes[-1], OVER, strict=True):
            axis.set_xlabel(BUDGETS[budget])
        figure.suptitle(f"{self.title}: seeds thin, their mean bold", x=0.01, ha="left", fontsize=8)
        named = axes[0][0].get_legend_handles_labels()
        if len(named[1]) <= FEW:
            axes[0][1].legend(*named, frameon=False, loc="upper right")
        else:
            figure.legend(*named, loc="outside lower left", ncols=4, frameon=False)

    def _draw_frame(self, axis: "Axes", split: str, budget: str) -> None:
        from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

        crowd = len(self.arms) - 1 if len(self.arms) > MANY else 0
        for place, (label, arm) in enumerate(self.arms.items()):
            curves, grey = arm.get(split, ()), bool(crowd and place)
            colour = GREY if grey else COLOURS[place % len(COLOURS)]
            dashes = DASHES[place // len(COLOURS) % len(DASHES)] if not crowd else "-"
            seeds = curves if len(curves) > 1 and not grey else ()
            for curve in seeds:
                thin = {"lw": 0.4, "alpha": 0.45, "marker": _marker(curve.losses), "ms": 2}
                axis.plot(curve.spent(budget), curve.losses, color=colour, **thin)
            x, y = mean_curve(curves, budget)
            name = label if not grey else f"{crowd} others" if place == 1 else None
            bold = {"lw": 0.5, "zorder": 1} if grey else {"lw": 1.5, "zorder": 3}
            axis.plot(x, y, dashes, label=name, color=colour, marker=_marker(y), ms=4, **bold)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(lw=0.4, color="#DDDDDD")
        axis.set_axisbelow(True)


def _marker(losses: Sequence[float]) -> str:
    """A dot where there is one point, of which no line could be drawn."""
    return "o" if len(losses) == 1 else ""


def mean_curve(curves: Sequence[Curve], budget: str) -> tuple[list[float], list[float]]:
    """(spent, mean loss) at the steps that all the curves have."""
    if not curves:
        return [], []
    at = [dict(zip(c.steps, zip(c.spent(budget), c.losses, strict=True), strict=True))
          for c in curves]  # fmt: skip
    shared = sorted(set.intersection(*(set(one) for one in at)))
    spent = [sum(one[step][0] for one in at) / len(at) for step in shared]
    return spent, [sum(one[step][1] for one in at) / len(at) for step in shared]
