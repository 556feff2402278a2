"""What a run logged of each position of its order, as pictures: `log.norms`."""

from collections.abc import Mapping, Sequence

from arch.report.charts import Chart, line_chart
from arch.report.lines import Line, key
from arch.report.rows import Row
from arch.report.statistics import summary

LABELS = {
    "gradient_norms": "norm of the gradient of its weights",
    "stream_norms": "root mean square of the stream after it",
    "update_norms": "root mean square of what it adds",
}


def norm_charts(rows: Sequence[Row], curves: Sequence[Line]) -> list[Chart]:
    """A chart of each norm in the curves, over the position in the order: a line per row through
    the means over its seeds, at the last step that was logged."""
    by_key = {key(line): line.get("norms", {}) for line in curves}
    series: dict[str, dict[str, list]] = {}
    for row in rows:
        for name, places in _by_place([by_key.get(key(line), {}) for line in row.lines]).items():
            points = [(place + 1, summary(values)) for place, values in enumerate(places)]
            series.setdefault(name, {})[row.cell] = points
    return [
        Chart.of(
            line_chart(
                name, f"{name.replace('_', ' ').capitalize()} at the last step", arms,
                "position in the order", LABELS.get(name.removeprefix("encoder_"), name),
            )
        )
        for name, arms in sorted(series.items())
    ]  # fmt: skip


def _by_place(seeds: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, list[tuple]]:
    """name → the values of all seeds at each position."""
    names = dict.fromkeys(name for norms in seeds for name in norms)
    return {
        name: list(zip(*(norms[name] for norms in seeds if name in norms), strict=True))
        for name in names
    }
