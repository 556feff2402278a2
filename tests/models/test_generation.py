"""Decoding: from a cache as anew, greedy, by beam search as by enumeration, and by drawing."""

import functools
import itertools
import math
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from arch import config
from arch.context import Context
from arch.layers import Projection
from arch.models import choices, drawing, generation
from arch.models import families as models
from arch.models.choices import Choice
from arch.models.drawing import continuation
from arch.models.generation import (
    PAD,
    Blanks,
    Prompt,
    Search,
    can_cache,
    decode,
    fill,
)
from arch.registry import sublayers
from arch.sublayers.contract import Sublayer
from tests.families import always

WIDTH, VOCABULARY, STEPS, NEVER = 8, 23, 6, -1
LETTERS = {
    "s": {"kind": "attention", "heads": 2},
    "w": {"kind": "attention", "heads": 2, "kv_heads": 1, "window": 2},
    "q": {"kind": "attention", "heads": 2, "shared_qk": True},
    "p": {"kind": "attention", "heads": 2, "span": 5, "span_ramp": 3},
    "a": {"kind": "local_attention", "heads": 2, "chunk": 2},
    "h": {"kind": "lsh_attention", "heads": 2, "chunk": 2, "rounds": 2},
    "c": {"kind": "attention", "heads": 2, "cross": True},
    "v": {"kind": "separable_convolution", "expand": 1.0, "second_kernel_size": 3},
    "l": {"kind": "lstm"},
    "b": {"kind": "fixed_window", "tokens": 3, "direct": True},
    "f": {"kind": "feed_forward", "expand": 2.0},
    "u": {"kind": "gru"},
    "i": {"kind": "mingru"},
    "j": {"kind": "minlstm"},
    "r": {"kind": "rwkv4"},
    "k": {"kind": "rwkv_channel_mix"},
    "g": {"kind": "gated_linear_attention", "heads": 2, "rank": 2},
    "t": {"kind": "rwkv6", "head_width": 4, "mix_rank": 2, "decay_rank": 2},
    # scaled down: products of what is drawn are steep enough to make rounding seen
    "m": {"kind": "mamba2", "state": 4, "head_width": 4, "scale": 0.1},
    "n": {"kind": "mamba", "state": 4, "rank": 2, "scale": 0.1},
    "d": {"kind": "delta", "heads": 2, "scale": 0.1},
    "z": {"kind": "cgru", "cutoff": 1.2},
    "e": {"kind": "mixture_of_experts", "experts": 3, "expand": 1.0, "capacity": 0.8},
    "o": {"kind": "mixture_of_experts", "experts": 3, "expand": 1.0, "renormalise": False},
}
BASIC = {"kind": "universal", "steps": 3, "halting": "act", "mix": "basic"}
FROZEN = {**BASIC, "mix": "accumulated", "freeze": True, "step_signal": "learned"}
# name → order, encoder's order, stack, positions
MODELS = {
    "learned": ("sfsf", "", {}, "learned"),
    "axial, local, shared-QK": ("afq", "", {}, "axial"),
    "hashes, reversible": ("hfa", "", {"kind": "reversible"}, "learned"),
    "window, rotary, post": ("wfs", "", {"norm": "post", "final_norm": False}, "rotary"),
    "convolutions, lstm, fixed window": ("svzlb", "", {}, "sinusoidal"),
    "recurrent": ("uijrkgt", "", {}, "none"),
    "halting state spaces": ("mnd", "", FROZEN, "none"),
    "experts, reversible": ("seo", "", {"kind": "reversible"}, "learned"),
    "halting experts": ("se", "", FROZEN, "none"),
    "as many steps as symbols": ("sf", "", {"kind": "universal", "steps_per_symbol": 1}, "learned"),
    "shared, scanned": ("(sl)2", "", {"share": "sl", "apply": "scan"}, "none"),
    "universal": ("sv", "", {"kind": "universal", "steps": 2}, "sinusoidal"),
    "halting basic": ("sf", "", BASIC, "rotary"),
    "halting accumulated": ("wl", "", {**FROZEN, "signal_each_step": False}, "learned"),
    "window, alibi": ("waf", "", {}, "alibi"),
    "adaptive spans, reversible": ("pfp", "", {"kind": "reversible"}, "learned"),
    "memory, t5, post": ("scf", "sf", {"norm": "post", "final_norm": False}, "t5"),
    "memory": ("scfs", "sf", {}, "sinusoidal"),
    "memory, window, convolution, lstm": ("wcvl", "vs", {}, "rotary"),
    "memory, halting basic": ("scv", "sv", BASIC, "sinusoidal"),
    "memory, halting accumulated": ("scf", "sf", FROZEN, "rotary"),
}
TOKENS = np.array([[5, 0, 0], [7, 3, 9], [4, 8, 0]], np.int32)
LENGTHS = np.array([1, 3, 2], np.int32)
SOURCE = np.array([[3, 9, 2, 1], [5, 1, 0, 0], [8, 8, 1, 0]], np.int32)
TOTAL = TOKENS.shape[1] + STEPS


def built(
    order,
    encoder_order="",
    stack=None,
    positions="sinusoidal",
    vocabulary=VOCABULARY,
    max_length=TOTAL,
):
    """A model whose head is its own: a tied one, before training, repeats what it reads."""
    model = {
        "family": "encoder_decoder" if encoder_order else "decoder",
        "width": WIDTH,
        "order": order,
        "encoder_order": encoder_order,
        "sublayers": LETTERS,
        "stack": stack or {},
        "embedding": {"positions": positions},
        "head": {"tie": False},
    }
    return models.build(config.make(model=model).model, vocabulary, max_length)


def drawn(model, seed=0):
    """Random parameters, of sizes with which the output is not just the last token again."""
    source = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = source.standard_normal(leaf.shape)
        factor = {"scale": 0.2, "bias": 0.2, "table": 0.3}.get(path[-1].key, 0.9)
        return jnp.asarray((path[-1].key == "scale") + factor * noise, jnp.float32)

    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(draw, shapes)


def prompt_of(tokens=TOKENS, lengths: Any = LENGTHS, source=None, steps=STEPS, end=NEVER) -> Prompt:
    def array(a):
        return None if a is None else jnp.asarray(a, jnp.int32)

    tokens = np.asarray(tokens)
    lengths = np.full(len(tokens), tokens.shape[1]) if lengths is None else lengths
    return Prompt(array(source), jnp.asarray(tokens), jnp.asarray(lengths), steps, end)


def filled(tokens, lengths, continuations) -> np.ndarray:
    """The rows as they stood at the end, as far as prompt and continuation say."""
    rows = [[*t[:n], *c] for t, n, c in zip(tokens, lengths, continuations, strict=True)]
    return np.array([row[: min(map(len, rows))] for row in rows], np.int32)


class Markov:
    """A model whose next token's probability is of the time and the last token alone: its
    parameters are a table of logits, (time, last, next)."""

    embedding = SimpleNamespace(module=SimpleNamespace(limit=0))

    def logits(self, parameters, inputs, context):
        return parameters[
            jnp.minimum(jnp.arange(inputs.shape[1]), len(parameters) - 1)[None], inputs
        ]


MARKOV: Any = Markov()


def table(vocabulary=4, length=8, seed=0) -> np.ndarray:
    shape = length, vocabulary, vocabulary
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def log_probabilities(table, time, token) -> np.ndarray:
    row = table[time, token].astype(np.float64)
    return row - np.log(np.exp(row).sum())


def decoded(tables, prompt, search=Search()):  # noqa: B008
    """(tables, rows, steps): what the search finds by each table."""
    run = jax.jit(jax.vmap(lambda table: decode(MARKOV, table, prompt, search, cached=False)))
    return np.asarray(run(jnp.asarray(np.stack(tables))))


# A cache


def test_which_models_are_held_to_their_recomputation():
    letters = {letter for order, *_ in MODELS.values() for letter in order if letter.isalpha()}
    assert letters == set(LETTERS)
    cached = {k for k in sublayers.names() if sublayers.get(k).step is not Sublayer.step}
    assert cached <= {binding["kind"] for binding in LETTERS.values()}


@pytest.mark.parametrize(
    "name",
    always(
        MODELS,
        (
            "learned", "axial, local, shared-QK", "window, alibi",
            "halting accumulated", "shared, scanned", "memory, halting basic",
        ),
    ),
)  # fmt: skip
def test_decoding_from_a_cache_is_decoding_anew_token_by_token(name, assert_close):
    model = built(*MODELS[name])
    parameters = drawn(model)
    assert can_cache(model)
    source = jnp.asarray(SOURCE) if model.has_memory else None
    prompt = prompt_of(source=source)

    @jax.jit
    def continued(parameters):
        return decode(model, parameters, prompt, cached=True)

    @jax.jit
    def teacher_forced(parameters, ids):
        """(logits by steps, logits at once, what the stack reported)"""
        context = Context(inference=True)
        if source is not None:
            context = context.replace(memory_mask=source != PAD)
        inputs = ids if source is None else (source, ids)
        x, extras = model.hidden(parameters, inputs, context)
        head, table = model.bound_head(parameters)
        at_once = head.logits(table, x.reshape(-1, WIDTH)).reshape(*ids.shape, -1)
        remembered = model.remember(parameters, source, context)
        cache = model.init_cache(parameters, len(ids), TOTAL, remembered)

        def body(cache, time):
            now = remembered.replace(time=time)
            logits, cache = model.step(parameters, ids[:, time], cache, now)
            return cache, logits

        _, by_steps = jax.lax.scan(body, cache, jnp.arange(ids.shape[1]))
        return by_steps.swapaxes(0, 1), at_once, extras.statistics

    kept = np.asarray(continued(parameters))
    assert len(np.unique(kept, axis=0)) == 3 and len(np.unique(kept)) > 1
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (3, TOTAL))
    for row, length, tokens in zip(ids, LENGTHS, zip(TOKENS, kept, strict=True), strict=True):
        row[: length + STEPS] = [*tokens[0][:length], *tokens[1]]
    by_steps, at_once, statistics = teacher_forced(parameters, ids)
    assert_close(by_steps, at_once, 1e-5)
    for row, length, tokens in zip(np.asarray(at_once), LENGTHS, kept, strict=True):
        anew = row[length - 1 : length - 1 + STEPS].argmax(-1)
        assert (anew == tokens).all()  # each token is the likeliest after those before it
    assert np.asarray(at_once).std((0, 1)).min() > 0.1  # they are of what stands before
    if "halting" in name:
        assert float(statistics["ponder_spread"][0]) > 0  # positions halted at different times


def test_steps_are_greedy_decodings_logits(same_bytes):
    """The continuation is, place by place, the most probable token after what stands before."""
    model = built("sf")
    parameters, prompt = drawn(model), prompt_of()
    ids = jax.jit(lambda p: decode(model, p, prompt))(parameters)
    rows = filled(TOKENS, LENGTHS, ids)
    logits = jax.jit(lambda p: model.logits(p, rows, Context(inference=True)))(parameters)
    for row, best, length in zip(rows, np.argmax(logits, axis=-1), LENGTHS, strict=True):
        assert same_bytes(row[length:], best[length - 1 : -1].astype(np.int32))


@pytest.mark.parametrize(
    "order, positions",
    always(
        [
            ("sf", "sinusoidal"),
            ("waf", "rotary"),
            ("hf", "sinusoidal"),
            ("sa", "alibi"),
            ("sf", "t5"),
            ("sg", "none"),
        ],
        [("sf", "sinusoidal"), ("waf", "rotary"), ("sf", "t5")],
    ),
)
def test_beyond_the_trained_length_a_cache_decodes_as_anew(order, positions, assert_close):
    """Where positions are not learned: three times as long as the model was made for."""
    model = built(order, positions=positions, max_length=4)
    parameters = drawn(model)
    ids = jnp.asarray(np.random.default_rng(1).integers(0, VOCABULARY, (2, 12)))

    @jax.jit
    def by_steps(parameters):
        context = Context(inference=True)
        cache = model.init_cache(parameters, ids.shape[0], ids.shape[1], context)

        def body(cache, time):
            logits, cache = model.step(parameters, ids[:, time], cache, context.replace(time=time))
            return cache, logits

        return jax.lax.scan(body, cache, jnp.arange(ids.shape[1]))[1].swapaxes(0, 1)

    anew = jax.jit(lambda p: model.logits(p, ids, Context(inference=True)))(parameters)
    assert_close(by_steps(parameters), anew, 1e-5)


def test_a_kind_without_a_cache_decodes_by_recomputation(monkeypatch, same_bytes):
    monkeypatch.setattr(sublayers, "_kinds", dict(sublayers._kinds))

    @sublayers.register("running_mean")
    class RunningMean(nnx.Module):
        """The mean of the positions so far, projected."""

        causal = True

        def __init__(self, width, *, rngs: nnx.Rngs):
            self.output = Projection(width, width, rngs=rngs)

        def __call__(self, x, context):
            counts = jnp.arange(1, x.shape[1] + 1, dtype=x.dtype)[None, :, None]
            return self.output(jnp.cumsum(x, axis=1) / counts)

        def flops(self, length):
            return 2 * length * self.output.kernel.shape[0] ** 2

    monkeypatch.setitem(LETTERS, "m", {"kind": "running_mean"})
    model = built("mf")
    parameters, prompt = drawn(model), prompt_of()
    assert not can_cache(model) and can_cache(built("sf"))
    ids = jax.jit(lambda p: decode(model, p, prompt))(parameters)
    rows = jnp.asarray(filled(TOKENS, LENGTHS, ids))
    logits = jax.jit(lambda p: model.logits(p, rows, Context(inference=True)))(parameters)
    for row, best, length in zip(rows, np.argmax(logits, axis=-1), LENGTHS, strict=True):
        assert same_bytes(row[length:], best[length - 1 : -1].astype(np.int32))


def test_an_encoders_kinds_need_no_cache(monkeypatch):
    monkeypatch.setattr(sublayers, "_kinds", dict(sublayers._kinds))

    @sublayers.register("negative")
    class Negative(nnx.Module):
        def __init__(self, width, *, rngs: nnx.Rngs):
            pass

        def __call__(self, x, context):
            return -x

        def flops(self, length):
            return 0

    monkeypatch.setitem(LETTERS, "n", {"kind": "negative"})
    assert can_cache(built("scf", "sn"))


# Prompts


@pytest.mark.parametrize("cached", [True, False])
def test_a_prompt_among_longer_ones_goes_on_as_alone(cached, same_bytes):
    model = built("wf")
    parameters = drawn(model)
    together = jax.jit(lambda p: decode(model, p, prompt_of(), cached=cached))(parameters)
    row, length = 2, 2
    assert LENGTHS[row] == length < TOKENS.shape[1]
    prompt = prompt_of(TOKENS[row : row + 1, :length], None)
    alone = jax.jit(lambda p: decode(model, p, prompt, cached=cached))(parameters)
    assert same_bytes(alone, together[row : row + 1])


@pytest.mark.parametrize("end", [NEVER, 1])
@pytest.mark.parametrize("beam", [1, 3])
def test_a_row_is_searched_as_if_alone_whatever_its_neighbours_lengths(beam, end):
    tables, steps = [table(seed=seed) for seed in range(20)], 3
    tokens = np.array([[2, 0, 0], [0, 3, 0], [3, 2, 1]], np.int32)
    lengths = np.array([1, 2, 3], np.int32)
    prompt = prompt_of(tokens, lengths, steps=steps, end=end)
    for own, found in zip(tables, decoded(tables, prompt, Search(beam, 0.6)), strict=True):
        for row, length, ids in zip(tokens, lengths, found, strict=True):
            last, time = row[length - 1], length - 1
            assert tuple(ids) == searched(own, last, steps, end, beam, 0.6, time), row


def test_after_the_end_comes_padding_and_an_end_in_the_prompt_is_none():
    own, end = table(length=12, seed=1), 1
    tokens = np.array([[2, 1], [3, 0], [1, 1], [0, 2]], np.int32)
    prompt = prompt_of(tokens, None, steps=9, end=end)
    for ids in (decoded([own], prompt)[0], decoded([own], prompt, Search(3))[0]):
        ids, ended = np.asarray(ids), 0
        for row in ids:
            ends = np.flatnonzero(row == end)
            if len(ends):
                assert not row[ends[0] + 1 :].any()
                ended += 1
        assert ended and ids[:, 0].any()  # the prompts' own ends finished nothing


# Beam search


def hypotheses(table, time, token, steps, end):
    """(log-probability, tokens generated, continuation) of all there are."""
    if steps == 0:
        yield 0.0, 0, ()
        return
    for following, logp in enumerate(log_probabilities(table, time, token)):
        if following == end:
            yield logp, 1, (following,) + (PAD,) * (steps - 1)
            continue
        for more, count, rest in hypotheses(table, time + 1, following, steps - 1, end):
            yield logp + more, 1 + count, (following, *rest)


def penalty(count, alpha):
    return ((5 + count) / 6) ** alpha


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
def test_a_beam_that_holds_everything_finds_what_enumeration_finds(alpha):
    tables, changed = [table(seed=seed) for seed in range(6)], 0
    prompt = prompt_of(np.arange(4, dtype=np.int32)[:, None], None, steps=3, end=1)
    for own, ids in zip(tables, decoded(tables, prompt, Search(64, alpha)), strict=True):
        for first, found in enumerate(ids):
            every = list(hypotheses(own, 0, first, 3, 1))
            assert math.isclose(sum(math.exp(h[0]) for h in every), 1.0)
            best = max(every, key=lambda h: h[0] / penalty(h[1], alpha))
            assert tuple(found) == best[2]
            changed += best[2] != max(every, key=lambda h: h[0])[2]
    assert (changed > 0) == (alpha > 0)  # the penalty matters


def searched(table, token, steps, end, beam, alpha, start=0):
    """A beam search in loops, from a token at the time `start`."""
    alive = [(0.0, 0, False, (token,))]
    for time in range(start, start + steps):
        following = []
        for score, count, finished, row in alive:
            if finished:
                following.append((score, count, True, (*row, PAD)))
                continue
            for new, logp in enumerate(log_probabilities(table, time, row[-1])):
                following.append((score + logp, count + 1, new == end, (*row, new)))
        alive = sorted(following, key=lambda h: -h[0])[:beam]
    return max(alive, key=lambda h: h[0] / penalty(h[1], alpha))[3][1:]


@pytest.mark.parametrize("beam, alpha", [(1, 0.0), (2, 0.0), (3, 1.0)])
def test_a_narrow_beam_is_the_search_in_loops(beam, alpha):
    tables, steps, greedy = [table(vocabulary=6, seed=seed) for seed in range(5)], 5, 0
    prompt = prompt_of(np.arange(6, dtype=np.int32)[:, None], None, steps=steps, end=1)
    for own, ids in zip(tables, decoded(tables, prompt, Search(beam, alpha)), strict=True):
        for first, found in enumerate(ids):
            assert tuple(found) == searched(own, first, steps, 1, beam, alpha)
            greedy += tuple(found) == searched(own, first, steps, 1, 1, 0.0)
    assert greedy == 30 if beam == 1 else greedy < 30


@pytest.mark.parametrize("order, encoder_order", [("sl", ""), ("scf", "sf")])
def test_a_models_beam_from_its_cache_is_enumeration(order, encoder_order):
    """All 64 continuations of three tokens, scored by the model in parallel."""
    model = built(order, encoder_order, vocabulary=4)
    parameters, end = drawn(model, seed=3), 1
    starts = np.array([[2, 3], [3, 2], [2, 2]], np.int32)
    source = np.array([[3, 2, 1], [2, 1, 0], [3, 3, 2]], np.int32) if encoder_order else None

    @jax.jit
    def found(parameters, alpha):
        prompt = prompt_of(starts, None, source, steps=3, end=end)
        return decode(model, parameters, prompt, Search(64, alpha))

    every = np.array(list(itertools.product(range(4), repeat=3)), np.int32)
    rows = np.concatenate([np.repeat(starts, 64, 0), np.tile(every, (3, 1))], axis=1)

    @jax.jit
    def scored(parameters):
        context, inputs = Context(inference=True), jnp.asarray(rows)
        if source is not None:
            repeated = jnp.repeat(jnp.asarray(source), 64, axis=0)
            context, inputs = context.replace(memory_mask=repeated != PAD), (repeated, inputs)
        return jax.nn.log_softmax(model.logits(parameters, inputs, context))

    logp = np.asarray(scored(parameters), np.float64)
    for alpha in (0.0, 2.0):
        ids = np.asarray(found(parameters, jnp.float32(alpha)))
        for start in range(3):
            best = (-math.inf, None)
            for index, row in enumerate(every):
                after = logp[64 * start + index, 1:4]
                count = 3 if end not in row else int(np.argmax(row == end)) + 1
                score = sum(after[i, row[i]] for i in range(count)) / penalty(count, alpha)
                if score > best[0] + 1e-9:  # continuations after an end are the same
                    best = score, (*row[:count], *[PAD] * (3 - count))
            assert tuple(ids[start]) == best[1], (alpha, start)


# Drawing


def drawn_from(table, row, steps, seed, choice, end=NEVER, cached=False, model=MARKOV):
    """What is drawn after a row of tokens."""
    prompt = prompt_of(np.array([row], np.int32), None, steps=steps, end=end)
    own: Any = jax.tree.map(jnp.asarray, table)
    return list(
        continuation(model, own, prompt, jax.random.key(seed), choice, "cpu", cached=cached)
    )


def test_temperature_zero_and_the_most_probable_one_alone_are_greedy():
    own = table(vocabulary=6, seed=2)
    prompt = prompt_of(np.arange(6, dtype=np.int32)[:, None], None)
    warm = set()
    for first, ids in enumerate(decoded([own], prompt)[0].tolist()):
        assert drawn_from(own, [first], STEPS, 3, Choice(0.0)) == ids
        for one in (Choice(2.0, top_k=1), Choice(2.0, top_p=1e-6), Choice(2.0, min_p=1.0)):
            assert drawn_from(own, [first], STEPS, 3, one) == ids
        warm.add(drawn_from(own, [first], STEPS, 3, Choice(2.0)) == ids)
    assert False in warm


def test_nothing_is_drawn_after_the_end_and_an_end_in_the_prompt_is_none():
    own, ends = table(length=12, seed=1), 0
    for seed in range(5):
        ids = drawn_from(own, [2, 1], 9, seed, Choice(), end=1)
        assert 1 not in ids[:-1] and (len(ids) == 9 or ids[-1] == 1)
        ends += ids[-1] == 1
    assert ends


def test_a_key_is_a_text_whether_it_is_cached_or_not():
    model = built("sf")
    own = drawn(model)
    texts = [
        drawn_from(own, [4, 8], STEPS, seed, Choice(1.5), cached=cached, model=model)
        for seed, cached in ((0, True), (0, True), (0, False), (1, True))
    ]
    assert texts[0] == texts[1] == texts[2] != texts[3]


@jax.jit  # of all choices one program, and below one of what each leaves
def drawn_often(logits, keys, choice):
    return jax.vmap(lambda key: choices.drawn(logits, key, choice))(keys)


narrowed = jax.jit(choices.narrowed)


@pytest.mark.parametrize(
    "choice, left",
    [
        (Choice(), 6),
        (Choice(0.7), 6),
        (Choice(1.6, top_k=3), 3),
        (Choice(1.0, min_p=0.3), 0),
        (Choice(2.0, top_p=0.7, min_p=0.5), 0),
    ],
)
def test_frequencies_are_the_probabilities(choice, left):
    """left: how many tokens there are to draw; 0 for those that the share leaves."""
    own, draws = table(vocabulary=6, seed=4)[0, 2:4], 20_000
    ids = np.asarray(drawn_often(own, jax.random.split(jax.random.key(0), draws), choice))
    for row in range(2):
        p = np.exp(own[row].astype(np.float64) / choice.temperature)
        p /= p.sum()
        falling = np.sort(p)[::-1]
        if choice.top_p < 1:
            p[p < falling[np.argmax(falling.cumsum() >= choice.top_p)]] = 0
        p[p < max(choice.min_p * p.max(), falling[left - 1] if left else 0)] = 0
        p /= p.sum()
        assert 1 < (p > 0).sum() <= (left or 5)
        frequencies = np.bincount(ids[:, row], minlength=6) / draws
        assert np.all(np.abs(frequencies - p) <= 4 * np.sqrt(p * (1 - p) / draws))


@pytest.mark.parametrize("top_k", [0, 1, 7, 40])
@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.999, 1.0])
def test_what_is_left_is_what_sorting_leaves(top_k, top_p):
    """With equal logits, of which all or none are left, and with tokens that cannot be drawn."""
    logits = np.random.default_rng(0).normal(scale=3, size=(8, 40)).astype(np.float32)
    logits[:4] = logits[:4].round()
    logits[::2, 30:] = -np.inf
    left = ~np.isneginf(narrowed(logits, Choice(1.0, top_k, top_p)))
    for row, kept in zip(logits.astype(np.float64), left, strict=True):
        falling = np.sort(row)[::-1]
        p = np.exp(row - falling[0])
        p[row < falling[(top_k or 40) - 1]] = 0
        p /= p.sum()
        mass = [p[row >= least].sum() for least in falling]
        last = 39 if top_p == 1 else np.argmax(np.array(mass) >= top_p - 1e-7)
        assert np.array_equal(kept, (row >= falling[last]) & (p > 0))


def test_rows_and_steps_draw_for_themselves():
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(20))
    ids = np.asarray(drawn_often(jnp.zeros((3, 6)), keys, Choice()))
    assert len({tuple(row) for row in ids.T}) == 3
    assert len({tuple(column) for column in ids}) > 15


def test_what_stands_before_is_penalised_in_prompt_and_text():
    """Greedily from even logits: each step takes the first token that has not been."""
    positive = np.full((21, 6, 6), 1.0, np.float32)
    assert drawn_from(positive, [2, 0], 4, 0, Choice(0.0, repetition_penalty=1.5)) == [1, 3, 4, 5]
    assert drawn_from(-positive, [2, 0], 4, 0, Choice(0.0, repetition_penalty=1.5)) == [1, 3, 4, 5]
    assert drawn_from(positive, [2, 0], 4, 0, Choice(0.0, repetition_penalty=0.5)) == [0, 0, 0, 0]
    # of a row of padding only what stands is seen
    seen = choices.seen(jnp.array([[3, 1, 0, 0], [2, 2, 0, 0]]), jnp.int32(2), 5)
    assert np.flatnonzero(seen[0]).tolist() == [1, 3] and np.flatnonzero(seen[1]).tolist() == [2]


DECODERS = [name for name, (_, encoder, _, _) in MODELS.items() if not encoder]


@pytest.mark.parametrize(
    "name", always(DECODERS, ("window, rotary, post", "hashes, reversible", "halting basic"))
)
def test_a_long_prompt_is_read_at_once_and_goes_on_the_same(name, monkeypatch):
    for module in (drawing, generation):
        monkeypatch.setattr(module, "PREFILL", 3)
    read, turns = generation.prefilled, []
    monkeypatch.setattr(generation, "prefilled", lambda *a: turns.append(read(*a)) or turns[-1])
    order, _, stack, positions = MODELS[name]
    model = built(order, "", stack, positions, max_length=16)
    rows, own = np.random.default_rng(3).integers(1, VOCABULARY, (2, 9)), drawn(model)
    start = rows[0, :8].tolist()
    told = drawn_from(own, start, STEPS, 0, Choice(0.0), NEVER, True, model)
    logits = jax.jit(model.logits)(own, np.array([start + told]), Context(inference=True))
    assert np.argmax(logits[0, 7:-1], axis=-1).tolist() == told  # of the whole text at once
    prompt = prompt_of(rows.astype(np.int32), np.array([9, 8], np.int32))

    @functools.partial(jax.jit, static_argnums=1)
    def search(own, cached):
        found = decode(model, own, prompt, Search(2), cached)
        return found, [begun.time for begun in turns]

    found, begun = search(own, True)
    assert [int(time) for time in begun] == [6]  # of 8 and 9 tokens
    turns.clear()
    again, begun = search(own, False)
    assert found.tolist() == again.tolist() and not begun


def test_entries_that_no_text_has_are_neither_drawn_nor_found():
    logits = np.zeros((9, 6, 6), np.float32)
    logits[:, :, 4:] = 3.0
    prompt = prompt_of(np.array([[1]]), None, steps=8)._replace(entries=4)
    own: Any = jnp.asarray(logits)
    told = continuation(MARKOV, own, prompt, jax.random.key(0), Choice(), cached=False)
    found = jax.jit(lambda own: decode(MARKOV, own, prompt, Search(3), cached=False))(own)
    assert max(told) < 4 and int(found.max()) < 4


def in_loops(jaxpr, inside=False):
    """The equations of a program that stand in loops."""
    for equation in jaxpr.eqns:
        if inside:
            yield equation
        looping = inside or equation.primitive.name in ("scan", "while")
        for leaf in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "jaxpr")):
            if (inner := getattr(leaf, "jaxpr", leaf)) is not leaf or hasattr(leaf, "eqns"):
                yield from in_loops(inner, looping)


@pytest.mark.parametrize("name", ["halting accumulated", "memory", "hashes, reversible"])
def test_no_step_of_a_loop_takes_its_weights_out_of_stacked_ones(name):
    order, encoder, stack, positions = MODELS[name]
    model = built(order, encoder, stack, positions)
    parameters = drawn(model)
    stacked = {a.shape for letter in order for a in jax.tree.leaves(parameters["stack"][letter])}
    stacked = {shape for shape in stacked if len(shape) > 2}
    prompt = prompt_of(source=SOURCE if encoder else None)
    program = jax.make_jaxpr(lambda p: decode(model, p, prompt))(parameters).jaxpr
    equations = list(in_loops(program))
    read = {getattr(v.aval, "shape", None) for e in equations for v in e.invars}
    assert any(e.primitive.name == "dot_general" for e in equations)
    assert stacked and not stacked & read


@pytest.mark.parametrize("cached", [True, False])
def test_every_context_of_decoding_names_the_platform_that_it_is_given(cached):
    """A stand-in for a model that keeps the platforms of the contexts that reach it."""
    seen = set()

    class Watching:
        embedding = MARKOV.embedding

        def remember(self, parameters, source, context):
            seen.add(context.platform)
            return context

        stack = SimpleNamespace(several=True)

        def apart(self, parameters):
            return parameters

        def prefill(self, parameters, ids, cache, context):
            seen.add(context.platform)
            return cache

        def init_cache(self, parameters, batch, length, context):
            seen.add(context.platform)
            return jnp.zeros((batch, 1))

        def step(self, parameters, ids, cache, context):
            seen.add(context.platform)
            return jnp.zeros((len(ids), 7)), cache

        def logits(self, parameters, inputs, context):
            seen.add(context.platform)
            return jnp.zeros((*inputs.shape, 7))

    tokens = jnp.ones((2, 3), jnp.int32)
    prompt = Prompt(None, tokens, jnp.full(2, 3), 2, -1)
    watching: Any = Watching()
    jax.eval_shape(lambda: decode(watching, {}, prompt, cached=cached, platform="tpu"))
    one = Prompt(None, jnp.ones((1, 70), jnp.int32), jnp.full(1, 70), 2, -1)
    list(continuation(watching, {}, one, jax.random.key(0), Choice(0.0), "tpu", cached=cached))
    jax.eval_shape(lambda: fill(watching, {}, Blanks(tokens, tokens > 0, 7), "tpu"))
    assert seen == {"tpu"}
