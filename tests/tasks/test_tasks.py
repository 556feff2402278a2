"""What the trainer and the evaluator ask of every task."""

import inspect

import pytest

from arch import tasks as package
from arch.registry import ConfigurationError, tasks
from arch.training.program import build

ATTRIBUTES = (
    "families", "metric", "corpus", "sha256", "details", "about", "vocabulary", "length",
    "max_length", "tokens_per_sequence", "splits", "streamed", "shapes", "decodes",
)  # fmt: skip
METHODS = {
    "source": [],
    "indices": ["key", "step", "batch", "shape"],
    "gather": ["_", "indices", "shape"],
    "assemble": ["gathered"],
    "weight": ["batch"],
    "sums": ["model", "parameters", "batch", "context"],
    "examples": ["split", "tokens", "window", "stride"],
    "evaluation_batch": ["split", "_", "window"],
    "assemble_evaluation": ["gathered"],
    "figures": ["split", "means", "_", "window", "stride"],
    "check_evaluation": ["settings"],
}
DECODING = {"prompt": ["batch"], "decoded_figures": ["split", "ids", "gathered"]}


@pytest.mark.parametrize("kind", tasks.names())
def test_every_task_has_what_the_trainer_asks_for(kind):
    task = tasks.get(kind)()
    there = {*dir(type(task)), *vars(task)}  # properties are not evaluated: data may be absent
    assert set(ATTRIBUTES) <= there
    assert set(task.families) <= {"decoder", "encoder", "encoder_decoder"}
    wanted = {**METHODS, **(DECODING if task.decodes else {})}
    for name, parameters in wanted.items():
        found = list(inspect.signature(getattr(task, name)).parameters)
        assert len(found) == len(parameters), name
        for has, asks in zip(found, parameters, strict=True):
            assert asks in ("_", has), name
    assert not task.decodes or hasattr(task, "search")


def test_every_task_of_the_package_is_registered():
    assert set(package.__all__) == set(tasks.names())


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
