"""The objective that every task uses: smoothing, weights and accuracies."""

import jax.numpy as jnp
import numpy as np
import pytest

from arch.context import Context, Extras
from arch.models.heads import Score
from arch.tasks import objective
from arch.tasks.sequence_to_sequence import pairs

TRAIN = Context(train=True)
SCORE = Score(
    target=jnp.array([[-1.0, -2.0, -4.0]]),
    mean=jnp.array([[-3.0, -5.0, -6.0]]),
    best=jnp.array([[7, 2, 1]]),
)


def test_smoothing_gives_a_share_of_the_target_to_all_tokens_in_training_alone():
    smoothed = objective.log_likelihood(SCORE, TRAIN, 0.25)
    np.testing.assert_allclose(smoothed, [[-1.5, -2.75, -4.5]])
    for same in (
        objective.log_likelihood(SCORE, Context(), 0.25),
        objective.log_likelihood(SCORE, TRAIN),
    ):
        np.testing.assert_array_equal(same, SCORE.target)


def test_a_term_is_a_sum_with_its_own_weight():
    weights = jnp.array([[1.0, 0.5, 0.0]])
    total, weight = objective.cross_entropy(SCORE.target, weights)
    assert (float(total), float(weight)) == (2.0, 1.5)
    right, weight = objective.share(SCORE.best > 1, weights)
    assert (float(right), float(weight)) == (1.5, 1.5)


def test_an_impossible_answer_that_does_not_count_leaves_the_loss_finite():
    log_p = jnp.array([-1.0, -jnp.inf])
    assert float(objective.cross_entropy_of(log_p, jnp.array([True, False]))) == 1.0
    assert np.isinf(objective.cross_entropy_of(log_p, jnp.array([True, True])))


def test_a_sequence_is_right_where_all_its_tokens_are_and_padding_is_not_asked_for():
    targets = jnp.array([[7, 2, 0], [7, 2, 1], [0, 0, 0]])
    batch = pairs(targets, targets)
    score = Score(-jnp.ones((3, 3)), -jnp.ones((3, 3)), jnp.array([[7, 2, 5], [7, 3, 1], [0] * 3]))
    losses, statistics = objective.teacher_forced(score, batch, Context(), 0.0)
    assert [float(part) for part in losses["loss"]] == [5, 5]
    tokens = statistics["token_accuracy_teacher_forced"]
    assert [float(part) for part in tokens] == [4, 5]
    sequences = statistics["sequence_accuracy_teacher_forced"]
    assert [float(part) for part in sequences] == [1, 2]


def test_the_models_own_losses_and_statistics_are_added():
    one = jnp.ones(()), jnp.ones(())
    extras = Extras({"ponder_cost": one}, {"depth": one})
    losses, statistics = objective.with_extras({"loss": one}, {"accuracy": one}, extras)
    assert set(losses) == {"loss", "ponder_cost"} and set(statistics) == {"accuracy", "depth"}


@pytest.mark.parametrize(("loss", "expected"), [(0.0, 1.0), (2.0, np.exp(2.0))])
def test_perplexity_is_the_exponential_of_nats(loss, expected):
    assert objective.perplexity(loss) == pytest.approx(expected)


def test_perplexity_beyond_a_float_is_infinite_and_never_a_figure():
    assert np.isfinite(objective.perplexity(709.0))
    assert objective.perplexity(3e8) == objective.perplexity(1e9) == np.inf
    assert np.isnan(objective.perplexity(np.nan))
