"""Decoding, one token after the other: by cached steps where every sublayer has them, else by the
whole call for every token; beam search; and filling in the words left out of a text.

Every function takes the platform that it is compiled for, as `Context.platform` has it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from arch.context import Context
from arch.models.choices import allowed
from arch.models.model import Model
from arch.stacks.parameters import Parameters

PAD = 0  # in sources, and after an end
PREFILL = 64  # tokens of a prompt that are read at once


class Prompt(NamedTuple):
    """The start of a decoding.

    source: the encoder's tokens, padded with PAD; None for a decoder alone.
    tokens: the first tokens of each row, `lengths` of them; a translation has one, the start.
    steps: largest number of tokens to add.
    end: the token after which a row is finished; -1 for none.
    entries: tokens below this number may be added; 0 for all.
    """

    source: Int[Array, "batch source"] | None
    tokens: Int[Array, "batch prompt"]
    lengths: Int[Array, " batch"]
    steps: int
    end: int
    entries: int = 0


class Blanks(NamedTuple):
    """A text with tokens left out, for an encoder to fill in.

    left_out: True where a token is left out. entries: tokens below this number may be filled in.
    """

    tokens: Int[Array, "batch length"]
    left_out: Bool[Array, "batch length"]
    entries: int


class Search(NamedTuple):
    """Options of a beam search.

    beam: hypotheses kept; 1 is greedy. length_penalty: α of ((5 + length) / 6)^α, by which the
    log-probabilities of hypotheses are divided at the end (Wu et al. 2016, eq. 14)."""

    beam: int = 1
    length_penalty: float = 0.0


def uncached(model: Model) -> tuple[str, ...]:
    """The kinds in the model's stack that do not decode by cached steps, each once: with any of
    them every token is computed from the whole text."""
    sublayers = [model.stack.sublayer(letter) for letter in model.stack.letters]
    return tuple(dict.fromkeys(s.kind for s in sublayers if not (s.cached or s.positionwise)))


def can_cache(model: Model) -> bool:
    """Whether every kind in the model's stack decodes by cached steps."""
    return not uncached(model)


class Begun(NamedTuple):
    """A cache that holds the tokens before `time`; () where none is kept."""

    cache: Any
    time: Int[Array, ""]


class Beams(NamedTuple):
    """The hypotheses of a search after some steps, in the order of their scores.

    time: place of the last token that is there. scores: log-probabilities in nats. counts: tokens
    that a hypothesis has added. finished: no token is added any more.
    """

    time: Int[Array, ""]
    tokens: Int[Array, "batch beam total"]
    scores: Float[Array, "batch beam"]
    counts: Int[Array, "batch beam"]
    finished: Bool[Array, "batch beam"]
    cache: Any


def decode(
    model: Model,
    parameters: Parameters,
    prompt: Prompt,
    search: Search = Search(),  # noqa: B008  a constant
    cached: bool | None = None,
    platform: str = "cpu",
) -> Int[Array, "batch steps"]:
    """The most probable continuations that a beam search finds, PAD after the end.

    A finished hypothesis keeps its place in the beam and its score.

    cached: whether to decode by cached steps; None for wherever every sublayer has them.
    """
    total = prompt.tokens.shape[1] + prompt.steps
    advance, begun = advancing(model, parameters, prompt, search.beam, total, cached, platform)
    start = beginning(prompt, search.beam, begun)
    grown = jax.lax.while_loop(growing, lambda beams: grow(advance, prompt, beams), start)
    return best(prompt, grown, search.length_penalty)


def beginning(prompt: Prompt, beam: int, begun: Begun) -> Beams:
    """The beams of a prompt, before the first step. begun: of `advancing`."""
    rows = prompt.tokens.shape[0]
    tokens = jnp.pad(prompt.tokens, ((0, 0), (0, prompt.steps)))
    scores = jnp.where(jnp.arange(beam) == 0, 0.0, -jnp.inf)[None].repeat(rows, axis=0)
    finished = jnp.zeros((rows, beam), bool)
    if prompt.source is not None:  # a row of padding is finished before it starts
        finished = finished | (prompt.source[:, :1] == PAD)
    return Beams(
        begun.time,
        jnp.repeat(tokens[:, None], beam, axis=1),
        scores,
        jnp.zeros((rows, beam), jnp.int32),
        finished,
        begun.cache,
    )


def growing(beams: Beams) -> Bool[Array, ""]:
    """Whether there is a step left to take."""
    return (beams.time < beams.tokens.shape[2] - 1) & ~jnp.all(beams.finished)


def grow(advance: Callable[..., Any], prompt: Prompt, beams: Beams) -> Beams:
    """The beams with a token more. advance: of `advancing`."""
    rows, beam, total = beams.tokens.shape
    time, tokens = beams.time, beams.tokens
    logits, cache = advance(tokens.reshape(rows * beam, total), beams.cache, time)
    logits = allowed(logits.astype(jnp.float32), prompt.entries)
    logp = jax.nn.log_softmax(logits).reshape(rows, beam, -1)
    size = logp.shape[-1]
    stays = jnp.where(jnp.arange(size) == PAD, 0.0, -jnp.inf)
    logp = jnp.where(beams.finished[..., None], stays[None, None], logp)
    scores, index = jax.lax.top_k((beams.scores[..., None] + logp).reshape(rows, -1), beam)
    given = (time + 1 < prompt.lengths)[:, None]
    forced = jax.lax.dynamic_index_in_dim(tokens, time + 1, axis=2, keepdims=False)
    parent = jnp.where(given, jnp.arange(beam)[None], index // size)
    token = jnp.where(given, forced, index % size)
    scores = jnp.where(given, beams.scores, scores)

    def kept(a):
        return jnp.take_along_axis(a, parent, axis=1)

    if beam > 1:
        tokens = jnp.take_along_axis(tokens, parent[..., None], axis=1)
        flat = (jnp.arange(rows)[:, None] * beam + parent).reshape(-1)
        cache = jax.tree.map(lambda a: a[flat], cache)
    counts = kept(beams.counts) + (~given & ~kept(beams.finished))
    spent = (time + 2 >= prompt.lengths + prompt.steps)[:, None]
    finished = kept(beams.finished) | (~given & (token == prompt.end)) | spent
    return Beams(time + 1, tokens.at[:, :, time + 1].set(token), scores, counts, finished, cache)


def best(
    prompt: Prompt, beams: Beams, length_penalty: Float[Array, ""] | float
) -> Int[Array, "batch steps"]:
    """What the best hypothesis of each row adds to the prompt: the `steps` tokens after it."""
    penalty = ((5.0 + beams.counts) / 6.0) ** length_penalty
    chosen = jnp.argmax(beams.scores / penalty, axis=1)
    tokens = jnp.take_along_axis(beams.tokens, chosen[:, None, None], axis=1)[:, 0]
    where = prompt.lengths[:, None] + jnp.arange(prompt.steps)[None]
    return jnp.take_along_axis(tokens, where, axis=1)


def fill(
    model: Model, parameters: Parameters, blanks: Blanks, platform: str = "cpu"
) -> Int[Array, "batch length"]:
    """The text with the most probable token at each place left out, each chosen by itself."""
    context = Context(inference=True, platform=platform)
    logits = model.logits(parameters, blanks.tokens, context)
    best = jnp.argmax(logits[..., : blanks.entries], axis=-1)
    return jnp.where(blanks.left_out, best, blanks.tokens)


def advancing(
    model: Model,
    parameters: Parameters,
    prompt: Prompt,
    beam: int,
    total: int,
    cached: bool | None,
    platform: str,
) -> tuple[Callable[..., tuple[Float[Array, "rows vocabulary"], Any]], Begun]:
    """A function (tokens, cache, time) → (logits of the token after time, cache), and where its
    steps begin: behind what can be read at once of a prompt of more than PREFILL tokens."""
    context = Context(inference=True, platform=platform)
    if prompt.source is not None:
        context = context.replace(memory_mask=prompt.source != PAD)
    source = None if prompt.source is None else jnp.repeat(prompt.source, beam, axis=0)
    if can_cache(model) if cached is None else cached:
        parameters = model.apart(parameters)
        context = model.remember(parameters, prompt.source, context)
        rows, width = prompt.tokens.shape
        begun = Begun(model.init_cache(parameters, rows, total, context), jnp.int32(0))
        if width > PREFILL and source is None and model.stack.several:
            begun = prefilled(model, parameters, prompt, begun.cache, context)
        repeat = functools.partial(jnp.repeat, repeats=beam, axis=0)
        begun = begun._replace(cache=jax.tree.map(repeat, begun.cache))
        context = context.replace(
            memory=jax.tree.map(repeat, context.memory),
            memory_mask=jax.tree.map(repeat, context.memory_mask),
        )

        def step(tokens, cache, time) -> tuple[Float[Array, "rows vocabulary"], Any]:
            return model.step(parameters, tokens[:, time], cache, context.replace(time=time))

        return step, begun
    if source is not None:
        context = context.replace(memory_mask=source != PAD)

    def recomputed(tokens, cache, time):
        inputs = tokens if source is None else (source, tokens)
        return model.logits(parameters, inputs, context)[:, time], cache

    return recomputed, Begun((), jnp.int32(0))


def prefilled(
    model: Model, parameters: Parameters, prompt: Prompt, cache: Any, context: Context
) -> Begun:
    """The cache after the tokens that all rows have, as many as can be read PREFILL at a time. One
    is left, since what follows the last is asked of a step."""

    def read(turn, cache):
        time = turn * PREFILL
        ids = jax.lax.dynamic_slice_in_dim(prompt.tokens, time, PREFILL, axis=1)
        return model.prefill(parameters, ids, cache, context.replace(time=time))

    turns = (jnp.min(prompt.lengths) - 1) // PREFILL
    return Begun(jax.lax.fori_loop(0, turns, read, cache), turns * PREFILL)
