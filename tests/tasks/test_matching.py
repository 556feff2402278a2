"""Tasks, heads and embeddings: any three are refused when they are put together, or compute."""

import itertools
import json

import jax
import pytest

from arch import config
from arch.context import Context
from arch.models.embeddings.contract import embeddings
from arch.models.heads.contract import heads
from arch.registry import ConfigurationError, tasks
from arch.training.program import Program, build
from tests.families import always

ATTENTION = {"kind": "attention", "heads": 2}
MODELS = {
    "decoder": {"order": "s", "sublayers": {"s": ATTENTION}},
    "encoder": {"order": "s", "sublayers": {"s": ATTENTION}},
    "encoder_decoder": {
        "order": "sc",
        "encoder_order": "s",
        "sublayers": {"s": ATTENTION, "c": {**ATTENTION, "cross": True}},
    },
}
TASKS = {
    "language_model": {"length": 8},
    "masked_language_model": {"length": 16, "sentence": "none"},
    "masked_language_model with sentences": {"kind": "masked_language_model", "length": 16},
    "babi": {},
    "lambada": {"form": "reading", "length": 8, "tokenizer": "words", "common": 0},
    "algorithmic_bins": {"bins": (4, 8), "lengths": (8,)},
    "algorithmic": {"length": 5},
    "compression": {},
    "mqar": {},
    "subject_verb_agreement": {"between": 1, "nouns": 4},
    "transcription": {"window": 16},
    "learning_to_execute": {"training_examples": 20, "evaluation_examples": 4},
}
HEADS = [
    *({"kind": kind} for kind in sorted(heads.names())),
    {"kind": "softmax", "tie": False},
    {"kind": "softmax", "pool": "mean"},
    {"kind": "softmax", "pool": "mean", "tie": False},
    {"kind": "masked", "classes": 0},
    {"kind": "masked", "predict": False},
    {"kind": "adaptive", "cutoffs": (4,)},
]
EMBEDDINGS = [*({"kind": kind} for kind in sorted(embeddings.names())), {"types": 2}]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """ARCH_DATA_DIR with stories and passages, and a corpus of lines beside them."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("babi", "lambada"):
        (folder / name).mkdir()
    story = "1 A went to the hall.\n2 Where is A?\thall\t1\n"
    for split in ("train", "test"):
        (folder / "babi" / f"qa1_made-up_{split}.txt").write_text(story * 20)
    passage = json.dumps({"text": "an order is a string to be read twice an order"})
    (folder / "lambada" / "lambada_test.jsonl").write_text(f"{passage}\n" * 8)
    (folder / "text.txt").write_text("an order is an order\nof letters to be read .\n\n" * 60)
    return folder


@pytest.mark.parametrize(
    "name",
    always(
        TASKS,
        lambda name: (
            not name.startswith(("algorithmic", "learning")) and name != "masked_language_model"
        ),
    ),
)
def test_what_does_not_match_is_refused_before_it_is_traced(name, data, monkeypatch):
    monkeypatch.setenv("ARCH_DATA_DIR", str(data))
    task = {"kind": name, **TASKS[name]}
    if task["kind"] in ("language_model", "masked_language_model", "lambada"):
        task = {"corpus": f"file:{data}/text.txt", "tokenizer": "characters", **task}
    (family, *_) = tasks.build(task["kind"], field="task.kind", **_without(task, "kind")).families
    taken = 0
    for head, embedding in itertools.product(HEADS, EMBEDDINGS):
        model = {"family": family, "width": 8, "head": head, "embedding": embedding}
        try:
            made = config.make(model=model | MODELS[family], task=task, train={"batch": 2})
            task_of, built = build(made)
            task_of.check_model(built)
        except ConfigurationError:
            continue
        _trace(task_of, built)
        taken += 1
    assert taken >= 1


def _without(options, name):
    return {key: value for key, value in options.items() if key != name}


def _trace(task, model):
    """The gradient of the objective, in shapes alone."""

    def objective(parameters, gathered, key):
        context = Context(key=key, train=True)
        losses, _ = task.sums(model, parameters, task.assemble(gathered), context)
        return sum(total / weight for total, weight in losses.values())

    key = jax.random.key(0)
    shapes = jax.eval_shape(model.init, key)
    jax.eval_shape(jax.grad(objective), shapes, task.gathered_shapes(2), key)


def test_a_language_model_may_not_look_ahead_through_its_head():
    for head, says in (("pointer", "one of a sequence's own"), ("reconstruction", "back from its")):
        model = {"width": 8, "head": {"kind": head}} | MODELS["decoder"]
        with pytest.raises(ConfigurationError, match=f"model.head.kind='{head}' gives .*{says}"):
            made = config.make(model=model, task={"kind": "language_model", "corpus": "stdlib"})
            Program(made, *build(made))
