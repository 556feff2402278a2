"""The walk of a schedule: the same turns, unrolled, in a scan or under a switch, either way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch.stacks.depth import Walker
from arch.stacks.rows import read_row
from arch.stacks.schedule import make_schedule

SCHEDULE = make_schedule("s (sf)2 g s", share="s", groups=2)
ROWS = {"s": jnp.arange(2.0), "f": 10 + jnp.arange(2.0), "g": 20 + jnp.arange(1.0)}
# (row that is read, owner, position, how many of the letter came before)
TURNS = [(0, 0, 0, 0), (0, 0, 1, 1), (10, 0, 2, 0), (1, 1, 3, 2), (11, 1, 4, 1), (20, 0, 5, 0),
         (1, 1, 6, 3)]  # fmt: skip


def taken(carry, turn):
    """Writes the turn into the next row of a table; the row that is read comes out too."""
    table, at = carry
    row = turn.choose(lambda letter: turn.read(letter))
    numbers = jnp.stack([row, turn.owner, turn.position, turn.occurrence])
    return (table.at[at].set(numbers), at + 1), {"row": row}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("apply", ["unrolled", "scan", "switch", "branched"])
def test_every_walk_takes_the_turns_of_the_schedule_in_order_or_back(apply, reverse):
    start = (jnp.zeros((len(TURNS), 4)), 0)
    (table, _), outputs = Walker(SCHEDULE, apply)(taken, start, ROWS, reverse=reverse)
    np.testing.assert_array_equal(table, TURNS[::-1] if reverse else TURNS)
    rows = {position: float(output["row"]) for position, output in outputs.items()}
    # a switch gives no outputs: those of its letters may differ in shape
    assert rows == ({} if apply in ("switch", "branched") else {turn[2]: turn[0] for turn in TURNS})


@pytest.mark.parametrize("apply", ["unrolled", "scan", "switch", "branched"])
def test_only_the_letter_that_stands_there_is_chosen_and_said_to_be_there(apply):
    def body(total, turn):
        there = sum(
            {"f": 1, "g": 10, "s": 100}[letter] * jnp.asarray(turn.has(letter), jnp.int32)
            for letter in turn.candidates
        )
        chosen = turn.choose(lambda letter: jnp.int32({"f": 1, "g": 10, "s": 100}[letter]))
        return total + 1000 * jnp.abs(chosen - there) + chosen, None

    total, _ = Walker(SCHEDULE, apply)(body, jnp.int32(0), {})
    assert total == 4 * 100 + 2 * 1 + 1 * 10


@pytest.mark.parametrize("apply", ["switch", "branched"])
def test_under_switch_the_order_is_data(apply):
    other = make_schedule("g f (sf) s3", share="s", groups=2)
    start = (jnp.zeros((len(TURNS), 4)), 0)
    walker = Walker(SCHEDULE, apply)
    (table, _), _ = walker(taken, start, ROWS, order=jnp.asarray(other.as_data()))
    (own, _), _ = Walker(other, "unrolled")(taken, start, ROWS)
    np.testing.assert_array_equal(table, own)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_branched_walk_has_the_gradients_of_the_unrolled_one(reverse):
    """Owners that are used several times get the sum of what each use says."""
    rows = {letter: {"w": leaf + 1.5} for letter, leaf in ROWS.items()}

    def product(apply, rows, x):
        def body(total, turn):
            factors = {"s": 2.0, "f": 3.0, "g": -1.0}
            more = turn.choose(lambda letter: factors[letter] * jnp.sin(turn.read(letter)["w"]))
            return total * more + turn.position, None

        return Walker(SCHEDULE, apply)(body, x, rows, reverse=reverse)[0]

    expected = jax.grad(product, argnums=(1, 2))("unrolled", rows, jnp.float32(0.7))
    found = jax.grad(product, argnums=(1, 2))("branched", rows, jnp.float32(0.7))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
        assert np.all(np.asarray(b) != 0)


def test_no_gradient_of_a_branched_walk_is_as_large_as_all_rows_once_a_position():
    """Each position reads a row, and adds one; the rows as a whole are made once."""
    rows = {letter: jnp.ones((len(leaf), 7)) for letter, leaf in ROWS.items()}

    def total(rows):
        def body(carry, turn):
            return carry + turn.choose(lambda letter: turn.read(letter).sum()), None

        return Walker(SCHEDULE, "branched")(body, jnp.float32(0), rows)[0]

    made = [
        equation
        for equation in jax.make_jaxpr(jax.grad(total))(rows).eqns
        if equation.primitive.name in ("add_any", "cond")
        for out in equation.outvars
        if out.aval.shape in {leaf.shape for leaf in rows.values()}
    ]
    assert not made


def test_a_row_is_read_of_every_leaf():
    rows = {"a": jnp.arange(6).reshape(3, 2), "b": {"c": jnp.arange(3)}}
    row = read_row(rows, jnp.int32(1))
    assert row["a"].tolist() == [2, 3] and row["b"]["c"] == 1
