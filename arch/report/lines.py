"""The files `results/<name>/runs.jsonl` and `experiment.json`, and where their lines come from.

runs.jsonl is committed: one line per (cell hash, seed, device kind), in the order of the
experiment's cells and then of the seeds, so that a new run is a diff of one line. `data_seed`
stands beside `seed` where data have another seed than initialisation. Both files are
replaced whole or not at all. Floats are written in their shortest round-trip form; NaN, Infinity
and -Infinity as Python's json spells them. A line that was cut or edited is named and left out of
every table; the text of it is kept in damaged.txt when the file is written again.
"""

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arch.report.files import replace_file
from arch.report.jsonl import read_objects, write_objects
from arch.report.seeds import Seed, both, line_seed

RUNS = "runs.jsonl"
EXPERIMENT = "experiment.json"
REQUIRED = {"cell": str, "hash": str, "seed": int, "device": str, "status": str}

Line = dict[str, Any]


def key(line: Mapping[str, Any]) -> tuple[str, Seed, str]:
    """What a line is the result of: (cell hash, seed, device kind)."""
    return line["hash"], line_seed(line), line["device"]


def read_lines(folder: str | os.PathLike) -> list[Line]:
    """The lines of `folder`/runs.jsonl, one per key; an empty list where there is no such file.

    A line that is no JSON object, lacks cell, hash, seed, device or status, or differs from what
    was sealed is left out, with a warning that names the file, the line and what is wrong with it.
    """
    return merge_lines([], read_objects(Path(folder) / RUNS, REQUIRED))


def merge_lines(existing: Iterable[Line], new: Iterable[Line]) -> list[Line]:
    """One line per key, in order of first appearance; a new line takes the place of the old one.

    The exception: a line that `failed` (killed, out of memory) never replaces one that finished or
    went NaN, because those are results and it is not.
    """
    merged: dict[tuple[str, Seed, str], Line] = {}
    for line in (*existing, *new):
        old = merged.get(key(line))
        if old is None or line["status"] != "failed" or old["status"] == "failed":
            merged[key(line)] = line
    return list(merged.values())


def of_one_device(lines: Iterable[Mapping[str, Any]]) -> list[Any]:
    """The lines of the device kind that most finished lines are of, the first by name where several
    are: no figure that combines cells or seeds mixes a CPU's with a GPU's."""
    lines = list(lines)
    counts = Counter(line.get("device", "") for line in lines if line["status"] == "finished")
    most = min(counts, key=lambda device: (-counts[device], device), default=None)
    return lines if most is None else [x for x in lines if x.get("device", "") == most]


def write_lines(folder: str | os.PathLike, lines: Iterable[Line]) -> None:
    """Replaces `folder`/runs.jsonl, making the folder; after a failure the old file is as it was.

    Sorted by the cell's place in experiment.json (cells that it does not name follow in order of
    first appearance), then by seed, device and hash. Raises OSError where the disk refuses.
    """
    lines = merge_lines([], lines)
    cells = read_experiment(folder).get("cells", ())
    place = {cell: n for n, cell in enumerate(in_order(cells, lines))}
    lines.sort(
        key=lambda one: (place[one["cell"]], both(line_seed(one)), one["device"], one["hash"])
    )
    write_objects(Path(folder) / RUNS, lines, REQUIRED)


def write_experiment(folder: str | os.PathLike, experiment: Mapping[str, Any]) -> None:
    """Replaces `folder`/experiment.json, making the folder.

    experiment: config, argument, overrides, cells, table, and name ('' where none was chosen).
    Raises OSError where the disk refuses.
    """
    path = Path(folder) / EXPERIMENT
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(experiment, indent=1) + "\n").encode())


def read_experiment(folder: str | os.PathLike) -> dict[str, Any]:
    """What `write_experiment` wrote; {} where there is no such file.

    Raises ValueError, naming the file, for a damaged one.
    """
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


def in_order(cells: Sequence[str], lines: Iterable[Line]) -> list[str]:
    """Every cell once: those of the experiment, then those that only lines name."""
    return list(dict.fromkeys([*cells, *(line["cell"] for line in lines)]))


def several_configurations(lines: Iterable[Line]) -> set[str]:
    """The cells that lines hold in more than one configuration: those of --keep."""
    hashes: dict[str, set[str]] = {}
    for line in lines:
        hashes.setdefault(line["cell"], set()).add(line["hash"])
    return {cell for cell, found in hashes.items() if len(found) > 1}


def of_present(
    lines: Iterable[Line], present: Mapping[str, str], several: Collection[str]
) -> list[Line]:
    """The lines without those of other configurations of a cell than its present one.

    Args:
        present: cell → hash; a cell in `several` that it lacks has no line.
        several: the cells that may be there in another configuration.
    """
    return [
        line
        for line in lines
        if line["cell"] not in several or line["hash"] == present.get(line["cell"])
    ]


def corpus_digest(line: Mapping[str, Any]) -> str:
    """The sha256 of the corpus that a line is of; '' where it does not say."""
    return str((line.get("corpus") or {}).get("sha256", ""))


def revision(line: Mapping[str, Any]) -> str:
    """'1a2b3c4d', or '1a2b3c4d + changes' where the tree was dirty; 'unknown' without git."""
    git = line.get("git") or {}
    return (git.get("revision") or "unknown")[:8] + " + changes" * bool(git.get("dirty"))


def from_other_code(lines: Sequence[Line]) -> list[Line]:
    """The lines of another git revision than most have, or of a dirty tree."""
    most = Counter(revision(line).split()[0] for line in lines).most_common(1)
    return [line for line in lines if revision(line) != most[0][0]]


def from_older_numerics(lines: Iterable[Line], needed: Mapping[str, int]) -> list[Line]:
    """The lines that the present code would not make again, bit for bit.

    needed: cell → the number of `numerics` that its results need; a cell that it lacks needs none.
    """
    return [line for line in lines if line.get("numerics", 1) < needed.get(line["cell"], 1)]


def provenance(lines: Iterable[Line]) -> list[tuple[str, str]]:
    """(label, text) pairs of where lines come from; differing values are joined with ' / '."""
    facts: dict[str, dict[str, None]] = {}
    for line in lines:
        for label, text in _facts(line).items():
            facts.setdefault(label, {})[text] = None
    return [(label, " / ".join(texts)) for label, texts in facts.items()]


def _facts(line: Line) -> dict[str, str]:
    corpus, replicas = line.get("corpus") or {}, line.get("replicas") or {}
    name, cores = line.get("device_name", ""), line.get("cores", "?")
    texts = {
        "Corpus": f"{corpus.get('name', '')}, sha256 {corpus.get('sha256', '')[:12]}…",
        "Trained for": f"{line.get('steps', 0):,} steps, {line.get('tokens', 0):,} tokens",
        "Device": f"{line['device']} ({name}, {cores} cores)",
        "Replicas": f"{replicas.get('mode', '?')}, {replicas.get('width', '?')} wide",
        "Code": f"git {revision(line)}",
        "Versions": ", ".join(f"{k} {v}" for k, v in (line.get("versions") or {}).items()),
    }
    if line["status"] != "finished" or "steps" not in line:
        del texts["Trained for"]
    if unknown := (corpus.get("details") or {}).get("unknown"):
        shares = ", ".join(f"{share:.2%} of {split}" for split, share in unknown.items())
        texts["Unknown tokens"] = shares
    if not replicas:
        del texts["Replicas"]
    if moved := line.get("moved_from"):
        steps = ", ".join(str(before["step"]) for before in moved)
        texts["Begun on another machine"] = f"{line['cell']} seed {line['seed']} to step {steps}"
    return texts
