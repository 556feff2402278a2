"""A plugin at every plug point, each in a file of the user's against its contract: together they
train a step; with a member missing, each is refused in one line that names it."""

import json
from pathlib import Path

import pytest

from tests import cli

TASK = '''
import math

import jax
import jax.numpy as jnp
import numpy as np

from arch.registry import tasks
from arch.tasks.contract import WHOLE, Task


@tasks.register("counting")
class Counting(Task):
    """The next number modulo `base`."""

    families = ("decoder",)
    metric = "perplexity"
    corpus = sha256 = "counting"
    about = "numbers in order"
    splits = ("valid", "test")

    def __init__(self, *, base: int = 8, length: int = 6):
        self.vocabulary, self.length, self.details = base, length, {"base": base}

    def indices(self, key, step, batch):
        return jax.random.randint(jax.random.fold_in(key, step), (batch,), 0, self.vocabulary)

    def gather(self, source, indices):
        return (indices[:, None] + jnp.arange(self.length + 1)[None]) % self.vocabulary

    def _counted(self, batch):
        return (batch[:, 1:] != batch[:, :-1]).astype(jnp.float32)

    def sums(self, model, parameters, batch, context):
        score, extras = model.score(parameters, batch[:, :-1], batch[:, 1:], context)
        loss = -(score.target * self._counted(batch)).sum()
        return {"loss": (loss, self._counted(batch).sum()), **extras.losses}, extras.statistics

    def examples(self, split, window=WHOLE):
        return np.arange(4)

    def evaluation_batch(self, split, examples, window=WHOLE):
        return (examples[:, None] + np.arange(self.length + 1)) % self.vocabulary

    def figures(self, split, means, count, window=WHOLE):
        return {"loss": means["loss"], "perplexity": math.exp(means["loss"]), "unit": "number"}
'''

HEAD = '''
import jax.numpy as jnp

from arch.models.heads.contract import VocabularyHead, heads


@heads.register("doubtful")
class Doubtful(VocabularyHead):
    """A softmax of half the logits, tied."""

    tied = True

    def __init__(self, vocabulary, width, tokens, *, rngs):
        pass

    def logits(self, tokens, x):
        return 0.5 * tokens.logits(x).astype(jnp.float32)

    def flops(self, tokens):
        return tokens.logits_flops()
'''

STACK = '''
from arch.registry import stacks
from arch.stacks.contract import Stack
from arch.stacks.sequential import Sequential


@stacks.register("twice")
class Twice(Stack):
    """A sequential stack, run two times."""

    steps = 2

    def __init__(self, width, order, bindings, *, norm: str = "pre"):
        self.once = Sequential(width, order, bindings, norm=norm)
        self.schedule, self.letters = self.once.schedule, self.once.letters
        self.apply, self.output_width = self.once.apply, width

    def init(self, key):
        return self.once.init(key)

    def __call__(self, parameters, x, context):
        x, _ = self.once(parameters, x, context)
        return self.once(parameters, x, context)

    def init_cache(self, parameters, batch, length, dtype, context):
        make = self.once.init_cache
        return [make(parameters, batch, length, dtype, context) for _ in range(2)]

    def step(self, parameters, x, cache, context):
        x, first = self.once.step(parameters, x, cache[0], context)
        x, second = self.once.step(parameters, x, cache[1], context)
        return x, [first, second]
'''

OPTIMIZER = '''
import jax
import jax.numpy as jnp
import optax

from arch.optimizers.contract import Optimizer, optimizers


@optimizers.register("sign")
class Sign(Optimizer):
    """A step of one size against the sign of the gradient."""

    def __init__(self, *, weight_decay: float = 0.0):
        super().__init__()

    def transform(self, rate, decay, mask):
        return optax.chain(
            optax.stateless(lambda g, _: jax.tree.map(jnp.sign, g)),
            optax.add_decayed_weights(decay, mask),
            optax.scale_by_learning_rate(rate),
        )
'''

EXECUTOR = '''
from arch.sweeps.executors import EXECUTORS, Executor, Local


@EXECUTORS.register("backwards")
class Backwards(Executor):
    """The last cell first."""

    def run(self, jobs, stop, settled):
        errors = {}
        for job in reversed(jobs):
            print(f"backwards: {job.cell.name}")
            errors |= Local(self.sweep).run([job], stop, settled)
        return errors
'''

EXPERIMENT = """
from arch import config
from arch.sweeps.experiment import Cell


def get_config(arg):
    return config.make(
        seeds=(0,),
        plugins=PLUGINS,
        model={
            "width": 8, "order": "sf",
            "stack": {"kind": "twice"},
            "head": {"kind": "doubtful"},
            "sublayers": {"s": {"kind": "attention", "heads": 2}},
        },
        task={"kind": "counting"},
        train={"steps": 1, "batch": 4, "optimizer": {"name": "sign"}},
        save={"every": 1},
        log={"every": 1},
        evaluate={"every": 1},
    )


def cells(arg, results):
    return [Cell("first", {"model.order": "sf"}), Cell("second", {"model.order": "fs"})]
"""

# plug point → (its file, the members of its contract that a user must write)
PLUGINS = {
    "task": (TASK, ("indices", "gather", "sums", "examples", "figures")),
    "head": (HEAD, ("logits", "flops")),
    "stack": (STACK, ("init", "__call__", "init_cache", "step")),
    "optimizer": (OPTIMIZER, ("transform",)),
    "executor": (EXECUTOR, ("run",)),
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with an experiment of plugins alone."""
    names = tuple(f"{name}_plugin.py" for name in PLUGINS)
    (tmp_path / "mine.py").write_text(EXPERIMENT.replace("PLUGINS", repr(names)))
    for name, (source, _) in PLUGINS.items():
        (tmp_path / f"{name}_plugin.py").write_text(source)
    return tmp_path


def test_plugins_train_a_step_together(folder):
    done = cli.run("sweep", "--config=mine.py", "--executor=backwards", cwd=folder)
    assert done.code == 0, done.err
    told = [line for line in done.out.splitlines() if line.startswith("backwards")]
    assert told == ["backwards: second", "backwards: first"]
    texts = (folder / "results/mine/runs.jsonl").read_text().splitlines()
    lines = {line["cell"]: line for line in map(json.loads, texts)}
    assert set(lines) == {"first", "second"}
    for line in lines.values():
        assert (line["status"], line["steps"]) == ("finished", 1)
        assert 1 < line["evaluations"]["valid"]["perplexity"] < 100


@pytest.mark.parametrize(
    ("plug_point", "member"),
    [(name, member) for name, (_, members) in PLUGINS.items() for member in members],
)
def test_a_missing_member_is_named_in_one_line(folder, plug_point, member):
    file = folder / f"{plug_point}_plugin.py"
    file.write_text(file.read_text().replace(f"def {member}(", f"def other_{member}("))
    told = cli.run("sweep", "--config=mine.py", "--dry-run", cwd=folder)
    assert told.code == 2
    (line,) = told.err.splitlines()
    assert f"{plug_point}_plugin.py: class" in line and f": {member} is missing" in line
    assert f"write `def {member}(self" in line


def test_a_missing_attribute_is_named_in_one_line(folder):
    file = folder / "task_plugin.py"
    file.write_text(file.read_text().replace('    about = "numbers in order"\n', ""))
    told = cli.run("sweep", "--config=mine.py", "--dry-run", cwd=folder)
    assert told.code == 2
    (line,) = told.err.splitlines()
    assert "class Counting, task 'counting': about is missing" in line
