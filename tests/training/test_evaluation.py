"""Evaluation: which targets count, with how much context, and sums against NumPy's."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arch.config import override
from arch.context import Context
from arch.registry import ConfigurationError, tasks
from arch.tasks.contract import Window
from arch.tasks.language_model import LanguageModel, Windows
from arch.training import evaluation
from arch.training.program import Program, build

LENGTH = 8


# Windows


@st.composite
def settings_of_windows(draw):
    """(size of the split, tokens, task's length, window, stride), 0 standing for the default."""
    size, length = draw(st.integers(2, 300)), draw(st.integers(1, 40))
    tokens = draw(st.one_of(st.just(0), st.integers(2, 400)))
    window = draw(st.one_of(st.just(0), st.integers(1, 60)))
    stride = draw(st.integers(0, window or length))
    return size, tokens, length, window, stride


def counted(size, tokens, length, window, stride):
    """(windows, the positions of all targets that count, the context of each)."""
    task = LanguageModel(length=length)
    ids = np.arange(size)
    task.__dict__["dataset"] = SimpleNamespace(splits={"valid": SimpleNamespace(ids=ids)})
    asked = Window(tokens, window, stride)
    windows = task.examples("valid", asked)
    ids, weights = task.evaluation_batch("valid", windows, asked)
    offsets = np.arange(window or length)[None].repeat(len(ids), 0)
    # the tokens are their own positions, so that a target is seen to be where it should
    assert np.all(ids[:, 1:][weights] == (windows.starts[:, None] + offsets + 1)[weights])
    assert np.all(ids[:, 0] == windows.starts)
    return windows, ids[:, 1:][weights], (offsets + 1)[weights]


@given(settings_of_windows())
def test_every_target_counts_exactly_once(settings):
    size, tokens, *_ = settings
    _, targets, _ = counted(*settings)
    last = min(size, tokens or size) - 1  # every token but the first is a target
    np.testing.assert_array_equal(np.sort(targets), np.arange(1, last + 1))


@given(settings_of_windows())
def test_context_is_at_least_the_window_less_the_stride(settings):
    _, _, length, window, stride = settings
    windows, targets, context = counted(*settings)
    window = window or length
    stride = stride or window
    beyond = targets > window  # the first window's targets have what there is
    assert np.all(context[~beyond] == targets[~beyond])
    # the context counts the token before the target: window - stride tokens precede that one
    assert np.all(context[beyond] > window - stride) and np.all(context <= window)
    assert np.all(np.diff(windows.starts) == stride)


def test_windows_by_hand():
    windows, _, context = counted(12, 0, 4, 5, 2)  # 11 targets
    assert windows.starts.tolist() == [0, 2, 4, 6]
    assert windows.first.tolist() == [0, 3, 3, 3]
    assert windows.end.tolist() == [5, 5, 5, 5]
    assert context.tolist() == [1, 2, 3, 4, 5, 4, 5, 4, 5, 4, 5]


# Against NumPy


@pytest.fixture(scope="module")
def program(tiny_config):
    configuration = tiny_config(model={"order": "sf"})
    return Program(configuration, *build(configuration))


@pytest.fixture(scope="module")
def parameters(program):
    """Of two replicas: one drawn, one of zeros, which knows nothing."""
    source = np.random.default_rng(0)
    shapes = jax.eval_shape(program.model.init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: jnp.asarray(
            np.stack([0.3 * source.standard_normal(leaf.shape), np.zeros(leaf.shape)]), jnp.float32
        ),
        shapes,
    )


@pytest.fixture(scope="module")
def evaluate(program, parameters):
    def run(split="valid", **window):
        return evaluation.evaluate(program, parameters, split, Window(**window))

    return run


@pytest.fixture(scope="module")
def direct(program, parameters):
    """A function: (log p, whether it was the most probable) of each target, from its context."""
    first = jax.tree.map(lambda a: a[0], parameters)

    @jax.jit
    def logits(ids):
        return program.model.logits(first, ids, Context())

    def function(split, starts, targets):
        """starts[i] is where the context of targets[i] starts, in the split's tokens."""
        ids = np.asarray(program.task.dataset.splits[split].ids).astype(int)
        longest = max(t - s for s, t in zip(starts, targets, strict=True))
        rows = [ids[s : s + longest] for s in starts]
        rows = np.stack([np.pad(row, (0, longest - len(row))) for row in rows])
        found = np.asarray(logits(jnp.asarray(rows)), np.float64)
        last = np.array([t - s - 1 for s, t in zip(starts, targets, strict=True)])
        found = found[np.arange(len(last)), last]
        normaliser = np.log(np.exp(found - found.max(-1, keepdims=True)).sum(-1))
        log_p = found - found.max(-1, keepdims=True) - normaliser[:, None]
        wanted = ids[np.array(targets)]
        return log_p[np.arange(len(wanted)), wanted], found.argmax(-1) == wanted

    return function


def test_a_model_of_equal_logits_has_the_vocabulary_as_perplexity(program, evaluate):
    figures = evaluate("test")[1]
    assert figures["perplexity"] == pytest.approx(program.task.vocabulary, rel=1e-6)
    assert figures["loss"] == pytest.approx(math.log(program.task.vocabulary), rel=1e-6)


def test_windows_that_do_not_overlap_sum_what_the_logits_say(evaluate, direct):
    figures = evaluate()[0]
    targets = np.arange(1, 500)
    log_p, right = direct("valid", (targets - 1) // LENGTH * LENGTH, targets)
    assert figures["tokens"] == 499
    assert figures["loss"] == pytest.approx(-log_p.mean(), rel=1e-5)
    assert figures["perplexity"] == pytest.approx(math.exp(-log_p.mean()), rel=1e-5)
    assert figures["accuracy"] == pytest.approx(right.mean(), rel=1e-5)
    assert (figures["window"], figures["stride"], figures["unit"]) == (8, 8, "character")


def test_a_sliding_window_sums_what_the_logits_say_of_its_contexts(evaluate, direct):
    figures = evaluate(window=12, stride=5)[0]
    # target t stands in the first of the windows 0, 5, 10, … (of 12) that reaches it
    targets = np.arange(1, 500)
    starts = np.maximum(0, -(-(targets - 12) // 5)) * 5
    log_p, _ = direct("valid", starts, targets)
    assert figures["tokens"] == 499
    assert (figures["window"], figures["stride"]) == (12, 5)
    assert figures["loss"] == pytest.approx(-log_p.mean(), rel=1e-5)
    assert figures["loss"] != pytest.approx(evaluate()[0]["loss"], rel=1e-5)


def test_a_prefix_is_the_first_tokens_alone(evaluate, direct):
    figures = evaluate(tokens=102)[0]
    targets = np.arange(1, 102)
    log_p, _ = direct("valid", (targets - 1) // LENGTH * LENGTH, targets)
    assert figures["tokens"] == 101
    assert figures["loss"] == pytest.approx(-log_p.mean(), rel=1e-5)
    assert "bits_per_byte" not in figures and "word_perplexity" not in figures


def test_a_prefix_longer_than_the_split_is_the_split(evaluate):
    assert evaluate(tokens=10**6) == evaluate()


def test_other_models_are_evaluated_by_the_window_that_is_asked_for(tiny_config, parameters):
    """By their own order, too: `same` is the model itself, `other` has other sublayers first."""
    models = {"same": {"sublayers": {"s": {"heads": 2}}}, "other": {"order": "fs"}}
    common = {"splits": ("valid",), "models": models}
    config = tiny_config(model={"order": "sf", "stack": {"apply": "switch"}}, evaluate=common)
    program = Program(config, *build(config))
    asked = Window(window=12, stride=5)
    found = evaluation.everything(program, parameters, asked)
    assert list(found) == ["valid", "valid@same", "valid@other"]
    assert found["valid@same"] == found["valid"]
    figures = found["valid@other"]
    assert [(f["window"], f["stride"], f["tokens"]) for f in figures] == [(12, 5, 499)] * 2
    reordered = override(config, {"model.order": "fs"})
    expected = evaluation.everything(Program(reordered, *build(reordered)), parameters, asked)
    assert (
        figures == expected["valid@other"] == expected["valid"]
        and figures[0]["loss"] != found["valid"][0]["loss"]
    )


def test_windows_are_evaluated_one_behind_the_other_with_as_many_tokens_at_once(
    tiny_config, parameters
):
    common = {"splits": ("valid",), "windows": (4, 40, 300), "window": 8, "stride": 2}
    config = tiny_config(model={"order": "sf"}, evaluate=common)
    program = Program(config, *build(config))
    found = evaluation.everything(program, parameters, Window(window=8, stride=2))
    assert list(found) == ["valid", "valid@4", "valid@40", "valid@300"]
    for length in (4, 40, 300):
        asked = Window(window=length)
        expected = evaluation.evaluate(program, parameters, "valid", asked)
        for ours, theirs in zip(found[f"valid@{length}"], expected, strict=True):
            assert (ours["window"], ours["stride"], ours["tokens"]) == (length, length, 499)
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-6)


def test_sums_of_dispatches_are_taken_in_float64():
    """In float32 every 1 that is added to 2^24 is lost."""
    n, batch = 100, 2

    def device(parameters, gathered, counted):
        first = int(gathered[0, 0, 0]) == 0
        sums = np.ones((1, 16), np.float32)
        sums[0, 0] = 2**24 if first else 1
        return {"loss": (sums, np.ones((1, 16), np.float32)), "extra": (sums, 2 * sums)}

    starts = np.arange(n)
    task = SimpleNamespace(
        examples=lambda *_: Windows(starts, starts, starts),
        evaluation_batch=lambda split, windows, window: windows.starts[:, None],
        figures=lambda split, means, count, *_: {"loss": means["loss"], "count": count},
    )
    program = SimpleNamespace(task=task, batch=batch, evaluate=device)
    (figures,) = evaluation.evaluate(program, None, "valid")
    batches = 4 * 16  # 32 windows a dispatch
    expected = (2**24 + batches - 1) / batches
    assert figures == {"loss": expected, "count": batches, "extra": 0.5}
    assert float(np.float32(2**24) + np.float32(1)) == 2**24


# What is made of a loss


@pytest.fixture
def accented(tmp_path):
    """A task over text whose first valid character has two bytes."""
    (tmp_path / "train.txt").write_text("an é and a\n" * 20)
    (tmp_path / "valid.txt").write_text("é an a\nand\n")
    (tmp_path / "test.txt").write_text("a\n")

    def task(tokenizer):
        return LanguageModel(corpus=f"file:{tmp_path}", tokenizer=tokenizer, length=4)

    return task


@pytest.mark.parametrize(
    "tokenizer, targets, seen, unit",
    [("characters", 10, 10, "character"), ("bytes", 11, 11, "byte")],
)
def test_bits_per_byte_are_the_losss_bits_over_the_bytes_after_the_first_token(
    accented, tokenizer, targets, seen, unit
):
    # 'é an a\nand\n' is 11 characters, 12 bytes and 4 words with 2 line ends
    figures = accented(tokenizer).figures("valid", {"loss": 1.5}, targets)
    bits = 1.5 * targets / math.log(2)
    assert figures["bits_per_byte"] == pytest.approx(bits / seen)
    assert figures["word_perplexity"] == pytest.approx(math.exp(1.5 * targets / 6))
    assert figures["perplexity"] == pytest.approx(math.exp(1.5))
    assert (figures["unit"], figures["window"], figures["stride"]) == (unit, 4, 4)


def test_word_models_report_perplexity_alone(accented):
    task = accented("words")
    tokens = len(task.dataset.splits["valid"].ids)
    assert tokens == 6
    figures = task.figures("valid", {"loss": 1.5}, tokens - 1)
    assert figures["unit"] == "word" and figures["perplexity"] == pytest.approx(math.exp(1.5))
    assert not {"bits_per_byte", "word_perplexity"} & set(figures)


def test_a_hopeless_loss_has_an_infinite_perplexity_and_no_invented_one(accented):
    figures = accented("bytes").figures("valid", {"loss": 1e4}, 11)
    assert figures["perplexity"] == figures["word_perplexity"] == math.inf
    assert figures["loss"] == 1e4


def test_on_ascii_bits_per_byte_are_the_loss_in_bits(evaluate):
    figures = evaluate("test")[0]
    assert figures["bits_per_byte"] == pytest.approx(figures["loss"] / math.log(2), rel=1e-9)


# Refusals


def test_windows_are_of_texts_that_are_slid_over(tiny_config):
    configuration = tiny_config(evaluate={"windows": (4,), "splits": ("valid",)})
    with pytest.raises(ConfigurationError, match=r"evaluate.windows=.4,.: allowed is \(\) with"):
        evaluation.check(configuration, tasks.build("parity"))


@pytest.mark.parametrize(
    "parts, message",
    [
        ({"evaluate": {"splits": ("train",)}}, "evaluate.splits='train': allowed are valid, test"),
        ({"evaluate": {"window": 6, "stride": 7}}, "evaluate.stride=7"),
        ({"evaluate": {"stride": 9}}, "evaluate.stride=9"),
        ({"evaluate": {"windows": (8, 8)}}, "evaluate.windows=.8, 8.: expected lengths"),
        ({"evaluate": {"windows": (8, 0)}}, "evaluate.windows=.8, 0.: expected lengths"),
        ({"evaluate": {"windows": (8, 2.5)}}, "evaluate.windows=.8, 2.5.: expected lengths"),
        (
            {"evaluate": {"windows": (9,), "models": {"9": {"order": "fs"}}}},
            "evaluate.models.9: the figures of evaluate.windows=.9,. are called so",
        ),
        (
            {"evaluate": {"windows": (8, 9)}, "model": {"embedding": {"positions": "learned"}}},
            "evaluate.windows=9: learned positions end at task.length=8",
        ),
        (
            {"evaluate": {"window": 9}, "model": {"embedding": {"positions": "learned"}}},
            "evaluate.window=9: learned positions end at task.length=8",
        ),
        (
            {"evaluate": {"window": 10}, "model": {"embedding": {"positions": "axial"}}},
            "evaluate.window=10: axial positions end at 9",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_training(tiny_config, parts, message):
    configuration = tiny_config(**parts)
    task = LanguageModel(**{k: v for k, v in configuration.task.to_dict().items() if k != "kind"})
    with pytest.raises(ConfigurationError, match=message):
        evaluation.check(configuration, task)


def test_a_longer_window_is_fine_for_positions_that_are_computed(tiny_config):
    configuration = tiny_config(evaluate={"window": 64, "stride": 8})
    task = build(configuration)[0]
    evaluation.check(configuration, task)
    windows = task.examples("valid", Window(0, 64, 8))
    assert task.length < 64
    assert (windows.end - windows.first).sum() == len(task.dataset.splits["valid"].ids) - 1
