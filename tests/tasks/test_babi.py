"""bAbI: files, splits, vocabulary, the task's batches, and the embedding of sentences."""

import os
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from arch.context import Context, Extras
from arch.data.corpora import babi
from arch.data.corpora.reading import CorpusError
from arch.models.embeddings.sentence import Sentence
from arch.models.heads import Score
from arch.registry import ConfigurationError, tasks
from arch.tasks.contract import Window

PEOPLE, PLACES = ("Mary", "John", "Ann"), ("hall", "garden", "kitchen", "office")
STORY = """1 Mary got the milk.
2 Where is Mary? \thall\t1
3 Mary took the ball there.
4 What is Mary carrying?\tmilk,ball\t3 1
1 John is in the office.
2 Where is john?\toffice\t1
"""


def made_up(stories: int, questions: int, seed: int, word: str = "went") -> str:
    """Stories of `questions` questions, each after one more fact than the one before it."""
    source, lines = np.random.default_rng(seed), []
    for _ in range(stories):
        where, number = {}, 0
        for _ in range(questions):
            who, place = source.choice(PEOPLE), source.choice(PLACES)
            lines.append(f"{number + 1} {who} {word} to the {place}.")
            where[who] = (place, number + 1)
            answer, fact = where[who]
            lines.append(f"{number + 2} Where is {who}? \t{answer}\t{fact}")
            number += 2
    return "\n".join(lines) + "\n"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """ARCH_DATA_DIR/babi with task 1 (20 stories of 3 questions) and task 3 (10 of 6)."""
    monkeypatch.setenv("ARCH_DATA_DIR", str(tmp_path))
    inside = tmp_path / "babi"
    inside.mkdir()
    for task, stories, questions in ((1, 20, 3), (3, 10, 6)):
        for split, seed in (("train", 0), ("test", 1)):
            text = made_up(stories, questions, seed)
            (inside / f"qa{task}_made-up_{split}.txt").write_text(text)
    return inside


def build(**options):
    return tasks.get("babi")(**options)


def questions(**options):
    return build(**options).questions


def digest(**options):
    return build(**options).sha256


class Guesses:
    """A model that gives `answers` with log p = -1 for the target and -2 for the mean word."""

    def __init__(self, answers, extras=None):
        self.answers, self.extras = jnp.asarray(answers), extras or Extras()

    def score(self, parameters, inputs, targets, context):
        self.inputs, self.mask, self.shape = inputs, context.mask, targets.shape
        ones = jnp.ones(targets.shape)
        return Score(target=-ones, mean=-2 * ones, best=self.answers[:, None]), self.extras


def evaluated(task, gathered, answers, context=None):
    return task.sums(
        Guesses(answers), None, task.assemble_evaluation(gathered), context or Context()
    )


def test_a_story_is_read_with_its_facts_answers_and_supporting_facts():
    first, second, third = babi.parse(STORY.encode(), 8, "qa8")
    milk, ball = ("mary", "got", "the", "milk"), ("mary", "took", "the", "ball", "there")
    assert first == ((milk,), ("where", "is", "mary"), "hall", (0,), 8, 0)
    assert second.facts == (milk, ball)
    assert second.support == (1, 0)
    assert third == (
        (("john", "is", "in", "the", "office"),),
        ("where", "is", "john"),
        "office",
        (0,),
        8,
        1,
    )


def test_an_answer_of_several_words_is_one_token():
    questions = babi.parse(STORY.encode(), 8, "qa8")
    words = babi.vocabulary(questions)
    assert "milk,ball" in words
    (answer,) = babi.encode(questions[1:2], words, 70, 3, 5).answer
    assert answer == words["milk,ball"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 A b.\n3 C d.\n", r"qa:2: '3' where 2 or 1 is expected"),
        ("2 A b.\n", r"qa:1: '2' where 1 is expected"),
        ("A b.\n", r"qa:1: 'A' where 1 is expected"),
        ("1 A b.\n2 .\n", r"qa:2: a line without words"),
        ("1 A b.\n2 Who?\tb\n", r"qa:2: 1 fields behind the question where two"),
        ("1 A b.\n2 Who?\t\t1\n", r"qa:2: .*two are expected"),
        ("1 A b.\n2 Who?\tb\t2\n", r"qa:2: supporting fact '2' is no fact"),
        ("1 A b.\n", r"qa: no question in it"),
    ],
)
def test_a_malformed_line_is_named(text, message):
    with pytest.raises(CorpusError, match=message):
        babi.parse(text.encode(), 1, "qa")


def test_missing_files_are_named(folder, monkeypatch):
    with pytest.raises(ConfigurationError, match=r"no file qa2_\*_train.txt for task 2"):
        questions(tasks=(2,))
    with pytest.raises(ConfigurationError, match=r"babi-10k: not in ARCH_DATA_DIR .*en-10k"):
        digest(size="10k")
    (folder / "qa1_twice_train.txt").write_text(STORY)
    with pytest.raises(ConfigurationError, match=r"2 files qa1_\*_train.txt"):
        questions()
    monkeypatch.delenv("ARCH_DATA_DIR")
    with pytest.raises(ConfigurationError, match=r"ARCH_DATA_DIR \(unset\)"):
        questions(tasks=(3,))


def test_ten_thousand_questions_are_read_from_a_folder_of_their_own(folder):
    folder.rename(folder.with_name("babi-10k"))
    assert len(questions(size="10k")["test"]) == 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ()}, r"task.tasks=\(\)"),
        ({"tasks": (0,)}, r"task.tasks=\(0,\): allowed are different numbers from 1 to 20"),
        ({"tasks": (1, 1)}, "different"),
        ({"size": "2k"}, "task.size='2k': allowed are 1k, 10k"),
        ({"facts": -1}, "task.facts=-1"),
        ({"held_out": 0.0}, "task.held_out=0.0"),
        ({"label_smoothing": 1.0}, "task.label_smoothing=1.0"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        build(**options)


def test_the_last_stories_are_held_out_and_share_none_with_training(folder):
    task = build(tasks=(1, 3), held_out=0.2)
    stories = {
        split: {(q.task, q.story) for q in task.questions[split]} for split in ("train", "valid")
    }
    assert stories["valid"] == {(1, n) for n in range(16, 20)} | {(3, 8), (3, 9)}
    assert stories["train"] == {(1, n) for n in range(16)} | {(3, n) for n in range(8)}
    assert len(task.questions["test"]) == 120
    with pytest.raises(ConfigurationError, match="task.held_out=0.99: task 1 has 20 stories: none"):
        questions(held_out=0.99)


def test_only_the_last_facts_are_kept_and_the_question_follows_them(folder):
    task = build(tasks=(3,), facts=4)
    words = {id: word for word, id in task.words.items()}
    rows, asked = task.arrays["test"], task.questions["test"]
    assert rows.sentences.shape == (60, 5, 5)
    for row, length, question in zip(rows.sentences, rows.length, asked, strict=True):
        read = [tuple(words[id] for id in sentence if id) for sentence in row]
        assert read[:length] == [*question.facts[-4:], question.words]
        assert not any(read[length:])
    assert {len(q.facts) for q in asked} == {1, 2, 3, 4, 5, 6}
    assert rows.length.max() == 5


def test_seventy_facts_are_read_but_a_hundred_and_thirty_where_task_3_is(folder):
    assert build().facts == build(tasks=(1, 2)).facts == 70
    assert build(tasks=(3,)).facts == build(tasks=(1, 3)).facts == 130
    assert build(tasks=(3,), facts=9).facts == 9


def test_a_word_of_the_test_files_alone_is_unknown_and_never_right(folder):
    text = "1 Mary flew to the moon.\n2 Where is Mary? \tmoon\t1\n"
    (folder / "qa1_made-up_test.txt").write_text(text)
    task = build()
    row = task.arrays["test"]
    assert "flew" not in task.words
    assert row.sentences[0, 0].tolist().count(babi.UNKNOWN) == 2
    assert row.answer.tolist() == [babi.UNKNOWN]
    _, statistics = evaluated(task, row, [babi.UNKNOWN])
    assert statistics["accuracy"] == (0, 1)


def test_the_vocabulary_is_the_training_files(folder):
    task = build()
    names = {"mary", "john", "ann", "went", "to", "the", "where", "is", *PLACES}
    assert set(task.words) == names | {"<unk>"}
    assert sorted(task.words.values()) == list(range(1, len(names) + 2))
    assert task.vocabulary == len(names) + 2
    assert task.arrays["train"].sentences.max() < task.vocabulary


def test_the_digest_is_of_the_files_used(folder):
    one, both = digest(), digest(tasks=(1, 3))
    assert one != both
    (folder / "qa3_made-up_test.txt").write_text(made_up(10, 6, 2))
    assert digest() == one
    assert digest(tasks=(3, 1)) != both


def test_every_epoch_asks_each_question_once(folder):
    task, key = build(), jax.random.key(0)
    n = len(task.questions["train"])
    assert n == 54
    asked = np.concatenate([task.indices(key, jnp.int32(step), 9) for step in range(12)])
    assert sorted(asked[:n]) == sorted(asked[n:]) == list(range(n))
    assert asked[:n].tolist() != asked[n:].tolist()


def test_a_batch_hides_its_padding_and_holds_its_question(folder):
    task = build(tasks=(1, 3))
    indices = jnp.array([0, 55, 2])
    batch = task.assemble(task.gather(task.source(), indices))
    assert batch.sentences.shape == (3, 7, 5)
    assert batch.sentences.dtype == jnp.int32
    assert batch.answers.shape == (3, 1)
    assert batch.mask.sum(axis=1).tolist() == [2, 3, 4]
    present = np.asarray(batch.sentences).any(axis=2)
    assert np.array_equal(present, batch.mask)
    assert batch.task.tolist() == [1, 3, 1]
    assert batch.support.tolist() == [1, 1, 1]
    assert task.length == task.max_length == 7
    assert task.tokens_per_sequence == pytest.approx((54 * 3 + 54 * 4.5) / 108)


def test_a_model_is_given_sentences_mask_and_one_target_a_question(folder):
    task = build()
    model, rows = Guesses(task.arrays["valid"].answer), task.arrays["valid"]
    losses, statistics = task.sums(model, None, task.assemble(rows), Context())
    assert model.inputs.shape == (6, 4, 5)
    assert model.shape == (6, 1)
    assert model.mask.dtype == bool
    assert losses == {"loss": (6, 6)}
    assert statistics == {"accuracy": (6, 6), "supporting_facts": (6, 6)}


def test_rows_of_zeros_count_nothing(folder):
    task = build(tasks=(1, 3))
    rows = task.arrays["valid"]
    padded = jax.tree.map(lambda a: np.pad(a, [(0, 5)] + [(0, 0)] * (a.ndim - 1)), rows)
    answers = rows.answer.copy()
    answers[:2] = babi.UNKNOWN
    plain = evaluated(task, rows, answers)
    assert evaluated(task, padded, np.pad(answers, (0, 5))) == plain
    assert not task.assemble_evaluation(padded).mask[-5:].any()


def test_each_task_has_an_accuracy_of_its_own_in_evaluation_alone(folder):
    task = build(tasks=(1, 3))
    rows = task.arrays["test"]
    answers = np.where(rows.task == 3, babi.UNKNOWN, rows.answer)
    _, statistics = evaluated(task, rows, answers)
    assert statistics["accuracy_task_01"] == (60, 60)
    assert statistics["accuracy_task_03"] == (0, 60)
    assert statistics["accuracy"] == (60, 120)
    _, statistics = evaluated(task, rows, answers, Context(train=True))
    assert set(statistics) == {"accuracy"}


def test_label_smoothing_is_for_training_alone(folder):
    task = build(label_smoothing=0.25)
    rows = task.arrays["valid"]
    losses, _ = evaluated(task, rows, rows.answer, Context(train=True))
    assert losses["loss"] == (pytest.approx(6 * 1.25), 6)
    losses, _ = evaluated(task, rows, rows.answer)
    assert losses["loss"] == (6, 6)


def test_what_the_stack_returns_is_passed_on(folder):
    task, pair = build(), (jnp.float32(3), jnp.float32(6))
    rows = task.arrays["valid"]
    model = Guesses(rows.answer, Extras(losses={"ponder": pair}, statistics={"time": pair}))
    losses, statistics = task.sums(model, None, task.assemble(rows), Context())
    assert losses["ponder"] == statistics["time"] == pair


def test_a_prefix_holds_the_same_share_of_each_task(folder):
    task = build(tasks=(1, 3))
    whole = task.arrays["test"].length.sum()
    assert len(task.examples("test").answer) == 120
    assert len(task.examples("test", Window(tokens=int(whole))).answer) == 120
    part = task.examples("test", Window(tokens=int(whole) // 4))
    assert np.unique(part.task, return_counts=True)[1].tolist() == [15, 15]
    assert np.unique(task.examples("test", Window(tokens=1)).task).tolist() == [1, 3]


def test_the_figures_are_errors_and_failed_tasks(folder):
    means = {"loss": 0.5, "accuracy": 0.75}
    assert build().figures("test", means, 40.0) == {
        "loss": 0.5,
        "error_percent": 25.0,
        "unit": "answer",
        "questions": 40,
    }
    means |= {"accuracy_task_01": 0.96, "accuracy_task_03": 0.94}
    assert build(tasks=(1, 3)).figures("test", means, 40.0)["failed_tasks"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"splits": ("dev",)}, "evaluate.splits='dev': allowed are valid, test"),
        ({"window": 8}, "evaluate.window=8"),
        ({"stride": 8}, "evaluate.stride=8"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused(settings, message):
    fine = {"splits": ("valid", "test"), "window": 0, "stride": 0}
    build().check_evaluation(fine)
    with pytest.raises(ConfigurationError, match=message):
        build().check_evaluation(fine | settings)


@pytest.fixture
def sentence():
    """A sentence embedding of 7 words × 4 channels, with masks that are not 1 any more."""
    module = Sentence(7, 4, words=5, rngs=nnx.Rngs(0))
    module.mask[...] = jax.random.normal(jax.random.key(1), (5, 4))
    return module


def test_a_sentence_is_the_sum_of_its_masked_words(sentence):
    ids = np.random.default_rng(0).integers(0, 7, (2, 3, 4))
    table, mask = np.asarray(sentence.table[...]), np.asarray(sentence.mask[...])
    expected = np.zeros((2, 3, 4), np.float32)
    for b, i, j in np.ndindex(2, 3, 4):
        if ids[b, i, j]:
            expected[b, i] += table[ids[b, i, j]] * mask[j]
    np.testing.assert_allclose(sentence(jnp.asarray(ids)), expected, atol=1e-6)


def test_masks_start_at_one_and_padding_adds_nothing(sentence):
    assert np.all(np.asarray(Sentence(7, 4, words=5, rngs=nnx.Rngs(0)).mask[...]) == 1)
    ids = jnp.array([[[3, 1], [0, 0]]])
    wider = jnp.pad(ids, ((0, 0), (0, 0), (0, 3)))
    np.testing.assert_allclose(sentence(ids), sentence(wider), rtol=1e-6)
    assert not np.any(np.asarray(sentence(ids))[0, 1])

    def total(module):
        return module(ids).sum()

    gradient = nnx.grad(total)(sentence)
    assert not np.any(np.asarray(gradient.table[...])[0])


def test_sentences_longer_than_the_masks_are_refused(sentence):
    with pytest.raises(ConfigurationError, match="embedding.words=5: .* sentences of 6 words"):
        sentence(jnp.ones((1, 2, 6), jnp.int32))
    with pytest.raises(ConfigurationError, match="the task has no sentences"):
        sentence(jnp.ones((2, 6), jnp.int32))
    with pytest.raises(ConfigurationError, match="embedding.words=0"):
        Sentence(7, 4, words=0, rngs=nnx.Rngs(0))


# The published files

PUBLISHED = Path(os.environ.get("ARCH_DATA_DIR", "")) / "babi"
published = pytest.mark.skipif(
    not os.environ.get("ARCH_DATA_DIR") or not PUBLISHED.is_dir(),
    reason="no folder babi in ARCH_DATA_DIR: put the files of tasks_1-20_v1-2/en there",
)
# number of the task → most facts before a question, most words of a sentence, over both splits
EXTENTS = {1: (10, 6), 2: (88, 6), 3: (228, 7), 15: (8, 5), 17: (2, 11), 19: (5, 10), 20: (12, 7)}


@published
@pytest.mark.parametrize("number", babi.TASKS)
def test_each_published_task_has_a_thousand_questions_to_train_and_to_test(number):
    data = babi.load((number,))
    assert len(data.train) == len(data.test) == 1000
    for question in (*data.train, *data.test):
        assert all(0 <= fact < len(question.facts) for fact in question.support)
    if number in EXTENTS:
        facts, words = babi.extent((*data.train, *data.test), 1000)
        assert (facts - 1, words) == EXTENTS[number]


@published
def test_the_first_published_story_is_read_as_printed():
    first, second, *_ = babi.load((1,)).train
    assert first.facts == (
        ("mary", "moved", "to", "the", "bathroom"),
        ("john", "went", "to", "the", "hallway"),
    )
    assert (first.words, first.answer, first.support) == (("where", "is", "mary"), "bathroom", (0,))
    assert (second.answer, second.support, len(second.facts)) == ("hallway", (2,), 4)


@published
def test_published_answers_are_words_of_the_vocabulary():
    data = babi.load((1, 2, 3, 15, 20))
    words = babi.vocabulary(data.train)
    assert all(q.answer in words for q in (*data.train, *data.test))
    assert not any("," in word for word in words)
    assert any("," in q.answer for q in babi.load((8,)).train)
    assert all("," in q.answer for q in babi.load((19,)).test)


@published
@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_first_tasks_need_as_many_facts_as_their_number(number):
    assert {len(q.support) for q in babi.load((number,)).test} == {number}


@published
def test_the_papers_arrays_are_cut_at_its_number_of_facts():
    shapes = {n: build(tasks=(n,)).arrays["test"].sentences.shape for n in (2, 3)}
    assert shapes == {2: (1000, 71, 6), 3: (1000, 131, 7)}


@published
def test_all_tasks_together_are_one_task():
    task = build(tasks=babi.TASKS)
    assert task.arrays["test"].sentences.shape == (20000, 131, 11)
    assert len(task.questions["train"]) + len(task.questions["valid"]) == 20000
    assert SimpleNamespace(**task.details).questions["test"] == 20000
