"""`bench`: how fast each cell trains here."""

from arch.commands import flags, from_flags, terminal
from arch.sweeps import machine
from arch.sweeps.experiment import matching
from arch.training import bench
from arch.training.program import build


def run(command: flags.Bench) -> int:
    """Print tokens/s, utilisation, compile seconds and peak memory of every cell."""
    experiment = from_flags.experiment(command)
    cells = matching(experiment.first_cells(), command.cells, "--cells")
    table = terminal.table(
        f"{experiment.reference} on {machine.kind()}",
        "cell", "tokens/s", "utilisation", "compile seconds", "peak memory",
    )  # fmt: skip
    platform = machine.platform()
    for cell in cells:
        config = experiment.config(cell)
        row = bench.bench(config, *build(config, platform), platform)
        table.add_row(
            cell.name, f"{row['tokens_per_second']:,.0f}", f"{row['utilisation']:.0%}",
            f"{row['compile_seconds']:.1f}", f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
        )  # fmt: skip
    console = terminal.console()
    console.print(table)
    rate = row["machine_flops"] / 1e9
    console.print(f"utilisation is of a {bench.PRODUCT}-square product's {rate:,.0f} GFLOP/s here")
    return 0
