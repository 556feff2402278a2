"""Text token by token: a few tokens a dispatch, in a program that is compiled once a shape.

Temperature, top_k, top_p and the key are data, so that another choice of them compiles nothing.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from arch.models.generation import (
    Blanks,
    Choice,
    Prompt,
    Search,
    advancing,
    can_cache,
    decode,
    drawn,
    fill,
)
from arch.models.model import Model
from arch.stacks.parameters import Parameters

TOGETHER = 8  # tokens a dispatch
ROUNDED = 64  # lengths are rounded up to a multiple: fewer shapes to compile for


def continuation(
    model: Model,
    parameters: Parameters,
    prompt: Prompt,
    key: Key[Array, ""],
    choice: Choice,
    platform: str = "cpu",
) -> Iterator[int]:
    """The tokens that go on with a prompt of one row, each as soon as its dispatch is done."""
    length, limit = prompt.tokens.shape[1], model.embedding.module.limit
    needed = length + prompt.steps
    total = -(-needed // ROUNDED) * ROUNDED
    total = max(needed, min(total, limit)) if limit else total
    begin, step = _programs(model, total, prompt.entries, platform)
    tokens = np.zeros((1, total), np.int32)
    tokens[:, :length] = np.asarray(prompt.tokens)
    carry = jnp.asarray(tokens), begin(parameters)
    settings: Any = (
        np.float32(choice.temperature),
        np.int32(choice.top_k),
        np.float32(choice.top_p),
    )
    for time in range(0, needed - 1, TOGETHER):
        found, carry = step(parameters, carry, np.int32(time), np.int32(length), key, settings)
        for at, token in enumerate(np.asarray(found), start=time + 1):
            if length <= at < needed:
                yield int(token)


@functools.lru_cache(maxsize=16)
def _programs(
    model: Model, total: int, entries: int, platform: str
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(parameters → cache, TOGETHER steps of drawing), compiled where they are first called."""
    cached = can_cache(model)

    def rows(tokens: Array) -> Prompt:
        return Prompt(None, tokens, jnp.array([0]), 0, -1)

    def begin(parameters):
        tokens = jnp.zeros((1, total), jnp.int32)
        return advancing(model, parameters, rows(tokens), 1, total, cached, platform)[1]

    def step(parameters, carry, time, length, key, choice):
        tokens, cache = carry
        forward, _ = advancing(model, parameters, rows(tokens), 1, total, cached, platform)

        def one(carry, ahead):
            tokens, cache = carry
            # past the end the last token is drawn again, and not looked at
            now = jnp.minimum(time + ahead, total - 2)
            logits, cache = forward(tokens, cache, now)
            token = drawn(logits, jax.random.fold_in(key, now), Choice(*choice), entries)
            token = jnp.where(now + 1 < length, tokens[:, now + 1], token).astype(jnp.int32)
            return (tokens.at[:, now + 1].set(token), cache), token[0]

        carry, found = jax.lax.scan(one, (tokens, cache), jnp.arange(TOGETHER))
        return found, carry

    return jax.jit(begin), jax.jit(step, donate_argnums=1)


def searched(
    model: Model, parameters: Parameters, prompt: Prompt, search: Search, platform: str = "cpu"
) -> Int[Array, "batch steps"]:
    """`generation.decode`, compiled once a shape."""
    run = _search(model, prompt.steps, prompt.end, search, platform)
    return run(parameters, prompt.source, prompt.tokens, prompt.lengths)


@functools.lru_cache(maxsize=16)
def _search(
    model: Model, steps: int, end: int, search: Search, platform: str
) -> Callable[..., Int[Array, "batch steps"]]:
    def run(parameters, source, tokens, lengths):
        asked = Prompt(source, tokens, lengths, steps, end)
        return decode(model, parameters, asked, search, platform=platform)

    return jax.jit(run)


def filled(
    model: Model, parameters: Parameters, blanks: Blanks, platform: str = "cpu"
) -> Int[Array, "batch length"]:
    """`generation.fill`, compiled once a shape."""
    return _filling(model, blanks.entries, platform)(parameters, blanks.tokens, blanks.left_out)


@functools.lru_cache(maxsize=16)
def _filling(model: Model, entries: int, platform: str) -> Callable[..., Any]:
    def run(parameters, tokens, left_out):
        return fill(model, parameters, Blanks(tokens, left_out, entries), platform)

    return jax.jit(run)
