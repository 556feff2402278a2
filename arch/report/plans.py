"""results/plan/: what every experiment's paper scale needs of some hardware, a line for each
(experiment, topology) in plan.jsonl, and table.md and table.csv made of these lines alone."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arch.report.columns import MISSING
from arch.report.files import replace_file
from arch.report.jsonl import read_objects, write_objects
from arch.report.renderers import markdown_grid, markdown_text
from arch.report.tables import Grid

LINES = "plan.jsonl"
REQUIRED = {"experiment": str, "cell": str, "topology": str, "command": str, "error": str}
COLUMNS = (
    "experiment", "cell", "mesh", "to fit", "parameters", "optimizer", "GiB a device",
    "of the chip", "TFLOP a step", "step, s", "tokens/s", "tokens", "hours", "chip-hours",
    "attention",
)  # fmt: skip
GIB = 2**30
NOTES = (
    "One seed of the cell with the most FLOPs of each file, at scale=paper, on all chips of the "
    "topology: the first mesh that fits, data before fsdp, either beside tensor where the batch "
    "does not divide; where none fits, what was set besides (in the column 'to fit'), a chunked "
    "loss, then rematerialisation, then accumulation.",
    "Compiled for the chip, and never run on it. GiB a device: the compiler's own count of all "
    "that lives at once. FLOPs: of products on all chips, by the model's own count. Time: a "
    "roofline of products at half of the peak, or memory, and then what is sent; scores that "
    "attention keeps in memory make long steps wait for memory.",
    "Attention, by letter: cudnn, NVIDIA's fused kernel; blocks, ours by blocks of queries; plain, "
    "scores in memory, where attention has dropout or a mask; chunks, local; buckets, LSH.",
)


def read(folder: Path) -> list[dict[str, Any]]:
    """The lines of results/plan."""
    return read_objects(folder / LINES, REQUIRED)


def add(folder: Path, line: Mapping[str, Any]) -> None:
    """Puts a line in the place of that of the same experiment and topology, or behind all, and
    writes both tables anew. Raises OSError where the disk refuses."""
    kept = {key(one): one for one in read(folder)} | {key(line): dict(line)}
    lines = [kept[name] for name in sorted(kept)]
    write_objects(folder / LINES, lines, REQUIRED)
    replace_file(folder / "table.md", to_page(lines).encode())
    replace_file(folder / "table.csv", to_csv(lines).encode())


def key(line: Mapping[str, Any]) -> tuple[str, str]:
    """What tells lines apart."""
    return line["topology"], line["experiment"]


def best(line: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The plan of a line that is shown: the cheapest that fits, else the smallest, else none."""
    if line.get("cheapest"):
        return line["cheapest"]
    return min(line.get("tried") or [], key=lambda one: one["peak"], default=None)


def grid(topology: str, lines: Sequence[Mapping[str, Any]]) -> Grid:
    """A row for each line of one topology."""
    rows = tuple(tuple(_shown(line).get(name, MISSING) for name in COLUMNS) for line in lines)
    return Grid(topology, COLUMNS, rows)


def _shown(line: Mapping[str, Any]) -> dict[str, str]:
    named = {"experiment": line["experiment"], "cell": line["cell"]}
    found = best(line)
    if found is None:
        return {**named, "mesh": line["error"] or "nothing was compiled"}
    over = found["peak"] / found["memory"]
    return {
        **named,
        "mesh": " × ".join(f"{axis}={n}" for axis, n in found["mesh"].items()) or "one device",
        "to fit": ", ".join(f"{field}={value}" for field, value in found["changes"].items())
        + ("" if found["fits"] else f" ({over - 1:.0%} over)"),
        "parameters": f"{found['weights'] / 1e6:,.1f}M",
        "optimizer": line["optimizer"],
        "GiB a device": f"{found['peak'] / GIB:.2f}",
        "of the chip": f"{over:.0%}",
        "TFLOP a step": f"{found['flops'] * found['devices'] / 1e12:,.2f}",
        "step, s": _number(found["step_seconds"], ".4g"),
        "tokens/s": _number(found["tokens_per_second"], ",.0f"),
        "tokens": f"{found['tokens']:.3g}",
        "hours": _number(found["hours"], ",.1f"),
        "chip-hours": _number(found["chip_hours"], ",.0f"),
        "attention": attention(found["attention"]) or MISSING,
    }


def attention(paths: Mapping[str, Sequence[str]]) -> str:
    """The path of each letter's attention: 's plain, c cudnn'; see `attention.dot_product`."""
    return ", ".join(f"{letter} {' '.join(each)}" for letter, each in paths.items())


def _number(number: float | None, form: str) -> str:
    """A number; of a step that the compiler refused there is none."""
    return MISSING if number is None else f"{number:{form}}"


def to_page(lines: Sequence[Mapping[str, Any]]) -> str:
    """All topologies as a page of Markdown."""
    blocks = ["# Paper scales on hardware that is not here"]
    topologies = list(dict.fromkeys(line["topology"] for line in lines))
    for topology in topologies:
        of_it = [line for line in lines if line["topology"] == topology]
        chip = next((one["memory"] for one in filter(None, map(best, of_it))), 0)
        blocks += [f"## {topology}", f"A chip has {chip / GIB:.2f} GiB."] if chip else []
        blocks += [markdown_grid(grid(topology, of_it))]
    blocks += ["\n".join(f"- {markdown_text(note)}" for note in NOTES)]
    again = "\n".join(f"python launch.py plan --all --topology={one}" for one in topologies)
    blocks += ["To make it again:", f"```sh\n{again}\n```"]
    return "\n\n".join(blocks) + "\n"


def to_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """One line per row, numbers with every digit."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = (
        "weights", "peak", "memory", "fits", "parameters", "state", "temporary", "flops", "bytes",
        "step_seconds", "tokens_per_second", "tokens", "hours", "chip_hours", "compile_seconds",
    )  # fmt: skip
    own = ("topology", "experiment", "cell", "optimizer", "batch", "efficiency", "error")
    writer.writerow([*own, "mesh", "changes", "attention", *names])
    for line in lines:
        found = best(line) or {}
        shown = _shown(line) if found else {}
        texts = [shown.get(name, "") for name in ("mesh", "to fit", "attention")]
        writer.writerow(
            [*(line.get(name, "") for name in own), *texts, *(found.get(n, "") for n in names)]
        )
    return file.getvalue()
