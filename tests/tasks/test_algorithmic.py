"""Batches of the algorithmic task count what they say, in each of its formats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch.context import Context, Extras, named
from arch.data.generated import algorithms
from arch.data.generated.algorithms import Example
from arch.models.heads import Score
from arch.registry import ConfigurationError, tasks
from arch.tasks.algorithmic.sequences import Algorithmic
from arch.tasks.contract import Window
from arch.tasks.sequence_to_sequence import END, Pairs
from tests.families import always


def rows(example: Example) -> list[tuple[list[int], list[int]]]:
    """(input, output) of each row, as symbols."""
    parts = zip(*example, strict=True)
    return [(x[:m].tolist(), y[:n].tolist()) for x, m, y, n in parts]


def training_batch(task, seed=0, step=0, n=8):
    key = named(jax.random.key(seed), "data")

    def run(key, step):
        return task.assemble(task.gather(task.source(), task.indices(key, step, n)))

    return jax.jit(run)(key, jnp.int32(step))


FORMATS = ("sequence_to_sequence", "decoder")


@pytest.mark.parametrize("form", always(FORMATS, ("decoder",)))
def test_batches_are_determined_by_seed_and_step(form):
    task = Algorithmic(format=form)
    first = training_batch(task)
    again, later, other = (
        training_batch(task),
        training_batch(task, step=1),
        training_batch(task, 1),
    )
    assert (first.inputs == again.inputs).all()
    assert (first.inputs != later.inputs).any()
    assert (first.inputs != other.inputs).any()


def evaluated(task, split="valid", zero_rows=0):
    example = task.evaluation_batch(split, task.examples(split))
    fill = [(0, zero_rows)]
    return jax.tree.map(lambda a: np.pad(a, fill + [(0, 0)] * (a.ndim - 1)), example)


SHAPES = ("double", "addition")  # the two whose sizes or symbols are not the input's
ALL = [(algorithm, form) for algorithm in SHAPES for form in FORMATS]


def small(algorithm, form, **more):
    return Algorithmic(
        **{
            "algorithm": algorithm,
            "format": form,
            "length": 5,
            "multiples": (1, 2),
            "evaluation_examples": 12,
            **more,
        }
    )


@pytest.mark.parametrize("algorithm", SHAPES)
def test_pairs_end_source_and_target_and_shift_the_target(algorithm):
    task = small(algorithm, "sequence_to_sequence")
    example = evaluated(task)
    pairs = task.assemble_evaluation(example)
    assert isinstance(pairs, Pairs)
    for i, (x, y) in enumerate(rows(example)):
        m, n = len(x), len(y)
        assert pairs.source[i, : m + 1].tolist() == x + [END]
        assert pairs.targets[i, : n + 1].tolist() == y + [END]
        assert pairs.inputs[i, : n + 1].tolist() == [0] + y
        assert not pairs.source[i, m + 1 :].any() and not pairs.targets[i, n + 1 :].any()
        assert pairs.weights[i].tolist() == [1.0] * (n + 1) + [0.0] * (
            len(pairs.weights[i]) - n - 1
        )
    assert pairs.real.tolist() == [1.0] * 12


@pytest.mark.parametrize("algorithm", SHAPES)
def test_a_stream_has_weight_behind_its_separator_only(algorithm):
    task = small(algorithm, "decoder")
    example = evaluated(task)
    batch = task.assemble_evaluation(example)
    separator = task.vocabulary - 1
    for i, (x, y) in enumerate(rows(example)):
        assert separator not in x + y
        stream = x + [separator] + y + [END]
        stream += [0] * (batch.inputs.shape[1] + 1 - len(stream))
        assert batch.inputs[i].tolist() == stream[:-1]
        assert batch.targets[i].tolist() == stream[1:]
        counted = [t for t, w in zip(batch.targets[i].tolist(), batch.weights[i], strict=True) if w]
        assert counted == y + [END]


@pytest.mark.parametrize(("algorithm", "form"), ALL)
def test_zero_rows_count_nothing(algorithm, form):
    task = small(algorithm, form)
    batch = task.assemble_evaluation(evaluated(task, zero_rows=3))
    for leaf in batch:
        assert leaf.shape[0] == 15
        assert not leaf[12:].any()
        assert leaf[:12].any()


@pytest.mark.parametrize(("algorithm", "form"), ALL)
def test_sizes_are_those_that_the_task_states(algorithm, form):
    task = small(algorithm, form)
    batch = training_batch(task)
    assert batch.targets.shape == (8, task.length)
    assert int(batch.inputs.max()) < task.vocabulary > int(batch.targets.max())
    largest = task.assemble_evaluation(evaluated(task, "x2"))
    assert largest.inputs.shape[1] + task.decodes == task.max_length
    assert small(algorithm, form, position_offsets=7).max_length == task.max_length + 7


class Told:
    """A model that predicts `best`, and remembers its context."""

    def __init__(self, best):
        self.best = best

    def score(self, parameters, inputs, targets, context):
        self.inputs, self.context = inputs, context
        shape = targets.shape
        return Score(jnp.full(shape, -2.0), jnp.full(shape, -4.0), self.best), Extras()


def means(task, batch, best, context=None):
    told = Told(best)
    losses, statistics = task.sums(told, None, batch, context or Context())
    sums = {**losses, **statistics}
    return {name: float(total / weight) for name, (total, weight) in sums.items()}, told


@pytest.mark.parametrize("form", FORMATS)
def test_right_predictions_are_counted_as_right(form):
    task = small("reverse", form)
    batch = task.assemble_evaluation(evaluated(task, zero_rows=4))
    figures, told = means(task, batch, batch.targets)
    accuracies = {name: value for name, value in figures.items() if "accuracy" in name}
    assert len(accuracies) == 2 and set(accuracies.values()) == {1.0}
    assert figures["loss"] == 2.0
    assert told.context.mask is None
    assert isinstance(told.inputs, tuple) is (form == "sequence_to_sequence")


@pytest.mark.parametrize("form", FORMATS)
def test_one_fault_costs_one_token_and_one_sequence(form):
    task = small("copy", form)
    batch = task.assemble_evaluation(evaluated(task, zero_rows=4))
    at = int(jnp.argmax(batch.weights[0]))
    figures, _ = means(task, batch, batch.targets.at[0, at].add(1))
    assert figures["sequence_accuracy_teacher_forced"] == pytest.approx(11 / 12)
    tokens = int(batch.weights.sum())
    assert figures["token_accuracy_teacher_forced"] == pytest.approx(1 - 1 / tokens)


@pytest.mark.parametrize("form", FORMATS)
def test_label_smoothing_and_offsets_are_of_training_alone(form):
    task = small("reverse", form, label_smoothing=0.1, position_offsets=50)
    batch = training_batch(task)
    figures, told = means(task, batch, batch.targets)
    assert figures["loss"] == 2.0 and told.context.positions is None
    offsets = set()
    for seed in range(6):
        context = Context(key=jax.random.key(seed), train=True)
        figures, told = means(task, batch, batch.targets, context)
        assert figures["loss"] == pytest.approx(0.9 * 2 + 0.1 * 4)
        positions = told.context.positions
        assert positions.shape == (1, batch.inputs.shape[1])
        assert (jnp.diff(positions) == 1).all() and 0 <= positions[0, 0] <= 50
        if form == "sequence_to_sequence":
            assert told.context.memory_positions.shape == (1, batch.source.shape[1])
            assert told.context.memory_positions[0, 0] == positions[0, 0]
        offsets.add(int(positions[0, 0]))
    assert len(offsets) > 1


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("algorithm", SHAPES)
def test_a_prompt_ends_where_the_output_begins(algorithm, form):
    task = small(algorithm, form)
    example = evaluated(task, "x2", zero_rows=2)
    prompt = task.prompt(task.assemble_evaluation(example))
    assert prompt.end == END and prompt.steps == example.outputs.shape[1] + 1
    for i, (x, _) in enumerate(rows(Example(*(a[:12] for a in example)))):
        tokens = prompt.tokens[i, : prompt.lengths[i]].tolist()
        assert not prompt.tokens[i, prompt.lengths[i] :].any()
        if form == "decoder":
            assert tokens == x + [task.vocabulary - 1]
        else:
            assert tokens == [0]
            assert prompt.source[i, : len(x) + 1].tolist() == x + [END]
    assert (prompt.lengths >= 1).all()
    assert prompt.tokens.shape[1] + prompt.steps <= task.max_length + 1


@pytest.mark.parametrize("form", FORMATS)
def test_decoded_outputs_are_compared_up_to_their_end(form):
    task = small("copy", form)
    example = evaluated(task)
    ids = np.pad(example.outputs, ((0, 0), (0, 1)))
    ids[np.arange(12), example.output_length] = END
    figures = task.decoded_figures("valid", ids, example)
    assert figures["token_accuracy_free_running"] == 1.0
    assert figures[task.metric] == 1.0
    ids[0, example.output_length[0]] = 2
    assert task.decoded_figures("valid", ids, example)[task.metric] == pytest.approx(11 / 12)


def test_evaluation_is_exact_or_uniform_and_the_same_every_time():
    options = {"length": 5, "multiples": (1, 4), "evaluation_examples": 200}
    exact, uniform = Algorithmic(**options), Algorithmic(**options, evaluation_lengths="uniform")
    assert exact.splits == ("valid", "x4")
    assert set(exact.examples("x4").input_length.tolist()) == {20}
    assert set(uniform.examples("x4").input_length.tolist()) == set(range(1, 21))
    assert set(exact.examples("valid").input_length.tolist()) == set(range(1, 6))
    algorithms.fixed.cache_clear()
    again = Algorithmic(**options).examples("x4")
    jax.tree.map(np.testing.assert_array_equal, exact.examples("x4"), again)


def test_exact_arithmetic_has_the_whole_length_separator_included():
    task = small("addition", "decoder", base=10)
    assert set(task.examples("x2").input_length.tolist()) == {10}


def test_a_prefix_has_as_many_tokens_as_are_asked_for():
    task = small("reverse", "decoder")
    whole, part = task.examples("x2"), task.examples("x2", Window(tokens=25))
    assert len(part.inputs) == 3  # of 10 each
    np.testing.assert_array_equal(part.inputs, whole.inputs[:3])
    assert len(task.examples("x2", Window(tokens=10**6)).inputs) == 12


def test_figures_name_the_loss_its_weight_and_the_length():
    figures = small("copy", "decoder").figures("x2", {"loss": 1.5, "else": 0.0}, 100)
    assert figures == {"loss": 1.5, "tokens": 100, "input_length": 10}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"algorithm": "division"}, "task.algorithm='division': allowed are copy"),
        ({"format": "pairs"}, "task.format='pairs'"),
        ({"evaluation_lengths": "all"}, "task.evaluation_lengths='all'"),
        ({"base": 1}, "task.base=1: allowed is 2 or more"),
        ({"length": 0}, "task.length=0: allowed is 1"),
        ({"algorithm": "addition", "length": 2}, "task.length=2: allowed is 3"),
        ({"multiples": (1, 0)}, "task.multiples=0"),
        ({"evaluation_examples": 0}, "task.evaluation_examples=0"),
        ({"position_offsets": -1}, "task.position_offsets=-1"),
        ({"label_smoothing": 1.0}, "task.label_smoothing=1.0"),
        ({"algorithm": "multiplication", "base": 40_000}, "overflow int32"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options, words):
    with pytest.raises(ConfigurationError, match=words):
        Algorithmic(**options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window": 8}, "evaluate.window=8"),
        ({"stride": 2}, "evaluate.stride=2"),
        ({"splits": ("valid", "x3")}, "evaluate.splits='x3': allowed are valid, x2, x4, x10"),
    ],
)
def test_examples_have_no_windows_and_only_the_splits_of_the_task(change, words):
    fine = {"window": 0, "stride": 0, "splits": ("valid", "x10")}
    Algorithmic().check_evaluation(fine)
    with pytest.raises(ConfigurationError, match=words):
        Algorithmic().check_evaluation(fine | change)


def test_the_task_is_registered_and_names_what_it_can_train():
    assert tasks.get("algorithmic") is Algorithmic
    families = {form: Algorithmic(format=form).families for form in FORMATS}
    assert families["sequence_to_sequence"] == ("encoder_decoder",)
    assert families["decoder"] == ("decoder",)
    assert Algorithmic().sha256 == Algorithmic(algorithm="copy", base=10).sha256
