"""Time over length at a fixed number of tokens a batch: full attention, and LSH with more rounds.

    python launch.py sweep --config=experiments/reformer_speed.py
    python launch.py sweep --config=experiments/reformer_speed.py:scale=small

tiny   2 layers of width 256, 16,384 tokens; a quarter of an hour on two cores
small  2 layers of width 512, 65,536 tokens; minutes on one GPU (estimated)

Kitaev, Kaiser and Levskaya 2020, Figure 5: LSH attention takes as long for many short sequences as
for few long ones, full attention ever longer. Loss and gradient of a batch, run once after a run
that does not count; a seed is a repetition. All stacks are reversible. Full attention takes the
path that the code takes by default: on a CPU, blocks of queries over the keys that they may see.
The path that holds the whole matrix is not timed; experiments/reformer_memory.py has its memory.

At tiny scale LSH attention takes the same at all lengths: 80, 100, 145, 240 microseconds with 1, 2,
4, 8 rounds. Full attention takes 125 at 1,024 and 930 at 16,384: longer than two rounds at all
lengths, longer than eight from 4,096 on.
"""

from arch import config, variants
from arch.report import charts, statistics
from arch.report.verdicts import Claim
from arch.sweeps import machine
from arch.sweeps.experiment import Cell
from arch.training import bench

ARGUMENTS = {"scale": ("tiny", "small"), "corpus": ""}
VARIES = ("model.sublayers.s.*", "task.length", "train.batch")

SCALES = {
    "tiny": {
        "width": 256,
        "heads": 4,
        "tokens": 16384,
        "lengths": (1024, 2048, 4096, 8192, 16384),
        "dtype": "float32",
    },
    "small": {
        "width": 512,
        "heads": 8,
        "tokens": 65536,
        "lengths": (1024, 4096, 16384, 65536),
        "dtype": "bfloat16",
    },
}
ROUNDS = (1, 2, 4, 8)


def get_config(arg):
    scale = SCALES[arg.scale]
    model = variants.vanilla(2, width=scale["width"], heads=scale["heads"], dtype=scale["dtype"])
    return config.make(
        model={**model, "stack": {"kind": "reversible"}, "head": {"chunk": 2048}},
        task={"corpus": arg.corpus or "stdlib"},
    )


def cells(arg, results):
    scale, found = SCALES[arg.scale], []
    hashes = {
        "model.sublayers.s.kind": "lsh_attention",
        "model.sublayers.s.heads": scale["heads"],
        "model.sublayers.s.bias": False,
    }
    models = {"full": {}} | {f"lsh{n}": hashes | {"model.sublayers.s.rounds": n} for n in ROUNDS}
    for name, overrides in models.items():
        for length in scale["lengths"]:
            size = {"task.length": length, "train.batch": scale["tokens"] // length}
            found.append(Cell(f"{name}-l{length}", overrides | size, variant=name))
    return found


def measure(config, task, model, seed):
    program = bench.Gradient(config, task, model, machine.platform())
    return {"microseconds": 1e6 * program.seconds(1) / program.tokens}


def TABLE(arg, cells, results):
    found = {}
    for cell in cells:
        times = results.values(cell.name, "microseconds", "measured")
        length = int(cell.name.partition("-l")[2])
        found.setdefault(cell.variant, []).append((length, statistics.summary(times.values())))
    return {
        "title": "Microseconds a token, forward and backward; full attention by its default path",
        "metric": "microseconds",
        "split": "measured",
        "charts": [
            charts.line_chart(
                "time",
                "Time a token over length",
                found,
                f"length, {SCALES[arg.scale]['tokens']:,} tokens a batch",
                "µs a token",
                "xy",
            )
        ],
    }


def CLAIMS(arg, cells, results):
    lengths = SCALES[arg.scale]["lengths"]
    shortest, longest = lengths[0], lengths[-1]
    figure5 = "Kitaev et al. 2020, Figure 5 (curves without numbers)"
    flat = [
        Claim(
            f"kitaev2020-figure5-lsh{n}",
            f"Hashing with {n} round{'s' * (n > 1)} takes as long a token at length {longest:,} "
            f"as at {shortest:,}",
            figure5,
            "equal",
            {f"lsh{n}-l{longest}": 1, f"lsh{n}-l{shortest}": -1},
            margin=0.1,
        )
        for n in ROUNDS
    ]
    return flat + [
        Claim(
            "kitaev2020-figure5-full",
            f"Full attention takes longer a token at length {longest:,} than at {shortest:,}",
            figure5,
            "higher",
            {f"full-l{longest}": 1, f"full-l{shortest}": -1},
        ),
        Claim(
            "kitaev2020-figure5-against-full",
            f"At length {longest:,} eight rounds of hashing are faster than full attention",
            figure5,
            "lower",
            {f"lsh8-l{longest}": 1, f"full-l{longest}": -1},
        ),
    ]
