"""The recall tasks: targets against solvers in NumPy that read the input alone, distributions,
determinism, refusals, and a step of training."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.context import Context
from arch.registry import ConfigurationError
from arch.tasks import contract
from arch.tasks.contract import Window
from arch.tasks.recall import groups
from arch.training import evaluation
from arch.training.program import Program, build
from arch.training.state import Swept

# kind → options at which its examples are small
SMALL = {
    "mqar": {"pairs": 3, "vocabulary": 12, "length": 20, "lengths": (33,)},
    "induction": {"vocabulary": 6, "length": 12},
    "in_context_recall": {"vocabulary": 7, "length": 15},
    "noisy_recall": {"vocabulary": 9, "noise_tokens": 3, "noise": 0.4, "length": 15},
    "fuzzy_recall": {"vocabulary": 9, "key_size": 2, "length": 25, "lengths": (9,)},
    "selective_copy": {"copied": 3, "vocabulary": 6, "length": 14, "lengths": (7,)},
    "compression": {"vocabulary": 5, "length": 8},
    "memorisation": {"vocabulary": 12, "length": 8},
    "parity": {"length": 9, "lengths": ()},
    "s5": {"length": 7, "lengths": (11,)},
}  # fmt: skip
EXAMPLES = 128


@functools.cache
def task_of(kind, **more):
    """A task, its examples made once."""
    options = {**SMALL[kind], "evaluation_examples": EXAMPLES, **more}
    return contract.build({"kind": kind, **options})


def mqar(task, tokens):
    """Later standings of the prefix's keys, at even places; fillers may look the same, so asked
    are as many as the task asks."""
    n = 2 * task.pairs
    values = dict(zip(tokens[:n:2], tokens[1:n:2], strict=True))
    return {i: values[tokens[i]] for i in range(n, len(tokens), 2) if tokens[i] in values}


def induction(task, tokens):
    return {len(tokens) - 1: tokens[tokens.index(task.vocabulary - 1) + 1]}


def in_context(task, tokens):
    used = task.vocabulary - task.noise_tokens
    known, found = {}, {}
    for i in range(0, len(tokens), 2):
        key = tokens[i]
        if key >= used:
            continue
        assert key < used // 2
        if key in known:
            found[i] = known[key]
        if i + 1 < len(tokens):
            assert known.setdefault(key, tokens[i + 1]) == tokens[i + 1] >= used // 2
    return found


def fuzzy(task, tokens):
    """Runs of the keys' half and of the values' half."""
    half, pad = task.vocabulary // 2, task.vocabulary - 1
    start = next(i for i, token in enumerate(tokens) if token != pad)
    assert pad not in tokens[start:]
    runs, i = [], start
    for is_key, run in itertools.groupby(tokens[start:], lambda token: token < half):
        runs.append((is_key, i, tuple(run)))
        i += len(runs[-1][2])
    assert [is_key for is_key, *_ in runs] == [n % 2 == 0 for n in range(len(runs))]
    known, found = {}, {}
    runs += [(False, 0, ())] * (len(runs) % 2)
    for (_, at, key), (*_, value) in zip(runs[::2], runs[1::2], strict=True):
        assert len(set(key)) == len(key) == task.key_size and len(set(value)) == len(value) <= 3
        last = at + len(key) - 1
        if key in known:
            found |= {last + j: token for j, token in enumerate(known[key])}
            assert value == known[key][: len(value)]
        known.setdefault(key, value)
    return found


def selective_copy(task, tokens):
    n, split = task.copied, tokens.index(task.vocabulary - 1)
    kept = [token for token in tokens[:split] if token != task.vocabulary - 2]
    assert len(kept) == n and tokens[split - 1] == kept[-1]
    assert tokens[split + 1 :] == [task.vocabulary - 2] * n
    return {split + 1 + j: token for j, token in enumerate(kept)}


def compression(task, tokens):
    assert tokens.index(task.vocabulary - 1) == len(tokens) - 1
    return dict(enumerate(tokens))


def memorisation(task, tokens):
    assert set(tokens[1::2]) == {task.vocabulary - 1}
    return {i + 1: int(task.values[tokens[i]]) for i in range(0, len(tokens), 2)}


def parity(task, tokens):
    assert tokens[0] == 2
    return {i: sum(tokens[1 : i + 1]) % 2 for i in range(1, len(tokens))}


def s5(task, tokens):
    elements = list(itertools.permutations(range(5)))
    assert tokens[0] == len(elements) == 120
    product, found = tuple(range(5)), {}
    for i, token in enumerate(tokens[1:], 1):
        product = tuple(product[j] for j in elements[token])
        found[i] = elements.index(product)
    return found


SOLVERS = {
    "mqar": mqar,
    "induction": induction,
    "in_context_recall": in_context,
    "noisy_recall": in_context,
    "fuzzy_recall": fuzzy,
    "selective_copy": selective_copy,
    "compression": compression,
    "memorisation": memorisation,
    "parity": parity,
    "s5": s5,
}


@pytest.mark.parametrize("kind", SMALL)
def test_targets_are_those_of_a_solver_that_reads_the_input_alone(kind):
    task = task_of(kind)
    for split, length in task.lengths.items():
        made = task.examples(split)
        assert made.inputs.shape == made.targets.shape == (EXAMPLES, length)
        assert 0 <= made.inputs.min() and made.inputs.max() < task.vocabulary
        for tokens, targets, asked in zip(made.inputs, made.targets, made.asked, strict=True):
            found = SOLVERS[kind](task, tokens.tolist())
            wanted = {int(i): int(targets[i]) for i in np.flatnonzero(asked)}
            assert wanted
            if kind == "mqar":  # fillers may be keys
                assert len(wanted) == task.pairs and wanted.items() <= found.items()
            else:
                assert wanted == found


@functools.cache
def batches_of(task):
    def run(key, step):
        return task.assemble(task.gather(task.source(), task.indices(key, step, 32)))

    return jax.jit(run)


def batch_of(task, seed=0, step=0):
    return batches_of(task)(jax.random.key(seed), jnp.int32(step))


@pytest.mark.parametrize("kind", SMALL)
def test_batches_are_a_function_of_key_and_step(kind):
    task = task_of(kind)
    first, again = batch_of(task), batch_of(task)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    rows = np.unique(np.asarray(first.inputs), axis=0)
    assert len(rows) > 4, "a batch's examples differ"
    for other in (batch_of(task, step=1), batch_of(task, seed=1)):
        assert (first.inputs != other.inputs).any()
    assert not (np.asarray(first.asked) & ~np.asarray(first.learned)).any()


@pytest.mark.parametrize("kind", SMALL)
def test_chance_is_what_an_answer_is_worth_that_has_not_seen_the_input(kind):
    task = task_of(kind)
    made = task.examples("valid")
    assert len(task.examples("valid", Window(tokens=task.length + 1)).inputs) == 2
    answers = made.targets[made.asked]
    chance = task.figures("valid", {"loss": 1.0}, 5)["chance"]
    if kind == "compression":  # the last token is known
        last = answers == task.vocabulary - 1
        assert chance == pytest.approx(last.mean() + (1 - last.mean()) / (task.vocabulary - 1))
        return
    common = np.bincount(answers).max() / len(answers)  # the best constant guess
    spread = np.sqrt(chance * (1 - chance) / len(answers))
    assert chance <= common + 1e-9 and common < chance + 8 * spread + 0.02


def test_evaluation_is_the_same_for_every_run_and_training_examples_can_be_few():
    first, again = (contract.build({"kind": "parity", "length": 9}) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first.examples("n64"), again.examples("n64"))
    few = batch_of(task_of("parity", training_examples=3), seed=1)
    other = batch_of(task_of("parity", training_examples=3), seed=2)
    rows = {tuple(row) for made in (few, other) for row in np.asarray(made.inputs).tolist()}
    assert len(rows) == 3


def test_mqar_draws_keys_values_and_places_as_zoology_does():
    task = task_of("mqar", fillers="zero", evaluation_examples=512)
    made = task.examples("valid")
    prefix = made.inputs[:, : 2 * task.pairs]
    half = task.vocabulary // 2
    assert set(np.unique(prefix[:, ::2])) == set(range(1, half))
    assert set(np.unique(prefix[:, 1::2])) == set(range(half, task.vocabulary))
    assert all(len(set(row)) == 2 * task.pairs for row in prefix.tolist())
    assert not made.inputs[:, 2 * task.pairs :][~made.asked[:, 2 * task.pairs :]].any()
    counts = made.asked[:, 2 * task.pairs :: 2].sum(0)  # of the seven places
    p = np.arange(1, 8) ** -0.99
    draws = np.random.default_rng(0)
    drawn = [draws.choice(7, 3, replace=False, p=p / p.sum()) for _ in range(4000)]
    expected = np.bincount(np.concatenate(drawn), minlength=7) / 4000
    np.testing.assert_allclose(counts / 512, expected, atol=0.09)


def test_noise_is_the_share_that_was_asked_for():
    made = task_of("noisy_recall", length=31).examples("valid")
    assert np.mean(made.inputs[:, :-1:2] >= 6) == pytest.approx(0.4, abs=0.03)
    assert not (task_of("noisy_recall", noise=0.0).examples("valid").inputs >= 6).any()


def test_in_training_keys_of_motifs_are_shorter_too_and_every_next_token_is_learned():
    task = task_of("fuzzy_recall")
    batch = batch_of(task)
    inputs, learned = np.asarray(batch.inputs), np.asarray(batch.learned)
    np.testing.assert_array_equal(learned, inputs != task.vocabulary - 1)
    np.testing.assert_array_equal(np.asarray(batch.targets)[:, :-1], inputs[:, 1:])
    first = [row[row != task.vocabulary - 1] for row in inputs]
    sizes = {next(i for i, token in enumerate(row) if token >= 4) for row in first}
    assert sizes == {1, 2}


def test_groups_are_groups():
    orders = {"z2": 2, "z3": 3, "z60": 60, "s3": 6, "a4": 12, "s4": 24, "a4xz5": 60, "a5": 60}
    for name, order in {**orders, "s5": 120}.items():
        table = groups.GROUPS[name]()
        assert table.shape == (order, order)
        np.testing.assert_array_equal(table[0], np.arange(order))
        np.testing.assert_array_equal(np.sort(table, axis=1)[:, 0], np.zeros(order))
        np.testing.assert_array_equal(table[table], table[:, table])  # (a b) c = a (b c)
    last = task_of("parity", asked="last").examples("valid")
    assert last.asked[:, -1].all() and last.asked.sum() == EXAMPLES


REFUSED = {
    "mqar": [
        ({"pairs": 0}, "task.pairs=0: allowed is 1 or more"),
        ({"length": 11}, "task.length=11: allowed is 12 or more"),
        ({"lengths": (8,)}, "task.lengths=8: allowed is 12 or more"),
        ({"lengths": (32, 32)}, "task.lengths=(32, 32): allowed is a list of whole numbers"),
        ({"vocabulary": 7}, "task.vocabulary=7: allowed is 8 (keys for the pairs) or more"),
        ({"power": 0.0}, "task.power=0.0: allowed is above 0, to 1"),
        ({"fillers": "none"}, "task.fillers='none': allowed are random, zero"),
        ({"evaluation_examples": 0}, "task.evaluation_examples=0: allowed is 1 or more"),
        ({"training_examples": -1}, "task.training_examples=-1: allowed is 0 (new ones) or more"),
    ],
    "induction": [({"vocabulary": 2}, "task.vocabulary=2"), ({"length": 2}, "task.length=2")],
    "in_context_recall": [
        ({"length": 16}, "task.length=16: allowed is an odd number"),
        ({"noise": 0.2}, "task.noise=0.2: allowed is 0 without task.noise_tokens"),
        ({"vocabulary": 3}, "task.vocabulary=3: allowed is 4 (noise, two keys, two values)"),
    ],
    "noisy_recall": [({"noise": 1.0}, "task.noise=1.0: allowed is 0 to below 1")],
    "fuzzy_recall": [
        ({"key_size": 0}, "task.key_size=0"),
        ({"length": 8}, "task.length=8: allowed is 9 or more"),
        ({"vocabulary": 6}, "task.vocabulary=6: allowed is 7 (padding, and a half each) or more"),
    ],
    "selective_copy": [({"copied": 7}, "task.length=14: allowed is 15 or more")],
    "compression": [({"vocabulary": 2}, "task.vocabulary=2: allowed is 3")],
    "memorisation": [({"length": 7}, "task.length=7: allowed is an even number")],
    "parity": [({"asked": "first"}, "task.asked='first': allowed are every, last")],
    "s5": [({"group": "s6"}, "task.group='s6': allowed are z2, z3"), ({"length": 1}, "length=1")],
}


@pytest.mark.parametrize("kind", SMALL)
def test_options_that_cannot_be_are_refused_in_a_line(kind):
    for options, message in REFUSED[kind]:
        with pytest.raises(ConfigurationError) as refused:
            task_of(kind, **options)
        assert message in str(refused.value) and "\n" not in str(refused.value)


def made(kind, **model):
    return config.make(
        model={
            "width": 8,
            "order": "s",
            "sublayers": {"s": {"kind": "attention", "heads": 2}},
            **model,
        },
        task={"kind": kind, **SMALL[kind], "evaluation_examples": 8},
        train={"steps": 2, "batch": 4},
    )


def test_compression_sees_the_last_state_alone():
    def sums(**model):
        task, built = build(made("compression", **model))
        batch, parameters = task.examples("valid"), jax.eval_shape(built.init, jax.random.key(0))
        return jax.eval_shape(lambda p: task.sums(built, p, batch, Context()), parameters)

    task, other = build(made("compression"))
    with pytest.raises(ConfigurationError, match="use model.head.kind='reconstruction'"):
        task.check_model(other)
    assert "accuracy" in sums(head={"kind": "reconstruction"})[1]
    _, model = build(made("compression", head={"kind": "reconstruction"}))
    tokens, draws = model.embedding.module.tokens, np.random.default_rng(0)
    shapes = jax.eval_shape(model.head.init, jax.random.key(0))
    parameters = jax.tree.map(lambda a: draws.standard_normal(a.shape, np.float32), shapes)
    x = draws.standard_normal((2, 8, 8), np.float32)

    @jax.jit
    def target(x, there):
        head, targets = model.head.bind(parameters), jnp.zeros((2, 8), jnp.int32)
        return head.score(tokens, x, None, targets, Context(mask=there)).target

    def changed(at):
        y = x.copy()
        y[:, at] = 0
        return y

    whole = np.ones((2, 8), bool)
    found = target(x, whole)
    assert (found == target(changed(slice(0, 7)), whole)).all()
    assert (found != target(changed(7), whole)).all()
    assert len(np.unique(np.asarray(found))) == 16, "each position has its own"
    padded = np.arange(8)[None].repeat(2, 0) < 5
    assert (target(x, padded) == target(changed(slice(5, 8)), padded)).all()
    assert (target(x, padded) != target(changed(4), padded)).all()


def test_a_program_trains_on_them_and_evaluates_beyond_the_length_of_training():
    settings = config.override(made("fuzzy_recall"), {"task.lengths": (33,)})
    task, model = build(settings)
    program = Program(settings, task, model)
    state, swept = program.init(np.zeros(1, np.int32)), Swept.of([(settings, 0)])
    state, metrics = program.train(state, swept, task.source(), 0, 2)
    assert np.isfinite(np.asarray(metrics["loss"])[0, :2]).all() and int(state.step[0]) == 2
    (figures,) = evaluation.evaluate(program, state.parameters, "n33")
    assert figures["tokens"] == task.examples("n33").asked.sum()
    assert figures["input_length"] == 33 and figures["chance"] == 0.25
    assert np.isfinite(figures["loss"])
    assert 0 <= figures["accuracy"] <= 1 and 0 <= figures["accuracy_beyond"] <= 1


@pytest.mark.parametrize(
    ("kind", "options"),
    [("s5", {"asked": "every"}), ("s5", {"asked": "last"}), ("parity", {"asked": "every"})],
)
def test_who_multiplies_nothing_knows_the_first_product_alone(kind, options):
    """By a count over the examples: a predictor that copies its first input, and else is even."""
    task = contract.build(config.make(task={"kind": kind, "length": 6, **options}).task)
    for split in task.splits:
        examples = task.examples(split)
        order, first = len(task.table), np.arange(examples.inputs.shape[1]) == 1
        known = examples.asked & first & (examples.targets == examples.inputs)
        nats = np.where(known, 0.0, math.log(order))[examples.asked].mean()
        assert task.unigram_loss(split) == pytest.approx(nats)
    assert contract.build(config.make(task={"kind": "mqar"}).task).unigram_loss("valid") is None
