"""The walk of a schedule: the same turns, unrolled, in a scan or under a switch, either way."""

import jax.numpy as jnp
import numpy as np
import pytest

from arch.stacks.depth import Walker, read_row
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
@pytest.mark.parametrize("apply", ["unrolled", "scan", "switch"])
def test_every_walk_takes_the_turns_of_the_schedule_in_order_or_back(apply, reverse):
    start = (jnp.zeros((len(TURNS), 4)), 0)
    (table, _), outputs = Walker(SCHEDULE, apply)(taken, start, ROWS, reverse=reverse)
    np.testing.assert_array_equal(table, TURNS[::-1] if reverse else TURNS)
    rows = {position: float(output["row"]) for position, output in outputs.items()}
    # a switch gives no outputs: those of its letters may differ in shape
    assert rows == ({} if apply == "switch" else {turn[2]: turn[0] for turn in TURNS})


@pytest.mark.parametrize("apply", ["unrolled", "scan", "switch"])
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


def test_under_switch_the_order_is_data():
    other = make_schedule("g f (sf) s3", share="s", groups=2)
    start = (jnp.zeros((len(TURNS), 4)), 0)
    walker = Walker(SCHEDULE, "switch")
    (table, _), _ = walker(taken, start, ROWS, order=jnp.asarray(other.as_data()))
    (own, _), _ = Walker(other, "unrolled")(taken, start, ROWS)
    np.testing.assert_array_equal(table, own)


def test_a_row_is_read_of_every_leaf():
    rows = {"a": jnp.arange(6).reshape(3, 2), "b": {"c": jnp.arange(3)}}
    row = read_row(rows, jnp.int32(1))
    assert row["a"].tolist() == [2, 3] and row["b"]["c"] == 1
