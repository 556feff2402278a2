"""Learning to execute: programs in ids, splits that do not meet, and a model that learns them."""

import numpy as np
import pytest

from arch import config
from arch.models.generation import PAD
from arch.registry import ConfigurationError
from arch.tasks import contract
from arch.tasks.learning_to_execute import IDS, LearningToExecute
from arch.tasks.sequence_to_sequence import END
from arch.training import evaluation


def task(**options):
    sizes = {"training_examples": 64, "evaluation_examples": 16}
    return LearningToExecute(**{"length": 2, **sizes, **options})


def test_rows_are_the_texts_with_their_ends():
    made = task()
    for split, count in (("train", 64), ("valid", 16), ("test", 16)):
        arrays, texts = made.arrays[split], made.texts[split]
        assert len(texts) == count
        for side, rows in enumerate(arrays):
            for row, pair in zip(rows, texts, strict=True):
                size = len(pair[side])
                assert row[size] == END and not row[size + 1 :].any()
                assert row[:size].tolist() == [IDS[character] for character in pair[side]]
                assert made.text_of(row) == pair[side]


def test_no_text_that_is_tested_is_trained_on():
    texts = {split: {text for text, _ in part} for split, part in task().texts.items()}
    assert not texts["train"] & (texts["valid"] | texts["test"])
    assert not texts["valid"] & texts["test"]


def test_a_prefix_of_a_split_has_the_tokens_asked_for():
    made = task()
    part = made.examples("valid", contract.Window(tokens=20))
    counted = (part.targets != PAD).sum(1)
    assert counted.sum() > 20 >= counted[:-1].sum()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"algorithm": "sorting"}, "task.algorithm='sorting'"),
        ({"nesting": 0}, "task.nesting=0"),
        ({"label_smoothing": 1.0}, "task.label_smoothing=1.0"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        task(**options)


def test_too_many_examples_are_refused():
    few = task(algorithm="copy", length=1)
    with pytest.raises(ConfigurationError, match="task.training_examples=64: .* only 10 are"):
        _ = few.texts
    with pytest.raises(ConfigurationError, match="a greater task.length than 1"):
        _ = few.length


def test_a_text_to_execute_is_a_prompt_and_others_are_refused():
    made = task()
    prompt = made.written_prompt("print((1+2))", 3)
    assert prompt.steps == 3 and prompt.source.shape == (1, made.arrays["train"].source.shape[1])
    assert made.text_of(np.asarray(prompt.source)[0]) == "print((1+2))"
    with pytest.raises(ConfigurationError, match="'%é' is in no program"):
        made.written_prompt("1%é", 3)
    with pytest.raises(ConfigurationError, match="a text of 400 characters"):
        made.written_prompt("1" * 400, 3)


@pytest.mark.slow
def test_a_transformer_learns_to_copy(train):
    configuration = config.make(
        model={
            "family": "encoder_decoder", "width": 32, "encoder_order": "sf", "order": "scf",
            "sublayers": {
                "s": {"kind": "attention", "heads": 2},
                "c": {"kind": "attention", "heads": 2, "cross": True},
                "f": {"kind": "feed_forward"},
            },
        },
        task={
            "kind": "learning_to_execute", "algorithm": "copy", "length": 4,
            "training_examples": 512, "evaluation_examples": 32,
        },
        train={"steps": 300, "batch": 32, "optimizer": {"learning_rate": 3e-3}},
        evaluate={"splits": ("valid",), "tokens": 0},
    )  # fmt: skip
    run = train([(configuration, 0)], (10,) * 30)
    (figures,) = evaluation.everything(run.program, run.state.parameters)["valid"]
    assert float(run.metrics["loss"][0, -1]) < 0.8
    assert figures["token_accuracy_free_running"] > 0.6 < figures["token_accuracy_teacher_forced"]
    assert figures["tokens"] == int((run.task.examples("valid").targets != PAD).sum())
