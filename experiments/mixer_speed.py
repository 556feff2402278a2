"""Time and memory over length, of the kinds whose cost is said to be linear, beside attention.

    python launch.py sweep --config=experiments/mixer_speed.py
    python launch.py sweep --config=experiments/mixer_speed.py:scale=small

tiny   2 layers of width 256, 8,192 tokens a batch; a quarter of an hour on two cores
small  4 layers of width 1024, 32,768 tokens, bfloat16; minutes on one GPU (estimated)

Loss and gradient of a batch of as many tokens at every length: the median of three runs after one
that does not count; a seed is a repetition. Memory is what the compiler says that they need besides
the gradients themselves. A model is mixers with norm and residual and nothing between, each at its
kind's own inner width. Mamba and Mamba-2 have equal inner widths, and 16 and 128 numbers of state a
channel; Dao and Gu 2024 have Mamba-2's layer 2 to 8 times as fast as Mamba's, on a GPU.

At tiny scale, from 4,096 to 8,192 positions the time of a whole sequence grows 1.7 to 2.1 times
with Mamba, Mamba-2, RWKV-6 and the delta rule, and 4.0 times with attention. Memory for as many
tokens stays the same, that of attention grows 1.9 times. Mamba-2 trains 1.5 to 1.9 times as fast as
Mamba.
"""

from arch import config, variants
from arch.report import charts, statistics
from arch.report.verdicts import Claim
from arch.sweeps import machine
from arch.sweeps.experiment import Cell
from arch.training import bench

ARGUMENTS = {"scale": ("tiny", "small"), "corpus": ""}
VARIES = ("model.order", "task.length", "train.batch")

SCALES = {
    "tiny": {"layers": 2, "width": 256, "tokens": 8192, "dtype": "float32",
             "lengths": (1024, 2048, 4096, 8192)},
    "small": {"layers": 4, "width": 1024, "tokens": 32768, "dtype": "bfloat16",
              "lengths": (2048, 4096, 8192, 32768)},
}  # fmt: skip
LETTERS = {
    "s": {"kind": "attention", "heads": 4},
    "m": {"kind": "mamba"},
    "n": {"kind": "mamba2"},
    "t": {"kind": "rwkv6"},
    "g": {"kind": "gated_linear_attention", "heads": 4},
    "d": {"kind": "delta", "heads": 4},
}
NAMES = {letter: binding["kind"] for letter, binding in LETTERS.items()}


def get_config(arg):
    scale = SCALES[arg.scale]
    model = variants.vanilla(1, scale["width"], 4, sublayers=LETTERS, dtype=scale["dtype"])
    return config.make(
        model={**model, "head": {"chunk": 2048}}, task={"corpus": arg.corpus or "stdlib"}
    )


def cells(arg, results):
    scale, found = SCALES[arg.scale], []
    for letter, name in NAMES.items():
        for length in scale["lengths"]:
            size = {"task.length": length, "train.batch": scale["tokens"] // length}
            order = {"model.order": f"{letter}{scale['layers']}"}
            found.append(Cell(f"{name}-l{length}", order | size, variant=name))
    return found


def measure(config, task, model, seed):
    program = bench.Gradient(config, task, model, machine.platform())
    return {
        "microseconds": 1e6 * program.seconds(3) / program.tokens,
        "MiB": program.activation_bytes / 2**20,
    }


def TABLE(arg, cells, results):
    charted = {metric: {} for metric in ("microseconds", "MiB")}
    for cell in cells:
        length = int(cell.name.partition("-l")[2])
        for metric, series in charted.items():
            values = results.values(cell.name, metric, "measured").values()
            series.setdefault(cell.variant, []).append((length, statistics.summary(values)))
    x = f"length, {SCALES[arg.scale]['tokens']:,} tokens a batch"
    return {
        "title": "Microseconds a token, forward and backward",
        "metric": "microseconds",
        "split": "measured",
        "charts": [
            charts.line_chart("time", "Time a token over length", charted["microseconds"], x,
                              "µs a token", "xy"),
            charts.line_chart("memory", "Memory over length", charted["MiB"], x, "MiB", "xy"),
        ],
    }  # fmt: skip


def CLAIMS(arg, cells, results):
    half, longest = SCALES[arg.scale]["lengths"][-2:]
    published = {
        "mamba": "Gu and Dao 2023, abstract", "mamba2": "Dao and Gu 2024, abstract",
        "rwkv6": "Peng et al. 2024", "delta": "Yang et al. 2024",
    }  # fmt: skip
    linear = [
        Claim(
            f"linear-time-{name}",
            f"{name} takes as long a token at length {longest:,} as at {half:,}",
            source,
            "equal",
            {f"{name}-l{longest}": 1, f"{name}-l{half}": -1},
            margin=0.1,
        )
        for name, source in published.items()
    ]
    return [
        *linear,
        Claim(
            "dao2024-mamba2-faster",
            f"At length {longest:,} Mamba-2 is faster than Mamba",
            "Dao and Gu 2024, abstract (2 to 8 times, on a GPU)",
            "lower",
            {f"mamba2-l{longest}": 1, f"mamba-l{longest}": -1},
        ),
    ]
