"""What a compiled program moves, read from its text: bytes through memory, and collectives.

A loop's body counts as often as it runs: as the compiler says, or the bound that its condition
compares with. Of a switch's branches each counts its share.
"""

import math
import re
from typing import NamedTuple

HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
SHAPE = re.compile(r"([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
TRIPS = re.compile(r'known_trip_count"?[:=]\s*\{"?n"?[:=]"?(\d+)')
CALLED = re.compile(
    r"(?:body|condition|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)"
)
OPERAND = re.compile(r"%([\w.\-]+)")
FUSED = re.compile(r"\bcalls=%?([\w.\-]+)")
CONDITION = re.compile(r"condition=%?([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
# [groups,members], {{members},…} or mesh['axis'=size,…] {'axis',…}
GROUPS = re.compile(
    r"replica_groups=(?:\[\d+,(?P<size>\d+)\]|\{\{(?P<members>[\d,]+)\}"
    r"|mesh\[(?P<mesh>[^\]]*)\] \{(?P<axes>[^}]*)\})"
)
AXIS = re.compile(r"'([^']+)'=(\d+)")
PARTS = re.compile(r"\b(?:replica_count|num_partitions)=(\d+)")
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "after-all",
    "conditional", "call",
}  # fmt: skip
BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64}


class Collective(NamedTuple):
    """All collectives of a kind in a step: how many, bytes of their results on a device, and bytes
    that each device sends."""

    count: float = 0
    bytes: float = 0
    sent: float = 0


class Traffic(NamedTuple):
    """bytes: written to memory and read again, on a device; collectives: by kind."""

    bytes: float
    collectives: dict[str, Collective]


class _Line(NamedTuple):
    opcode: str
    bytes: float
    text: str
    is_root: bool


_Lines = dict[str, _Line]  # by name


def size(shapes: str) -> float:
    """Bytes of a type as HLO writes it, such as 'bf16[8,128]{1,0}' or a tuple of these."""
    total = 0.0
    for name, numbers in SHAPE.findall(shapes):
        digits = re.sub(r"^\D+", "", name)
        bits = BITS.get(name) or (8 if name.startswith("f8") else int(digits or 0))
        total += bits / 8 * math.prod(int(n) for n in numbers.split(",") if n)
    return total


def traffic(text: str) -> Traffic:
    """What a step moves on each device, from the text of its compiled program."""
    computations, entry = _computations(text)
    everyone = math.prod(int(count) for count in PARTS.findall(text.partition("\n")[0]))
    found: dict[str, Collective] = {}
    moved = 0.0

    def visit(name: str, times: float, fused: bool) -> None:
        nonlocal moved
        for line in computations.get(name, {}).values():
            kind = line.opcode.removesuffix("-start")
            if kind in COLLECTIVES:
                found[kind] = _added(found.get(kind, Collective()), kind, line, times, everyone)
            trips = 1
            if line.opcode == "while":
                trips = _trips(line, computations)
            elif not fused and not line.opcode.endswith("-start") and line.opcode not in FREE:
                moved += times * 2 * _written(line, computations[name], computations)
            branches = BRANCHES.search(line.text)
            if branches:
                each = [b.strip().lstrip("%") for b in branches.group(1).split(",")]
                for branch in each:
                    visit(branch, times / len(each), fused)
            inner = fused or line.opcode not in ("while", "call", "conditional")
            for called in CALLED.findall(line.text):
                visit(called, times * trips, inner)

    visit(entry, 1.0, False)
    return Traffic(moved, found)


def _trips(loop: _Line, computations: dict[str, _Lines]) -> int:
    """How often a loop runs, from 0 up to its bound; at most so often where it may end before; 1
    where neither the compiler nor the condition has a number."""
    if known := TRIPS.search(loop.text):
        return int(known.group(1))
    condition = CONDITION.search(loop.text)
    bounds = [
        number
        for line in computations.get(condition.group(1) if condition else "", {}).values()
        if line.opcode == "constant" and (number := line.text.partition(")")[0]).isdecimal()
    ]
    return int(bounds[0]) if len(bounds) == 1 else 1


def _members(text: str, everyone: int) -> int:
    """How many devices a collective is among; all of them where it does not say."""
    group = GROUPS.search(text)
    if group is None:
        return everyone
    if group["size"]:
        return int(group["size"])
    if group["members"]:
        return len(group["members"].split(","))
    sizes = dict(AXIS.findall(group["mesh"]))
    return math.prod(int(sizes[axis]) for axis in re.findall(r"'([^']+)'", group["axes"]))


def _added(so_far: Collective, kind: str, line: _Line, times: float, everyone: int) -> Collective:
    members = _members(line.text, everyone)
    result = line.bytes
    if line.opcode.endswith("-start") and kind != "all-reduce":
        result = line.bytes / 2  # a tuple of what goes in and what comes out
    share = (members - 1) / members
    sent = {
        "all-reduce": 2 * share * result,
        "all-gather": share * result,
        "reduce-scatter": (members - 1) * result,
        "all-to-all": share * result,
        "collective-permute": result,
    }[kind]
    return Collective(
        so_far.count + times, so_far.bytes + times * result, so_far.sent + times * sent
    )


def _computations(text: str) -> tuple[dict[str, _Lines], str]:
    """(name → lines of a computation, the name of the program's own)."""
    computations: dict[str, _Lines] = {}
    entry, lines = "", {}
    for row in text.splitlines():
        if header := HEADER.match(row):
            lines = computations.setdefault(header.group(2), {})
            entry = header.group(2) if header.group(1) else entry
        elif line := LINE.match(row):
            root, name, shapes, opcode, rest = line.groups()
            lines[name] = _Line(opcode, size(shapes), rest, root is not None)
    return computations, entry


def _written(line: _Line, lines: _Lines, computations: dict[str, _Lines]) -> float:
    """Bytes that a line writes: of a buffer that is updated in place, the rows that are new; of a
    fusion what its root writes; of what goes on beside other work all, where it is done.

    lines: those of the line's own computation.
    """
    operands = [lines.get(name) for name in OPERAND.findall(line.text.partition(")")[0])]
    start = operands[0] if line.opcode.endswith("-done") and operands else None
    if line.opcode == "fusion" or start is not None:
        called = FUSED.search((start or line).text)
        inside = computations.get(called.group(1), {}) if called else {}
        root = next((one for one in inside.values() if one.is_root), None)
        return line.bytes if root is None else _written(root, inside, computations)
    if line.opcode == "dynamic-update-slice" and len(operands) > 1 and operands[1]:
        return operands[1].bytes
    if line.opcode in ("tuple", "bitcast") and all(operands):
        return sum(_written(of, lines, computations) for of in operands if of)
    return line.bytes
