"""Sums, not means of means: of every task and objective, parts of a batch add up to the batch.

Gradients of microbatches are those of the whole batch, and figures do not depend on how many
examples are evaluated at a time, however unevenly terms and weights are spread.
"""

import json
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.config import override
from arch.context import Spread, figure
from arch.tasks.contract import Task, Window
from arch.tasks.objective import entropy
from arch.training import evaluation
from arch.training.program import Program, build
from arch.training.replica import Replica
from tests.families import always

BATCH, PARTS = 8, 4
# rows of each pair, a microbatch, that are there: both, one, none, both
THERE = np.array([1, 1, 1, 0, 0, 0, 1, 1], bool)
WORDS = ("an", "order", "of", "sublayers", "is", "a", "string", "to", "be", "read", "twice")

ATTENTION = {"kind": "attention", "heads": 2}
CROSS = {**ATTENTION, "cross": True}
HALTING = {"kind": "universal", "steps": 3, "halting": "act"}
MASKED = {"embedding": {"types": 2}, "head": {"kind": "masked", "classes": 2}}
DECODER = {"family": "decoder", "order": "s"}
ENCODER = {"family": "encoder", "order": "s"}
TWO = {"family": "encoder_decoder", "order": "c", "encoder_order": "s"}

CASES = {
    "language_model": (DECODER | {"stack": HALTING}, {"kind": "language_model", "length": 8}),
    "masked, no sentence": (
        ENCODER | MASKED,
        {"kind": "masked_language_model", "length": 16, "sentence": "none"},
    ),
    "masked, order": (
        ENCODER | MASKED,
        {"kind": "masked_language_model", "length": 16, "measure": ("order",), "short": 1.0},
    ),
    "algorithmic": (
        TWO,
        {"kind": "algorithmic", "length": 5, "label_smoothing": 0.1, "multiples": (1, 2)},
    ),
    "algorithmic, decoder": (DECODER, {"kind": "algorithmic", "format": "decoder", "length": 5}),
    "bins": (ENCODER, {"kind": "algorithmic_bins", "bins": (4, 8), "lengths": (8,)}),
    "recall": (DECODER, {"kind": "fuzzy_recall", "length": 15}),
    "agreement": (DECODER, {"kind": "subject_verb_agreement", "between": 2, "nouns": 9}),
    "transcription": (
        ENCODER | {"embedding": {"kind": "waveform"}, "head": {"tie": False}},
        {"kind": "transcription", "window": 32, "evaluation_examples": 11},
    ),
    "execution": (
        TWO,
        {
            "kind": "learning_to_execute", "length": 2, "training_examples": 64,
            "evaluation_examples": 11,
        },
    ),
    "babi": (
        ENCODER
        | {"embedding": {"kind": "sentence"}, "head": {"pool": "mean"}, "stack": HALTING},
        {"kind": "babi", "label_smoothing": 0.1},
    ),
    "translation": (
        TWO,
        {"kind": "translation", "tokenizer": "bpe:280", "length": 12, "buckets": (12,)},
    ),
    "last word": (DECODER, {"kind": "lambada", "length": 8, "tokenizer": "words"}),
    "reading": (
        ENCODER | {"head": {"kind": "pointer"}},
        {
            "kind": "lambada", "form": "reading", "length": 8, "tokenizer": "words", "common": 0,
            "paddings": 3,
        },
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with two languages, passages and stories."""
    tmp_path = tmp_path_factory.mktemp("data")
    source = random.Random(0)
    for folder in ("babi", "lambada", "pairs"):
        (tmp_path / folder).mkdir()
    for split in ("train", "test"):
        lines = []
        for _ in range(20):
            for number in (1, 3, 5):
                who, place = source.choice("ABC"), source.choice(("hall", "garden", "office"))
                lines.append(f"{number} {who} went to the {place}.")
                lines.append(f"{number + 1} Where is {who}?\t{place}\t{number}")
        (tmp_path / "babi" / f"qa1_made-up_{split}.txt").write_text("\n".join(lines) + "\n")
    passages = [" ".join(source.choices(WORDS, k=2 + n)) for n in range(11)]
    passages = [f"{passage} {passage.split()[0]}" for passage in passages]
    texts = "".join(json.dumps({"text": passage}) + "\n" for passage in passages)
    (tmp_path / "lambada" / "lambada_test.jsonl").write_text(texts)
    for split, count in {"train": 40, "valid": 11}.items():
        pairs = [" ".join(source.choices(WORDS, k=1 + n % 7)) for n in range(count)]
        for language, text in (("de", pairs), ("en", [pair.upper() for pair in pairs])):
            (tmp_path / "pairs" / f"{split}.{language}").write_text("\n".join(text) + "\n")
    return tmp_path


@pytest.fixture
def made(corpus, data, monkeypatch):
    """A function: the configuration of a case."""
    monkeypatch.setenv("ARCH_DATA_DIR", str(data))

    def make(case):
        model, task = CASES[case]
        known = {"translation": f"file:{data / 'pairs'}"}
        if task["kind"] in ("language_model", "masked_language_model", "lambada", "translation"):
            task = {"corpus": known.get(task["kind"], corpus), **task}
        if "length" in task and task["kind"].endswith("language_model"):
            task = {"tokenizer": "characters", **task}
        letters = {"s": ATTENTION} | ({"c": CROSS} if "c" in model["order"] else {})
        return config.make(
            model={"width": 8, "sublayers": letters, **model},
            task=task,
            train={"steps": 2, "batch": BATCH},
            evaluate={"splits": ("valid",)},
        )

    return make


def parameters_of(model):
    source = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * source.standard_normal(leaf.shape), jnp.float32),
        jax.eval_shape(model.init, jax.random.key(0)),
    )


def uneven(task, split):
    """A batch of the first examples of a split, to train on. Between them stand rows of zeros,
    which by the contract have no weight: parts are as uneven as can be."""
    examples = task.examples(split)
    chosen = jax.tree.map(lambda a: np.asarray(a)[np.arange(BATCH) % len(a)], examples)
    gathered = task.evaluation_batch(split, chosen)

    def emptied(a):
        a = np.asarray(a)
        return np.where(THERE.reshape(-1, *[1] * (a.ndim - 1)), a, np.zeros_like(a))

    batch = jax.jit(task.assemble_evaluation)(jax.tree.map(emptied, gathered))
    task.assemble = lambda given: given
    return batch


@pytest.mark.parametrize(
    "case",
    always(  # each task that has sums of its own; of the language model, test_training
        CASES,
        ("masked, order", "babi", "bins", "algorithmic", "recall", "last word", "reading"),
    ),
)
def test_accumulated_microbatches_are_the_whole_batch(case, made, assert_close):
    found = {}
    for accumulate in (1, PARTS):
        settings = override(made(case), {"train.accumulate": accumulate})
        task, model = build(settings)
        rows = uneven(task, task.splits[-1])
        replica = Replica(settings, task, model, "cpu")
        found[accumulate] = jax.jit(replica.gradients)(
            parameters_of(model), rows, jax.random.key(0), jnp.float32(0), None
        )
    (whole, sums), (gradients, each) = jax.device_get((found[1], found[PARTS]))
    vectors = [
        np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])
        for tree in (gradients, whole)
    ]
    apart = np.linalg.norm(vectors[0] - vectors[1])
    assert apart <= 1e-6 * np.linalg.norm(vectors[1])
    assert_close(gradients, whole, 1e-5)
    assert set(each) == set(sums)
    for name, term in sums.items():
        np.testing.assert_allclose(figure(each[name]), figure(term), rtol=1e-6, atol=1e-6)
    assert np.abs(vectors[1]).max() > 1e-3, "no gradient is no comparison"


@pytest.mark.parametrize(
    "case",
    always(CASES, ("algorithmic", "translation", "last word", "reading")),
)
def test_figures_are_the_same_however_many_examples_are_evaluated_at_a_time(case, made):
    figures = []
    for batch in (1, 3, 64):
        settings = override(made(case), {"train.batch": batch})
        task, model = build(settings)
        program = Program(settings, task, model)
        row = jax.tree.map(lambda a: a[None], parameters_of(model))
        split = task.splits[-1]
        figures += evaluation.evaluate(program, row, split, Window(tokens=70))
    numbers = [{k: v for k, v in found.items() if isinstance(v, float)} for found in figures]
    assert "loss" in numbers[0]
    for other in numbers[1:]:
        assert other == pytest.approx(numbers[0], rel=1e-5, abs=1e-5, nan_ok=True)


def test_the_weights_of_a_batch_cost_no_layer(made):
    """The pass before accumulation is there for the weights, and compiles to nothing else."""
    counts = {}
    for accumulate in (1, PARTS):
        settings = override(made("masked, order"), {"train.accumulate": accumulate})
        task, model = build(settings)
        rows = uneven(task, "valid")
        given = parameters_of(model), rows, jax.random.key(0), jnp.float32(0), None
        compiled = jax.jit(Replica(settings, task, model, "cpu").gradients).lower(*given).compile()
        counts[accumulate] = compiled.as_text().count(" dot(")
    assert 0 < counts[PARTS] <= counts[1]


def test_a_spread_of_parts_is_the_standard_deviation_of_the_whole():
    values, weights = np.array([1.0, 1.0, 5.0, 9.0, 2.0]), np.array([1.0, 1.0, 1.0, 1.0, 0.0])

    def part(at):
        x, w = values[at], weights[at]
        return Spread((w * x * x).sum(), (w * x).sum(), w.sum())

    both = jax.tree.map(np.add, part(slice(0, 2)), part(slice(2, 5)))
    assert figure(both) == pytest.approx(values[:4].std())
    assert figure(part(slice(0, 2))) == 0.0
    assert figure((6.0, 4.0)) == 1.5


def test_frequencies_alone_are_a_loss_worked_out_by_hand(made):
    for case, split in (
        ("language_model", "valid"),
        ("last word", "valid"),
        ("masked, order", "test"),
    ):
        task, _ = build(made(case))
        ids = task.dataset.splits[split].ids
        p = np.array([np.mean(ids == token) for token in set(ids.tolist())])
        assert task.unigram_loss(split) == pytest.approx(-(p * np.log(p)).sum())
    task, _ = build(made("last word"))
    assert task.unigram_loss("test") is None  # a word is several tokens
    assert entropy(np.array([2, 0, 2])) == pytest.approx(np.log(2))
    task, _ = build(made("translation"))
    assert 1 < task.unigram_loss("valid") < np.log(task.vocabulary)
    task, _ = build(made("algorithmic"))
    assert task.unigram_loss("valid") is None


WITHOUT_CORPUS = ("language_model", "masked, order", "last word", "reading")


@pytest.mark.parametrize("case", WITHOUT_CORPUS)
def test_the_shapes_to_plan_by_are_those_of_what_is_gathered(case, made):
    """These tasks know them without their corpus; the contract's own asks it."""
    task, _ = build(made(case))
    found, planned = Task.gathered_shapes(task, BATCH), task.gathered_shapes(BATCH)
    assert jax.tree.structure(found) == jax.tree.structure(planned)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(planned), strict=True):
        kinds = [jnp.issubdtype(side.dtype, jnp.integer) for side in (one, other)]
        assert one.shape == other.shape and kinds[0] == kinds[1]


def test_a_translation_is_planned_by_its_longest_bucket_without_its_corpus(made):
    task, _ = build(made("translation"))
    longest = task.batches[-1]

    def gathered(source):
        return longest.gather(source, longest.indices(jax.random.key(0), jnp.int32(0), BATCH))

    assert longest.share == 1
    assert jax.eval_shape(gathered, task.source()) == task.gathered_shapes(BATCH)
    elsewhere = made("translation")
    elsewhere.task.corpus = "wmt14"  # is not here
    elsewhere.task.tokenizer = "bpe:32000"
    task, _ = build(elsewhere)
    assert task.planned_tokens == task.length
    assert [side.dtype for side in task.gathered_shapes(BATCH)] == [jnp.uint16] * 2
