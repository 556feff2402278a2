"""Drawing and searching are those of transformers, from fixtures: tests/fixtures/generation."""

from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from arch import huggingface
from arch.context import Context
from arch.models.choices import Choice, narrowed, penalised, seen
from arch.models.drawing import continuation
from arch.models.generation import Prompt, Search, decode
from tests.families import always

FIXTURES = Path(__file__).parents[1] / "fixtures"
CHOICES = {  # as in make.py: temperature, top_k, top_p, min_p, repetition_penalty
    "min_p": Choice(min_p=0.1),
    "min_p, cold": Choice(0.6, min_p=0.05),
    "repetition_penalty": Choice(repetition_penalty=1.7),
    "encouraged": Choice(repetition_penalty=0.6),
    "top_k": Choice(0.8, 7),
    "top_p": Choice(1.3, top_p=0.8),
    "all": Choice(1.5, 20, 0.9, 0.08, 1.3),
}


@jax.jit  # the choice is data: one program
def processed(logits, before, choice):
    return narrowed(penalised(logits, before, choice.repetition_penalty), choice)


@pytest.fixture(scope="module")
def oracle():
    return dict(np.load(FIXTURES / "generation/generation.npz"))


@pytest.fixture(scope="module")
def gpt2():
    held = huggingface.read(FIXTURES / "huggingface/gpt2")
    return SimpleNamespace(model=held.build(), parameters=held.parameters)


def prompt_of(rows, steps, end=-1) -> Prompt:
    rows = jnp.asarray(rows, jnp.int32)
    return Prompt(None, rows, jnp.full(len(rows), rows.shape[1]), steps, end)


@pytest.mark.parametrize("name", CHOICES)
def test_logits_are_narrowed_as_by_transformers(name, oracle):
    choice, logits = CHOICES[name], jnp.asarray(oracle["logits"])
    before = seen(jnp.asarray(oracle["before"]), jnp.int32(9), logits.shape[-1])
    ours = processed(logits, before, choice)
    theirs = oracle[f"processed/{name}"]
    out = np.isneginf(theirs)
    assert out.any() == bool(choice.top_k or choice.top_p < 1 or choice.min_p)
    assert np.array_equal(np.isneginf(ours), out)
    np.testing.assert_allclose(np.asarray(ours)[~out], theirs[~out], atol=1e-5)


def test_greedy_text_with_a_repetition_penalty_is_that_of_transformers(oracle, gpt2):
    found = {}
    for penalty in (1.0, 1.5, 4.0):
        choice = Choice(0.0, repetition_penalty=penalty)
        for row, theirs in zip(oracle["prompt"], oracle[f"greedy/{penalty}"], strict=True):
            prompt = prompt_of(row[None], len(theirs))
            key = jax.random.key(0)
            ours = continuation(gpt2.model, gpt2.parameters, prompt, key, choice)
            assert list(ours) == theirs.tolist()
        found[penalty] = oracle[f"greedy/{penalty}"]
    assert (found[1.0] != found[1.5]).any() and (found[1.5] != found[4.0]).any()


@pytest.mark.parametrize("beams", always([2, 3, 5], (3,)))
def test_a_search_finds_what_that_of_transformers_finds(beams, oracle, gpt2):
    theirs = oracle[f"beams/{beams}/ids"]
    steps, start = theirs.shape[1], oracle["prompt"].shape[1]
    prompt = prompt_of(oracle["prompt"], steps)
    ours = jax.jit(lambda p: decode(gpt2.model, p, prompt, Search(beams)))(gpt2.parameters)
    assert np.array_equal(ours, theirs)
    assert (theirs != oracle["greedy/1.0"]).any()
    rows = np.concatenate([prompt.tokens, ours], axis=1)
    logits = jax.jit(gpt2.model.logits)(gpt2.parameters, rows, Context())
    logp = log_softmax(np.asarray(logits, np.float64)[:, start - 1 : -1], axis=-1)
    each = np.take_along_axis(logp, np.asarray(ours)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(each.sum(1), oracle[f"beams/{beams}/score"], atol=1e-4)


def test_a_search_that_holds_every_text_ends_where_that_of_transformers_does(oracle, gpt2):
    theirs, end = oracle["ended"], int(oracle["end"])
    prompt = prompt_of(oracle["prompt"], theirs.shape[1], end)
    ours = jax.jit(lambda p: decode(gpt2.model, p, prompt, Search(50)))(gpt2.parameters)
    assert np.array_equal(ours, theirs)
    assert (theirs[:, 0] == end).any() and (theirs[:, 0] != end).any()
