"""The contract of a task, and that every kind keeps it."""

import inspect

import jax.numpy as jnp
import numpy as np
import pytest

from arch import tasks as package
from arch.registry import ConfigurationError, tasks
from arch.tasks import contract
from arch.tasks.contract import WHOLE, Task, Window
from arch.training.program import build


@pytest.mark.parametrize("kind", tasks.names())
def test_every_kind_is_a_task_with_the_signatures_of_the_contract(kind):
    task = contract.build({"kind": kind})  # refused where a member is missing
    assert isinstance(task, Task)
    assert set(task.families) <= {"decoder", "encoder", "encoder_decoder"}
    for name, method in inspect.getmembers(Task, inspect.isfunction):
        asked = list(inspect.signature(method).parameters)[1:]
        assert list(inspect.signature(getattr(task, name)).parameters) == asked, name


class Counting(Task):
    """Which of its four numbers is next: nothing but what the contract asks for."""

    families, metric, corpus, sha256, details = ("decoder",), "loss", "four numbers", "0", {}
    about, vocabulary, length, splits = "0 1 2 3", 4, 3, ("valid",)

    def indices(self, key, step, batch):
        return jnp.zeros(batch, jnp.int32)

    def gather(self, source, indices):
        return jnp.arange(4)[indices[:, None] + jnp.arange(4)]

    def sums(self, model, parameters, batch, context):
        score, extras = model.score(parameters, batch[:, :-1], batch[:, 1:], context)
        return {"loss": (-score.target.sum(), jnp.full((), 3.0 * len(batch))), **extras.losses}, {}

    def examples(self, split, window=WHOLE):
        return np.arange(4)[None]

    def figures(self, split, means, count, window=WHOLE):
        return {"loss": means["loss"]}


@pytest.fixture
def register(monkeypatch):
    """A function: registers a class as the kind 'counting', for the length of a test."""
    monkeypatch.setattr(tasks, "_kinds", dict(tasks._kinds))
    return tasks.register("counting")


def test_a_task_of_the_least_members_is_built_and_has_the_defaults(register):
    register(Counting)
    task = contract.build({"kind": "counting"})
    assert (task.max_length, task.tokens_per_sequence, task.batches) == (3, 3, (task,))
    assert int(task.batch_at(jnp.int32(7))) == 0
    for cannot in (
        lambda: task.tokenizer,
        lambda: task.written_prompt("", 1),
        lambda: task.only_evaluate(),
        lambda: task.stream(),
        lambda: task.prompt(None),
    ):
        with pytest.raises(ConfigurationError, match="task.kind='counting'"):
            cannot()
    with pytest.raises(ConfigurationError, match="evaluate.splits='test': allowed are valid"):
        task.check_evaluation({"splits": ("test",), "window": 0, "stride": 0})
    with pytest.raises(ConfigurationError, match="evaluate.window=4: allowed is 0"):
        task.check_evaluation({"splits": (), "window": 4, "stride": 0})


MEMBERS = sorted(name for name in vars(Counting) if not name.startswith("_"))


@pytest.mark.parametrize("base", [Task, object])
@pytest.mark.parametrize("name", MEMBERS)
def test_a_task_without_one_member_is_refused_in_a_line_that_names_it(register, name, base):
    """Whether it subclasses the contract or only matches it."""
    members = {member: vars(Counting)[member] for member in MEMBERS if member != name}
    message = f"class Lacking, task 'counting': {name} is missing; "
    with pytest.raises(ConfigurationError, match=message):
        register(type("Lacking", (base,), members))
        contract.build({"kind": "counting"})


def test_a_task_that_only_matches_the_contract_has_its_defaults(register):
    register(type("Matching", (), {member: vars(Counting)[member] for member in MEMBERS}))
    task = contract.build({"kind": "counting"})
    assert (task.max_length, task.batches, task.streamed) == (3, (task,), False)


def test_the_window_of_a_configuration():
    window = Window.of({"every": 1, "tokens": 5, "window": 4, "stride": 2})
    assert window == Window(tokens=5, window=4, stride=2)
    assert window.whole() == Window(window=4, stride=2)


def test_every_task_of_the_package_is_registered():
    files = {tasks.get(kind).__module__.split(".")[2] for kind in tasks.names()}
    assert set(package.__all__) == files


@pytest.mark.parametrize(
    ("family", "task"),
    [
        ("encoder", {"kind": "language_model"}),
        ("decoder", {"kind": "algorithmic"}),
        ("decoder", {"kind": "translation"}),
        ("encoder_decoder", {"kind": "babi"}),
        ("encoder", {"kind": "algorithmic", "format": "decoder"}),
    ],
)
def test_a_family_that_cannot_learn_a_task_is_refused(family, task):
    from arch import config

    orders = {"encoder_order": "sf", "order": "scf"} if family == "encoder_decoder" else {}
    with pytest.raises(ConfigurationError, match=f"model.family='{family}': task.kind="):
        build(config.make(model={"family": family, **orders}, task=task))
