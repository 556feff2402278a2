"""Pairs of sequences: the objective against NumPy, accuracies by loops, and several shapes of batch
in one program."""

import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.context import Context, Extras, named
from arch.models import families as models
from arch.models.generation import PAD
from arch.models.heads import Score
from arch.tasks import sequence_to_sequence
from arch.tasks.sequence_to_sequence import END, free_running, pairs
from arch.training import evaluation
from arch.training.program import Program, build
from arch.training.state import Swept

VOCABULARY = 7
TARGETS = np.array([[4, 2, 1, 0, 0], [6, 1, 0, 0, 0], [3, 3, 5, 2, 1]])
SOURCE = np.array([[2, 3, 1], [5, 1, 0], [1, 0, 0]])


class Logits:
    """A model with these logits; remembers what it was asked."""

    def __init__(self, logits):
        self.logits = logits

    def score(self, parameters, inputs, targets, context):
        self.inputs, self.mask = inputs, context.memory_mask
        logp = jax.nn.log_softmax(jnp.asarray(self.logits))
        target = jnp.take_along_axis(logp, targets[..., None], axis=-1)[..., 0]
        extras = Extras(
            {"ponder_cost": (jnp.ones(()), jnp.ones(()))}, {"depth": (jnp.ones(()), jnp.ones(()))}
        )
        return Score(target, logp.mean(-1), logp.argmax(-1)), extras


def scored(smoothing=0.0, zeros=0):
    """(model, batch, losses and statistics) where most, not all, predictions are right."""
    logits = np.random.default_rng(0).standard_normal((3 + zeros, 5, VOCABULARY))
    rows, places = np.indices(TARGETS.shape)
    logits[rows, places, TARGETS] += 4.0
    logits[0, 1] = -logits[0, 1]  # a wrong one
    logits[1, 3] = -logits[1, 3]  # one where there is no target
    source, targets = (np.pad(a, ((0, zeros), (0, 0))) for a in (SOURCE, TARGETS))
    batch = pairs(jnp.asarray(source), jnp.asarray(targets))
    model = Logits(logits.astype(np.float32))
    context = Context(train=True)
    losses, statistics = sequence_to_sequence.sums(model, None, batch, context, smoothing)
    return model, batch, {**losses, **statistics}


# The batch and its sums


def test_a_batch_predicts_each_token_from_those_before_it_after_a_start():
    batch = pairs(
        jnp.asarray(SOURCE, jnp.uint8), jnp.asarray(np.pad(TARGETS, ((0, 1), (0, 0)))[1:])
    )
    for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
        assert [int(i) for i in inputs] == [PAD, *map(int, targets[:-1])]
    assert np.array_equal(batch.weights, batch.targets != 0)
    assert np.array_equal(batch.real, [1, 1, 0])
    assert {a.dtype for a in batch[:3]} == {jnp.dtype("int32")}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sums_are_those_of_loops(smoothing):
    model, _, found = scored(smoothing)
    loss, tokens, right, whole = 0.0, 0, 0, 0
    for targets, rows in zip(TARGETS, np.asarray(model.logits, np.float64), strict=True):
        good = True
        for target, row in zip(targets, rows, strict=True):
            if target == PAD:
                continue
            p = np.exp(row) / np.exp(row).sum()
            wanted = np.full(VOCABULARY, smoothing / VOCABULARY)
            wanted[target] += 1 - smoothing
            loss -= sum(w * math.log(q) for w, q in zip(wanted, p, strict=True))
            tokens, right = tokens + 1, right + (row.argmax() == target)
            good &= row.argmax() == target
        whole += good
    assert (tokens, right, whole) == (10, 9, 2)
    assert float(found["loss"][0]) == pytest.approx(loss, rel=1e-5)
    assert float(found["loss"][1]) == tokens
    assert [float(a) for a in found["token_accuracy_teacher_forced"]] == [right, tokens]
    assert [float(a) for a in found["sequence_accuracy_teacher_forced"]] == [whole, 3]


def test_the_model_is_told_where_the_source_is_and_its_own_sums_are_kept():
    model, batch, found = scored()
    assert np.array_equal(model.mask, SOURCE != PAD)
    assert model.inputs == (batch.source, batch.inputs)
    assert float(found["ponder_cost"][0]) == 1.0 and float(found["depth"][1]) == 1.0


def test_rows_of_zeros_count_nothing():
    _, _, found = scored(0.1)
    _, _, filled = scored(0.1, zeros=2)
    assert set(found) == set(filled)
    for name, pair in found.items():
        np.testing.assert_allclose(filled[name], pair, rtol=1e-6, err_msg=name)


def test_rows_of_zeros_count_nothing_in_a_model_and_have_gradients():
    model = {"family": "encoder_decoder", "width": 8, "order": "c", "encoder_order": "s"}
    letters = {"s": {"kind": "attention", "heads": 2}, "c": {"kind": "attention", "cross": True}}
    stack = {"kind": "universal", "steps": 2, "halting": "act"}
    made = config.make(model={**model, "stack": stack, "sublayers": letters}).model
    model = models.build(made, VOCABULARY, 5)
    parameters = jax.jit(model.init)(jax.random.key(0))

    def sums(parameters, zeros):
        rows = (jnp.asarray(np.pad(a, ((0, zeros), (0, 0)))) for a in (SOURCE, TARGETS))
        found = sequence_to_sequence.sums(model, parameters, pairs(*rows), Context())
        return found[0]["loss"][0], {**found[0], **found[1]}

    expected = jax.jit(lambda p: sums(p, 0)[1])(parameters)
    gradients, found = jax.jit(jax.grad(lambda p: sums(p, 2), has_aux=True))(parameters)
    assert set(found) == set(expected)
    for name in (
        "loss",
        "encoder_ponder_cost",
        "token_accuracy_teacher_forced",
        "sequence_accuracy_teacher_forced",
    ):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((found, gradients)))


# Free-running accuracies


@pytest.mark.parametrize("steps", [3, 5, 8])
def test_free_running_accuracies_are_those_of_loops(steps):
    """Whatever the number of decoding steps: missing tokens are wrong, more are not looked at."""
    source = np.random.default_rng(steps)
    targets = np.zeros((40, 5), int)
    for row, length in enumerate(source.integers(1, 6, 40)):
        targets[row, :length] = [*source.integers(2, 4, length - 1), END]
    ids = np.pad(targets, ((0, 0), (0, 5)))[:, :steps]
    ids = np.where(source.random(ids.shape) < 0.15, source.integers(0, 4, ids.shape), ids)
    right = tokens = whole = 0
    for row, wanted in zip(ids, targets, strict=True):
        wanted = [t for t in wanted if t != PAD]
        good = [i < len(row) and row[i] == t for i, t in enumerate(wanted)]
        right, tokens, whole = right + sum(good), tokens + len(good), whole + all(good)
    found = free_running(ids, targets, targets != PAD)
    assert 0 < whole < 40 and 0 < right < tokens
    assert found == {
        "token_accuracy_free_running": pytest.approx(right / tokens),
        "sequence_accuracy_free_running": pytest.approx(whole / 40),
    }


def test_what_follows_the_end_does_not_matter():
    babble = np.where(TARGETS == PAD, 3, TARGETS)
    assert set(free_running(babble, TARGETS, TARGETS != PAD).values()) == {1.0}


# Several shapes in one program

SEEDS, STEPS = (0, 5), 12
WORDS = {"hund": "dog", "haus": "house", "läuft": "runs", "ein": "a", "zwei": "two"}


@pytest.fixture(scope="module")
def configuration(tmp_path_factory):
    """An encoder-decoder on 40, 5 and 5 pairs of 1 to 6 words, in two buckets, with dropout."""
    folder, source = tmp_path_factory.mktemp("pairs"), random.Random(0)
    for split, count in {"train": 40, "valid": 5, "test": 5}.items():
        german = [" ".join(source.choices(list(WORDS), k=1 + i % 6)) for i in range(count)]
        english = [" ".join(WORDS[word] for word in line.split()) for line in german]
        for language, lines in (("de", german), ("en", english)):
            (folder / f"{split}.{language}").write_text("\n".join(lines) + "\n")
    return config.make(
        model={
            "family": "encoder_decoder",
            "width": 8,
            "order": "c",
            "encoder_order": "s",
            "dropout": 0.1,
            "sublayers": {
                "s": {"kind": "attention", "heads": 2},
                "c": {"kind": "attention", "heads": 2, "cross": True},
            },
        },
        task={
            "kind": "translation",
            "corpus": f"file:{folder}",
            "tokenizer": "bpe:280",
            "length": 12,
            "buckets": (5, 12),
            "beam": 2,
        },
        train={
            "steps": STEPS,
            "batch": 2,
            "optimizer": {"name": "nag", "momentum": 0.9, "learning_rate": 0.1},
        },
    )


def trained(configuration, mode):
    """(program, parameters at the start, state after STEPS of one dispatch, metrics)"""
    configuration = config.override(configuration, {"train.replicas": mode})
    program = Program(configuration, *build(configuration))
    assert program.mode == mode
    state = program.init(np.array(SEEDS, np.int32))
    start = jax.device_get(state.parameters)
    swept = jax.tree.map(jnp.asarray, Swept.of([(configuration, s) for s in SEEDS]))
    source = program.task.source()
    state, metrics = program.train(state, swept, source, 0, STEPS)
    return program, start, jax.device_get(state), jax.tree.map(np.asarray, metrics)


@pytest.fixture(scope="module")
def mapped(configuration):
    """`trained` in map mode."""
    return trained(configuration, "map")


def test_steps_of_all_shapes_in_one_dispatch_are_single_steps_of_their_own_shapes(
    configuration, mapped, row, same_bytes
):
    """Bit for bit those compiled for the one shape that the task names, on the pairs that it gives
    for it; as the quick compiler leaves out what might fuse a loop's body otherwise."""
    program, start, state, metrics = mapped
    task = program.task
    shapes = [int(task.batch_at(jnp.int32(step))) for step in range(STEPS)]
    assert len(task.batches) == 2 and min(shapes.count(0), shapes.count(1)) >= 3
    one_step, source = jax.jit(program.replica.step), task.source()
    batches = [
        jax.jit(lambda key, step, b=bucket: b.gather(source, b.indices(key, step, program.batch)))
        for bucket in task.batches
    ]
    fresh = jax.device_get(program.init(np.array(SEEDS, np.int32)))
    for replica, seed in enumerate(SEEDS):
        alone, key = row(fresh, replica), named(jax.random.key(seed), "data")
        swept = row(Swept.of([(configuration, seed)]), 0)
        losses = []
        for step, shape in enumerate(shapes):
            gathered = batches[shape](key, jnp.int32(step))
            assert gathered[0].shape == (task.batches[shape].sequences(2), (5, 12)[shape])
            alone, found = one_step(alone, swept, gathered, program.schedule)
            losses.append(float(found["loss"]))
        assert int(alone.step) == STEPS
        assert metrics["loss"][replica, :STEPS].tolist() == losses
        assert same_bytes(row(state, replica), jax.device_get(alone))
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), state.parameters, start)
    for path, by in jax.tree_util.tree_leaves_with_path(moved):
        # a key's bias adds the same to all scores of a query
        assert by > 1e-4 or "['key']['bias']" in jax.tree_util.keystr(path)


@pytest.mark.slow
def test_vmapped_replicas_of_several_shapes_are_near_the_mapped_ones(
    configuration, mapped, assert_close
):
    _, _, state, metrics = trained(configuration, "vmap")
    assert_close(state.parameters, mapped[2].parameters, 1e-5)
    kept = {name: values[:, :STEPS] for name, values in metrics.items()}
    assert_close(kept, {name: mapped[3][name][:, :STEPS] for name in kept}, 1e-5)
    assert np.isnan(metrics["loss"][:, STEPS:]).all()


def test_a_final_evaluation_decodes_every_replica_to_a_bleu_of_its_own(mapped):
    program, _, state, _ = mapped
    found = evaluation.decode(program, state.parameters, "test")
    assert len(found) == len(SEEDS)
    for figures in found:
        assert 0 <= figures["bleu"] <= 100 and figures["bleu_sentences"] == 5
        assert "nrefs:1" in figures["bleu_signature"]
    rows = program.task.evaluation_batch("test", np.arange(2))
    gathered = jax.tree.map(jnp.asarray, rows)
    ids = np.asarray(program.decode(state.parameters, gathered))
    assert ids.shape == (2, 2, 12) and not np.array_equal(ids[0], ids[1])
