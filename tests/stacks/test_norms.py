"""Norms at each position against stacks that end there, however the order is walked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch.context import Context, figure
from arch.registry import sublayers
from arch.stacks.norms import GRADIENT, NORMS, STREAM, UPDATE, gradient_norms
from arch.stacks.residual import SURROUNDINGS
from arch.stacks.reversible import Reversible
from arch.stacks.sequential import Sequential
from arch.stacks.universal import Universal
from tests.stacks.test_stacks import LETTERS, WIDTH, build, drawn, inputs

ASKED = Context(norms=True)
ORDER = "sfsf"
MASK = jnp.arange(6)[None] < jnp.array([[4], [6]])


def of_kind(stack, order, **options):
    bindings = {
        letter: SURROUNDINGS | sublayers.options(LETTERS[letter]["kind"]) | LETTERS[letter]
        for letter in set(order)
    }
    return stack(WIDTH, order, bindings, **options)


def root_mean_square(x):
    return np.sqrt(np.mean(np.square(np.asarray(x, np.float64)), axis=-1))


@functools.cache
def expected(masked):
    """The norms of ORDER, by running every beginning of it as a stack of its own."""
    mask = MASK if masked else None
    whole = build(ORDER, final_norm=False)
    parameters, before = drawn(whole), inputs()
    tokens = np.ones(before.shape[:2]) if mask is None else np.asarray(mask)
    found = {STREAM: [], UPDATE: []}
    for end in range(1, len(ORDER) + 1):
        first = build(ORDER[:end], final_norm=False)
        rows = {
            letter: jax.tree.map(lambda a, n=n: a[:n], parameters[letter])
            for letter, n in first.schedule.owners.items()
        }
        after = first(rows, inputs(), Context(mask=mask))[0]
        for name, x in ((STREAM, after), (UPDATE, after - before)):
            found[name].append((root_mean_square(x) * tokens).sum() / tokens.sum())
        before = after
    return parameters, found


@pytest.mark.parametrize("apply, masked", [("unrolled", True), ("scan", False), ("switch", True)])
def test_each_position_has_the_norms_of_the_order_that_ends_there(apply, masked):
    mask = MASK if masked else None
    parameters, want = expected(masked)
    stack = build(ORDER, final_norm=False, apply=apply)
    y, extras = stack(parameters, inputs(), ASKED.replace(mask=mask))
    for name in (STREAM, UPDATE):
        assert figure(extras.statistics[name]) == pytest.approx(want[name], rel=1e-5)
    plain, without = stack(parameters, inputs(), Context(mask=mask))
    assert np.array_equal(plain, y) and not without.statistics


def test_with_room_for_a_longer_order_its_norms_end_with_the_order():
    stack = build("sf", room="sf;sfsf", apply="switch")
    extras = stack(drawn(stack), inputs(), ASKED)[1]
    assert np.isfinite(figure(extras.statistics[STREAM])).tolist() == [True, True, False, False]
    gradients = gradient_norms(drawn(stack), stack.schedule)
    assert np.isfinite(gradients).tolist() == [True, True, False, False]


def test_a_universal_stack_has_the_mean_over_its_steps():
    options = {"share": "", "step_signal": "none", "signal_each_step": False, "final_norm": False}
    stack = of_kind(Universal, "sf", steps=3, **options)
    parameters, x = drawn(stack), inputs()
    found, one = [], of_kind(Sequential, "sf", final_norm=False)
    for _ in range(3):
        x, extras = one(parameters, x, ASKED)
        found.append(figure(extras.statistics[STREAM]))
    whole = stack(parameters, inputs(), ASKED)[1]
    assert figure(whole.statistics[STREAM]) == pytest.approx(np.mean(found, axis=0), rel=1e-5)


def test_a_reversible_stack_has_those_of_the_stream_that_was_added_to():
    stack = of_kind(Reversible, "sf", final_norm=False)
    parameters, x = drawn(stack), inputs()
    attention, feed_forward = stack.branches(parameters)
    first = attention.branch(x, Context())[0]
    second = feed_forward.branch(x + first, Context())[0]
    statistics = stack(parameters, x, ASKED)[1].statistics
    updates = [root_mean_square(y).mean() for y in (first, second)]
    streams = [root_mean_square(x + y).mean() for y in (first, second)]
    assert figure(statistics[UPDATE]) == pytest.approx(updates, rel=1e-5)
    assert figure(statistics[STREAM]) == pytest.approx(streams, rel=1e-5)


def test_a_position_has_the_gradient_of_the_weights_that_it_uses():
    stack = build("sffs", share="s")
    gradients = drawn(stack)
    leaves = {k: jax.tree.leaves(gradients[k]) for k in "sf"}

    def norm(letter, owner):
        return np.sqrt(sum(np.square(np.float64(leaf[owner])).sum() for leaf in leaves[letter]))

    want = [norm("s", 0), norm("f", 0), norm("f", 1), norm("s", 0)]
    assert gradient_norms(gradients, stack.schedule) == pytest.approx(want, rel=1e-5)
    turned = build("fssf", share="s").schedule.as_data()  # the order as data
    found = gradient_norms(gradients, stack.schedule, jnp.asarray(turned))
    assert found == pytest.approx([want[1], want[0], want[0], want[2]], rel=1e-5)


def test_no_gradient_flows_through_norms_and_their_names_are_not_those_of_metrics():
    stack = build("sf")

    def size(parameters):
        return stack(parameters, inputs(), ASKED)[1].statistics[STREAM][0].sum()

    assert all(not np.any(leaf) for leaf in jax.tree.leaves(jax.grad(size)(drawn(stack))))
    assert set(NORMS) == {STREAM, UPDATE, GRADIENT} and "gradient_norm" not in NORMS
