"""bAbI: a Transformer, a Universal Transformer, and one that halts by itself, task by task.

    python launch.py sweep --config=experiments/universal_babi.py
    python launch.py sweep --config=experiments/universal_babi.py:scale=desk,training=joint
    python launch.py sweep --config=experiments/universal_babi.py:scale=small
    python launch.py sweep --config=experiments/universal_babi.py:scale=paper,training=joint

tiny   tasks 1, 2, 3, 15 and 20 at width 64; an hour on one core
desk   all twenty tasks at width 64, 8,000 steps; a night (estimated)
small  the same tasks at width 128, an hour on one GPU (estimated)
paper  all twenty tasks with ten seeds, a day on one GPU (estimated)

Dehghani et al. 2018, §3.1 and Table 1; the data is read from ARCH_DATA_DIR/babi, or babi-10k with
size=10k. Every model reads a sentence as the sum of its masked words and answers from the mean of
its last states. The Transformer has as many layers of its own as the Universal Transformer has
steps; with halting a position may take twice as many. The weights tested are the best of each run
on the stories held out, and all seeds are averaged: the paper's headline is the best of ten by
validation, its mean over the ten (6.34 ± 3.32 for 1k questions, tasks trained singly, with halting)
is the honest target, and is over all twenty tasks.

At tiny scale expect tasks 1 and 20 to be learned, the Universal Transformer with a fifth of the
Transformer's errors in task 1. Tasks 2 and 3 are not: 900 questions are learned by heart within
1,500 steps, and the weights of the lowest validation loss are early ones, hardly better than the
commonest answer (the last weights have 10 percentage points less errors in task 2, seen apart).
Hence the ponder time does not grow with the supporting facts, as it does in the paper.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import arch
from arch import config
from arch.context import Context
from arch.data.corpora.babi import TASKS
from arch.report import charts, statistics
from arch.report.sections import number_text
from arch.report.seeds import line_seed
from arch.report.verdicts import Claim
from arch.runs.folders import RunFolder
from arch.sweeps.experiment import Cell
from experiments.papers import dehghani2018
from experiments.papers.dehghani2018 import BABI_BEST, BABI_MEANS, BABI_PONDER, NAMES

ARGUMENTS = {
    "scale": ("tiny", "desk", "small", "paper"),
    "size": ("1k", "10k"),
    "training": ("single", "joint"),
}
VARIES = (
    "model.order",
    "model.stack.kind",
    "model.stack.steps",
    "model.stack.halting",
    "model.stack.step_signal",  # at paper scale
    "task.tasks",
)

SHOWN = (1, 2, 3, 15, 20)
MOST_SHOWN = 12  # sentences in a chart of halting
FAILED = 5.0  # percent of wrong answers above which a task counts as failed
HEADS = 4
WORDS = 12  # the longest sentence of the twenty tasks has 11
ADAM = {"name": "adamw", "learning_rate": 1e-3, "beta2": 0.98, "weight_decay": 0.0}
SCALES = {
    "tiny": {
        "width": 64, "steps": 4, "tasks": SHOWN, "seeds": (0, 1, 2), "evaluate": 100,
        "train": {"steps": 1500, "batch": 32, "optimizer": ADAM},
    },
    "desk": {
        "width": 64, "steps": 4, "tasks": TASKS, "seeds": (0, 1, 2), "evaluate": 500,
        "train": {"steps": 8000, "batch": 64, "optimizer": ADAM},
    },
    "small": {
        "width": 128, "steps": 6, "tasks": SHOWN, "seeds": (0, 1, 2), "evaluate": 250,
        "train": {"steps": 10000, "batch": 64, "optimizer": ADAM},
    },
    "paper": {
        "width": 128, "steps": 8, "tasks": TASKS, "seeds": tuple(range(10)), "evaluate": 1000,
        "train": {
            "steps": 40000, "batch": 128, "clip": 0.0, "optimizer": dehghani2018.adam(128),
        },
    },
}  # fmt: skip


def LOOKS(arg):
    return (3, 5, 8) if arg.scale == "desk" else ()


def get_config(arg):
    scale, paper = SCALES[arg.scale], arg.scale == "paper"
    attention = {"kind": "attention", "heads": HEADS}
    letters: dict = {"s": attention}
    if paper:
        letters = {
            "s": {**attention, **dehghani2018.ATTENTION},
            "f": {"kind": "feed_forward", **dehghani2018.FEED_FORWARD},
        }
    return config.make(
        seeds=scale["seeds"],
        model={
            "family": "encoder",
            "width": scale["width"],
            "order": "sf",
            "dropout": 0.1,
            "sublayers": letters,
            "stack": {"kind": "universal", "steps": scale["steps"], "halting": "none"},
            "embedding": {"kind": "sentence", "words": WORDS, "positions": "sinusoidal"},
            "head": {"kind": "softmax", "pool": "mean", "tie": False},
        },
        task={
            "kind": "babi",
            "tasks": (1,),
            "size": arg.size,
            "label_smoothing": dehghani2018.LABEL_SMOOTHING * paper,
        },
        train=scale["train"],
        evaluate={"every": scale["evaluate"], "tokens": 0},
        save={"every": scale["evaluate"]},
    )


def models(arg):
    """Model → what makes it of the configuration."""
    steps = SCALES[arg.scale]["steps"]
    universal = dehghani2018.UNIVERSAL if arg.scale == "paper" else {}
    return {
        "transformer": {
            "model.order": f"(sf){steps}",
            "model.stack.kind": "sequential",
            "model.stack.steps": None,
        },
        "ut": universal,
        "ut_act": {**universal, "model.stack.halting": "act", "model.stack.steps": 2 * steps},
    }


def groups(arg):
    """Prefix of a cell's name → the tasks trained on together."""
    tasks = SCALES[arg.scale]["tasks"]
    if arg.training == "joint":
        return {"joint": tasks}
    return {f"task{task:02}": (task,) for task in tasks}


def cells(arg, results):
    return [
        Cell(f"{prefix}-{model}", {"task.tasks": tasks, **overrides}, variant=NAMES[model])
        for prefix, tasks in groups(arg).items()
        for model, overrides in models(arg).items()
    ]


def errors_by_task(arg, results, model):
    """task → {seed: percent of wrong answers}, of a model."""
    if arg.training == "single":
        return {
            task: results.values(f"{prefix}-{model}", "error_percent", "test")
            for prefix, (task,) in groups(arg).items()
        }
    return {
        task: {
            seed: 100 * (1 - value)
            for seed, value in results.values(
                f"joint-{model}", f"accuracy_task_{task:02}", "test"
            ).items()
        }
        for task in SCALES[arg.scale]["tasks"]
    }


def TABLE(arg, cells, results):
    return {
        "title": f"bAbI, {arg.size} questions a task, {arg.training} training",
        "metric": "error_percent",
        "split": "test",
        "columns": ("parameters.unique",),
        "sections": [over_tasks(arg, results), ponder_times(arg, results)],
        "charts": halting_steps(arg, results),
    }


def CLAIMS(arg, cells, results):
    prefixes, paper = list(groups(arg)), BABI_BEST[arg.size, arg.training]
    whole = SCALES[arg.scale]["tasks"] == TASKS
    table1 = "Dehghani et al. 2018, Table 1 (best of ten seeds, twenty tasks)"

    def claim(statement, ours, base):
        weights = {f"{prefix}-{ours}": 1 / len(prefixes) for prefix in prefixes}
        weights |= {f"{prefix}-{base}": -1 / len(prefixes) for prefix in prefixes}
        effect = paper[ours] - paper[base] if whole else None
        return Claim(
            f"dehghani2018-babi-{ours}", statement, table1, "lower", weights, effect=effect,
            margin=1.0, scale="absolute",
        )  # fmt: skip

    claims = [
        claim("bAbI: the Universal Transformer has fewer errors than the Transformer, in percent "
              "of the answers, the mean over tasks", "ut", "transformer"),
        claim("bAbI: halting takes away some of the Universal Transformer's errors", "ut_act",
              "ut"),
    ]  # fmt: skip
    if arg.training == "joint":
        return claims
    return claims + [
        Claim(
            f"dehghani2018-ponder-{many}",
            f"Answers that rest on {many} facts take more steps than those on one (tasks {many} "
            "and 1)",
            "Dehghani et al. 2018, §3.1",
            "higher",
            {f"task{many:02}-ut_act": 1, "task01-ut_act": -1},
            effect=BABI_PONDER[many][0] - BABI_PONDER[1][0],
            scale="absolute",
            metric="ponder_time",
        )
        for many in (2, 3)
    ]


def over_tasks(arg, results):
    """The mean over tasks of each seed, then mean and SD over seeds, with the paper's beside."""
    setting, rows = (arg.size, arg.training), []
    for model in models(arg):
        by_task = errors_by_task(arg, results, model)
        seeds = set.intersection(*map(set, by_task.values()))
        each = {s: [by_task[task][s] for task in by_task] for s in sorted(seeds)}
        error = statistics.summary(sum(values) / len(values) for values in each.values())
        failed = statistics.summary(sum(v > FAILED for v in values) for values in each.values())
        mean, sd = BABI_MEANS[setting]
        rows.append([
            NAMES[model], str(error.n),
            statistics.mean_and_sd(error, 2), statistics.mean_and_sd(failed, 1),
            f"{BABI_BEST[setting][model]:.2f}",
            f"{mean:.2f} ± {sd:.2f}" if model == "ut_act" else "—",
        ])  # fmt: skip
    tasks = SCALES[arg.scale]["tasks"]
    return {
        "title": f"Mean error over tasks {', '.join(map(str, tasks))}",
        "columns": [
            "model", "n", "error_percent", f"failed of {len(tasks)}",
            "paper: best of 10 seeds", "paper: mean of 10 seeds",
        ],
        "rows": rows,
        "note": "Ours: test, mean ± SD over the seeds that finished every task; a task is failed "
        f"above {FAILED:.0f} % errors. The paper's figures (Dehghani et al. 2018) are over all 20 "
        "tasks" + (", ours over those of the title." if tasks != TASKS else "."),
    }  # fmt: skip


def ponder_times(arg, results):
    """Ponder time of the model that halts, with the number of facts an answer rests on."""
    rows = []
    for prefix, tasks in groups(arg).items():
        cell = f"{prefix}-ut_act"
        time, spread, facts = (
            statistics.summary(results.values(cell, name, "test").values())
            for name in ("ponder_time", "ponder_spread", "supporting_facts")
        )
        paper = BABI_PONDER.get(int(facts.mean)) if facts.n and facts.mean % 1 == 0 else None
        rows.append([
            f"task {tasks[0]}" if len(tasks) == 1 else f"{len(tasks)} tasks",
            number_text(facts.mean, ".3g"), str(time.n),
            statistics.mean_and_sd(time, 2), number_text(spread.mean, ".2f"),
            f"{paper[0]} ± {paper[1]}" if paper else "—",
        ])  # fmt: skip
    return {
        "title": "Ponder time by number of supporting facts",
        "columns": ["cell", "supporting facts", "n", "ponder time", "spread", "paper"],
        "rows": rows,
        "note": "Steps a sentence takes before it halts, on the test set: mean ± SD over seeds; "
        "spread: SD over the sentences of a batch. The paper's are mean ± spread over the "
        "positions of all tasks with so many supporting facts; the size of its data is not said.",
    }


def halting_steps(arg, results):
    """Charts: the updates that each sentence of a story took, of one question a task."""
    found = []
    for prefix, tasks in groups(arg).items():
        cell = f"{prefix}-ut_act"
        lines = [r for r in results.lines() if (r["cell"], r["status"]) == (cell, "finished")]
        if not lines or len(tasks) > 1:
            continue
        line = min(lines, key=lambda r: r["seed"])
        folder = RunFolder.of(Path("runs"), line["name"], cell, line["hash"])
        seed, most = line_seed(line), 2 * SCALES[arg.scale]["steps"]
        if folder.seed(seed).loadable:  # else the chart stays as the sweep made it
            title = f"Task {tasks[0]}: steps until a sentence halts, seed {seed}"
            bars = {"a question of the test set": sentences_and_steps(arch.load(folder.path, seed))}
            bars = charts.bar_chart(f"halting-{prefix}", title, bars, f"updates, at most {most}")
            found.append(bars)
    return found


def sentences_and_steps(run):
    """(sentence, updates) of the first test question that has so many sentences."""
    task, arrays = run.task, run.task.arrays["test"]
    place = int(np.argmax(arrays.length >= min(MOST_SHOWN, arrays.length.max())))
    batch = task.assemble(jax.tree.map(lambda a: jnp.asarray(a[place : place + 1]), arrays))
    names = ["halting.steps"]
    record = run.capture_inputs(batch.sentences, names, Context(mask=batch.mask))
    steps, sentences = record["halting.steps"][0], np.asarray(batch.sentences)[0]
    shown = np.flatnonzero(batch.mask[0])
    return [(task.sentence_text(sentences[i]), int(steps[i])) for i in shown]
