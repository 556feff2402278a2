"""Subject-verb agreement: what is asked, the splits, refusals, and a model that learns it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config, variants
from arch.data.generated import sentences
from arch.registry import ConfigurationError
from arch.tasks import contract
from arch.tasks.contract import Window
from arch.training import evaluation


def task_of(**options):
    given = {"between": 2, "nouns": 20, "evaluation_examples": 64, **options}
    return contract.build({"kind": "subject_verb_agreement", **given})


def nouns_of(words):
    return (words >= sentences.FIRST_NOUN).sum(-1)


def batch_of(task, seed=0, step=0):
    def run(key, step):
        return task.assemble(task.gather((), task.indices(key, step, 128)))

    return jax.tree.map(np.asarray, jax.jit(run)(jax.random.key(seed), jnp.int32(step)))


def test_the_verb_alone_is_asked_for_behind_the_last_word():
    batch = batch_of(task_of())
    assert (batch.asked.sum(1) == 1).all()
    at = batch.asked.argmax(1)
    rows = np.arange(len(at))
    assert (batch.inputs[rows, at] > 0).all()
    behind = np.arange(batch.inputs.shape[1])[None] > at[:, None]
    assert not batch.inputs[behind].any()
    assert set(batch.targets[rows, at]) == {sentences.IS, sentences.ARE}
    assert not batch.targets[batch.asked == 0].any()
    assert not (np.isin(batch.inputs, (sentences.IS, sentences.ARE))).any()


def test_batches_are_a_function_of_key_and_step():
    task = task_of()
    first, again = batch_of(task), batch_of(task)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert len(np.unique(first.inputs, axis=0)) > 100
    for other in (batch_of(task, step=1), batch_of(task, seed=1)):
        assert (first.inputs != other.inputs).any()


def test_each_split_has_its_sentences_the_same_in_every_run():
    task = task_of()
    assert task.splits == ("valid", "test", "attractors0", "attractors1", "attractors2")
    for split in task.splits:
        made = task.examples(split)
        jax.tree.map(np.testing.assert_array_equal, made, task_of().examples(split))
        assert made.words.shape == (64, task.length) and (made.size > 1).all()
    for k in range(3):
        found = nouns_of(task.examples(f"attractors{k}").words) - k
        assert set(found) == {1, 2}  # the subject, and in some a place before it
    assert not np.array_equal(task.examples("valid").words, task.examples("test").words)
    assert len(task.examples("valid", Window(tokens=5)).verb) == 5


def test_most_sentences_have_few_nouns_between():
    task = task_of(between=4, more=0.5, evaluation_examples=4096)
    found = nouns_of(task.examples("valid").words)
    # one, a place before it in half of them, and 1/2 + 1/4 + 1/8 + 1/16 more on average
    assert found.mean() == pytest.approx(1 + 0.5 + 15 / 16, abs=0.06)
    assert (nouns_of(task_of(more=0.0).examples("valid").words) <= 2).all()


def test_guessing_is_worth_half():
    task = task_of(evaluation_examples=1024)
    assert task.unigram_loss("valid") == pytest.approx(np.log(2), abs=0.01)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"between": -1}, "task.between=-1: allowed is 0 or more"),
        ({"more": 1.5}, "task.more=1.5: allowed is 0 to 1"),
        ({"nouns": 0}, "task.nouns=0: allowed is 1 or more"),
        ({"evaluation_examples": 0}, "task.evaluation_examples=0: allowed is 1 or more"),
    ],
)
def test_options_that_cannot_be_are_refused_in_a_line(options, message):
    with pytest.raises(ConfigurationError) as refused:
        task_of(**options)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_transformer_learns_the_number_of_a_verb(train):
    configuration = config.make(
        model=variants.vanilla(layers=2, width=32, heads=2, dropout=0.0),
        task={
            "kind": "subject_verb_agreement", "between": 2, "nouns": 20, "evaluation_examples": 128,
        },
        train={"steps": 400, "batch": 64, "optimizer": {"learning_rate": 3e-3}},
        evaluate={"splits": ("valid", "attractors0"), "tokens": 0},
    )  # fmt: skip
    run = train([(configuration, 0)], (20,) * 20)
    (figures,) = evaluation.everything(run.program, run.state.parameters)["attractors0"]
    assert figures["accuracy"] > 0.9 and figures["tokens"] == 128
