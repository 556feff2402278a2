"""`bench --generate`: how fast each cell makes text here, and how fast beside transformers."""

import dataclasses
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from arch.bench import against, expressing, table, texts
from arch.bench.peers.kinds import PEERS, Chosen
from arch.bench.peers.sizes import Sizes
from arch.bench.protocol import SideFailed
from arch.checks import holds, one_of
from arch.commands import beside, flags
from arch.models.generation import uncached
from arch.registry import ConfigurationError
from arch.runs import provenance
from arch.sweeps import machine
from arch.sweeps.experiment import Cell, Experiment
from arch.training.program import build

Peers = dict[Chosen, Sizes]


def run(
    command: flags.Bench, experiment: Experiment, cells: list[Cell], peers: list[Chosen]
) -> int:
    """All cells; 1 where a side failed, and the rest is measured. With peers, lines are added to
    results/benchmarks/generation/."""
    holds(command.generate > 0, "1 or more", of="", **{"--generate": command.generate})
    for peer in peers:
        able = [name for name, kind in PEERS.items() if kind.generates]
        one_of(able, **{"--generate: --against": peer.name})
    if peers:
        one_of(("cpu",), **{"--against: JAX_PLATFORMS": machine.platform()})
    wanted = [(cell, _sizes(command, experiment, cell, peers)) for cell in cells]
    lines: list[dict[str, Any]] = []
    paths: list[Path] = []
    for cell, sizes in wanted:
        try:
            line = _measured(command, experiment, cell, sizes)
        except SideFailed as error:
            print(f"{cell.name}: {error}", file=sys.stderr)
            continue
        lines.append(line)
        if peers:
            paths = table.add_texts(beside.FOLDER, experiment.default_name, [line])
    if lines:
        beside.show([texts.grid(lines)])
        print("\n".join(texts.notes()))
    if paths:
        print(f"written: {', '.join(map(str, paths))}", file=sys.stderr)
    return int(len(lines) < len(wanted))


def _sizes(command: flags.Bench, experiment: Experiment, cell: Cell, peers: list[Chosen]) -> Peers:
    """The sizes of every peer; ConfigurationError for a cell that makes no such text."""
    config, needed = experiment.config(cell), command.generate + texts.PROMPT
    task, model = build(config, machine.platform())
    if not model.causal or model.has_memory or task.kind != "language_model":
        raise ConfigurationError(
            f"--generate: cell {cell.name!r} with task.kind={task.kind!r} goes on with no text; "
            "allowed is a decoder with task.kind='language_model'"
        )
    if kinds := uncached(model):
        raise ConfigurationError(
            f"--generate: {', '.join(kinds)} in cell {cell.name!r} has no cached steps to measure"
        )
    limit = model.embedding.module.limit
    if limit and limit < needed:
        raise ConfigurationError(
            f"--generate={command.generate}: with a prompt of {texts.PROMPT} tokens a text needs "
            f"{needed} positions, and cell {cell.name!r} learns {limit}; say "
            f"--config.task.length={needed}"
        )
    found = {peer: expressing.sizes(peer, config, task, "cpu") for peer in peers}
    return {peer: dataclasses.replace(size, length=needed) for peer, size in found.items()}


def _measured(
    command: flags.Bench, experiment: Experiment, cell: Cell, sizes: Peers
) -> dict[str, Any]:
    """The line of a cell. Raises SideFailed where a side does not open, or a turn fails."""
    before = provenance.load()
    told = {
        "experiment": experiment.reference,
        "overrides": dict(experiment.overrides),
        "cell": cell.name,
    }
    with ExitStack() as stack:
        sides = {}
        for name, cached in ((against.OURS, True), (texts.ANEW, False)):
            opening = {**told, "tokens": command.generate, "cached": cached}
            sides[name] = beside.opened(stack, "arch.bench.our_texts", opening)
        for peer, size in sizes.items():
            opening = {"peer": peer.name, "path": peer.path, "sizes": vars(size)}
            opening |= {"prompt": texts.PROMPT, "tokens": command.generate}
            sides[peer.name] = beside.opened(stack, "arch.bench.peers.generating", opening)
        turns = against.alternate(
            sides, lambda text: print(cell.name, text, file=sys.stderr), "text", products=0
        )
        about = {name: side.about for name, side in sides.items()}
    more = {
        **told,
        "tokens": command.generate,
        **machine.device(),
        "load": [before, provenance.load()],
        "command": beside.again(command, experiment, list(sizes)),
    }
    return texts.line(turns, about, more)
