"""What is said of a configuration before anything is trained."""

import pytest

from arch.training import describe
from arch.training.program import build


@pytest.mark.parametrize(
    ("optimizer", "moments"),
    [({"name": "sgd"}, 0), ({"name": "adamw"}, 2)],
)
def test_a_replica_keeps_parameters_best_parameters_gradients_and_moments(
    tiny_config, optimizer, moments
):
    config = tiny_config(train={"optimizer": {"learning_rate": 1e-2, **optimizer}})
    _, model = build(config)
    one = 4 * model.parameter_counts()["unique"]
    counters = describe.state_bytes(config, model) - (3 + moments) * one
    assert 0 <= counters <= 64
