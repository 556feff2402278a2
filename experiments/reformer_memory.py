"""Activation memory over depth and length: what reversible layers, chunks and hashing each save.

    python launch.py sweep --config=experiments/reformer_memory.py
    python launch.py sweep --config=experiments/reformer_memory.py:scale=small

tiny   width 256, to 24 layers and 16,384 positions; ten minutes on two cores, most of it compiling
small  width 512, to 65,536 positions; as long on one GPU (estimated)

Kitaev, Kaiser and Levskaya 2020, Table 3, gives the formulas; here memory is what the compiler says
that loss and gradient of one batch need besides the gradients themselves. Nothing is run.

    transformer   b h l²          a layer     reversible   without the number of layers
    chunked       and without the inner width of the feed-forward
    lsh           b h l r c       a layer     reformer     reversible, chunked and lsh

Reversible stacks need as much at 24 layers as at 6, plain ones four times as much. At 16,384
positions full attention asks for 64,414 MiB, all three together for 734. Chunks in the feed-forward
save nothing beside full attention's square.
"""

from arch import config, variants
from arch.report import charts, statistics
from arch.report.sections import number_text
from arch.sweeps import machine
from arch.sweeps.experiment import Cell
from arch.training import bench

ARGUMENTS = {"scale": ("tiny", "small"), "corpus": ""}

SCALES = {
    "tiny": {"width": 256, "heads": 4, "depths": (6, 12, 24), "lengths": (1024, 4096, 16384)},
    "small": {"width": 512, "heads": 8, "depths": (6, 24), "lengths": (4096, 16384, 65536)},
}
CHUNK = 64
FULL = {"model.sublayers.s.path": "plain"}
SEQUENTIAL = {"model.stack.kind": "sequential", "model.stack.apply": "scan"}
REVERSIBLE = {"model.stack.kind": "reversible"}
CHUNKED = {"model.sublayers.f.chunk": 512}
LSH = {
    "model.sublayers.s.kind": "lsh_attention",
    "model.sublayers.s.chunk": CHUNK,
}
MODELS = {
    "transformer": SEQUENTIAL | FULL,
    "reversible": REVERSIBLE | FULL,
    "chunked": REVERSIBLE | CHUNKED | FULL,
    "lsh": SEQUENTIAL | LSH,
    "reformer": REVERSIBLE | CHUNKED | LSH,
}


def get_config(arg):
    scale = SCALES[arg.scale]
    model = variants.vanilla(scale["depths"][0], width=scale["width"], heads=scale["heads"])
    return config.make(
        seeds=(0,),
        model={**model, "head": {"chunk": 512}},
        task={"corpus": arg.corpus or "stdlib", "length": scale["lengths"][0]},
        train={"batch": 1},
    )


def points(arg):
    """(layers, length) of the table: every depth at the least length, every length at the least
    depth."""
    scale = SCALES[arg.scale]
    depths, lengths = scale["depths"], scale["lengths"]
    return [(n, lengths[0]) for n in depths] + [(depths[0], n) for n in lengths[1:]]


def cells(arg, results):
    heads = SCALES[arg.scale]["heads"]
    found = []
    for name, overrides in MODELS.items():
        if overrides.get("model.sublayers.s.kind"):
            overrides = overrides | {"model.sublayers.s.heads": heads}
        for layers, length in points(arg):
            size = {"model.order": f"(sf){layers}", "task.length": length}
            found.append(Cell(f"{name}-d{layers}-l{length}", overrides | size, variant=name))
    return found


def measure(config, task, model, seed):
    return {"MiB": bench.Gradient(config, task, model, machine.platform()).activation_bytes / 2**20}


def TABLE(arg, cells, results):
    scale = SCALES[arg.scale]
    least, shortest = scale["depths"][0], scale["lengths"][0]

    def value(name, layers, length):
        found = results.values(f"{name}-d{layers}-l{length}", "MiB", "measured")
        return next(iter(found.values()), None)

    rows = []
    for name in MODELS:
        memory = [value(name, *point) for point in points(arg)]
        rows.append([name, *(number_text(m, ",.1f") for m in memory)])
    headers = [f"{n} layers, length {length}" for n, length in points(arg)]
    return {
        "title": "Activation memory of one sequence",
        "metric": "MiB",
        "split": "measured",
        "exact": True,
        "sections": [{"title": "MiB", "columns": ["model", *headers], "rows": rows}],
        "charts": [
            chart(value, "depth", "layers", scale["depths"], lambda n: (n, shortest)),
            chart(value, "length", "length", scale["lengths"], lambda n: (least, n)),
        ],
    }


def chart(value, name, label, numbers, point):
    """Memory over one of the two numbers, a line per model."""
    series = {}
    for model in MODELS:
        found = [(n, value(model, *point(n))) for n in numbers]
        series[model] = [(n, statistics.summary([m])) for n, m in found if m is not None]
    title = f"Activation memory over {name}"
    return charts.line_chart(f"memory-{name}", title, series, label, "MiB", "xy")
