"""What the table of an experiment says: rows, columns, notes; how it looks is `renderers`'s.

What may be averaged is a row (`results.Row`): one cell, configuration, device kind and way of
measuring. A NaN is a result and is counted; the paper's figures stand beside ours and are
subtracted only where the experiment says that the metric is the same.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arch import results, statistics
from arch.order import compress_parts
from arch.results import Row, Spec
from arch.statistics import Summary, decimals, mean_and_interval, mean_and_sd, number

MISSING = "—"
FEW = 5  # under so many seeds a table says how wide its intervals are


@dataclass(frozen=True)
class Grid:
    """A table of strings; every renderer escapes them for itself."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """What `build` made: the main grid, the experiment's own sections, notes and provenance."""

    name: str
    spec: Spec
    rows: tuple[Row, ...]
    main: Grid
    sections: tuple[Grid, ...]
    notes: tuple[str, ...]
    command: str


def tabulate(folder: Path, against: Path | None = None) -> Table:
    """The table of a results folder, nothing written."""
    experiment, lines = results.read_experiment(folder), results.read(folder)
    spec = Spec.of(experiment.get("table") or {})
    rows = results.rows(lines, experiment.get("cells", ()), spec.split, spec.metric)
    name = folder.resolve().name
    foreign = results.foreign(lines)
    notes = [*_caption(rows, spec), *_paper_notes(spec), *_loss_notes(rows)]
    if foreign:
        codes = dict.fromkeys(f"{line['cell']} ({results.revision(line)})" for line in foreign)
        notes.append(
            "† finished by other code than most of the table, or by uncommitted code: "
            + ", ".join(codes)
        )
    columns = _identity(rows, {id(line) for line in foreign})
    columns |= _figures(rows, spec) | _paper(rows, spec) | _extra(rows, spec)
    if against:
        other = results.rows(results.read(against), (), spec.split, spec.metric)
        columns |= _against(rows, other, spec, against.resolve().name)
        missing = sorted({r.cell for r in other} - {r.cell for r in rows})
        notes += [f"Only in {against.resolve().name}: {', '.join(missing)}"] if missing else []
    seeds = sorted({line["seed"] for line in lines})
    notes += [f"Seeds: {_ranges(seeds)}"] if seeds else []
    notes += [f"{label}: {text}" for label, text in results.provenance(lines)]
    main = Grid(spec.title or name, tuple(columns), tuple(zip(*columns.values(), strict=True)))
    return Table(
        name,
        spec,
        tuple(rows),
        main,
        tuple(map(_section, spec.sections)),
        tuple(notes),
        _command(experiment),
    )


def _section(section: Mapping[str, Any]) -> Grid:
    title, columns = str(section.get("title", "")), tuple(map(str, section.get("columns", ())))
    for row in section.get("rows", ()):
        if len(row) != len(columns):
            raise ValueError(
                f"table.sections {title!r}: a row has {len(row)} entries, "
                f"there are {len(columns)} columns"
            )
    rows = tuple(tuple(map(_plain, row)) for row in section.get("rows", ()))
    return Grid(title, columns, rows, str(section.get("note", "")))


def baseline(row: Row, rows: Iterable[Row], spec: Spec) -> Row | None:
    """The row that `row` may be compared with: the baseline's on its device, in its setting."""
    found = [
        r
        for r in rows
        if r.cell == spec.baseline
        and r.values
        and (r.device, r.setting) == (row.device, row.setting)
    ]
    return found[0] if len(found) == 1 else None


def difference(row: Row, rows: Iterable[Row], spec: Spec) -> Summary | None:
    """Paired difference to the baseline, None with fewer than two pairs or for itself."""
    base = baseline(row, rows, spec)
    if base is None or row.cell == spec.baseline:
        return None
    pairs = statistics.paired_difference(row.values, base.values)
    return pairs if pairs.n > 1 else None


def _identity(rows: list[Row], foreign: set[int]) -> dict[str, list[str]]:
    daggers = [" †" * any(id(line) in foreign for line in row.lines) for row in rows]
    columns = {"cell": [row.cell + dagger for row, dagger in zip(rows, daggers, strict=True)]}
    if len({row.device for row in rows if row.lines}) > 1:
        columns["device"] = [row.device for row in rows]
    if len({(row.cell, row.hash) for row in rows}) > len({row.cell for row in rows}):
        columns["configuration"] = [row.hash[:8] for row in rows]
    orders = [row.lines[0].get("order", "") if row.lines else "" for row in rows]
    orders = [order and compress_parts(order) for order in orders]
    return columns | ({"order": orders} if any(orders) else {})


def _figures(rows: list[Row], spec: Spec) -> dict[str, list[str]]:
    summaries = [statistics.summary(row.values.values()) for row in rows]
    places = decimals(s.mean for s in summaries)
    settings = _settings(rows)
    columns = {} if spec.exact else {"n": [str(s.n) for s in summaries]}
    for setting in settings or [None]:
        header = spec.metric + (f" ({setting})" if len(settings) > 1 else "")
        written = [_with_spread(s, places, spec) for s in summaries]
        columns[header] = [
            text if row.setting == setting else MISSING
            for row, text in zip(rows, written, strict=True)
        ]
    found = [difference(row, rows, spec) for row in rows]
    if any(found):
        columns[f"difference to {spec.baseline}"] = [
            mean_and_interval(d, places)
            if d
            else "baseline"
            if row.cell == spec.baseline
            else MISSING
            for row, d in zip(rows, found, strict=True)
        ]
    if any(row.losses for row in rows):
        columns["failures"] = [losses(row) or ("0" if row.lines else MISSING) for row in rows]
    return columns


def _with_spread(s: Summary, places: int, spec: Spec) -> str:
    return number(s.mean, places) if spec.exact else mean_and_sd(s, places)


def _settings(rows: list[Row]) -> list[results.Setting]:
    return list(dict.fromkeys(row.setting for row in rows if row.setting))


def losses(row: Row) -> str:
    """'1 NaN of 5 (step 1200)': every line that has no figure, by what became of it."""
    steps: dict[str, list[str]] = {}
    for word, line in row.losses:
        steps.setdefault(word, []).append(str(line.get("stopped_step") or ""))
    return ", ".join(
        f"{len(at)} {word} of {len(row.lines)}" + (f" (step {', '.join(at)})" if all(at) else "")
        for word, at in steps.items()
    )


def _paper(rows: list[Row], spec: Spec) -> dict[str, list[str]]:
    if not spec.paper:
        return {}
    whole = all(float(p.value).is_integer() for p in spec.paper.values())
    places = 0 if whole else decimals(p.value for p in spec.paper.values())
    unit = f" ({spec.paper_unit})" if spec.paper_unit else ""
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


def _extra(rows: list[Row], spec: Spec) -> dict[str, list[str]]:
    columns = {}
    for name in spec.columns:
        if name in ("test", "bits_per_byte", "word_perplexity"):
            split, metric = ("test", spec.metric) if name == "test" else (spec.split, name)
            found = [results.rows(row.lines, (), split, metric) for row in rows]
            places = decimals(v for parts in found for r in parts for v in r.values.values())
            mixed = name == "test" and len(_settings([r for parts in found for r in parts])) > 1
            columns[name.replace("_", " ")] = [
                "; ".join(
                    mean_and_sd(statistics.summary(r.values.values()), places)
                    + f" ({r.setting})" * mixed
                    for r in parts
                )
                or MISSING
                for parts in found
            ]
        elif name != "order":
            columns[name.replace(".", ": ").replace("_", " ")] = [
                f"{value:,.0f}" if (value := constant(row, name)) == value else MISSING
                for row in rows
            ]
    return columns


def constant(row: Row, name: str) -> float:
    """The mean over lines of a number such as 'parameters.unique'; nan where none has it."""
    values = []
    for line in row.lines:
        for part in name.split("."):
            line = line.get(part) if isinstance(line, Mapping) else None
        values += [line] if line else []
    return statistics.summary(values).mean


def _against(rows: list[Row], other: list[Row], spec: Spec, name: str) -> dict[str, list[str]]:
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


def _caption(rows: list[Row], spec: Spec) -> list[str]:
    settings, shown = _settings(rows), [d for row in rows if (d := difference(row, rows, spec))]
    where = f" ({settings[0]})" if len(settings) == 1 else ""
    better = "lower" if spec.lower_is_better else "higher"
    spread = "" if spec.exact else "mean ± SD with n − 1; "
    notes = [f"{spec.metric}{where}: {spread}{better} is better."]
    if "test" in spec.columns:
        lines = [line for row in rows for line in row.lines]
        tests = _settings(results.rows(lines, (), "test", spec.metric))
        notes += [f"test: {spec.metric} ({'; '.join(map(str, tests))})."] if tests else []
    if shown:
        notes.append(
            "Differences are paired by seed, with the 95 % Student t interval; * where it "
            f"excludes 0 ({len(shown)} comparison(s), not corrected for their number)."
        )
    elif spec.baseline:
        notes.append(f"No differences to {spec.baseline}: that takes two seeds in common.")
    if not spec.exact and any(1 < len(row.values) < FEW for row in rows):
        notes.append(
            f"Under {FEW} seeds: intervals are Student t and wide; every seed is in the "
            "figure and in runs.jsonl."
        )
    if not any(row.lines for row in rows):
        notes.append("No runs yet.")
    return notes


def _paper_notes(spec: Spec) -> list[str]:
    if not spec.paper:
        return []
    return [
        f"Paper: {spec.paper_label or 'source not given'}."
        + ("" if spec.paper_comparable else " Measured otherwise than ours, so not subtracted.")
    ]


def _loss_notes(rows: list[Row]) -> list[str]:
    where: dict[str, list[str]] = {}
    for row in rows:
        for word, line in row.losses:
            error = (str(line.get("error") or "").strip().split("\n") or [""])[-1][:120]
            if error:
                where.setdefault(f"{word}: {error}", []).append(f"{row.cell} seed {line['seed']}")
    lost = sum(len(row.losses) for row in rows)
    head = [f"Means leave out {lost} run(s) without a figure, counted under failures."]
    return head * bool(lost) + [f"{what} ({', '.join(runs)})" for what, runs in where.items()]


def _ranges(seeds: list[int]) -> str:
    """0–4, 100–104: sorted numbers, consecutive ones as a range."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(f"{p[0]}–{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)


def _command(experiment: Mapping[str, Any]) -> str:
    """The command line that makes these results again; '' where the experiment is not known."""
    if not experiment.get("config"):
        return ""
    config = experiment["config"] + f":{experiment['argument']}" * bool(experiment.get("argument"))
    options = [
        f"--config={config}",
        *(
            f"--config.{name}={tuple(v) if isinstance(v, list) else v}"
            for name, v in (experiment.get("overrides") or {}).items()
        ),
    ]
    return shlex.join(["python", "launch.py", "sweep", *options])


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return number(value, decimals([value]))
    return MISSING if value is None else str(value)
