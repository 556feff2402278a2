"""Reformers of Hugging Face: what `transformers` computed (fixtures/huggingface/make_reformer.py)
is computed here, is read and written to the bit, and what does not fit is refused.

transformers 5 keeps the head's bias and does not add it; its earlier versions did, and so does
this. Where results are compared it is zero here.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config, huggingface, models
from arch.context import Context
from arch.sublayers import hashing

FIXTURE = Path(__file__).parent / "fixtures" / "huggingface" / "reformer"
HEADS, WIDTH, ROUNDS, BUCKETS = 2, 8, 2, (2, 4)
pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def read():
    return huggingface.read(FIXTURE)


@pytest.fixture(scope="module")
def expected():
    with np.load(FIXTURE / "expected.npz") as file:
        return dict(file)


@pytest.fixture
def theirs(monkeypatch, expected):
    """Their rotations, which one seed makes the same in all layers, instead of ours."""

    def rotations(key, heads, width, rounds, buckets, dtype):
        assert (heads, width, rounds, buckets) == (HEADS, WIDTH, ROUNDS, BUCKETS)
        halves = np.split(expected["rotations"], [buckets[0] // 2], axis=-1)
        return [jnp.asarray(half, dtype) for half in halves]

    monkeypatch.setattr(hashing, "rotations", rotations)


def build(read, apply="switch"):
    """The model as the checkpoint computes it. No decoder may, since it is not causal."""
    stack = {**read.model["stack"], "apply": apply}
    model = {**read.model, "family": "encoder", "stack": stack}
    built = models.build(config.make(model=model).model, read.vocabulary, read.max_length)
    built.causal = True
    return built


def without_bias(parameters):
    head = parameters["head"]
    return {**parameters, "head": {**head, "bias": jnp.zeros_like(head["bias"])}}


def computed(read, expected, apply="switch"):
    """(hidden, logits), the loss of `make_reformer.py` and its gradient."""
    model = build(read, apply)
    ids, real = expected["ids"], expected["mask"] == 1
    context = Context(mask=jnp.asarray(real))

    def objective(parameters):
        hidden, _ = model.hidden(parameters, ids, context)
        logits = model.logits(parameters, ids, context)
        shown, wanted = jax.nn.log_softmax(logits[:, :-1]), ids[:, 1:, None]
        found = jnp.take_along_axis(shown, jnp.asarray(wanted), -1)[..., 0]
        loss = -jnp.sum(jnp.where(real[:, 1:], found, 0.0)) / real[:, 1:].sum()
        return loss, (hidden, logits)

    run = jax.jit(jax.value_and_grad(objective, has_aux=True))
    (value, both), gradient = run(without_bias(read.parameters))
    return both, value, gradient


@pytest.mark.usefixtures("theirs")
def test_hidden_states_logits_and_gradients_are_those_of_transformers(read, expected):
    (hidden, logits), value, gradient = computed(read, expected)
    real = expected["mask"] == 1
    np.testing.assert_allclose(hidden[real], expected["hidden"][real], rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits[real], expected["logits"][real], rtol=0, atol=1e-5)
    np.testing.assert_allclose(value, expected["loss"], rtol=1e-5)
    named = huggingface.as_tensors(read.model, gradient, read.vocabulary, read.max_length)
    theirs = {k.split(":")[1]: v for k, v in expected.items() if k.startswith("gradient:")}
    assert named.keys() - theirs.keys() == {"lm_head.bias"} and not theirs.keys() - named.keys()
    largest = max(np.abs(v).max() for v in theirs.values())
    for tensor, wanted in theirs.items():
        assert named[tensor].shape == wanted.shape
        assert np.abs(named[tensor] - wanted).max() < 1e-4 * largest, tensor
