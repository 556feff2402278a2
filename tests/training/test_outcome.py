"""What becomes of a replica: finished, NaN or diverged, by its training losses."""

import math

import pytest

from arch.training.outcome import MARGIN, Outcome, outcome

GUESSING = math.log(256)


def lines(*losses):
    return [{"step": 10 * n, "loss": loss} for n, loss in enumerate(losses, 1)]


@pytest.mark.parametrize("losses", [(9.0, 2.0), (5.0, GUESSING + 0.99 * MARGIN), ()])
def test_a_run_that_ends_no_worse_than_guessing_has_finished(losses):
    assert outcome(-1, lines(*losses), GUESSING) == Outcome("finished")


@pytest.mark.parametrize(
    ("losses", "step"), [((3e8, 1e9), 10), ((4.0, 9.0, 3.0, 9.0, 8.0), 40), ((3.0, math.inf), 20)]
)
def test_a_run_that_ends_above_guessing_has_diverged_from_the_step_after_which_it_stays_there(
    losses, step
):
    found = outcome(-1, lines(*losses), GUESSING)
    assert (found.status, found.step) == ("diverged", step)
    assert f"{losses[-1]:.4g} nats" in found.error and "5.545" in found.error
    assert found.error.endswith(f"from step {step} on")


def test_a_model_that_ends_where_it_began_has_learned_nothing_but_not_diverged():
    begun = [{"step": 2, "loss": 9.3, "initial_loss": 9.2}]
    assert outcome(-1, begun, GUESSING).status == "finished"
    worse = [*begun, {"step": 4, "loss": 9.2 + 1.01 * MARGIN}]
    assert (outcome(-1, worse, GUESSING).status, outcome(-1, worse, GUESSING).step) == (
        "diverged", 4,
    )  # fmt: skip


def test_what_a_model_makes_of_other_text_is_no_sign_of_divergence():
    found = [*lines(3.0, 0.1), {"step": 20, "split": "valid", "loss": 30.0}]
    assert outcome(-1, found, GUESSING).status == "finished"


def test_a_task_whose_loss_is_no_cross_entropy_says_so():
    assert outcome(-1, lines(50.0), None).status == "finished"


def test_a_loss_that_is_not_finite_comes_first():
    found = outcome(7, lines(50.0), GUESSING)
    assert found == Outcome("nan", "loss or gradient not finite at step 7", 7)
