"""results/benchmarks/: lines of JSON by experiment, and a page with the last of each comparison."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arch.bench import texts
from arch.bench.against import QUIET
from arch.report.files import replace_file
from arch.report.jsonl import read_objects, write_objects
from arch.report.lines import revision
from arch.report.renderers import markdown_grid, markdown_text
from arch.report.seals import sealed
from arch.report.tables import Grid

PAGE = "table.md"
TEXTS = "generation"  # the folder of the lines of text
REQUIRED = {
    "experiment": str, "cell": str, "seed": int, "peer": str, "ratio": float, "sizes": dict,
    "ours": dict, "theirs": dict, "disturbed": bool, "device_name": str,
}  # fmt: skip
COLUMNS = (
    "machine", "experiment", "cell", "dtype", "peer", "ours, tokens/s", "peer, tokens/s", "ratio",
    "lowest to highest", "rounds", "parameters", "of the ceiling", "load", "versions",
)  # fmt: skip


def add(folder: Path, name: str, lines: Iterable[Mapping[str, Any]]) -> list[Path]:
    """Appends lines to NAME.jsonl, each sealed, and writes the page anew. Returns both paths.

    Raises OSError where the disk refuses.
    """
    return _add(folder, folder / f"{name}.jsonl", lines, REQUIRED)


def add_texts(folder: Path, name: str, lines: Iterable[Mapping[str, Any]]) -> list[Path]:
    """`add` of lines of text, see `texts.line`, in a folder of their own."""
    return _add(folder, folder / TEXTS / f"{name}.jsonl", lines, texts.REQUIRED)


def _add(
    folder: Path, path: Path, lines: Iterable[Mapping[str, Any]], required: Mapping[str, type]
) -> list[Path]:
    write_objects(path, [*read_objects(path, required), *map(sealed, lines)], required)
    page = folder / PAGE
    replace_file(page, to_page(latest(folder), latest_texts(folder)).encode())
    return [path, page]


def latest(folder: Path) -> list[dict[str, Any]]:
    """The last line of each machine, cell with its overrides, and peer, by experiment."""
    found: dict[tuple, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in read_objects(path, REQUIRED):
            cell = line["experiment"], _cell(line)
            found[*cell, line["device_name"], line["cores"], line["peer"]] = line
    return [found[key] for key in sorted(found)]


def latest_texts(folder: Path) -> list[dict[str, Any]]:
    """The last line of text of each machine, cell and length, by experiment."""
    found: dict[tuple, dict[str, Any]] = {}
    for path in sorted((folder / TEXTS).glob("*.jsonl")):
        found |= {texts.key(line): line for line in read_objects(path, texts.REQUIRED)}
    return [found[key] for key in sorted(found)]


def grid(lines: Sequence[Mapping[str, Any]]) -> Grid:
    """A row for each line."""
    return Grid("Tokens a second in training", COLUMNS, tuple(map(_row, lines)))


def shares_grid(lines: Sequence[Mapping[str, Any]]) -> Grid:
    """Where a step of ours goes, a row for each cell and machine; the shares and the rest are of
    the whole step."""
    cells = {(line["experiment"], _cell(line), _machine(line)): line["shares"] for line in lines}
    names = list(dict.fromkeys(name for found in cells.values() for name in found["seconds"]))
    rows = []
    for (experiment, cell, machine), found in cells.items():
        whole, seconds = found["step_seconds"], found["seconds"]
        parts = [f"{seconds[name] / whole:.0%}" if name in seconds else "" for name in names]
        others = found["others"]
        taken = "?" if others is None else f"{others:.0%}"
        rest = 1 - sum(seconds.values()) / whole
        rows.append(
            (machine, experiment, cell, f"{1000 * whole:.1f}", *parts, f"{rest:.0%}", taken)
        )
    columns = (
        "machine",
        "experiment",
        "cell",
        "step, ms",
        *names,
        "the rest",
        "cores taken by others",
    )
    return Grid("Where a step of ours goes", columns, tuple(rows))


def notes(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What holds for all rows."""
    ways = dict.fromkeys(line["shares"]["way"] for line in lines)
    return [
        "AdamW, one training step after the other; the sides train in turn, each in its own "
        "process. On a GPU PyTorch is compiled. "
        "Ratio: ours over the peer's, the median over rounds in which other processes "
        f"took less than {QUIET:.0%} of the cores from every side; disturbed where there were too "
        "few of these: the figures are then of all rounds and say little. Parameters: ours, then "
        "the peer's by difference. Of the ceiling: model FLOPs (ours, for both) a second over "
        "those of a square product of side 2,048 (8,192 on a GPU) by the same library in the same "
        "turns, ours / peer; — where that product was too small to fill its machine. "
        "Load: processes that wanted a core before and after.",
        *(f"Where a step goes: {way}." for way in ways),
    ]


def to_page(lines: Sequence[Mapping[str, Any]], spoken: Sequence[Mapping[str, Any]] = ()) -> str:
    """All comparisons as a page of Markdown: in training, and of text."""
    grids = [grid(lines), shares_grid(lines)] if lines else []
    said = notes(lines) if lines else []
    if spoken:
        grids, said = [*grids, texts.grid(spoken)], [*said, *texts.notes()]
    blocks = ["# Beside other libraries"]
    for one in grids:
        blocks += [f"## {markdown_text(one.title)}", markdown_grid(one)]
    blocks += ["\n".join(f"- {markdown_text(note)}" for note in said)]
    again = dict.fromkeys(line["command"] for line in [*lines, *spoken])
    blocks += ["To make it again:", "```sh\n" + "\n".join(again) + "\n```"]
    return "\n\n".join(blocks) + "\n"


def _machine(line: Mapping[str, Any]) -> str:
    return f"{line['device_name']}, {line['cores']} cores"


def _share(of_ceiling: float) -> str:
    """Of a ceiling; a product that was too small for its machine measured none."""
    return f"{of_ceiling:.0%}" if of_ceiling <= 1 else "—"


def _cell(line: Mapping[str, Any]) -> str:
    """Its name, and what the command line changed of it."""
    changed = [f"{field}={text}" for field, text in line.get("overrides", {}).items()]
    return ", ".join([line["cell"], *changed])


def _row(line: Mapping[str, Any]) -> tuple[str, ...]:
    ours, theirs = line["ours"], line["theirs"]
    difference = theirs["parameters"] / ours["parameters"] - 1
    versions = {**theirs["versions"], **ours["versions"]}
    return (
        _machine(line),
        line["experiment"],
        _cell(line),
        line["sizes"].get("dtype", "float32"),
        line["peer"],
        f"{ours['tokens_per_second']:,.0f}",
        f"{theirs['tokens_per_second']:,.0f}",
        f"{line['ratio']:.2f}",
        f"{line['ratio_low']:.2f} to {line['ratio_high']:.2f}",
        f"{len(line['ratios'])} of {line['rounds']}" + ", disturbed" * line["disturbed"],
        f"{ours['parameters']:,} {difference:+.1%}",
        " / ".join(_share(side["ceiling_share"]) for side in (ours, theirs)),
        " → ".join("?" if load is None else f"{load:.1f}" for load in line["load"]),
        ", ".join([*(f"{k} {v}" for k, v in versions.items()), f"git {revision(line)}"]),
    )
