"""The files `results/<name>/runs.jsonl` and `experiment.json`, and the rows of a table.

runs.jsonl is committed: one line a (cell hash, seed, device kind), in the order of the experiment's
cells and then of the seeds, so that a new run is a one-line diff. It is replaced whole or not at
all. Floats are written as their shortest round-trip form; NaN, Infinity and -Infinity as Python's
json spells them.
"""

import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

RUNS = "runs.jsonl"
EXPERIMENT = "experiment.json"

Line = dict[str, Any]


def key(line: Mapping[str, Any]) -> tuple[str, int, str]:
    """What a line is the result of: (cell hash, seed, device kind)."""
    return line["hash"], line["seed"], line["device"]


def read(folder: str | os.PathLike) -> list[Line]:
    """The lines of `folder`/runs.jsonl, one a key; an empty list where there is no such file.

    Raises ValueError that names the file and the line for one that is no JSON object or that lacks
    cell, hash, seed, device or status.
    """
    path = Path(folder) / RUNS
    if not path.exists():
        return []
    texts = path.read_text(encoding="utf-8").split("\n")
    return merge([], [_parse(t, f"{path}:{n}") for n, t in enumerate(texts, 1) if t.strip()])


def _parse(text: str, where: str) -> Line:
    try:
        line = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error.msg}, column {error.colno})") from None
    if not isinstance(line, dict):
        raise ValueError(f"{where}: a {type(line).__name__} where a JSON object is expected")
    for name, kind in (
        ("cell", str),
        ("hash", str),
        ("seed", int),
        ("device", str),
        ("status", str),
    ):
        if not isinstance(line.get(name), kind):
            raise ValueError(f"{where}: {name} is {line.get(name)!r}, expected {kind.__name__}")
    return line


def merge(existing: Iterable[Line], new: Iterable[Line]) -> list[Line]:
    """One line a key, in order of first appearance; the new line stands for the old of its key.

    The exception: a line that `failed` (killed, out of memory) never replaces one that finished or
    went NaN, since those are results and it is not.
    """
    merged: dict[tuple, Line] = {}
    for line in (*existing, *new):
        old = merged.get(key(line))
        if old is None or line["status"] != "failed" or old["status"] == "failed":
            merged[key(line)] = line
    return list(merged.values())


def write(folder: str | os.PathLike, lines: Iterable[Line]) -> None:
    """Replaces `folder`/runs.jsonl atomically; after a failure the old file is as it was.

    Sorted by the cell's place in experiment.json (cells it does not name follow in order of first
    appearance), then seed, device, hash.
    """
    lines = merge([], lines)
    cells = read_experiment(folder).get("cells", ())
    place = {cell: n for n, cell in enumerate(_cell_order(cells, lines))}
    lines.sort(key=lambda r: (place[r["cell"]], r["seed"], r["device"], r["hash"]))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    replace(Path(folder) / RUNS, text.encode())


def write_experiment(folder: str | os.PathLike, experiment: Mapping[str, Any]) -> None:
    """Replaces `folder`/experiment.json atomically: config, argument, overrides, cells, table, and
    the name, '' where none was chosen."""
    text = json.dumps(experiment, indent=1) + "\n"
    replace(Path(folder) / EXPERIMENT, text.encode())


def read_experiment(folder: str | os.PathLike) -> dict[str, Any]:
    """What `write_experiment` wrote, {} where there is none. ValueError for a damaged file."""
    path = Path(folder) / EXPERIMENT
    if not path.exists():
        return {}
    try:
        experiment = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    if not isinstance(experiment, dict):
        raise ValueError(f"{path}: a {type(experiment).__name__} where an object is expected")
    return experiment


def replace(path: Path, content: bytes) -> None:
    """Writes the file beside its place, then renames it there: a reader sees the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would keep a group's colleagues out
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class Paper(NamedTuple):
    """A published figure: its value, and SD and number of runs where the paper gives them."""

    value: float
    sd: float = math.nan
    n: int = 1


COLUMNS = (
    "order",
    "parameters.unique",
    "parameters.applied",
    "flops_per_token",
    "tokens_per_second",
    "bits_per_byte",
    "word_perplexity",
    "test",
)


@dataclass(frozen=True)
class Spec:
    """An experiment's TABLE with its defaults filled in; `Spec.of` checks it.

    metric: a name in an evaluation; split: which evaluation; baseline: a cell or ''; x: a number a
    cell, for the figure's axis; paper: published figures by cell, shown beside ours and subtracted
    only if `paper_comparable`; paper_metric: what they are, if not the metric; paper_unit: the
    metric's where theirs is another; exact: figures that no seed changes, shown without n and
    spread; columns: extra ones, of COLUMNS; sections: more tables, each {title, columns, rows,
    note}; charts: more pictures, see `arch.report.charts`.
    """

    title: str = ""
    metric: str = "perplexity"
    lower_is_better: bool = True
    split: str = "valid"
    baseline: str = ""
    x: Mapping[str, float] = field(default_factory=dict)
    x_label: str = ""
    paper: Mapping[str, Paper] = field(default_factory=dict)
    paper_label: str = ""
    paper_metric: str = ""
    paper_unit: str = ""
    paper_comparable: bool = False
    exact: bool = False
    columns: Sequence[str] = ()
    sections: Sequence[Mapping[str, Any]] = ()
    charts: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "Spec":
        """Raises ValueError for a field, a column or a paper entry that is not known."""
        _known("table", table, [f.name for f in fields(cls)])
        _known("table.columns", table.get("columns", ()), COLUMNS)
        paper = {}
        for cell, entry in (table.get("paper") or {}).items():
            entry = entry if isinstance(entry, Mapping) else {"value": entry}
            _known(f"table.paper[{cell!r}]", entry, Paper._fields)
            paper[cell] = Paper(**entry)
        return cls(**{**table, "paper": paper, "x": table.get("x") or {}})


def _known(where: str, names: Iterable[str], allowed: Sequence[str]) -> None:
    for name in names:
        if name not in allowed:
            raise ValueError(f"{where}: {name!r} is not known; allowed: {', '.join(allowed)}")


class Setting(NamedTuple):
    """How a metric was measured. Two figures are comparable only where all four are equal."""

    split: str
    unit: str | None = None
    window: int | None = None
    stride: int | None = None

    def __str__(self) -> str:
        named = {"window": self.window, "stride": self.stride}
        words = [f"{name} {value}" for name, value in named.items() if value is not None]
        return ", ".join([self.split, *([self.unit] if self.unit else []), *words])


def measured(line: Mapping[str, Any], split: str, metric: str) -> tuple[Setting, float] | None:
    """Setting and value of a metric, or None where the line has no such evaluation."""
    evaluation = (line.get("evaluations") or {}).get(split, {})
    if line["status"] != "finished" or evaluation.get(metric) is None:
        return None
    setting = Setting(split, *(evaluation.get(name) for name in ("unit", "window", "stride")))
    return setting, float(evaluation[metric])


@dataclass(frozen=True)
class Row:
    """The seeds that may be averaged: one cell, configuration hash, device kind and setting.

    `setting` is None where no line has the metric; `lines` is empty for a cell not yet run.
    `values` holds the finite figures by seed; `losses` says what became of the other lines, as
    ('NaN', line) pairs and the like, so that values and losses together are all lines.
    """

    cell: str
    device: str
    hash: str
    setting: Setting | None
    lines: tuple[Line, ...]
    values: dict[int, float]
    losses: tuple[tuple[str, Line], ...]


def rows(lines: Iterable[Line], cells: Sequence[str], split: str, metric: str) -> list[Row]:
    """Groups lines into rows, every line in exactly one, every cell in at least one.

    In the order of `cells`; cells that are not among them follow.
    """
    lines = list(lines)
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line["cell"], line["device"], line["hash"]), []).append(line)
    found = []
    for cell in _cell_order(cells, lines):
        mine = [identity for identity in groups if identity[0] == cell]
        for identity in sorted(mine, key=lambda i: i[1]):
            found += _split_by_setting(identity, groups[identity], split, metric)
        if not mine:
            found.append(Row(cell, "", "", None, (), {}, ()))
    return found


def _split_by_setting(
    identity: tuple[str, str, str], lines: list[Line], split: str, metric: str
) -> list[Row]:
    values = {id(line): measured(line, split, metric) for line in lines}
    settings = list(dict.fromkeys(v[0] for v in values.values() if v)) or [None]
    found = []
    for setting in settings:
        # a line without a figure has no setting of its own: it is counted in the first row
        mine = [
            r
            for r in lines
            if (v := values[id(r)]) and v[0] == setting or v is None and setting == settings[0]
        ]
        figures = {r["seed"]: v[1] for r in mine if (v := values[id(r)]) and math.isfinite(v[1])}
        lost = tuple(
            (_loss(r, values[id(r)], f"{split} {metric}"), r)
            for r in mine
            if r["seed"] not in figures
        )
        found.append(Row(*identity, setting, tuple(mine), figures, lost))
    return found


def _loss(line: Line, value: tuple[Setting, float] | None, wanted: str) -> str:
    if value is not None:
        return "NaN" if math.isnan(value[1]) else "infinite"
    status = str(line["status"])
    return {"nan": "NaN", "finished": f"without {wanted}"}.get(status, status)


def revision(line: Mapping[str, Any]) -> str:
    """'1a2b3c4d', or '1a2b3c4d + changes' where the tree was dirty; 'unknown' without git."""
    git = line.get("git") or {}
    return (git.get("revision") or "unknown")[:8] + " + changes" * bool(git.get("dirty"))


def foreign(lines: Sequence[Line]) -> list[Line]:
    """Lines of other code than most: another git revision, or a dirty tree."""
    most = Counter(revision(line).split()[0] for line in lines).most_common(1)
    return [line for line in lines if revision(line) != most[0][0]]


def provenance(lines: Iterable[Line]) -> list[tuple[str, str]]:
    """(label, text) pairs of where lines come from; differing values are joined with ' / '."""
    facts: dict[str, dict[str, None]] = {}
    for r in lines:
        corpus, replicas = r.get("corpus") or {}, r.get("replicas") or {}
        texts = {
            "Corpus": f"{corpus.get('name', '')}, sha256 {corpus.get('sha256', '')[:12]}…",
            "Trained for": f"{r.get('steps', 0):,} steps, {r.get('tokens', 0):,} tokens",
            "Device": f"{r['device']} ({r.get('device_name', '')}, {r.get('cores', '?')} cores)",
            "Replicas": f"{replicas.get('mode', '?')}, {replicas.get('width', '?')} wide",
            "Code": f"git {revision(r)}",
            "Versions": ", ".join(f"{k} {v}" for k, v in (r.get("versions") or {}).items()),
        }
        if r["status"] != "finished" or "steps" not in r:
            del texts["Trained for"]
        if not replicas:
            del texts["Replicas"]
        for label, text in texts.items():
            facts.setdefault(label, {})[text] = None
    return [(label, " / ".join(texts)) for label, texts in facts.items()]


def _cell_order(cells: Sequence[str], lines: Iterable[Line]) -> list[str]:
    return list(dict.fromkeys([*cells, *(line["cell"] for line in lines)]))
