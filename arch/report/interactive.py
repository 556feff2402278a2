"""The figure of an experiment for a page, drawn with plotly."""

import textwrap
from typing import TYPE_CHECKING, Any

from arch.report.panels import FigurePlan, Panel

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def draw_interactive(plan: FigurePlan) -> "Figure":
    """The panels of the plan as a plotly figure, with cell, seed and value under the pointer."""
    from plotly.subplots import make_subplots

    curve = plan.curve
    drawn = make_subplots(
        1,
        len(plan.panels),
        shared_yaxes=not curve,
        subplot_titles=["<br>".join(textwrap.wrap(panel.title, 60)) for panel in plan.panels],
    )
    value, place = ("y", "x") if curve else ("x", "y")
    ticks = plan.ticks
    for column, panel in enumerate(plan.panels, 1):
        where: dict[str, Any] = {"row": 1, "col": column}
        for trace in _traces(panel, plan):
            drawn.add_trace(trace, **where)
        if panel.band:
            line, rect = [
                getattr(drawn, f"add_{'h' if curve else 'v'}{shape}") for shape in ("line", "rect")
            ]
            line(
                panel.band.mean,
                line={"color": panel.colour, "dash": "dash", "width": 1},
                annotation_text=panel.band.label,
                **where,
            )
            if panel.band.low == panel.band.low:
                rect(
                    panel.band.low,
                    panel.band.high,
                    fillcolor=panel.colour,
                    opacity=0.12,
                    line_width=0,
                    **where,
                )
        getattr(drawn, f"update_{value}axes")(title_text=panel.label, **where)
    getattr(drawn, f"update_{place}axes")(
        tickvals=list(ticks),
        ticktext=list(ticks.values()),
        **({"title_text": plan.x_label} if curve else {"autorange": "reversed"}),
    )
    return drawn.update_layout(
        template="simple_white", height=440 if curve else 200 + 22 * len(plan.places)
    )


def _traces(panel: Panel, plan: FigurePlan) -> list:
    from plotly import graph_objects

    value, place = ("y", "x") if plan.curve else ("x", "y")
    seeds = [
        (m.place, v, f"{m.cell}, seed {seed}")
        for m in panel.marks
        if len(m.values) > 1
        for seed, v in m.values.items()
    ]
    shown, joined = plan.means(panel)

    def scatter(places, values, **options):
        return graph_objects.Scatter({place: places, value: values}, **options)

    means = scatter(
        [m.place for m in shown],
        [m.mean for m in shown],
        mode="markers",
        name=panel.legend,
        hovertext=[m.cell + f" ({m.lost} lost)" * bool(m.lost) for m in shown],
        marker={"color": "white", "size": 8, "line": {"color": panel.colour, "width": 2}},
    )
    means[f"error_{value}"] = {
        "type": "data",
        "symmetric": False,
        "thickness": 1.2,
        "color": panel.colour,
        "array": [m.high - m.mean if m.high == m.high else 0 for m in shown],
        "arrayminus": [m.mean - m.low if m.low == m.low else 0 for m in shown],
    }
    line = scatter(
        [m.place for m in joined],
        [m.mean for m in joined],
        mode="lines",
        line={"color": panel.colour},
        showlegend=False,
    )
    dots = scatter(
        [s[0] for s in seeds],
        [s[1] for s in seeds],
        hovertext=[s[2] for s in seeds],
        mode="markers",
        name="one seed",
        showlegend=bool(seeds),
        opacity=0.4,
        marker={"color": panel.colour, "size": 6},
    )
    return [line, dots, means]
