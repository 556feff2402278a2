"""Decoding, one token after the other: by cached steps where every sublayer has them, else by the
whole call for every token; and filling in the words left out of a text.

Every function takes the platform that it is compiled for, as `Context.platform` has it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from arch.context import Context
from arch.models.model import Model
from arch.stacks.parameters import Parameters

PAD = 0  # in sources, and after an end


class Prompt(NamedTuple):
    """The start of a decoding.

    source: the encoder's tokens, padded with PAD; None for a decoder alone.
    tokens: the first tokens of each row, `lengths` of them; a translation has one, the start.
    steps: largest number of tokens to add.
    end: the token after which a row is finished; -1 for none.
    entries: tokens below this number may be drawn; 0 for all.
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


class Choice(NamedTuple):
    """How a token is drawn from logits.

    temperature: 0 is greedy. top_k: from so many, the most probable ones; 0 for all. top_p: from
    the fewest most probable ones whose probabilities add up to it (Holtzman et al. 2020); 1: all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def uncached(model: Model) -> tuple[str, ...]:
    """The kinds in the model's stack that do not decode by cached steps, each once: with any of
    them every token is computed from the whole text."""
    sublayers = [model.stack.sublayer(letter) for letter in model.stack.letters]
    return tuple(dict.fromkeys(s.kind for s in sublayers if not (s.cached or s.positionwise)))


def can_cache(model: Model) -> bool:
    """Whether every kind in the model's stack decodes by cached steps."""
    return not uncached(model)


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
    beam, rows = search.beam, prompt.tokens.shape[0]
    total = prompt.tokens.shape[1] + prompt.steps
    advance, cache = advancing(model, parameters, prompt, beam, total, cached, platform)
    tokens = jnp.pad(prompt.tokens, ((0, 0), (0, prompt.steps)))
    forced = tokens
    tokens = jnp.repeat(tokens[:, None], beam, axis=1)
    scores = jnp.where(jnp.arange(beam) == 0, 0.0, -jnp.inf)[None].repeat(rows, axis=0)
    finished = jnp.zeros((rows, beam), bool)
    if prompt.source is not None:  # a row of padding is finished before it starts
        finished = finished | (prompt.source[:, :1] == PAD)
    counts = jnp.zeros((rows, beam), jnp.int32)

    def going(carry):
        time, _, _, _, finished, _ = carry
        return (time < total - 1) & ~jnp.all(finished)

    def body(carry):
        time, tokens, scores, counts, finished, cache = carry
        logits, cache = advance(tokens.reshape(rows * beam, total), cache, time)
        logp = jax.nn.log_softmax(logits.astype(jnp.float32)).reshape(rows, beam, -1)
        size = logp.shape[-1]
        stays = jnp.where(jnp.arange(size) == PAD, 0.0, -jnp.inf)
        logp = jnp.where(finished[..., None], stays[None, None], logp)
        best, index = jax.lax.top_k((scores[..., None] + logp).reshape(rows, -1), beam)
        given = (time + 1 < prompt.lengths)[:, None]
        parent = jnp.where(given, jnp.arange(beam)[None], index // size)
        token = jnp.where(given, forced[:, time + 1, None], index % size)
        scores = jnp.where(given, scores, best)

        def kept(a):
            return jnp.take_along_axis(a, parent, axis=1)

        if beam > 1:
            tokens = jnp.take_along_axis(tokens, parent[..., None], axis=1)
            flat = (jnp.arange(rows)[:, None] * beam + parent).reshape(-1)
            cache = jax.tree.map(lambda a: a[flat], cache)
        counts = kept(counts) + (~given & ~kept(finished))
        spent = (time + 2 >= prompt.lengths + prompt.steps)[:, None]
        finished = kept(finished) | (~given & (token == prompt.end)) | spent
        return time + 1, tokens.at[:, :, time + 1].set(token), scores, counts, finished, cache

    start = (jnp.zeros((), jnp.int32), tokens, scores, counts, finished, cache)
    _, tokens, scores, counts, *_ = jax.lax.while_loop(going, body, start)
    penalty = ((5.0 + counts) / 6.0) ** search.length_penalty
    chosen = jnp.argmax(scores / penalty, axis=1)
    tokens = jnp.take_along_axis(tokens, chosen[:, None, None], axis=1)[:, 0]
    return _continuations(tokens, prompt)


def fill(
    model: Model, parameters: Parameters, blanks: Blanks, platform: str = "cpu"
) -> Int[Array, "batch length"]:
    """The text with the most probable token at each place left out, each chosen by itself."""
    context = Context(inference=True, platform=platform)
    logits = model.logits(parameters, blanks.tokens, context)
    best = jnp.argmax(logits[..., : blanks.entries], axis=-1)
    return jnp.where(blanks.left_out, best, blanks.tokens)


def sample(
    model: Model,
    parameters: Parameters,
    prompt: Prompt,
    key: Key[Array, ""],
    temperature: float,
    top_k: int = 0,
    cached: bool | None = None,
    platform: str = "cpu",
) -> Int[Array, "batch steps"]:
    """Continuations drawn from softmax(logits / temperature), PAD after the end.

    temperature: 0 is greedy. top_k: tokens drawn from, the most probable ones; 0 for all.
    cached: whether to decode by cached steps; None for wherever every sublayer has them.
    """
    total = prompt.tokens.shape[1] + prompt.steps
    advance, cache = advancing(model, parameters, prompt, 1, total, cached, platform)
    tokens = jnp.pad(prompt.tokens, ((0, 0), (0, prompt.steps)))

    def body(carry, time):
        tokens, finished, cache = carry
        logits, cache = advance(tokens, cache, time)
        choice = Choice(temperature, top_k)
        token = drawn(logits, jax.random.fold_in(key, time), choice, prompt.entries)
        given = time + 1 < prompt.lengths
        token = jnp.where(given, tokens[:, time + 1], jnp.where(finished, PAD, token))
        finished = finished | (~given & (token == prompt.end))
        return (tokens.at[:, time + 1].set(token), finished, cache), None

    start = (tokens, jnp.zeros(len(tokens), bool), cache)
    (tokens, _, _), _ = jax.lax.scan(body, start, jnp.arange(total - 1))
    return _continuations(tokens, prompt)


def drawn(
    logits: Float[Array, "batch vocabulary"], key: Key[Array, ""], choice: Choice, entries: int = 0
) -> Int[Array, " batch"]:
    """A token a row. entries: tokens from this number on are never drawn; 0 for none."""
    logits = logits.astype(jnp.float32)
    if entries:
        logits = jnp.where(jnp.arange(logits.shape[-1])[None] < entries, logits, -jnp.inf)
    temperature = jnp.asarray(choice.temperature, jnp.float32)
    # the largest is 0, so that a tiny temperature makes no infinity of it
    centred = logits - jnp.max(logits, axis=-1, keepdims=True)
    warm = centred / jnp.maximum(temperature, jnp.finfo(jnp.float32).tiny)
    warm = jnp.where(centred == 0, 0.0, warm)
    narrowed = jax.lax.cond(
        (jnp.asarray(choice.top_k) > 0) | (jnp.asarray(choice.top_p) < 1),
        lambda z: _narrowed(z, choice),
        lambda z: z,
        warm,
    )
    return jnp.where(
        temperature == 0, jnp.argmax(logits, axis=-1), jax.random.categorical(key, narrowed)
    )


def _narrowed(logits: Float[Array, "batch vocabulary"], choice: Choice) -> Array:
    falling = jnp.sort(logits, axis=-1, descending=True)
    place = jnp.arange(logits.shape[-1])[None]
    k = jnp.where(jnp.asarray(choice.top_k) > 0, choice.top_k, logits.shape[-1])
    probabilities = jax.nn.softmax(jnp.where(place < k, falling, -jnp.inf), axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    kept = (place < k) & ((before < choice.top_p) | (place == 0))
    least = jnp.min(jnp.where(kept, falling, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits < least, -jnp.inf, logits)


def advancing(
    model: Model,
    parameters: Parameters,
    prompt: Prompt,
    beam: int,
    total: int,
    cached: bool | None,
    platform: str,
) -> tuple[Callable[..., tuple[Float[Array, "rows vocabulary"], Any]], Any]:
    """A function (tokens, cache, time) → (logits of the token after time, cache), and a cache."""
    context = Context(inference=True, platform=platform)
    if prompt.source is not None:
        context = context.replace(memory_mask=prompt.source != PAD)
    source = None if prompt.source is None else jnp.repeat(prompt.source, beam, axis=0)
    if can_cache(model) if cached is None else cached:
        context = model.remember(parameters, prompt.source, context)
        repeat = functools.partial(jnp.repeat, repeats=beam, axis=0)
        context = context.replace(
            memory=jax.tree.map(repeat, context.memory),
            memory_mask=jax.tree.map(repeat, context.memory_mask),
        )
        rows = prompt.tokens.shape[0] * beam
        cache = model.init_cache(parameters, rows, total, context)

        def step(tokens, cache, time) -> tuple[Float[Array, "rows vocabulary"], Any]:
            return model.step(parameters, tokens[:, time], cache, context.replace(time=time))

        return step, cache
    if source is not None:
        context = context.replace(memory_mask=source != PAD)

    def recomputed(tokens, cache, time):
        inputs = tokens if source is None else (source, tokens)
        return model.logits(parameters, inputs, context)[:, time], cache

    return recomputed, ()


def _continuations(tokens: Int[Array, "batch total"], prompt: Prompt) -> Int[Array, "batch steps"]:
    """The `steps` tokens after each row's prompt."""
    where = prompt.lengths[:, None] + jnp.arange(prompt.steps)[None]
    return jnp.take_along_axis(tokens, where, axis=1)
