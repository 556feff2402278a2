"""Masked language modelling: what is hidden, which segments make a pair, and the task's figures."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config, variants
from arch.context import Context
from arch.data.batches import masking, segments
from arch.data.tokenizers import borders
from arch.data.tokenizers.kinds import Bytes, Words
from arch.data.tokens import Tokens
from arch.registry import ConfigurationError, tasks
from arch.tasks.contract import Window
from arch.training import evaluation
from arch.training import program as training
from arch.training.state import Swept
from tests.families import always

ENTRIES = 1000
HIDDEN = ENTRIES + segments.MASK


def near(share: float, wanted: float, n: float) -> bool:
    """Within three standard errors of n independent draws."""
    return abs(share - wanted) <= 3 * (wanted * (1 - wanted) / n) ** 0.5


# Masking


@pytest.fixture(scope="module")
def masked():
    """20 sequences of 50,000 tokens, and what `mask` made of them with spans of up to 3 words."""
    rows, length = 20, 50_000
    counts = masking.predictions(0.15, 0, length)
    ids = jax.random.randint(jax.random.key(1), (rows, length), 0, ENTRIES)
    keys, segment = jax.random.split(jax.random.key(0), rows), jnp.zeros(length, jnp.int32)

    def one(key, ids):
        found = masking.mask(key, ids, segment, counts, ENTRIES, HIDDEN, spans=3)
        where, _, _ = jax.random.split(key, 3)
        return found, masking.choose(where, ids < ENTRIES, segment, jnp.asarray(counts), 3, None)

    found, chosen = jax.jit(jax.vmap(one))(keys, ids)
    return np.asarray(ids), *jax.device_get((found, chosen))


@pytest.mark.slow
def test_15_percent_of_a_million_tokens_are_hidden(masked):
    ids, found, (hidden, _) = masked
    assert ids.size == 10**6
    assert (found.weights.sum(1) == 7500).all()
    assert (hidden.sum(1) == 7500).all()


def test_every_position_is_as_likely_to_be_hidden(masked):
    hidden = masked[2][0]
    for part in np.split(hidden, 10, axis=1):  # spans have up to 3 tokens: their variance too
        assert abs(part.mean() - 0.15) <= 3 * (3 * 0.15 * 0.85 / part.size) ** 0.5


def test_80_percent_are_masked_10_kept_and_10_random(masked):
    ids, found, (hidden, _) = masked
    assert (found.ids[~hidden] == ids[~hidden]).all()
    n, now, before = hidden.sum(), found.ids[hidden], ids[hidden]
    assert near((now == HIDDEN).mean(), 0.8, n)
    same = 0.1 + 0.1 / ENTRIES  # a random token may be the token itself
    assert near((now == before).mean(), same, n)
    strange = now[(now != HIDDEN) & (now != before)]
    assert near(len(strange) / n, 0.1 * (1 - 1 / ENTRIES), n)
    assert 0 <= strange.min() and strange.max() < ENTRIES
    assert abs(strange.mean() - (ENTRIES - 1) / 2) < 3 * ENTRIES / 12**0.5 / len(strange) ** 0.5


def test_spans_have_one_two_or_three_words_as_6_to_3_to_2(masked):
    _, _, (hidden, span) = masked
    sizes = []
    for row, numbers in zip(hidden, span, strict=True):
        whole = np.bincount(numbers)
        of_hidden = np.bincount(numbers[row], minlength=len(whole))
        cut = (of_hidden > 0) & (of_hidden < whole)
        assert cut.sum() <= 1  # the last one, for want of room
        sizes.append(whole[(of_hidden > 0) & ~cut])
    sizes = np.concatenate(sizes)
    for words, share in ((1, 6 / 11), (2, 3 / 11), (3, 2 / 11)):
        assert near((sizes == words).mean(), share, len(sizes)), words


def test_targets_are_the_originals_in_order(masked):
    ids, found, (hidden, _) = masked
    assert (np.take_along_axis(ids, found.positions, 1) == found.targets).all()
    assert (np.diff(found.positions, axis=1) > 0).all()
    assert np.take_along_axis(hidden, found.positions, 1).all()


def test_the_number_hidden_is_exact_and_special_tokens_never_are():
    length, counts = 24, masking.predictions(0.15, 0, 24)
    segment = jnp.zeros(length, jnp.int32)
    for spans in (1, 3):

        @jax.jit
        @jax.vmap
        def one(key, ids, spans=spans):
            return masking.mask(key, ids, segment, counts, ENTRIES, HIDDEN, spans)

        for real in (0, 1, 3, 10, 17, 23):
            ids = jnp.where(jnp.arange(length) < real, 7, ENTRIES)
            keys = jax.random.split(jax.random.key(real), 50)
            found = jax.device_get(one(keys, jnp.broadcast_to(ids[None], (50, length))))
            assert (found.weights.sum(1) == (max(1, round(0.15 * real)) if real else 0)).all()
            assert (found.ids[:, real:] == ENTRIES).all()
            assert ((found.positions < real) | (found.weights == 0)).all()


def test_a_limit_is_a_limit():
    assert masking.predictions(0.15, 20, 512).max() == 20
    assert masking.predictions(0.15, 0, 512).max() == 77


def test_whole_words_are_hidden_whole_where_one_fits():
    text = "some words are longer, others are not; it is so with every text we have at hand. "
    ids = jnp.asarray(Bytes().encode(text * 2))
    left, right = (np.asarray(side) for side in borders.seams(borders.texts(Bytes())))
    joined = jnp.asarray(right[np.roll(ids, 1)] & left[ids]).at[0].set(False)
    counts = masking.predictions(0.15, 0, len(ids))
    word = np.cumsum(~np.asarray(joined))
    segment = jnp.zeros(len(ids), jnp.int32)
    for spans in (1, 3):
        one = jax.vmap(
            lambda key, spans=spans: masking.choose(
                key, ids < 256, segment, jnp.asarray(counts), spans, joined
            )[0]
        )
        hidden = np.asarray(one(jax.random.split(jax.random.key(0), 200)))
        assert (hidden.sum(1) <= counts[-1]).all()
        # greedy, as in BERT's code: there is nearly always something that fits
        assert hidden.sum(1).mean() > counts[-1] - 0.5
        for row in hidden:
            share = np.bincount(word, row) / np.bincount(word).clip(1)
            assert set(share) <= {0.0, 1.0}


def test_where_no_word_has_room_the_beginning_of_one_is_hidden():
    joined = jnp.arange(10) > 0
    hidden, _ = masking.choose(
        jax.random.key(0),
        jnp.ones(10, bool),
        jnp.zeros(10, jnp.int32),
        jnp.full(11, 2),
        1,
        joined,
    )
    assert np.flatnonzero(hidden).tolist() == [0, 1]


def test_sentences_begin_after_lines_and_stops():
    text = "One. Two 3.14!\n\nThree is\nlong"
    ids, entries = Bytes().encode(text), borders.texts(Bytes())
    found = borders.sentences(ids, np.array([0]), entries)
    pieces = [text[a:b] for a, b in itertools.pairwise(found)]
    assert pieces == ["One.", " Two 3.14!\n\n", "Three is\n", "long"]
    words = Words(["<unk>", "<eos>", "a", ".", "mr."], 6)
    ids = words.encode("a . mr. a\nb . \n")
    assert borders.sentences(ids, np.array([0, 5]), borders.texts(words)).tolist() == [0, 2, 5, 8]


# Pairs. In these texts a token is its own position, so that where a segment is from can be read.


def numbered(sizes, lines=()) -> segments.PairSource:
    starts = np.cumsum([0, *sizes])
    tokens = Tokens(np.arange(starts[-1], dtype=np.int32), starts[:-1], 0, 0)
    return segments.text(tokens, np.unique([*starts, *lines]))


def drawn(text, relation, n=2000, length=32, short=0.1):
    keys = jax.random.split(jax.random.key(0), n)
    size = int(text.ids.shape[0])
    special = segments.above(size)
    one = jax.jit(jax.vmap(lambda key: segments.draw(key, text, special, length, relation, short)))
    return jax.device_get(one(keys)), size


def spans_of(rows, size):
    """(A, B) of each row, its form having been looked at."""
    for ids, segment, mask in zip(rows.ids, rows.segments, rows.mask, strict=True):
        ends = np.flatnonzero(ids == size + segments.SEP)
        assert ids[0] == size + segments.CLS and len(ends) == 2
        assert (ids[ends[1] + 1 :] == size + segments.PAD).all()
        place = np.arange(len(ids))
        assert (mask == (place <= ends[1])).all()
        assert (segment == ((place > ends[0]) & (place <= ends[1]))).all()
        first, second = ids[1 : ends[0]], ids[ends[0] + 1 : ends[1]]
        for part in (first, second):
            assert len(part) and part.max() < size and (np.diff(part) == 1).all()
        yield first, second


SIZES = (40, 1, 7, 200, 2, 90, 3)
LINES = (10, 22, 30, 48, 51, 60, 66, 75, 90, 104, 111, 180, 199, 215, 240, 260, 266, 279, 300, 320)


@pytest.mark.parametrize("lines", [(), LINES])
@pytest.mark.parametrize("relation", ["none", "order"])
def test_two_consecutive_segments_of_one_document(relation, lines):
    rows, size = drawn(numbered(SIZES, lines), relation)
    document = np.repeat(np.arange(len(SIZES)), SIZES)
    for (first, second), label in zip(spans_of(rows, size), rows.label, strict=True):
        if label:
            first, second = second, first
        assert first[-1] + 1 == second[0]
        assert len(set(document[np.concatenate([first, second])])) == 1
    assert near(rows.label.mean(), 0.5 if relation == "order" else 0.0, len(rows.label))


def test_segments_are_whole_sentences_where_two_fit():
    lines = np.arange(0, 2000, 5)
    rows, size = drawn(numbered([2000], lines), "order", short=0.0)
    for first, second in spans_of(rows, size):
        assert first[0] % 5 == 0 and second[0] % 5 == 0
        assert len(first) % 5 == 0 and len(second) % 5 == 0
        assert len(first) + len(second) == 25  # of 29 there is room for


def test_the_length_and_the_place_do_not_tell_the_order():
    rows, size = drawn(numbered([5000], np.arange(0, 5000, 7)), "order", n=4000)
    first = np.array([len(a) for a, _ in spans_of(rows, size)])
    swapped = rows.label == 1
    error = first.std() * (1 / swapped.sum() + 1 / (~swapped).sum()) ** 0.5
    assert abs(first[swapped].mean() - first[~swapped].mean()) < 3 * error


@pytest.mark.parametrize("lines", [pytest.param((), marks=pytest.mark.slow), LINES])
def test_a_random_segment_is_of_another_document(lines):
    rows, size = drawn(numbered(SIZES, lines), "next")
    document = np.repeat(np.arange(len(SIZES)), SIZES)
    for (first, second), label in zip(spans_of(rows, size), rows.label, strict=True):
        assert len(set(document[first])) == 1 and len(set(document[second])) == 1
        assert (document[first[0]] != document[second[0]]) == bool(label)
        assert label or first[-1] + 1 == second[0]
    assert near(rows.label.mean(), 0.5, len(rows.label))


def test_a_tenth_of_the_sequences_is_short():
    rows, size = drawn(numbered([100_000]), "none", n=10_000, length=103)
    total = rows.mask.sum(1) - segments.AROUND
    assert total.max() == 100 and total.min() == 2
    below = 98 / 99  # of the lengths 2 … 100
    assert near((total < 100).mean(), 0.1 * below, len(total))
    short = total[total < 100]
    assert abs(short.mean() - 50.5) < 3 * 28.3 / len(short) ** 0.5


# The task


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus of documents: lines of words, a .jsonl of texts a split."""
    import json
    import random

    source, place = random.Random(0), tmp_path_factory.mktemp("documents")
    words = ["an", "order", "of", "sublayers", "is", "a", "string", "to", "be", "read", "twice"]
    for split, documents in {"train": 12, "valid": 4, "test": 3}.items():
        texts = [
            "".join(" ".join(source.choices(words, k=4)) + ".\n" for _ in range(12))
            for _ in range(documents)
        ]
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (place / f"{split}.jsonl").write_text(lines)
    return f"file:{place}"


def build(corpus, **options):
    given = {"corpus": corpus, "tokenizer": "words", "length": 24, "evaluation_examples": 10}
    return tasks.get("masked_language_model")(**{**given, **options})


def configuration(corpus, **options):
    model = variants.masked_encoder(1, 16, 2, "gelu_tanh", {"kind": "plain"})
    task = {"kind": "masked_language_model", "corpus": corpus, "tokenizer": "words", "length": 24}
    return config.make(
        model=model,
        task={**task, "evaluation_examples": 10, **options},
        train={"steps": 2, "batch": 4, "optimizer": {"learning_rate": 1e-2}},
    )


def test_special_tokens_are_the_last_four(folder):
    task = build(folder)
    assert task.vocabulary == task.dataset.tokenizer.size + 4
    batch = task.evaluation_batch("valid", task.examples("valid"))
    assert (batch.inputs[:, 0] == task.vocabulary - 3).all()  # [CLS]
    assert batch.targets.max() < task.vocabulary - 4


def test_the_same_key_and_step_give_the_same_batch(folder, same_bytes):
    task, key = build(folder, spans=3, whole_words=True), jax.random.key(3)
    source = task.source()
    draw = jax.jit(lambda step: task.gather(source, task.indices(key, step, 4)))

    def batch(step):
        return jax.device_get(draw(jnp.int32(step)))

    assert same_bytes(batch(0), batch(0))
    assert not same_bytes(batch(0), batch(1))
    again = build(folder, spans=3, whole_words=True)
    assert same_bytes(
        task.evaluation_batch("test", task.examples("test")),
        again.evaluation_batch("test", again.examples("test")),
    )


def test_evaluation_is_of_a_prefix_where_tokens_are_given(folder):
    task = build(folder)
    assert len(task.examples("valid").index) == 10
    assert len(task.examples("valid", Window(tokens=24 * 3 + 5)).index) == 3
    assert len(task.examples("valid", Window(tokens=1)).index) == 1


@pytest.mark.parametrize("sentence", always(("order", "none", "next"), ("none",)))
@pytest.mark.slow
def test_two_steps_have_finite_losses_and_figures(folder, sentence):
    measured = "next" if sentence == "none" else sentence
    settings = configuration(folder, sentence=sentence, spans=3, measure=(measured,))
    task, model = training.build(settings)
    program = training.Program(settings, task, model)
    state = program.init(np.array([0], np.int32))
    swept = Swept.of([(settings, 0)])
    state, metrics = program.train(state, swept, task.source(), 0, 2)
    assert bool(state.alive[0]) and int(state.step[0]) == 2
    losses = {"loss", *(["sentence_loss"] if sentence != "none" else [])}
    assert losses <= set(metrics) and ("sentence_loss" in metrics) == (sentence != "none")
    assert all(np.isfinite(np.asarray(metrics[name])[0, :2]).all() for name in losses)
    # an untrained model is about as good as chance; the batch of 4 does not divide 10 pairs
    (figures,) = evaluation.evaluate(program, state.parameters, "valid")
    assert figures["loss"] == pytest.approx(np.log(task.vocabulary), abs=0.5)
    assert figures["perplexity"] == pytest.approx(np.exp(figures["loss"]))
    assert figures["unit"] == "hidden word"
    batch = task.evaluation_batch("valid", task.examples("valid"))
    assert figures["tokens"] == batch.weights.sum()
    accuracy = figures[f"{measured}_accuracy"]
    assert accuracy * 10 == pytest.approx(round(accuracy * 10))
    if sentence != "none":
        assert figures["sentence_accuracy"] == accuracy


def test_rows_of_zeros_count_nothing_and_only_hidden_places_are_scored(folder):
    settings = configuration(folder)
    task, model = training.build(settings)
    parameters = jax.jit(model.init)(jax.random.key(0))
    batch = task.evaluation_batch("valid", task.examples("valid"))
    filled = jax.tree.map(lambda a: np.pad(a, [(0, 3), *[(0, 0)] * (a.ndim - 1)]), batch)
    context = Context(inference=True)
    sums = jax.jit(lambda parameters, batch: task.sums(model, parameters, batch, context))
    plain, more = (sums(parameters, b) for b in (batch, filled))
    for part, other in zip(plain, more, strict=True):
        for name in part:
            np.testing.assert_allclose(np.array(part[name]), np.array(other[name]), rtol=1e-5)

    # the same as of the logits at every position
    def logits(parameters, batch):
        there = context.replace(mask=batch.mask, segments=batch.segments)
        return model.logits(parameters, batch.inputs, there)

    log_p = jax.nn.log_softmax(jax.jit(logits)(parameters, batch))
    rows = np.arange(10)[:, None]
    wanted = -(log_p[rows, batch.positions, batch.targets] * batch.weights).sum()
    np.testing.assert_allclose(plain[0]["loss"][0], wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sentence": "sop"}, "task.sentence='sop': allowed are none, next, order"),
        ({"measure": ("none",)}, "task.measure="),
        ({"length": 4}, "task.length=4: allowed is 5"),
        ({"rate": 0.0}, "task.rate=0.0"),
        ({"rate": 1.0}, "task.rate=1.0"),
        ({"spans": 0}, "task.spans=0: allowed is 1 to 10"),
        ({"short": 1.5}, "task.short=1.5: allowed is 0 to 1"),
        ({"most": -1}, "task.most=-1"),
        ({"evaluation_examples": 0}, "task.evaluation_examples=0"),
        ({"tokenizer": "syllables"}, "task.tokenizer='syllables'"),
    ],
)
def test_bad_options_are_refused_by_name(options, message):
    with pytest.raises(ConfigurationError) as error:
        build("stdlib", **options)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_random_segment_of_a_corpus_of_one_document_is_refused(corpus):
    assert build(corpus).sha256  # order needs one
    with pytest.raises(ConfigurationError, match="task.sentence='next'.*has one"):
        _ = build(corpus, sentence="next").sha256
    with pytest.raises(ConfigurationError, match="task.measure=.*valid split.*has one"):
        _ = build(corpus, measure=("next",)).sha256


def test_windows_and_splits_that_are_not_there_are_refused(folder):
    task, settings = build(folder), {"splits": ("valid",), "window": 0, "stride": 0}
    task.check_evaluation(settings)
    for change in ({"splits": ("train",)}, {"window": 12}, {"stride": 3}):
        with pytest.raises(ConfigurationError, match=f"evaluate.{next(iter(change))}="):
            task.check_evaluation({**settings, **change})


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"kind": "masked", "classes": 0}, "no sentence head of two classes"),
        ({"kind": "masked", "predict": False}, "with model.head.predict=False gives no token, and"),
        ({"kind": "softmax"}, "no sentence head"),
        ({"kind": "softmax", "pool": "mean"}, "asks for a token at each position"),
        ({"kind": "pointer"}, "asks for a token at each position"),
    ],
)
def test_a_head_that_lacks_what_the_objective_needs_is_refused(folder, head, message):
    model = variants.masked_encoder(1, 16, 2, "gelu_tanh", {"kind": "plain"})
    settings = config.make(
        model={**model, "head": head},
        task={"kind": "masked_language_model", "corpus": folder, "tokenizer": "words"},
    )
    task, model = training.build(settings)
    with pytest.raises(ConfigurationError, match=message):
        task.check_model(model)
