"""The translation task: pairs, buckets as shapes, what evaluation counts, and BLEU."""

import collections
import functools
import os
import random
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sacrebleu

from arch import tasks  # noqa: F401  registers the kinds
from arch.context import Context, Extras
from arch.data import parallel
from arch.data.batches import buckets as buckets_of
from arch.models.heads import Score
from arch.registry import ConfigurationError
from arch.tasks.contract import Window
from arch.tasks.sequence_to_sequence import END
from arch.tasks.translation.task import Rows, Translation
from arch.tasks.translation.tokens import SHIFT

DATA = os.environ.get("ARCH_DATA_DIR")
multi30k = pytest.mark.skipif(
    not DATA or not Path(DATA, "multi30k").is_dir(), reason="no multi30k in ARCH_DATA_DIR"
)

WORDS = {"hund": "dog", "haus": "house", "läuft": "runs", "groß": "big", "ein": "a", "zwei": "two"}
LENGTHS = {"train": 83, "valid": 9, "test": 7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """83, 9 and 7 pairs of 1 to 9 words, the second language word for word; no two are alike."""
    place, source, seen = tmp_path_factory.mktemp("pairs"), random.Random(0), set()
    for split, count in LENGTHS.items():
        lines = []
        while len(lines) < count:
            line = " ".join(source.choice(list(WORDS)) for _ in range(1 + len(lines) % 9))
            if line not in seen or len(line.split()) == 1:
                seen.add(line)
                lines.append(line)
        (place / f"{split}.de").write_text("\n".join(lines) + "\n")
        translated = [" ".join(WORDS[word] for word in line.split()) for line in lines]
        (place / f"{split}.en").write_text("\n".join(translated) + "\n")
    return place


@pytest.fixture(scope="module")
def make(folder):
    """A function: the task on these pairs, with options over its small ones."""

    def build(**options) -> Translation:
        small = {"tokenizer": "bpe:280", "length": 16, "buckets": (6, 12, 16)}
        return Translation(corpus=f"file:{folder}", **{**small, **options})

    return build


@pytest.fixture(scope="module")
def task(make) -> Translation:
    return make()


class Fake:
    """A model that gives every token the log-probability -2, and -5 in the vocabulary's mean."""

    def score(self, parameters, inputs, targets, context):
        shape = targets.shape
        score = Score(jnp.full(shape, -2.0), jnp.full(shape, -5.0), jnp.full(shape, END))
        return score, Extras()


def mean(pair) -> float:
    return float(pair[0] / pair[1])


def ids_of(task: Translation, lines, steps: int) -> np.ndarray:
    """What a decoder would give back for these lines."""
    rows = [[*(task.data.tokenizer.encode(line) + SHIFT), END] for line in lines]
    return np.array([row + [0] * (steps - len(row)) for row in rows])


def all_rows(task: Translation, split: str = "test", tokens: int = 0) -> Rows:
    return task.evaluation_batch(split, task.examples(split, Window(tokens)))


# Training


def test_source_and_target_of_a_gathered_pair_translate_each_other(task):
    source, seen = task.source(), 0
    for bucket in task.batches:
        indices = bucket.indices(jax.random.key(1), jnp.int32(5), 2)
        german, english = bucket.gather(source, indices)
        for one, other in zip(np.asarray(german), np.asarray(english), strict=True):
            words = task.text_of(one).split()
            assert words and task.text_of(other) == " ".join(WORDS[word] for word in words)
            seen += 1
    assert seen == sum(bucket.sequences(2) for bucket in task.batches)


def test_a_pair_is_in_the_smallest_bucket_that_holds_both_sides_with_their_ends(task):
    least = 0
    for bucket, sides in zip(task.data.buckets, task.source(), strict=True):
        longest = np.max([(np.asarray(side) != 0).sum(-1) for side in sides], axis=0)
        assert all(side.shape[1] == bucket for side in sides)
        assert np.all((longest > least) & (longest <= bucket))
        assert all(np.all((np.asarray(side) == END).sum(-1) == 1) for side in sides)
        least = bucket


def test_every_training_pair_is_in_a_bucket_or_counted_as_left_out(task):
    rows = np.concatenate(task.data.pairs)
    assert len(set(rows)) == len(rows) == task.details["pairs"]
    left_out = task.details["left_out"]
    assert left_out["longer than length"] > 0
    assert len(rows) + sum(left_out.values()) == LENGTHS["train"]


def test_a_pair_with_an_empty_side_is_left_out_and_counted(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    lines = (tmp_path / "train.de").read_text().split("\n")
    (tmp_path / "train.de").write_text("\n".join(["", *lines[1:]]))
    task = Translation(corpus=f"file:{tmp_path}", tokenizer="bpe:280", length=16, buckets=())
    assert task.details["left_out"]["empty"] == 1
    assert 0 not in task.data.pairs[0]


def test_a_bucket_without_pairs_is_no_shape(make):
    task = make(length=400, buckets=(16, 200, 400))
    assert len(task.batches) == 2 and task.data.buckets == (16, 200)


def test_no_buckets_are_one_shape(make):
    task = make(buckets=())
    assert (len(task.batches), task.data.buckets) == (1, (16,))
    assert task.indices(jax.random.key(0), jnp.int32(0), 3).shape == (3,)


def test_batches_of_all_buckets_have_about_the_same_number_of_places(task):
    places = [
        bucket.sequences(8) * length
        for bucket, length in zip(task.batches, task.data.buckets, strict=True)
    ]
    assert places == [16 // 6 * 8 * 6, 8 * 12, 8 * 16]


@functools.cache
def compiled(task: Translation):
    return [jax.jit(bucket.indices, static_argnums=2) for bucket in task.batches]


def walk(task: Translation, steps, batch: int, seed: int = 0) -> list[list[int]]:
    """By bucket, the pairs that these steps train on, in order."""
    key, taken = jax.random.key(seed), [[] for _ in task.batches]
    for step in steps:
        shape = int(task.batch_at(jnp.int32(step)))
        taken[shape] += np.asarray(compiled(task)[shape](key, jnp.int32(step), batch)).tolist()
    return taken


def test_a_cycle_at_batch_one_is_an_epoch_up_to_the_remainder_of_each_buckets_last_batch(task):
    cycle = len(task.schedule.buckets)
    for shape, taken in enumerate(walk(task, range(cycle), 1)):
        pairs = len(task.data.pairs[shape])
        assert 0 <= len(taken) - pairs < task.batches[shape].sequences(1)
        assert sorted(taken[:pairs]) == list(range(pairs))


def test_within_a_bucket_no_pair_comes_again_before_all_have_come(task):
    cycle = len(task.schedule.buckets)
    for shape, taken in enumerate(walk(task, range(2 * cycle), 3)):
        pairs = len(task.data.pairs[shape])
        epochs = [taken[i : i + pairs] for i in range(0, len(taken) - pairs + 1, pairs)]
        assert len(epochs) >= 5
        assert all(sorted(epoch) == list(range(pairs)) for epoch in epochs)
        assert epochs[0] != epochs[1]


def test_the_shape_is_a_function_of_the_step_alone_and_the_pairs_of_the_key_too(make, task):
    again, steps = make(), np.arange(100)
    shapes = [int(task.batch_at(jnp.int32(step))) for step in steps]
    assert shapes == [int(again.batch_at(jnp.int32(step))) for step in steps]
    assert shapes == np.asarray(jax.jit(jax.vmap(task.batch_at))(steps)).tolist()
    assert set(shapes) == set(range(len(task.batches)))
    assert walk(task, range(9), 2) == walk(again, range(9), 2) != walk(task, range(9), 2, seed=1)


def test_every_stretch_of_the_schedule_has_the_mix_of_the_whole():
    counts = np.array([4200, 2400, 900, 60])
    schedule = buckets_of.schedule(tuple(4 * counts), (4, 4, 4, 4))
    assert schedule.counts == tuple(counts)
    steps = np.arange(len(schedule.buckets))
    for bucket, count in enumerate(counts):
        before = np.cumsum(schedule.buckets == bucket)
        assert np.abs(before - (steps + 1) * count / counts.sum()).max() < 5
        of_bucket = schedule.ranks[schedule.buckets == bucket]
        assert np.array_equal(of_bucket, np.arange(count))


def test_a_long_cycle_is_scaled_down_in_proportion():
    schedule = buckets_of.schedule((3_000_000, 1_000_000, 10), (1, 1, 1))
    assert len(schedule.buckets) <= buckets_of.LONGEST_CYCLE + 3
    assert schedule.counts[0] / schedule.counts[1] == pytest.approx(3, rel=1e-3)
    assert schedule.counts[2] == 1


def test_tokens_per_sequence_times_batch_are_the_target_tokens_of_a_mean_step(task):
    source, tokens = task.source(), 0
    cycle = len(task.schedule.buckets)
    counted = collections.Counter(task.schedule.buckets.tolist())
    for shape, taken in enumerate(walk(task, range(cycle), 20)):
        tokens += (np.asarray(source[shape][1])[taken] != 0).sum()
        assert len(taken) == counted[shape] * task.batches[shape].sequences(20)
    assert task.tokens_per_sequence == pytest.approx(tokens / cycle / 20, rel=0.02)


def test_the_decoder_reads_its_targets_one_place_later_after_a_zero(task):
    batch = task.assemble(task.gather(task.source(), jnp.arange(2)))
    assert batch.inputs.dtype == batch.targets.dtype == batch.source.dtype == jnp.int32
    assert np.all(batch.inputs[:, 0] == 0)
    assert np.array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    assert np.array_equal(batch.weights, batch.targets != 0)
    losses, _ = task.sums(Fake(), None, batch, Context())
    assert float(losses["loss"][1]) == (np.asarray(batch.targets) != 0).sum()


def test_ids_have_the_smallest_type_and_are_below_the_vocabulary(make):
    for spec, kind in {"bpe:280": np.uint16, "bpe:65600": np.int32}.items():
        task = make(tokenizer=spec)
        assert task.vocabulary == int(spec[4:]) + 2
        for leaf in jax.tree.leaves(task.source()):
            assert leaf.dtype == kind and int(leaf.max()) < task.vocabulary


def test_labels_are_smoothed_in_training_only(make):
    task = make(label_smoothing=0.25)
    batch = task.assemble(task.gather(task.source(), jnp.arange(3)))
    losses, _ = task.sums(Fake(), None, batch, Context(train=True))
    assert mean(losses["loss"]) == pytest.approx(0.75 * 2 + 0.25 * 5)
    losses, _ = task.sums(Fake(), None, batch, Context())
    assert mean(losses["loss"]) == pytest.approx(2)


# Evaluation


def test_rows_of_zeros_count_nothing(task):
    rows = all_rows(task)
    padded = Rows(*(np.pad(a, [(0, 5), *[(0, 0)] * (a.ndim - 1)]) for a in rows))
    results = [
        jax.device_get(task.sums(Fake(), None, task.assemble_evaluation(part), Context()))
        for part in (rows, padded)
    ]
    assert results[0] == results[1]
    steps = ids_of(task, task.data.text.splits["test"]["en"], 30)
    ids = np.concatenate([steps, np.full((5, 30), 7)])
    assert task.decoded_figures("test", ids, padded) == task.decoded_figures("test", steps, rows)


def test_every_sentence_is_evaluated_and_those_too_long_are_cut_and_counted(make):
    task = make(length=6, buckets=())
    rows = all_rows(task)
    assert len(rows.row) == LENGTHS["test"] and rows.source.shape == (LENGTHS["test"], 6)
    whole = [task.data.tokenizer.encode(s) for s in task.data.text.splits["test"]["de"]]
    cut = [len(ids) + 1 > 6 for ids in whole]
    assert 0 < sum(cut) < len(cut)
    assert task.details["cut"]["test"]["sources"] == sum(cut)
    assert np.all((rows.source == END).sum(-1) == 1)
    for row, ids, is_cut in zip(rows.source, whole, cut, strict=True):
        assert np.array_equal(row[row > END] - SHIFT, ids[:5])
        assert (row[-1] == END) or not is_cut
    targets = [task.data.tokenizer.encode(s) for s in task.data.text.splits["test"]["en"]]
    for row, ids in zip(rows.targets, targets, strict=True):
        assert ((row == END).sum() == 1) == (len(ids) < 6)
    ids = np.full((len(cut), 6), END)
    assert task.decoded_figures("test", ids, rows)["cut_sources"] == sum(cut)


def test_a_prefix_has_the_first_rows_and_so_many_tokens(task):
    lengths = (all_rows(task, "valid").targets != 0).sum(-1)
    rows = task.examples("valid", Window(int(lengths[:3].sum())))
    assert rows.tolist() == [0, 1, 2]
    assert task.examples("valid", Window(1)).tolist() == [0]
    assert len(task.examples("valid", Window(10**6))) == LENGTHS["valid"]


def test_figures_give_loss_perplexity_unit_and_tokens(task):
    figures = task.figures("valid", {"loss": 2.0, "more": 1.0}, 77)
    assert figures == {
        "loss": 2.0,
        "perplexity": pytest.approx(np.exp(2)),
        "unit": "subword",
        "tokens": 77,
    }


def test_a_prompt_is_a_start_and_may_grow_to_the_tasks_length(task):
    batch = task.assemble_evaluation(all_rows(task))
    prompt = task.prompt(batch)
    assert prompt.tokens.shape == (LENGTHS["test"], 1) and not np.any(prompt.tokens)
    assert np.all(prompt.lengths == 1) and (prompt.steps, prompt.end) == (16, END)
    assert task.max_length == prompt.tokens.shape[1] + prompt.steps


# BLEU


def test_bleu_of_the_references_is_100_on_the_whole_split_and_on_a_prefix(task):
    for tokens in (0, 20):
        rows = all_rows(task, tokens=tokens)
        references = [task.data.text.splits["test"]["en"][row] for row in rows.row]
        figures = task.decoded_figures("test", ids_of(task, references, 60), rows)
        assert figures["bleu"] == pytest.approx(100)
        assert figures["bleu_sentences"] == len(rows.row)


def test_bleu_is_sacrebleus_own_and_comes_with_its_signature(task):
    rows = all_rows(task)
    references = task.data.text.splits["test"]["en"]
    output = [f"{line} a" if i % 2 else line for i, line in enumerate(references)]
    figures = task.decoded_figures("test", ids_of(task, output, 60), rows)
    assert figures["bleu"] == sacrebleu.corpus_bleu(output, [list(references)]).score
    assert 20 < figures["bleu"] < 100
    version = f"version:{sacrebleu.__version__}"
    wanted = f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|{version}"
    assert figures["bleu_signature"] == wanted


def test_bleu_does_not_depend_on_the_order_of_rows(task):
    rows, lines = all_rows(task), task.data.text.splits["test"]["en"]
    ids = ids_of(task, [*lines[:3], *lines[2:6]], 60)
    order = np.random.default_rng(0).permutation(len(ids))
    shuffled = Rows(*(a[order] for a in rows))
    first = task.decoded_figures("test", ids, rows)
    assert first == task.decoded_figures("test", ids[order], shuffled)
    assert first["bleu"] < 100


def test_what_follows_the_end_and_bytes_that_make_no_character_are_not_read(task):
    encode = task.data.tokenizer.encode
    half = encode("ß")[:1]
    ids = [*(encode("ein haus") + 2), *(half + 2), 0, *(encode("\n.") + 2), END, *(encode("x") + 2)]
    assert task.text_of(np.array(ids)) == "ein haus ."
    assert task.text_of(np.array([END, 5, 6])) == ""
    assert task.text_of(encode("läuft") + 2) == "läuft"


# Bad inputs


@pytest.mark.parametrize(
    "options, said",
    [
        ({"corpus": "multi30"}, r"task\.corpus='multi30': .*did you mean 'multi30k'"),
        ({"corpus": "file:/nowhere"}, r"task\.corpus='file:/nowhere': .*no such directory"),
        ({"tokenizer": "words:500"}, r"task\.tokenizer='words:500': allowed is bpe:N"),
        ({"tokenizer": "bpe:12"}, r"task\.tokenizer='bpe:12'"),
        ({"target": "de"}, r"task\.target='de': allowed is another language"),
        ({"target": "fr"}, r"task\.corpus=.*no train file in fr"),
        ({"length": 1}, r"task\.length=1: allowed is 2 or more"),
        ({"length": 2, "buckets": (), "tokenizer": "bpe:256"}, r"task\.length=2: no training pair"),
        ({"buckets": (12, 6, 16)}, r"task\.buckets=\(12, 6, 16\): allowed are rising lengths"),
        ({"buckets": (6, 6, 16)}, r"task\.buckets=\(6, 6, 16\)"),
        ({"buckets": (1, 16)}, r"task\.buckets=\(1, 16\)"),
        ({"buckets": (6, 12)}, r"task\.buckets=\(6, 12\): .*the last of them task\.length=16"),
        ({"buckets": (6, 32)}, r"task\.buckets=\(6, 32\): .*the last of them task\.length=16"),
        ({"label_smoothing": 1.0}, r"task\.label_smoothing=1\.0: allowed is 0 to below 1"),
        ({"beam": 0}, r"task\.beam=0: allowed is 1 or more"),
        ({"length_penalty": -0.1}, r"task\.length_penalty=-0\.1: allowed is 0 or more"),
    ],
)
def test_bad_options_are_refused_by_name(folder, options, said):
    small = {"corpus": f"file:{folder}", "tokenizer": "bpe:280", "length": 16, "buckets": (16,)}
    with pytest.raises(ConfigurationError, match=said):
        _ = Translation(**{**small, **options}).data


@pytest.mark.parametrize(
    "change, said",
    [
        ({"window": 4}, r"evaluate\.window=4: allowed is 0"),
        ({"stride": 4}, r"evaluate\.stride=4: allowed is 0"),
        ({"splits": ("valid", "tset")}, r"evaluate\.splits='tset': .* has valid, test"),
    ],
)
def test_an_evaluation_it_cannot_do_is_refused(task, change, said):
    settings = {"window": 0, "stride": 0, "splits": ("valid", "test")}
    task.check_evaluation(settings)
    with pytest.raises(ConfigurationError, match=said):
        task.check_evaluation({**settings, **change})


# Multi30k


@multi30k
def test_all_of_multi30k_fits_and_a_cycle_takes_all_of_it():
    parallel.load.cache_clear()
    task = Translation()
    assert task.details["pairs"] == 29000 and not any(task.details["left_out"].values())
    assert task.details["cut"]["test"] == {"sources": 0, "targets": 0}
    assert task.vocabulary == 8002 and len(task.batches) == 4
    places = [
        bucket.share * k for bucket, k in zip(task.batches, task.schedule.counts, strict=True)
    ]
    for shape, (count, pairs) in enumerate(zip(places, task.data.pairs, strict=True)):
        assert 0 <= count - len(pairs) < task.batches[shape].share


@multi30k
def test_bleu_of_multi30k_against_itself_is_100():
    task = Translation()
    rows = all_rows(task)
    figures = task.decoded_figures("test", rows.targets, rows)
    print(figures)
    assert figures["bleu"] == pytest.approx(100) and figures["bleu_sentences"] == 1000
