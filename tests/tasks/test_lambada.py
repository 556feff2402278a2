"""LAMBADA: passages, last words by a language model, answers by a pointer, sums against NumPy's."""

import json
import math
import os
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import launch
from arch import config
from arch.context import Context, Extras
from arch.data.corpora import lambada
from arch.data.corpora.reading import CorpusError
from arch.models.heads import Score
from arch.models.heads.pointer import Pointer
from arch.registry import ConfigurationError
from arch.report.lines import read_lines
from arch.tasks.contract import Window
from arch.tasks.lambada.last_word import LastWord, LastWordBatch, encode, unknown_id
from arch.tasks.lambada.reading import Reading, ReadingBatch, places
from arch.tasks.lambada.task import Lambada
from arch.training import evaluation
from arch.training import program as training
from tests.families import always

DATA = os.environ.get("ARCH_DATA_DIR")
real_data = pytest.mark.skipif(
    not DATA or not os.path.isfile(os.path.join(DATA, "lambada", "lambada_test.jsonl")),
    reason="ARCH_DATA_DIR/lambada/lambada_test.jsonl is not there",
)
PASSAGES = (
    "an order is a string of sublayers\n\nto be read twice is an order",
    "is a string to be read, a string “twice",  # a mark, and no answer
    "a string of sublayers is an order of zebras",  # no word of the corpus
    "to be",  # short, and no answer
    "twice twice is of a string, it is read twice and twice",
)
LENGTH = 8


@pytest.fixture
def passages(tmp_path, monkeypatch):
    """A function: put these passages into an ARCH_DATA_DIR of the test's own."""

    def put(texts=PASSAGES, name="lambada_test.jsonl"):
        monkeypatch.setenv("ARCH_DATA_DIR", str(tmp_path))
        (tmp_path / "lambada").mkdir(exist_ok=True)
        lines = [json.dumps({"text": t}) if name.endswith("jsonl") else t for t in texts]
        (tmp_path / "lambada" / name).write_text("\n".join(lines) + "\n")

    return put


@pytest.fixture
def build(corpus, passages):
    """A function: (task, model, parameters, program) of a form, with these task options."""

    def make(form, texts=PASSAGES, model=(), **options):
        passages(texts)
        reading = form == "reading"
        made = config.make(
            model={
                "family": "encoder" if reading else "decoder",
                "width": 16,
                "order": "sf",
                "sublayers": {"s": {"kind": "attention", "heads": 2}},
                "head": {"kind": "pointer"} if reading else {},
                **dict(model),
            },
            task={
                "kind": "lambada",
                "form": form,
                "corpus": corpus,
                "tokenizer": "words",
                "length": LENGTH,
                "common": 0,
                **options,
            },
            train={"steps": 4, "batch": 4},
        )
        task, built = training.build(made)
        evaluation.check(made, task)
        program = training.Program(made, task, built)
        source = np.random.default_rng(0)
        parameters = jax.tree.map(
            lambda leaf: jnp.asarray(0.3 * source.standard_normal(leaf.shape), jnp.float32),
            jax.eval_shape(built.init, jax.random.key(0)),
        )
        return task, built, parameters, program

    return make


def figures_of(made, split, **settings):
    _, _, parameters, program = made
    one = jax.tree.map(lambda a: a[None], parameters)
    return evaluation.evaluate(program, one, split, Window(**settings))[0]


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


# Passages


def test_a_passage_is_its_context_and_its_last_word(passages):
    passages()
    loaded = lambada.load("test")
    assert loaded.texts == PASSAGES
    for form in lambada.FORMS:
        for text, (context, word) in zip(PASSAGES, loaded.split(form), strict=True):
            assert context + word == lambada.write(text, form)
            assert word == text.split()[-1].strip("“") and context.strip()


def test_the_forms_write_a_passage_as_their_corpora_are_written():
    text = "“I don’t know,” said Mr. Lee-Ray.\n\nShe'd paid 1,000.5 dollars… twice"
    assert lambada.write(text, "raw") == text
    assert lambada.write(text, "split") == (
        "\" I do n't know , \" said Mr. Lee-Ray . She 'd paid 1,000.5 dollars ... twice"
    )
    assert lambada.write(text, "lower") == lambada.write(text, "split").lower()
    assert lambada.write(text, "penn") == (
        "i do n't know said mr. lee-ray \n she 'd paid N dollars twice"
    )


def test_the_authors_own_tokens_stay_as_they_are(passages):
    text = "`` i do n't know , '' she said . the reporter 's mother did n't either , he said"
    assert lambada.write(text, "lower") == text.replace("``", '"').replace("''", '"')


def test_dev_passages_are_a_split_where_they_are(passages, corpus):
    passages()
    task = Lambada(corpus=corpus, tokenizer="words")
    assert task.splits == ("valid", "test")
    only_test = task.sha256
    passages(PASSAGES[:2], "lambada_development_plain_text.txt")
    task = Lambada(corpus=corpus, tokenizer="words")
    assert task.splits == ("valid", "test", "dev")
    assert len(task.passages("dev")) == 3  # a line is a passage: the first has two line ends
    assert task.sha256 != only_test and set(task.details["lambada"]) == {"test", "dev"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no passages in it"),
        ('{"text": "a word"}\n{"txt": "a word"}\n', "line 2 is not a JSON record"),
        ("a word\n", "line 1 is not a JSON record"),
        ('{"text": 3}\n', "line 1 is not a JSON record"),
        ('{"text": "the last one."}\n', "line 1 is no passage, it ends in 'the last one.'"),
        ('{"text": "alone"}\n', "line 1 is no passage"),
        ('{"text": ""}\n', "line 1 is no passage"),
        (b"\xff\xfe", "not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_lambada_is_refused_by_line(content, message, tmp_path, monkeypatch):
    monkeypatch.setenv("ARCH_DATA_DIR", str(tmp_path))
    (tmp_path / "lambada").mkdir()
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "lambada/lambada_test.jsonl").write_bytes(data)
    with pytest.raises(CorpusError, match=message):
        lambada.load("test")


def test_passages_that_are_missing_say_where_to_put_them(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCH_DATA_DIR", str(tmp_path))
    with pytest.raises(CorpusError, match="put lambada_test.jsonl or .* into ARCH_DATA_DIR/lamb"):
        lambada.load("test")
    monkeypatch.delenv("ARCH_DATA_DIR")
    with pytest.raises(CorpusError, match="unset"):
        lambada.load("dev")


# The forms


def test_the_forms_are_two_classes_of_one_kind():
    reading, last_word = Lambada(form="reading"), Lambada()
    assert (type(reading), type(last_word)) == (Reading, Lambada)
    assert isinstance(last_word, LastWord) and not isinstance(reading, LastWord)
    assert reading.kind == last_word.kind == "lambada"


# The language-model form


@pytest.mark.parametrize("tokenizer", ["words", "bpe:280", "bytes"])
def test_last_words_have_the_loss_of_the_models_logits(build, tokenizer):
    made = build("language_model", tokenizer=tokenizer, passages="raw", length=12)
    task, model, parameters, _ = made
    figures = figures_of(made, "test")
    tokenizer = task.dataset.tokenizer
    losses, right, unknown = [], [], []
    logits_of = jax.jit(lambda ids: model.logits(parameters, ids, Context()))
    for passage in task.passages("test"):
        ids, count = encode(tokenizer, passage)
        ids = ids[-13:]
        assert "".join(passage).endswith(passage.word) and count <= len(ids)
        row = np.pad(ids[:-1], (0, 13 - len(ids)))  # behind the last: a causal model is not told
        logits = logits_of(jnp.asarray(row[None]))[0, : len(ids) - 1]
        log_p, wanted = log_softmax(logits)[-count:], ids[-count:]
        losses.append(-log_p[np.arange(count), wanted].sum())
        unknown.append(bool((wanted == unknown_id(tokenizer)).any()))
        right.append(bool((log_p.argmax(-1) == wanted).all()) and not unknown[-1])
    assert figures["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert figures["perplexity"] == pytest.approx(math.exp(np.mean(losses)), rel=1e-3)
    assert figures["accuracy"] == pytest.approx(np.mean(right))
    assert figures["unknown_share"] == pytest.approx(np.mean(unknown))
    assert figures["passages"] == len(PASSAGES)  # five in batches of four: three rows count nothing
    assert figures["unit"] == "word"


def test_a_word_of_the_most_probable_tokens_is_right_and_an_unknown_one_never(build):
    task, *_ = build("language_model")
    batch = task.evaluation_batch("test", task.examples("test"))

    def sums(best):
        score = Score(jnp.zeros(batch.targets.shape), jnp.zeros(batch.targets.shape), best)
        model = SimpleNamespace(score=lambda *_: (score, Extras()))
        statistics = task.sums(model, None, jax.tree.map(jnp.asarray, batch), Context())[1]
        return {name: (float(total), float(weight)) for name, (total, weight) in statistics.items()}

    assert sums(batch.targets) == {"accuracy": (4, 5), "unknown_share": (1, 5)}
    assert sums(batch.targets + 1)["accuracy"] == (0, 5)
    elsewhere = batch.targets + (batch.weights == 0)
    assert sums(elsewhere)["accuracy"] == (4, 5)  # only the last word is asked for


def test_words_of_many_tokens_need_each_of_them(build):
    task, *_ = build("language_model", tokenizer="bytes", length=12, passages="raw")
    batch = task.evaluation_batch("test", task.examples("test"))
    assert batch.weights.sum(1).tolist() == [5, 5, 6, 2, 5]
    wrong = np.array(batch.targets)
    row, first = 0, int(np.argmax(batch.weights[0]))
    wrong[row, first] += 1
    score = Score(jnp.zeros(wrong.shape), jnp.zeros(wrong.shape), jnp.asarray(wrong))
    model = SimpleNamespace(score=lambda *_: (score, Extras()))
    statistics = task.sums(model, None, jax.tree.map(jnp.asarray, batch), Context())[1]
    assert float(statistics["accuracy"][0]) == 4


def test_the_inputs_are_the_last_of_the_context_and_never_the_words_end(build):
    task, *_ = build("language_model", tokenizer="bytes", length=12, passages="raw")
    batch = task.evaluation_batch("test", task.examples("test"))
    for row, text in enumerate(PASSAGES):
        data = text.encode()
        seen = bytes(batch.inputs[row][batch.mask[row]].tolist())
        assert seen == data[:-1][-12:]
        assert bytes(batch.targets[row][batch.weights[row] > 0].tolist()).decode() == (
            text.split()[-1].strip("“")
        )


def test_a_longer_window_gives_a_last_word_more_context(build):
    made = build("language_model", texts=(" ".join(["a string of"] * 9),))
    task = made[0]
    chosen = task.examples("test", Window(window=20))
    assert task.evaluation_batch("test", chosen, Window(window=20)).mask.sum() == 20
    assert figures_of(made, "test", window=20)["window"] == 20
    assert figures_of(made, "test", window=20)["loss"] != figures_of(made, "test")["loss"]


def test_rows_of_zeros_count_nothing(build):
    for form in ("language_model", "reading"):
        task, model, parameters, _ = build(form)
        batch = task.evaluation_batch("test", task.examples("test"))
        padded = jax.tree.map(lambda a: np.concatenate([a, np.zeros_like(a)]), batch)
        of = jax.jit(
            lambda b, task=task, model=model, parameters=parameters: task.sums(
                model, parameters, task.assemble_evaluation(b), Context()
            )
        )
        sums = [of(batch), of(padded)]
        for one, two in zip(*map(jax.tree.leaves, sums), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5)


def test_the_control_is_the_training_corpuss_valid_split(build, corpus):
    from arch.tasks.language_model import LanguageModel

    made = build("language_model")
    text = LanguageModel(corpus=corpus, tokenizer="words", length=LENGTH)
    figures = figures_of(made, "valid")
    assert figures["tokens"] == len(text.dataset.splits["valid"].ids) - 1
    assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]))
    key = jax.random.key(0)
    same = made[0].indices(key, jnp.int32(3), 4), text.indices(key, jnp.int32(3), 4)
    np.testing.assert_array_equal(*same)


# Reading


def numpy_pointer(logits, inputs, mask, target):
    """(log p(target), the most probable word) of one sequence."""
    there = np.flatnonzero(mask)
    p = np.exp(log_softmax(np.asarray(logits)[there]))
    total = {int(w): p[inputs[there] == w].sum() for w in set(inputs[there].tolist())}
    return math.log(total[target]) if target in total else -math.inf, max(total, key=total.get)


@pytest.fixture(scope="module")
def pointer():
    head = Pointer(9, 16, None, rngs=nnx.Rngs(0))
    source = np.random.default_rng(0)
    x = jnp.asarray(3 * source.standard_normal((40, 7, 16)), jnp.float32)
    inputs = source.integers(0, 5, (40, 7)).astype(np.int32)
    mask = np.arange(7)[None] >= source.integers(0, 6, (40, 1))
    targets = source.integers(0, 5, (40, 1)).astype(np.int32)
    return head, x, inputs, mask, targets


def test_the_pointer_sums_the_softmax_over_a_words_positions(pointer):
    head, x, inputs, mask, targets = pointer
    kernel = np.asarray(head.position.kernel[...], np.float64)
    for seen in (mask, np.ones_like(mask)):
        context = Context(mask=jnp.asarray(seen) if seen is mask else None)
        score = head.score(None, x, jnp.asarray(inputs), jnp.asarray(targets), context)
        assert score.target.shape == score.mean.shape == score.best.shape == (40, 1)
        present = 0
        for row in range(40):
            logits = np.asarray(x[row], np.float64) @ kernel[:, 0]
            log_p, best = numpy_pointer(logits, inputs[row], seen[row], int(targets[row, 0]))
            present += log_p > -math.inf
            got = float(score.target[row, 0])
            assert got == pytest.approx(log_p, abs=1e-4) if log_p > -math.inf else got <= -1e29
            assert int(score.best[row, 0]) == best
        assert 10 < present <= 40 - (seen is mask)
    assert head.flops(None) == 2 * 16


def test_a_pointer_at_each_occurrence_spreads_the_target_evenly(pointer):
    _, x, inputs, mask, targets = pointer
    head = Pointer(9, 16, None, occurrences="each", rngs=nnx.Rngs(0))
    kernel = np.asarray(head.position.kernel[...], np.float64)
    context = Context(mask=jnp.asarray(mask))
    score = head.score(None, x, jnp.asarray(inputs), jnp.asarray(targets), context)
    present = 0
    for row in range(40):
        there = np.flatnonzero(mask[row])
        log_p = log_softmax((np.asarray(x[row], np.float64) @ kernel[:, 0])[there])
        words, got = inputs[row][there], float(score.target[row, 0])
        chosen = words == targets[row, 0]
        present += chosen.any()
        assert got == pytest.approx(log_p[chosen].mean(), abs=1e-4) if chosen.any() else got < -1e29
        assert int(score.best[row, 0]) == words[np.argmax(log_p)]
        assert float(score.mean[row, 0]) == pytest.approx(log_p.mean(), abs=1e-4)
    assert 10 < present < 40

    def total(x):
        score = head.score(None, x, jnp.asarray(inputs), jnp.asarray(targets), context)
        return score.target.sum()

    g = np.asarray(jax.grad(total)(x))
    assert np.isfinite(g).all() and np.all(g[~mask] == 0)
    with pytest.raises(ConfigurationError, match="occurrences='all': allowed are summed, each"):
        Pointer(9, 16, None, occurrences="all", rngs=nnx.Rngs(0))


def test_the_pointer_has_a_finite_gradient_and_none_for_an_absent_target(pointer):
    head, x, inputs, mask, targets = pointer

    @jax.jit
    def gradient(x, mask):
        def total(x):
            context = Context(mask=mask)
            score = head.score(None, x, jnp.asarray(inputs), jnp.asarray(targets), context)
            return score.target.sum()

        return jax.grad(total)(x)

    g = np.asarray(gradient(x, jnp.asarray(mask)))
    assert np.isfinite(g).all()
    assert np.all(g[~mask] == 0)
    absent = ~((inputs == targets) & mask).any(1)
    assert absent.any() and np.all(g[absent] == 0)
    varied = ((inputs == targets) & mask).any(1) & ((inputs != targets) & mask).any(1)
    assert np.all(np.abs(g[varied]).max((1, 2)) > 0)
    nothing = np.asarray(gradient(x, jnp.zeros(mask.shape, bool)))
    assert np.all(nothing == 0)


def test_places_are_where_a_rarer_word_stands_among_those_before_it():
    source = np.random.default_rng(0)
    ids = source.integers(0, 30, 500).astype(np.uint8)
    expected = [i for i in range(5, 500) if ids[i] >= 4 and ids[i] in ids[i - 5 : i].tolist()]
    np.testing.assert_array_equal(places(ids, 5, 4), expected)
    assert len(places(np.arange(20), 5, 0)) == 0


def test_training_examples_have_their_answer_and_leave_out_common_words(build):
    task, *_ = build("reading", common=3)
    source = task.source()
    n = len(source[1])
    indices = task.indices(jax.random.key(0), jnp.int32(0), n)
    assert sorted(indices.tolist()) == list(range(n))  # an epoch is every example once
    batch = task.assemble(task.gather(source, indices))
    assert bool((batch.inputs == batch.targets).any(1).all())
    assert int(batch.targets.min()) >= 2 + 3
    assert float(batch.answerable.sum()) == n and batch.mask is None
    ids = task.dataset.splits["train"].ids
    where = int(source[1][int(indices[0])])
    np.testing.assert_array_equal(batch.inputs[0], ids[where - LENGTH : where])


def test_training_texts_may_be_shorter_with_padding_on_both_sides(build):
    task, *_ = build("reading", shortest=3)
    source, n = task.source(), 60
    tokens, where = task.gather(source, jnp.arange(n))
    batch = task.assemble((tokens, where))
    sizes = np.asarray(batch.mask).sum(1)
    assert set(sizes.tolist()) == set(range(3, LENGTH + 1))
    fronts = np.argmax(np.asarray(batch.mask), axis=1)
    assert len(set(fronts[sizes < LENGTH].tolist())) > 2
    for row in range(n):
        inside = slice(fronts[row], fronts[row] + sizes[row])
        np.testing.assert_array_equal(
            batch.inputs[row, inside], tokens[row, LENGTH - sizes[row] : LENGTH]
        )
        assert not np.delete(batch.inputs[row], np.r_[inside]).any()
        assert batch.mask[row, inside].all()
        found = (batch.inputs[row, inside] == batch.targets[row]).any()
        assert bool(batch.answerable[row]) == bool(found)
    assert 0 < float(batch.answerable.sum()) < n
    again = task.assemble(task.gather(source, jnp.arange(n)))
    jax.tree.map(np.testing.assert_array_equal, batch, again)


class Voter:
    """A model that says what a function makes of the inputs."""

    def __init__(self, say):
        self.say, self.seen = say, []

    def score(self, parameters, inputs, targets, context):
        best = self.say(inputs, context.mask)[:, None]
        return Score(jnp.full(targets.shape, -2.0), jnp.full(targets.shape, -6.0), best), Extras()


def test_a_passage_is_read_with_several_paddings_and_the_majority_counts(build):
    task, *_ = build("reading", paddings=9)
    inputs = jnp.array([[0, 0, 0, 0, 0, 7, 5, 7], [1, 2, 3, 4, 5, 6, 7, 8]])
    mask, ones = inputs > 0, jnp.ones(2)
    batch = ReadingBatch(inputs, jnp.array([[7], [1]]), mask, ones, ones)

    def share(say, context=None):
        statistics = task.sums(Voter(say), None, batch, context or Context())[1]
        return float(statistics["accuracy"][0])

    def first_word(inputs, mask):  # wherever the padding is, the text is what it was
        return jnp.take_along_axis(inputs, jnp.argmax(mask, axis=1)[:, None], axis=1)[:, 0]

    assert share(first_word) == 2
    # right unless all padding is behind: of six shares of five zeros, most are right
    assert share(lambda inputs, mask: jnp.where(inputs[:, 0] == 0, 7, 1)) == 2
    assert share(lambda inputs, mask: jnp.where(inputs[:, 0] == 0, 6, inputs[:, 0])) == 1
    loss = task.sums(Voter(first_word), None, batch, Context())[0]["loss"]
    assert float(loss[0] / loss[1]) == 2.0


def test_reading_may_be_smoothed_in_training(build):
    task, *_ = build("reading", label_smoothing=0.25)
    batch = task.assemble(task.gather(task.source(), jnp.arange(8)))
    for train, expected in ((True, 0.75 * 2 + 0.25 * 6), (False, 2.0)):
        model = Voter(lambda inputs, mask: inputs[:, 0])
        loss = task.sums(model, None, batch, Context(train=train))[0]["loss"]
        assert float(loss[0] / loss[1]) == pytest.approx(expected)


@pytest.mark.parametrize(
    "form, options, message",
    [
        ("reading", {"shortest": LENGTH + 1}, "task.shortest=9: allowed is 0 to task.length=8"),
        ("reading", {"paddings": 0}, "task.paddings=0: allowed is 1 or more"),
        ("reading", {"label_smoothing": 1.0}, "task.label_smoothing=1.0"),
        ("language_model", {"paddings": 10}, "task.paddings=10.* are of task.form='reading'"),
    ],
)
def test_options_of_reading_are_refused_by_name(build, form, options, message):
    with pytest.raises(ConfigurationError, match=message):
        build(form, **options)


def test_reading_is_measured_over_all_passages_and_its_loss_over_those_with_an_answer(build):
    made = build("reading")
    task, model, parameters, _ = made
    batch = task.evaluation_batch("test", task.examples("test"))
    # 'an order … an order' loses its first half to the window; zebras and 'be' have no answer
    assert batch.answerable.tolist() == [0, 0, 0, 0, 1]
    short = task.dataset.tokenizer.encode("to\n")[0]
    assert batch.inputs[3].tolist() == [0] * (LENGTH - 1) + [short]
    assert batch.mask[3].tolist() == [False] * (LENGTH - 1) + [True]
    figures = figures_of(made, "test")
    assert figures["answerable_share"] == pytest.approx(1 / 5) and figures["answerable"] == 1
    context = Context(mask=jnp.asarray(batch.mask))
    x, _ = model.hidden(parameters, jnp.asarray(batch.inputs), context)
    kernel = np.asarray(parameters["head"]["position"]["kernel"], np.float64)
    logits = np.asarray(x, np.float64)[4] @ kernel[:, 0]
    target = int(batch.targets[4, 0])
    log_p, best = numpy_pointer(logits, batch.inputs[4], batch.mask[4], target)
    assert figures["loss"] == pytest.approx(-log_p, rel=1e-4)
    assert figures["accuracy"] == pytest.approx((best == target) / 5)


def test_reading_the_corpus_is_answerable_throughout(build):
    made = build("reading")
    figures = figures_of(made, "valid")
    assert figures["answerable_share"] == 1
    assert figures["answerable"] == len(made[0].places("valid"))
    assert figures_of(made, "valid", tokens=3 * LENGTH)["answerable"] == 3


@pytest.mark.parametrize("head", [{"kind": "pointer"}, {"kind": "softmax", "pool": "mean"}])
def test_reading_is_learned_by_a_pointer_and_by_a_classifier(build, head):
    task, model, parameters, _ = build("reading", model={"head": head})
    batch = task.assemble(task.gather(task.source(), jnp.arange(64)))

    @jax.jit
    def step(parameters):
        def loss(parameters):
            total, weight = task.sums(model, parameters, batch, Context(train=True))[0]["loss"]
            return total / weight

        value, gradient = jax.value_and_grad(loss)(parameters)
        return value, jax.tree.map(lambda p, g: p - 0.3 * g, parameters, gradient)

    values = []
    for _ in range(30):
        value, parameters = step(parameters)
        values.append(float(value))
    assert np.isfinite(values).all() and values[-1] < 0.9 * values[0]


# Bad inputs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "cloze"}, "task.form='cloze': allowed are language_model, reading"),
        ({"passages": "upper"}, "task.passages='upper': allowed are raw, split, lower, penn"),
        ({"form": "reading", "tokenizer": "bpe:300"}, "points at a word, allowed are words, wor"),
        ({"form": "reading", "common": -1}, "task.common=-1: allowed is 0 or more"),
        ({"tokenizer": "letters"}, "task.tokenizer='letters'"),
        ({"length": 0}, "task.length=0"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Lambada(**options)


@pytest.mark.parametrize(
    ("options", "settings", "message"),
    [
        ({}, {"splits": ("valid", "train")}, "evaluate.splits='train': allowed are valid, test$"),
        ({}, {"splits": ("dev",)}, "evaluate.splits='dev': .*there are no dev passages"),
        ({"length": 8}, {"stride": 9}, "evaluate.stride=9"),
        ({"tokenizer": "bytes", "length": 3}, {}, "task.length=3: a last word of the test"),
        ({"tokenizer": "characters", "passages": "raw"}, {}, "task.tokenizer='characters': char"),
        ({"form": "reading"}, {"window": 16}, "evaluate.window=16: task.form='reading' reads"),
        ({"form": "reading", "common": 500}, {}, "task.common=500: no word of the train split"),
        ({"form": "reading", "length": 1}, {}, "no test passage has its last word"),
    ],
)
def test_evaluations_that_cannot_be_are_refused(options, settings, message, corpus, passages):
    passages()
    task = Lambada(**{"corpus": corpus, "tokenizer": "words", "common": 0, **options})
    with pytest.raises(ConfigurationError, match=message):
        task.check_evaluation({"splits": ("valid", "test"), "window": 0, "stride": 0, **settings})


def test_an_evaluation_without_passages_says_where_to_put_them(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("ARCH_DATA_DIR", str(tmp_path))
    task = Lambada(corpus=corpus, tokenizer="words")
    settings = {"splits": ("valid",), "window": 0, "stride": 0}
    task.check_evaluation(settings)  # the corpus alone needs none
    with pytest.raises(ConfigurationError, match="evaluate.splits='test': lambada: no test pass"):
        task.check_evaluation({**settings, "splits": ("valid", "test")})


# The experiment


@pytest.mark.parametrize(
    "form", ["reading", pytest.param("language_model", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_the_experiment_trains_two_steps_and_makes_its_table(
    form, corpus, passages, tmp_path, monkeypatch
):
    passages()
    file = Path(__file__).resolve().parents[2] / "experiments" / "universal_lambada.py"
    small = ["train.steps=2", "train.batch=2", "model.width=16", "task.length=8", "seeds=0"]
    small += ["task.tokenizer=words", "task.passages=lower"]
    small += ["task.common=0"] if form == "reading" else []
    command = [
        "sweep",
        f"--config={file}:form={form},corpus={corpus}",
        "--name=x",
        "--cells=ut_act",
    ]
    monkeypatch.chdir(tmp_path)
    assert launch.main([*command, *(f"--config.{field}" for field in small)]) == 0
    lines = read_lines(tmp_path / "results" / "x")
    assert [line["cell"] for line in lines] == ["ut_act"]
    for line in lines:
        assert line["status"] == "finished"
        share = "answerable_share" if form == "reading" else "unknown_share"
        assert {"loss", "accuracy", share} <= set(line["evaluations"]["test"])
    assert "LAMBADA" in (tmp_path / "results/x/table.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("cell", always(("nse", "rse", "ut"), ("ut",)))
def test_the_shuffle_exchange_experiment_trains_two_steps_and_makes_its_table(
    cell, corpus, passages, tmp_path, monkeypatch
):
    passages()
    file = Path(__file__).resolve().parents[2] / "experiments" / "shuffle_exchange_lambada.py"
    small = ["train.steps=2", "train.batch=2", "task.length=8", "task.shortest=2", "seeds=0"]
    small += ["task.tokenizer=words", "task.passages=lower", "task.common=0"]
    command = ["sweep", f"--config={file}:corpus={corpus}", "--name=x", f"--cells={cell}"]
    monkeypatch.chdir(tmp_path)
    assert launch.main([*command, *(f"--config.{field}" for field in small)]) == 0
    (line,) = read_lines(tmp_path / "results" / "x")
    figures = line["evaluations"]["test"]
    assert line["status"] == "finished" and 0 <= figures["accuracy"] <= 1
    assert "LAMBADA by pointing" in (tmp_path / "results/x/table.md").read_text()


# The published test set


@real_data
def test_the_test_set_is_the_published_one():
    loaded = lambada.load("test")
    assert len(loaded.texts) == 5153
    assert loaded.sha256 == "4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226"
    for form in lambada.FORMS:
        for context, word in loaded.split(form):
            assert word.isalpha() or (form == "raw" and word == "Hightowers'money")
            assert context.split()


@real_data
def test_four_fifths_of_the_answers_stand_in_their_passage():
    """The paper says 81 %."""
    found = [word in context.split() for context, word in lambada.load("test").split("lower")]
    assert np.mean(found) == pytest.approx(0.827, abs=0.001)


@real_data
def test_bpe_tokens_of_context_and_word_are_those_of_the_passage(corpus):
    task = Lambada(corpus=corpus, tokenizer="bpe:400", passages="raw", length=64)
    tokenizer = task.dataset.tokenizer
    for text, passage in list(zip(lambada.load("test").texts, task.passages("test"), strict=True))[
        ::10
    ]:
        ids, count = encode(tokenizer, passage)
        np.testing.assert_array_equal(ids, tokenizer.encode(text))
        assert tokenizer.decode(ids[-count:]).strip() == passage.word


@real_data
def test_the_whole_test_set_is_made_into_one_batch(corpus):
    task = Lambada(corpus=corpus, tokenizer="bpe:400", passages="raw", length=64)
    batch = task.evaluation_batch("test", task.examples("test"))
    assert isinstance(batch, LastWordBatch)
    assert batch.inputs.shape == (5153, 64) and batch.real.sum() == 5153
    assert batch.known.all() and np.all(batch.weights.sum(1) >= 1)
    assert np.all(batch.mask[:, 0] & (batch.weights <= batch.mask).all(1))
