"""The columns of an experiment's table: header → one text per row.

The paper's figures stand beside ours and are subtracted only where the experiment says that the
metric is the same; the baseline's, and another folder's, only where both were measured alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from arch.order import compress_parts
from arch.report import statistics
from arch.report.comparisons import Comparison
from arch.report.rows import Row, Setting, group_rows
from arch.report.specification import CPU, TableSpec
from arch.report.statistics import Summary, decimals, mean_and_interval, mean_and_sd, number

MISSING = "—"


def make_columns(
    rows: list[Row],
    marks: Mapping[int, str],
    spec: TableSpec,
    compared: Sequence[Comparison | None],
    untrained: frozenset[str] = frozenset(),
) -> dict[str, list[str]]:
    """All columns that an experiment asks for.

    Args:
        marks: `id` of a line → what its row is marked with.
        compared: of each row, its comparison with the baseline.
        untrained: the cells that have learned no more than frequencies.
    """
    figures = _figures(rows, spec) | compared_columns(rows, spec, compared, untrained)
    if any(row.losses for row in rows):
        figures["failures"] = [losses(row) or ("0" if row.lines else MISSING) for row in rows]
    return _identity(rows, marks) | figures | _paper(rows, spec) | _extra(rows, spec)


def _identity(rows: list[Row], marks: Mapping[int, str]) -> dict[str, list[str]]:
    found = [{marks.get(id(line), "") for line in row.lines} for row in rows]
    marked = [max(of_row, key=len, default="") for of_row in found]
    columns = {"cell": [row.cell + mark for row, mark in zip(rows, marked, strict=True)]}
    if len({row.device for row in rows if row.lines}) > 1:
        columns["device"] = [row.device for row in rows]
    if len({(row.cell, row.hash) for row in rows}) > len({row.cell for row in rows}):
        columns |= _varied(rows) or {"configuration": [row.hash[:8] for row in rows]}
    orders = [row.lines[0].get("order", "") if row.lines else "" for row in rows]
    orders = [order and compress_parts(order) for order in orders]
    return columns | ({"order": orders} if any(orders) else {})


def _varied(rows: list[Row]) -> dict[str, list[str]]:
    """A column for each field in which the configurations of one cell differ, by the last part of
    its name where that is enough."""
    fields = list(dict.fromkeys(field for row in rows for field, _ in row.varied))
    last = [field.rpartition(".")[2] for field in fields]
    names = [n if last.count(n) == 1 else field for n, field in zip(last, fields, strict=True)]
    values = [dict(row.varied) for row in rows]
    return {
        name: [one.get(field, MISSING) for one in values]
        for name, field in zip(names, fields, strict=True)
    }


def _figures(rows: list[Row], spec: TableSpec) -> dict[str, list[str]]:
    summaries = [statistics.summary(row.values.values()) for row in rows]
    places = decimals(s.mean for s in summaries)
    settings = settings_of(rows)
    columns = {} if spec.exact else {"n": [str(s.n) for s in summaries]}
    for setting in settings or [None]:
        header = spec.metric + (f" ({setting})" if len(settings) > 1 else "")
        written = [_with_spread(s, places, spec) for s in summaries]
        columns[header] = [
            text if row.setting == setting else MISSING
            for row, text in zip(rows, written, strict=True)
        ]
    return columns


def compared_columns(
    rows: Sequence[Row],
    spec: TableSpec,
    compared: Sequence[Comparison | None],
    untrained: frozenset[str],
) -> dict[str, list[str]]:
    """Differences to the baseline, with their p where there are several, and what could be seen."""
    found = [one for one in compared if one]
    if not found and not untrained:
        return {}
    places = decimals(statistics.summary(row.values.values()).mean for row in rows)

    def other(row: Row) -> str:
        if row.cell in untrained:
            return "untrained"
        return "baseline" if row.cell == spec.baseline else MISSING

    pairs = list(zip(rows, compared, strict=True))
    named = f"difference to {spec.baseline}" if spec.baseline else "training"
    columns = {named: [one.text(places) if one else other(row) for row, one in pairs]}
    if len(found) > 1:
        columns["p (Holm)"] = [_p_text(one.p) if one else MISSING for one in compared]
    if found:
        columns["detectable"] = [
            number(one.detectable, places) if one else MISSING for one in compared
        ]
    return columns


def _p_text(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _with_spread(s: Summary, places: int, spec: TableSpec) -> str:
    return number(s.mean, places) if spec.exact else mean_and_sd(s, places)


def settings_of(rows: list[Row]) -> list[Setting]:
    """The ways of measuring among the rows, each once, in their order."""
    return list(dict.fromkeys(row.setting for row in rows if row.setting))


def losses(row: Row) -> str:
    """'1 NaN of 5 (step 1200)': the lines without a figure, by what became of them."""
    steps: dict[str, list[str]] = {}
    for word, line in row.losses:
        steps.setdefault(word, []).append(str(line.get("stopped_step") or ""))
    return ", ".join(
        f"{len(at)} {word} of {len(row.lines)}" + (f" (step {', '.join(at)})" if all(at) else "")
        for word, at in steps.items()
    )


def _paper(rows: list[Row], spec: TableSpec) -> dict[str, list[str]]:
    if not spec.paper:
        return {}
    whole = all(float(p.value).is_integer() for p in spec.paper.values())
    places = 0 if whole else decimals(p.value for p in spec.paper.values())
    said = spec.paper_metric or spec.paper_unit
    unit = f" ({said})" if said else ""
    found = [spec.paper.get(row.cell) for row in rows]
    columns = {
        f"paper{unit}": [
            (
                number(p.value, places)
                + (f" ± {number(p.sd, places)}" if p.sd == p.sd else "")
                + (f" (n = {p.n})" if p.n > 1 else "")
            )
            if p
            else MISSING
            for p in found
        ]
    }
    if spec.paper_comparable:
        means = [statistics.summary(row.values.values()).mean for row in rows]
        columns["ours − paper"] = [
            number(m - p.value, decimals(means) if whole else places, True) if p else MISSING
            for m, p in zip(means, found, strict=True)
        ]
    return columns


def _extra(rows: list[Row], spec: TableSpec) -> dict[str, list[str]]:
    columns = {}
    for name in spec.columns:
        if name in ("test", "bits_per_byte", "word_perplexity"):
            split, metric = ("test", spec.metric) if name == "test" else (spec.split, name)
            found = [group_rows(row.lines, (), split, metric) for row in rows]
            places = decimals(v for parts in found for r in parts for v in r.values.values())
            mixed = name == "test" and len(settings_of([r for parts in found for r in parts])) > 1
            columns[name.replace("_", " ")] = [
                "; ".join(
                    mean_and_sd(statistics.summary(r.values.values()), places)
                    + f" ({r.setting})" * mixed
                    for r in parts
                )
                or MISSING
                for parts in found
            ]
        elif name == CPU:
            costs = [[cpu_cost(line) for line in row.lines] for row in rows]
            summaries = [statistics.summary([c for c in row if c is not None]) for row in costs]
            places = decimals(s.mean for s in summaries)
            columns["CPU seconds / M tokens"] = [mean_and_sd(s, places) for s in summaries]
        elif name != "order":
            columns[name.replace(".", ": ").replace("_", " ")] = [
                f"{value:,.0f}" if (value := constant(row, name)) == value else MISSING
                for row in rows
            ]
    return columns


def cpu_cost(line: Mapping[str, Any]) -> float | None:
    """CPU seconds for a million tokens of training; None where a line does not say."""
    seconds, tokens = line.get("cpu_seconds"), line.get("tokens")
    return 1e6 * seconds / tokens if seconds is not None and tokens else None


def constant(row: Row, name: str) -> float:
    """The mean over lines of a number, for example 'parameters.unique'; nan where none has it."""
    values = []
    for line in row.lines:
        for part in name.split("."):
            line = line.get(part) if isinstance(line, Mapping) else None
        values += [line] if line else []
    return statistics.summary(values).mean


def beside(rows: list[Row], other: list[Row], spec: TableSpec, name: str) -> dict[str, list[str]]:
    """Columns of another folder's figures, and of differences where both are measured alike."""
    places = decimals(v for row in other for v in row.values.values())
    theirs, differences = [], []
    for row in rows:
        matches = sorted(
            (o for o in other if o.cell == row.cell),
            key=lambda o: (o.device != row.device, o.setting != row.setting),
        )
        if not matches:
            theirs.append(MISSING)
            differences.append(MISSING)
            continue
        match = matches[0]
        words = [str(match.setting)] * (match.setting != row.setting)
        words += [match.device] * (match.device != row.device)
        theirs.append(
            _with_spread(statistics.summary(match.values.values()), places, spec)
            + (f" ({', '.join(words)})" if words else "")
        )
        pairs = statistics.paired_difference(row.values, match.values)
        reason = "other setting" if match.setting != row.setting else "other corpus"
        same = match.setting == row.setting and _corpora(match) == _corpora(row)
        differences.append(
            (mean_and_interval(pairs, places) if pairs.n else MISSING) if same else reason
        )
    return {f"{name}: {spec.metric}": theirs, f"difference to {name}": differences}


def _corpora(row: Row) -> set[str]:
    return {(line.get("corpus") or {}).get("sha256", "") for line in row.lines}
