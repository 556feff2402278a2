"""Algorithms position by position: examples against Python, bins of lengths, what is counted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.context import Context, Extras, named
from arch.data.generated import same_length
from arch.data.generated.same_length import GENERATORS, SEPARATORS, Aligned
from arch.models.heads import Score
from arch.registry import ConfigurationError, tasks
from arch.tasks.algorithmic.bins import SHORTER, AlgorithmicBins
from arch.tasks.contract import Window
from arch.training.program import Program, build
from arch.training.state import Swept
from tests.families import always

compiled = jax.jit(same_length.generate, static_argnums=(0, 3, 4))


def number(digits, base) -> int:
    return sum(d * base**i for i, d in enumerate(digits))


def digits_of(value, base, n=1) -> list[int]:
    digits = []
    while value or len(digits) < n:
        value, digit = divmod(value, base)
        digits.append(digit)
    return digits


def expected(algorithm, inputs, length, base) -> list[int]:
    """The target's symbols up to the length, in Python's own lists and integers."""
    n = (length - 1) // 2
    if algorithm in SEPARATORS:
        assert inputs[n] == SEPARATORS[algorithm] and not any(inputs[2 * n + 1 :])
        first, second = ([s - 1 for s in part] for part in (inputs[:n], inputs[n + 1 : 2 * n + 1]))
        assert all(0 <= d < base for d in first + second)
        a, b = number(first, base), number(second, base)
        made = digits_of(a + b, base) if algorithm == "addition" else (
            digits_of(a * b, base, 2 * n + 1)
        )  # fmt: skip
        made = [d + 1 for d in made]
    else:
        kept = length // 2 if algorithm == "double" else length
        x = inputs[:kept]
        assert all(1 <= s <= base for s in x) and not any(inputs[kept:])
        made = {"copy": x, "reverse": x[::-1], "double": x + x, "sorting": sorted(x)}[algorithm]
    return made + [0] * (length - len(made))


@pytest.mark.parametrize("length", always((1, 2, 3, 8, 33, 200), (1, 33)))
@pytest.mark.parametrize("algorithm", GENERATORS)
def test_targets_are_those_of_python_at_any_length_in_a_larger_array(algorithm, length):
    if length < same_length.least_length(algorithm):
        return
    for base in (2, 10) if algorithm in SEPARATORS else (2, 11):
        keys = jax.random.split(jax.random.key(length), 64)
        size = length + 5
        made = compiled(algorithm, keys, jnp.full(64, length), base, size)
        inputs, targets = (np.asarray(a).tolist() for a in made)
        for x, y in zip(inputs, targets, strict=True):
            assert y == expected(algorithm, x[:length], length, base) + [0] * 5
            assert not any(x[length:])
            assert max(x + y) < same_length.symbols(algorithm, base)


def test_digits_are_uniform_and_zeros_may_stand_anywhere():
    keys = jax.random.split(jax.random.key(0), 500)
    x = np.asarray(compiled("sorting", keys, jnp.full(500, 32), 11, 32).inputs)
    counts = np.bincount(x.ravel(), minlength=12)
    assert counts[0] == 0 and np.all(np.abs(counts[1:] - x.size / 11) < 5 * np.sqrt(x.size / 11))
    x = np.asarray(compiled("addition", keys, jnp.full(500, 32), 2, 32).inputs)
    assert set(x[:, 14].tolist()) == {1, 2}  # the most significant digit of the first


def test_fixed_examples_are_the_same_every_time_and_differ_between_lengths():
    first = same_length.fixed("reverse", 5, 16, 11)
    same_length.fixed.cache_clear()
    again = same_length.fixed("reverse", 5, 16, 11)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    longer = same_length.fixed("reverse", 5, 32, 11)
    assert (longer.inputs[:, :16] != first.inputs).any()


# The task


def small(**options) -> AlgorithmicBins:
    return AlgorithmicBins(
        **{"bins": (4, 8, 16), "lengths": (8, 64), "evaluation_examples": 12, **options}
    )


@functools.partial(jax.jit, static_argnums=(0, 3))
def batch_of(task, seed, step, n=8):
    key = named(jax.random.key(seed), "data")
    return task.assemble(task.gather((), task.indices(key, step, n)))


def lengths_of(batch: Aligned):
    return (np.asarray(batch.inputs) != 0).sum(1)


def test_every_bin_is_in_every_step_with_lengths_down_to_the_bin_before():
    task = small()
    batch = batch_of(task, 0, 0, 2000)
    assert [of_bin.inputs.shape for of_bin in batch] == [(2000, n) for n in (4, 8, 16)]
    for place, (of_bin, low) in enumerate(zip(batch, (0, 4, 8), strict=True)):
        lengths = lengths_of(of_bin)
        assert set(range(low + 1, task.bins[place] + 1)) <= set(lengths.tolist())
        shorter = np.mean(lengths <= low)
        assert abs(shorter - SHORTER * (place > 0)) < 5 * np.sqrt(SHORTER / 2000)
    assert (batch[0].inputs[:5] != batch[1].inputs[:5, :4]).any()


def test_batches_are_determined_by_seed_and_step():
    task = small()
    first, again, later, other = (batch_of(task, *at) for at in ((0, 0), (0, 0), (0, 1), (1, 0)))
    for a, b, c, d in zip(*(jax.tree.leaves(x) for x in (first, again, later, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any() and (a != d).any()


def test_splits_are_of_exactly_their_length_and_valid_as_the_largest_bin():
    task = small()
    assert task.splits == ("valid", "n8", "n64") and task.max_length == 64
    assert set(lengths_of(task.examples("n64")).tolist()) == {64}
    assert task.examples("n64", Window(tokens=130)).inputs.shape == (3, 64)
    valid = task.examples("valid")
    assert valid.inputs.shape == (12, 16) and len(set(lengths_of(valid).tolist())) > 1
    np.testing.assert_array_equal(
        task.examples("valid", Window(tokens=40)).inputs, valid.inputs[:3]
    )
    np.testing.assert_array_equal(small().examples("valid").inputs, valid.inputs)


class Told:
    """A model that predicts `best`, with log p -2 and -1 at targets of 0, and remembers."""

    def __init__(self, best):
        self.best, self.lengths, self.context = best, [], None

    def score(self, parameters, inputs, targets, context):
        self.lengths.append(inputs.shape)
        self.context = context
        logp = jnp.where(targets == 0, -1.0, -2.0)
        return Score(logp, jnp.full(targets.shape, -4.0), self.best(targets)), Extras()


def means(task, batch, best=lambda targets: targets, context=None):
    told = Told(best)
    losses, statistics = task.sums(told, None, batch, context or Context())
    sums = {**losses, **statistics}
    return {name: float(total / weight) for name, (total, weight) in sums.items()}, told


def test_the_loss_is_the_mean_over_bins_of_sequences_whose_padding_weighs_little():
    task = small(padding_weight=0.25, label_smoothing=0.1)
    x = jnp.array([[3, 5, 0, 0], [2, 2, 2, 2], [0, 0, 0, 0]])
    batch = Aligned(x, x), Aligned(*(jnp.pad(x, ((0, 0), (0, 4))),) * 2)
    figures, told = means(task, batch)
    # the first sequence: 2 at -2 and 2 or 6 at -1 of weight 1/4; the third row is none
    of_four = ((2 * 2 + 2 * 0.25) / (2 + 2 * 0.25) + 2) / 2
    of_eight = ((2 * 2 + 6 * 0.25) / (2 + 6 * 0.25) + (4 * 2 + 4 * 0.25) / (4 + 4 * 0.25)) / 2
    assert figures["loss"] == pytest.approx((of_four + of_eight) / 2)
    assert figures["token_accuracy"] == figures["sequence_accuracy"] == 1
    assert told.lengths == [(3, 4), (3, 8)] and told.context.mask is None
    train = Context(train=True, key=jax.random.key(0))
    whole = small(padding_weight=1.0, label_smoothing=0.1)
    short = (Aligned(x[1:2], x[1:2]),)
    assert means(whole, short, context=train)[0]["loss"] == pytest.approx(0.9 * 2 + 0.1 * 4)
    losses, _ = task.sums(Told(lambda targets: targets), None, batch, Context())
    assert float(losses["loss"][1]) == 4


def test_a_symbol_predicted_at_padding_counts_as_wrong():
    task = small()
    x = jnp.array([[3, 5, 0, 0], [2, 2, 2, 2]])
    batch = (Aligned(x, x),)
    figures, _ = means(task, batch, lambda targets: targets.at[0, 3].set(1))
    assert figures["token_accuracy"] == pytest.approx(6 / 7)
    assert figures["sequence_accuracy"] == 0.5
    found = task.figures("n8", figures, 2)
    assert found["wrong_sequences"] == 1 and found["input_length"] == 8


def test_long_sequences_are_evaluated_a_few_at_a_time_with_the_same_figures(monkeypatch):
    task = small()
    batch = task.assemble_evaluation(task.examples("n64"))
    whole, told = means(task, batch)
    assert told.lengths == [(12, 64)]
    monkeypatch.setattr("arch.tasks.algorithmic.bins.SLICE", 64 * 5)
    sliced, told = means(task, batch)
    assert set(told.lengths) == {(4, 64)} and sliced == pytest.approx(whole)


@pytest.mark.slow
def test_offsets_are_of_training_alone():
    task = small(position_offsets=30)
    assert task.max_length == 94
    batch = batch_of(task, 0, 0)
    assert means(task, batch)[1].context.positions is None
    train = Context(train=True, key=jax.random.key(0))
    positions = means(task, batch, context=train)[1].context.positions
    assert positions.shape == (1, 16) and (jnp.diff(positions) == 1).all()


def test_it_trains_and_evaluates_a_shuffle_exchange_network():
    made = config.make(
        model={
            "family": "encoder",
            "width": 8,
            "order": "x",
            "sublayers": {"x": {"kind": "benes", "blocks": 1}},
            "stack": {"final_norm": False},
            "embedding": {"positions": "none"},
        },
        task={"kind": "algorithmic_bins", "bins": (4, 8), "lengths": (8, 32)},
        train={"steps": 4, "batch": 4, "accumulate": 2},
        evaluate={"splits": ("valid", "n32")},
    )
    task, model = build(made)
    program = Program(made, task, model)
    state = program.init(np.zeros(1, np.int32))
    swept = Swept.of([(made, 0)])
    state, metrics = program.train(state, swept, task.source(), 0, 4)
    assert np.all(np.isfinite(np.asarray(metrics["loss"])[0, :4])) and int(state.step[0]) == 4
    task.check_evaluation(made.evaluate)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"algorithm": "division"}, "task.algorithm='division': allowed are copy"),
        ({"base": 1}, "task.base=1: allowed is 2 to"),
        ({"algorithm": "addition", "base": 11}, "task.base=11: allowed is 2 to 10 in addition"),
        ({"bins": ()}, r"task.bins=\(\): allowed is a list that rises, from 1 on"),
        ({"bins": (8, 8)}, r"task.bins=\(8, 8\)"),
        ({"algorithm": "addition", "bins": (2, 8)}, r"task.bins=\(2, 8\): .* from 3 on"),
        ({"lengths": (8, 8)}, r"task.lengths=\(8, 8\): allowed is a list without repeats"),
        ({"algorithm": "double", "lengths": (1,)}, r"task.lengths=\(1,\): .* from 2 on"),
        ({"evaluation_examples": 0}, "task.evaluation_examples=0"),
        ({"label_smoothing": 1.0}, "task.label_smoothing=1.0"),
        ({"padding_weight": 0.0}, "task.padding_weight=0.0"),
        ({"position_offsets": -1}, "task.position_offsets=-1"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options, message):
    with pytest.raises(ConfigurationError, match=message):
        small(**options)


def test_the_task_is_registered():
    assert tasks.get("algorithmic_bins") is AlgorithmicBins
    assert small().families == ("encoder",) and small().tokens_per_sequence == 28
