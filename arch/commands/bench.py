"""`bench`: how fast each cell trains here, and how fast beside other libraries."""

import sys
from contextlib import ExitStack
from pathlib import Path

from arch.bench import against, expressing, table
from arch.bench.others import Meter
from arch.bench.peers.kinds import Chosen, choose
from arch.bench.protocol import SideFailed
from arch.checks import one_of
from arch.commands import bench_texts, beside, flags, from_flags, terminal
from arch.runs import provenance
from arch.sweeps import machine
from arch.sweeps.experiment import Cell, Experiment, matching
from arch.training import bench
from arch.training.program import build

DEVICES = {"cpu": "cpu", "gpu": "cuda"}  # platform → PyTorch's name of it, of those it runs on


def run(command: flags.Bench) -> int:
    """Print tokens/s, utilisation, compile seconds and peak memory of every cell; with --against
    each cell in turn with the peers, which is added to results/benchmarks/; with --generate the
    tokens/s of text."""
    peers = choose(command.against) if command.against else []
    experiment = from_flags.experiment(command)
    cells = matching(experiment.first_cells(), command.cells, "--cells")
    if command.generate:
        return bench_texts.run(command, experiment, cells, peers)
    if peers:
        return _beside(command, experiment, cells, peers)
    made = terminal.table(
        f"{experiment.reference} on {machine.kind()}",
        "cell", "tokens/s", "utilisation", "compile seconds", "peak memory",
    )  # fmt: skip
    platform = machine.platform()
    for cell in cells:
        config = experiment.config(cell)
        row = bench.bench(config, *build(config, platform), platform)
        made.add_row(
            cell.name, f"{row['tokens_per_second']:,.0f}", f"{row['utilisation']:.0%}",
            f"{row['compile_seconds']:.1f}", f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
        )  # fmt: skip
    terminal.show(made)
    rate = row["machine_flops"] / 1e9
    side = bench.product_side(platform)
    print(f"utilisation is of a {side}-square product's {rate:,.0f} GFLOP/s here")
    return 0


def _beside(
    command: flags.Bench, experiment: Experiment, cells: list[Cell], peers: list[Chosen]
) -> int:
    """All cells beside all peers; 1 where a side failed, and the rest is measured and written."""
    platform = machine.platform()
    one_of(DEVICES, **{"--against: JAX_PLATFORMS": platform})
    wanted = []
    for cell in cells:
        config = experiment.config(cell)
        task, _ = build(config, platform)
        sizes = {peer: expressing.sizes(peer, config, task, platform) for peer in peers}
        wanted.append((cell, sizes))
    lines: list[dict] = []
    paths: list[Path] = []
    for cell, sizes in wanted:
        try:
            found = _measured(command, experiment, cell, sizes)
        except SideFailed as error:
            print(f"{cell.name}: {error}", file=sys.stderr)
            continue
        lines += found
        paths = table.add(beside.FOLDER, experiment.default_name, found)
    if lines:
        beside.show([table.grid(lines), table.shares_grid(lines)])
        told = [against.unequal(line) for line in lines]
        print("\n".join([*filter(None, told), *table.notes(lines)]))
        print(f"written: {', '.join(map(str, paths))}", file=sys.stderr)
    return int(len(lines) < len(wanted) * len(peers))


def _measured(
    command: flags.Bench, experiment: Experiment, cell: Cell, sizes: dict[Chosen, expressing.Sizes]
) -> list[dict]:
    """A line for each peer that opens. Raises SideFailed where ours does not, or a turn fails."""
    before, platform = provenance.load(), machine.platform()
    where = {"device": DEVICES[platform], "product": bench.product_side(platform)}
    told = {
        "experiment": experiment.reference,
        "overrides": dict(experiment.overrides),
        "cell": cell.name,
    }
    with ExitStack() as stack:
        sides = {against.OURS: beside.opened(stack, "arch.bench.ours", told)}
        for peer, size in sizes.items():
            opening = {"peer": peer.name, "path": peer.path, "sizes": vars(size), **where}
            try:
                sides[peer.name] = beside.opened(stack, "arch.bench.peers.worker", opening)
            except SideFailed as error:
                print(f"{cell.name}, {peer.name}: {error}", file=sys.stderr)
        turns = against.alternate(sides, tell=lambda text: print(cell.name, text, file=sys.stderr))
        meter = Meter()
        shares = sides[against.OURS].do("shares")
        shares["others"] = meter.others(shares.pop("cpu_seconds"))
        about = {name: side.about for name, side in sides.items()}
    more = {
        **told,
        "seed": 0,
        **machine.device(),
        "load": [before, provenance.load()],
        "command": beside.again(command, experiment, list(sizes)),
        "shares": shares,
    }
    return [
        against.line(peer.name, turns, about, {**more, "sizes": vars(size)})
        for peer, size in sizes.items()
        if peer.name in about
    ]
