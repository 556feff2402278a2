"""Text token by token: a few tokens a dispatch, in a program that is compiled once a shape.

The choice and the key are data, so that another choice compiles nothing.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from arch.context import Context
from arch.models.choices import Choice, drawn, penalised, seen
from arch.models.generation import (
    PREFILL,
    Beams,
    Blanks,
    Prompt,
    Search,
    advancing,
    beginning,
    best,
    can_cache,
    decode,
    fill,
    grow,
    growing,
    prefilled,
)
from arch.models.model import Model
from arch.stacks.parameters import Parameters

TOGETHER = 8  # tokens a dispatch
ROUNDED = 64  # lengths are rounded up to a multiple: fewer shapes to compile for

# (tokens (beam, added), finished (beam)) → which hypotheses are finished besides
Ending = Callable[[np.ndarray, np.ndarray], np.ndarray]


def continuation(
    model: Model,
    parameters: Parameters,
    prompt: Prompt,
    key: Key[Array, ""],
    choice: Choice,
    platform: str = "cpu",
    cached: bool | None = None,
) -> Iterator[int]:
    """The tokens that go on with a prompt of one row, each as soon as its dispatch is done.

    After the prompt's end comes none. cached: whether by cached steps; None for wherever every
    sublayer has them.
    """
    length = prompt.tokens.shape[1]
    needed = length + prompt.steps
    total = _rounded(model, needed)
    cached = can_cache(model) if cached is None else cached
    begin, read, step = _programs(model, total, prompt.entries, platform, cached)
    tokens = np.zeros((1, total), np.int32)
    tokens[:, :length] = np.asarray(prompt.tokens)
    cache, start = (), 0
    if cached:
        parameters, cache = begin(parameters)
        if length > PREFILL and model.stack.several:
            cache, start = read(parameters, cache, tokens, np.array([length], np.int32))
    carry = jnp.asarray(tokens), cache
    kinds = (np.float32, np.int32, np.float32, np.float32, np.float32)
    settings = tuple(kind(value) for kind, value in zip(kinds, choice, strict=True))
    for time in range(int(start), needed - 1, TOGETHER):
        found, carry = step(parameters, carry, np.int32(time), np.int32(length), key, settings)
        for at, token in enumerate(np.asarray(found), start=time + 1):
            if length <= at < needed:
                yield int(token)
                if token == prompt.end:
                    return


def _rounded(model: Model, needed: int) -> int:
    """A length of at least `needed` that few programs have, within the learned positions."""
    total, limit = -(-needed // ROUNDED) * ROUNDED, model.embedding.module.limit
    return max(needed, min(total, limit)) if limit else total


@functools.lru_cache(maxsize=16)
def _programs(
    model: Model, total: int, entries: int, platform: str, cached: bool
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """(parameters → these as cached steps read them, and a cache; the prompt, PREFILL tokens at a
    time; TOGETHER steps of drawing), compiled where they are first called."""
    context = Context(inference=True, platform=platform)
    one_row = Prompt(None, jnp.zeros((1, 1), jnp.int32), jnp.array([1]), 0, -1)

    def begin(parameters):
        parameters = model.apart(parameters)
        return parameters, model.init_cache(parameters, 1, total, context)

    def read(parameters, cache, tokens, lengths):
        prompt = one_row._replace(tokens=tokens, lengths=lengths)
        return prefilled(model, parameters, prompt, cache, context)

    def step(parameters, carry, time, length, key, choice):
        tokens, cache = carry
        choice = Choice(*choice)
        forward, _ = advancing(model, parameters, one_row, 1, total, cached, platform)

        def one(carry, ahead):
            tokens, cache = carry
            # past the end the last token is drawn again, and not looked at
            now = jnp.minimum(time + ahead, total - 2)
            logits, cache = forward(tokens, cache, now)
            logits = jax.lax.cond(
                choice.repetition_penalty == 1,
                lambda: logits,
                lambda: penalised(
                    logits, seen(tokens, now + 1, logits.shape[-1]), choice.repetition_penalty
                ),
            )
            token = drawn(logits, jax.random.fold_in(key, now), choice, entries)
            token = jnp.where(now + 1 < length, tokens[:, now + 1], token).astype(jnp.int32)
            return (tokens.at[:, now + 1].set(token), cache), token[0]

        carry, found = jax.lax.scan(one, (tokens, cache), jnp.arange(TOGETHER))
        return found, carry

    return jax.jit(begin), jax.jit(read, donate_argnums=1), jax.jit(step, donate_argnums=1)


def searched(
    model: Model,
    parameters: Parameters,
    prompt: Prompt,
    search: Search,
    platform: str = "cpu",
    ending: Ending | None = None,
) -> Int[Array, "batch steps"]:
    """`generation.decode`, compiled once for prompts of up to 64, 128, … tokens.

    ending: of a prompt of one row, what finishes hypotheses beside the prompt's end. It is asked
    after every token, so that each is a dispatch.
    """
    tokens = np.asarray(prompt.tokens)
    if prompt.source is None:  # a translation's begin with one token, whatever its source
        room = _rounded(model, tokens.shape[1] + prompt.steps) - prompt.steps
        tokens = np.pad(tokens, ((0, 0), (0, room - tokens.shape[1])))
    static = model, prompt.steps, prompt.end, prompt.entries, search.beam, platform
    given = parameters, prompt.source, tokens, np.asarray(prompt.lengths)
    penalty = np.float32(search.length_penalty)
    if ending is None:
        return _search(*static)(*given, penalty)
    begin, step, end = _search_by_steps(*static)
    beams, length = begin(*given), int(prompt.lengths[0])
    while bool(growing(beams)):
        beams = step(*given, beams)
        added = np.asarray(beams.tokens)[0, :, length : int(beams.time) + 1]
        finished = np.asarray(beams.finished)[0]
        if added.shape[1]:
            finished = finished | ending(added, finished)
        beams = beams._replace(finished=jnp.asarray(finished)[None])
    return end(*given, beams, penalty)


@functools.lru_cache(maxsize=16)
def _search(
    model: Model, steps: int, end: int, entries: int, beam: int, platform: str
) -> Callable[..., Int[Array, "batch steps"]]:
    def run(parameters, source, tokens, lengths, penalty):
        asked = Prompt(source, tokens, lengths, steps, end, entries)
        return decode(model, parameters, asked, Search(beam, penalty), platform=platform)

    return jax.jit(run)


@functools.lru_cache(maxsize=16)
def _search_by_steps(
    model: Model, steps: int, end: int, entries: int, beam: int, platform: str
) -> tuple[Callable[..., Beams], Callable[..., Beams], Callable[..., Array]]:
    """(→ the first beams, → the beams with a token more, → the best hypothesis of each row)."""

    def asked(source, tokens, lengths):
        return Prompt(source, tokens, lengths, steps, end, entries)

    def advanced(parameters, prompt):
        total = prompt.tokens.shape[1] + steps
        return advancing(model, parameters, prompt, beam, total, None, platform)

    def begin(parameters, source, tokens, lengths):
        prompt = asked(source, tokens, lengths)
        return beginning(prompt, beam, advanced(parameters, prompt)[1])

    def step(parameters, source, tokens, lengths, beams):
        prompt = asked(source, tokens[:, :1], lengths)  # `begin` has read the others
        return grow(advanced(parameters, prompt)[0], prompt, beams)

    def chosen(parameters, source, tokens, lengths, beams, penalty):
        return best(asked(source, tokens, lengths), beams, penalty)

    return jax.jit(begin), jax.jit(step, donate_argnums=4), jax.jit(chosen)


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
