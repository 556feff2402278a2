"""Room for several orders: trees of one shape, positions that do nothing, and one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arch import config
from arch import order as orders
from arch.context import Context
from arch.models import families as models
from arch.registry import ConfigurationError, stacks
from arch.stacks.schedule import make_schedule
from arch.training.program import Programs, build
from tests.families import always

ORDERS = ("sfs", "ff")
ROOM = ";".join(ORDERS)
LETTERS = {"s": {"kind": "attention", "heads": 2}, "f": {"kind": "feed_forward", "expand": 1.0}}
STEPS = {"sequential": {}, "universal": {"steps": 2, "halting": "act"}, "reversible": {}}


def stack_of(order, kind="sequential", width=8, **options):
    """A stack of filled options, outside of a model."""
    given = {"kind": kind, **STEPS[kind], **options}
    used = {
        letter: LETTERS[letter] for letter in sorted({*order, *options.get("room", "")} - {";"})
    }
    filled = config.make(model={"width": width, "order": order, "sublayers": used, "stack": given})
    options = dict(filled.model.stack)
    return stacks.get(options.pop("kind"))(width, order, filled.model.sublayers, **options)


def first_rows(rows, count):
    """The first rows of every leaf; all of it where the count is None."""
    return jax.tree.map(lambda leaf: leaf[:count], rows)


@pytest.mark.parametrize("kind", always(STEPS, ("sequential",)))
def test_orders_of_unequal_counts_run_in_one_program_as_they_would_alone(kind, assert_close):
    x, weights = jnp.asarray(np.random.default_rng(0).standard_normal((2, 2, 6, 8)), jnp.float32)
    roomy = {order: stack_of(order, kind, room=ROOM, apply="switch") for order in ORDERS}
    first, key = roomy[ORDERS[0]], jax.random.key(0)

    def loss(stack):
        return lambda p, context: jnp.sum(weights * stack(p, x, context)[0])

    def context_of(stack):
        return Context(schedule=jnp.asarray(stack.schedule.as_data()), causal=True)

    shared = jax.jit(jax.value_and_grad(loss(first)))  # compiled for the first alone
    for order, stack in roomy.items():
        parameters = stack.init(key)
        value, gradient = shared(parameters, context_of(stack))
        counts = {name: stack.schedule.used.get(name, 0) for name in LETTERS}
        own = {name: first_rows(rows, counts.get(name)) for name, rows in parameters.items()}
        own = {name: rows for name, rows in own.items() if counts.get(name) != 0}
        alone = jax.jit(jax.value_and_grad(loss(stack_of(order, kind, apply="unrolled"))))
        expected, slopes = alone(own, Context(causal=True))
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        for name, rows in gradient.items():
            n = counts.get(name)
            if n != 0:
                assert_close(first_rows(rows, n), slopes[name])
            if n is not None:
                assert not any(np.any(leaf[n:]) for leaf in jax.tree.leaves(rows))
    assert shared._cache_size() == 1


@given(st.lists(st.text("sfg", min_size=1, max_size=6), min_size=1, max_size=4))
def test_room_for_orders_holds_each_of_them(several):
    room = orders.room(several)
    made = [make_schedule(order, room=room) for order in several]
    assert len({(tuple(sorted(m.owners.items())), m.length) for m in made}) == 1
    assert made[0].length == max(map(len, several))
    for schedule, order in zip(made, several, strict=True):
        data = schedule.as_data()
        letters = [schedule.letters[i] for i in data[0] if i < len(schedule.letters)]
        assert "".join(letters) == order and data.shape == (2, schedule.length)
        assert schedule.used == orders.counts(order)


def test_what_an_order_holds_and_costs_does_not_depend_on_the_room(tiny_config):
    plain, roomy = (
        build(tiny_config(model={"order": "sff", "stack": {"apply": "switch", **stack}}))[1]
        for stack in ({}, {"room": "sff;s4;sffff"})
    )
    assert roomy.parameter_counts() == plain.parameter_counts()
    assert roomy.flops_per_token(8) == plain.flops_per_token(8) and roomy.order == plain.order
    assert roomy.stack.depth == plain.stack.depth
    # an owner's weights depend on its letter and index alone
    ours, theirs = (m.stack.init(jax.random.key(0)) for m in (plain, roomy))
    for letter, n in plain.stack.schedule.owners.items():
        jax.tree.map(lambda a, b, n=n: np.testing.assert_array_equal(a, b[:n]),
                     ours[letter], theirs[letter])  # fmt: skip


def test_cells_of_one_room_are_one_program(tiny_config):
    def config_of(order, room):
        stack = {"apply": "switch", "room": room}
        return tiny_config(model={"order": order, "stack": stack})

    programs = Programs()
    for order in ("sfs", "ffsf"):
        programs.get(config_of(order, "sfs;ffsf"), *build(config_of(order, "sfs;ffsf")))
    assert len(programs.known) == 1
    programs.get(config_of("sfs", "s3f;fsf"), *build(config_of("sfs", "s3f;fsf")))
    assert len(programs.known) == 2


@pytest.mark.parametrize(
    "order, room, what",
    [("s3f", "sf;s2f2", "no room for an order of s3 f1"), ("sfsf", "s2;f2;sf", "no room"),
     ("sg", "sf", "s1 g1"), ("sf", "s(f", "room='s.f': .* never closed")],
)  # fmt: skip
def test_an_order_that_does_not_fit_its_room_is_refused(order, room, what):
    with pytest.raises(ConfigurationError, match=what):
        make_schedule(order, room=room)


def test_room_is_refused_where_initial_weights_depend_on_the_depth(tiny_config):
    stack = {"room": "sf;s2f2", "scale_output_init": True}
    settings = tiny_config(model={"order": "sf", "stack": stack})
    with pytest.raises(ConfigurationError, match=r"model.stack.room='sf;s2f2': allowed is ''"):
        models.build(settings.model, 16, 8)


def test_letters_are_counted_in_their_order_in_every_process():
    """Not in that of a set, which differs between processes."""
    for order in ("(sf)3", "gfedcba", "zsf"):
        expected = list(dict.fromkeys(letter for letter in order if letter.isalpha()))
        assert list(make_schedule(order).used) == expected
