"""Activation memory over depth and length: what reversible layers, chunks and hashing each save.

    python launch.py sweep --config=experiments/reformer_memory.py
    python launch.py sweep --config=experiments/reformer_memory.py:scale=small

tiny   width 256, to 24 layers and 16,384 positions; ten minutes on two cores, most of it compiling
small  width 512, to 65,536 positions; as long on one GPU (estimated)

Kitaev, Kaiser and Levskaya 2020, Table 3, gives the formulas; here memory is what the compiler says
that loss and gradient of one batch need besides the gradients themselves. Nothing is run. Full
attention takes `path=plain`, which holds its whole matrix of weights, as the formulas have it; the
models called default take the path that the code takes unless told otherwise.

    transformer   b h l²          a layer     reversible   without the number of layers
    chunked       and without the inner width of the feed-forward
    lsh           b h l r c       a layer     reformer     reversible, chunked and lsh

Reversible stacks need as much at 24 layers as at 6, plain ones four times as much. At 16,384
positions full attention asks for 64,414 MiB (by the default path 9,019), all three together for
734. Chunks in the feed-forward save nothing beside full attention's square, by either path.
"""

from arch import config, variants
from arch.report import charts, statistics
from arch.report.sections import number_text
from arch.report.verdicts import Claim
from arch.sweeps import machine
from arch.sweeps.experiment import Cell
from arch.training import bench

ARGUMENTS = {"scale": ("tiny", "small"), "corpus": ""}
VARIES = (
    "model.order",
    "model.stack.kind",
    "model.stack.apply",
    "model.sublayers.s.*",
    "model.sublayers.f.chunk",
    "task.length",
)

SCALES = {
    "tiny": {"width": 256, "heads": 4, "depths": (6, 12, 24), "lengths": (1024, 4096, 16384)},
    "small": {"width": 512, "heads": 8, "depths": (6, 24), "lengths": (4096, 16384, 65536)},
}
CHUNK = 64
PATHS = (
    "Full attention holds its whole matrix of weights (path=plain), which is what the paper's "
    "formulas count. The rows called default take the path that the code takes unless told "
    "otherwise, blocks of queries over only the keys that they may see: it needs less, and, as the "
    "compiler plans it for a CPU, still grows with the square of the length."
)
FULL = {"model.sublayers.s.path": "plain"}
SEQUENTIAL = {"model.stack.kind": "sequential", "model.stack.apply": "scan"}
REVERSIBLE = {"model.stack.kind": "reversible", "model.stack.apply": "switch"}
CHUNKED = {"model.sublayers.f.chunk": 512}
LSH = {
    "model.sublayers.s.kind": "lsh_attention",
    "model.sublayers.s.chunk": CHUNK,
    "model.sublayers.s.bias": False,
}
MODELS = {
    "transformer": SEQUENTIAL | FULL,
    "reversible": REVERSIBLE | FULL,
    "chunked": REVERSIBLE | CHUNKED | FULL,
    "lsh": SEQUENTIAL | LSH,
    "reformer": REVERSIBLE | CHUNKED | LSH,
    "transformer_default": SEQUENTIAL,
    "reversible_default": REVERSIBLE,
    "chunked_default": REVERSIBLE | CHUNKED,
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
        "sections": [{"title": "MiB", "columns": ["model", *headers], "rows": rows, "note": PATHS}],
        "charts": [
            chart(value, "depth", "layers", scale["depths"], lambda n: (n, shortest)),
            chart(value, "length", "length", scale["lengths"], lambda n: (least, n)),
        ],
    }


def CLAIMS(arg, cells, results):
    scale = SCALES[arg.scale]
    (low, *_, high), shortest, longest = scale["depths"], scale["lengths"][0], scale["lengths"][-1]
    table3 = "Kitaev et al. 2020, Table 3 (formulas)"

    def claim(name, statement, direction, ours, base, **more):
        weights = {ours: 1, base: -1}
        return Claim(f"kitaev2020-table3-{name}", statement, table3, direction, weights, **more)

    return [
        claim(
            "reversible-depth",
            f"A reversible stack needs as much memory at {high} layers as at {low}",
            "equal", f"reversible-d{high}-l{shortest}", f"reversible-d{low}-l{shortest}",
            effect=0.0, margin=0.05,
        ),
        claim(
            "transformer-depth",
            f"A plain stack needs more at {high} layers than at {low}, in proportion",
            "higher", f"transformer-d{high}-l{shortest}", f"transformer-d{low}-l{shortest}",
            effect=high / low - 1,
        ),
        claim(
            "lsh", f"At length {longest:,} hashing needs less than full attention",
            "lower", f"lsh-d{low}-l{longest}", f"transformer-d{low}-l{longest}",
        ),
        claim(
            "chunked",
            "Beside full attention's matrix, chunks in the feed-forward save nothing",
            "equal", f"chunked-d{low}-l{longest}", f"reversible-d{low}-l{longest}",
            effect=0.0, margin=0.05,
        ),
        claim(
            "reformer", f"At length {longest:,} all three together need less than hashing alone",
            "lower", f"reformer-d{low}-l{longest}", f"lsh-d{low}-l{longest}",
        ),
    ]  # fmt: skip


def chart(value, name, label, numbers, point):
    """Memory over one of the two numbers, a line per model."""
    series = {}
    for model in MODELS:
        found = [(n, value(model, *point(n))) for n in numbers]
        series[model] = [(n, statistics.summary([m])) for n, m in found if m is not None]
    title = f"Activation memory over {name}"
    return charts.line_chart(f"memory-{name}", title, series, label, "MiB", "xy")
