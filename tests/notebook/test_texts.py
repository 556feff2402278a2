"""Texts of a run: where they stop, how they are searched for, what cannot be asked for."""

import functools
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import arch
from arch.context import Context
from arch.models.generation import Prompt, Search, decode
from arch.notebook import texts
from arch.notebook.loaded import Loaded
from arch.notebook.texts import TextOptions, until
from arch.registry import ConfigurationError
from arch.sublayers.attention.full import Attention
from arch.training.program import build
from tests import cli
from tests.families import always

PROMPT = "abcde fghij"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    runs = cli.copy_swept(tmp_path_factory.mktemp("trained")) / "runs/small"
    return cli.folder_of(runs, "sf").path


@pytest.fixture(scope="module")
def run(trained):
    return arch.load(trained)


def cut(text: str, stops) -> str:
    """The text before the first of the stops in it."""
    return text[: min([at for s in stops if (at := text.find(s)) >= 0], default=len(text))]


# Stops


@given(
    pieces=st.lists(st.text("ab.", max_size=4), max_size=8),
    stops=st.lists(st.text("ab.", min_size=1, max_size=4), max_size=3),
)
def test_a_text_in_pieces_ends_before_the_first_stop_in_the_whole(pieces, stops):
    assert "".join(until(pieces, stops)) == cut("".join(pieces), stops)


def test_what_may_begin_a_stop_waits_and_nothing_else_does():
    told = until(iter(["ab", "c<", "/", "d", "e</e", "nd"]), ["</end"])
    assert list(told) == ["ab", "c", "</d", "e"]


def test_every_draw_ends_at_its_own_stop_and_no_token_is_made_after_it(run, trained):
    whole = run.generate(PROMPT, tokens=40, draws=3)
    stops = [whole[0][9:11], whole[1][20:21]]
    assert run.generate(PROMPT, tokens=40, draws=3, stop=stops) == [cut(x, stops) for x in whole]
    assert run.generate(PROMPT, tokens=40, stop=stops[0]) == cut(whole[0], stops[:1]) != ""
    assert "".join(run.stream(PROMPT, tokens=40, stop=stops)) == cut(whole[0], stops)
    told = cli.run(
        "generate", f"--run={trained}", f"--prompt={PROMPT}", "--tokens=40",
        *(f"--stop={stop}" for stop in stops),
    )  # fmt: skip
    assert told.out == PROMPT + cut(whole[0], stops) + "\n"


def test_dispatches_end_at_the_stop(run, monkeypatch):
    taken = []
    original = texts.continuation

    def counted(*given):
        for token in original(*given):
            taken.append(token)
            yield token

    monkeypatch.setattr(texts, "continuation", counted)
    whole = run.generate(PROMPT, tokens=40)
    stop, made = whole[10:12], len(taken)
    taken.clear()
    assert run.generate(PROMPT, tokens=40, stop=stop) == whole[: whole.find(stop)]
    assert made == 40 and len(taken) <= 12


# Draws


def test_draws_are_the_texts_of_seeds_in_a_row(run, trained):
    options: dict[str, Any] = {"tokens": 6, "min_p": 0.05, "repetition_penalty": 1.2}
    found = run.generate(PROMPT, seed=2, draws=3, **options)
    assert found == [run.generate(PROMPT, seed=seed, **options) for seed in (2, 3, 4)]
    assert len(set(found)) > 1 and run.generate(PROMPT, draws=1, seed=2, **options) == found[:1]
    told = cli.run(
        "generate", f"--run={trained}", f"--prompt={PROMPT}", "--tokens=6", "--min-p=0.05",
        "--repetition-penalty=1.2", "--draw=2", "--draws=3",
    )  # fmt: skip
    assert told.out == "".join(f"{PROMPT}{text}\n" for text in found)


def test_min_p_of_one_is_greedy_and_a_high_penalty_repeats_nothing(run):
    greedy = run.generate(PROMPT, tokens=8, temperature=0)
    assert run.generate(PROMPT, tokens=8, temperature=1.5, min_p=1.0) == greedy
    said = run.generate("a", tokens=12, temperature=0, repetition_penalty=1e6)
    assert len(set("a" + said)) == 13


def test_a_kind_without_steps_is_computed_anew_and_said_to_be(run, trained, monkeypatch):
    asked = ("generate", f"--run={trained}", f"--prompt={PROMPT}", "--tokens=5")
    before = cli.run(*asked)
    monkeypatch.setattr(Attention, "cached", False)
    anew = cli.run(*asked)
    assert anew.out == before.out and before.err == ""
    assert anew.err == ("attention: no cached steps; every token is computed from the whole text\n")


# Search


def test_a_search_finds_the_text_that_decoding_finds(run, trained):
    ids = run.tokenizer.encode(PROMPT)
    prompt = Prompt(None, jnp.asarray(ids)[None], jnp.array([len(ids)]), 6, -1)
    wanted = jax.jit(lambda p: decode(run.model, p, prompt, Search(4)))(run.parameters)
    found = run.generate(PROMPT, tokens=6, beams=4)
    assert found == run.tokenizer.decode(np.asarray(wanted)[0])
    told = cli.run(
        "generate", f"--run={trained}", f"--prompt={PROMPT}", "--tokens=6", "--beams=4", "--json"
    )
    assert f'"text": "{found}"' in told.out


@pytest.mark.parametrize("alpha", always([0.0, 4.0], [4.0]))
def test_a_hypothesis_that_holds_a_stop_is_finished(run, alpha):
    """Against a search in loops, whose hypotheses end at the stop, here a single character."""
    tokens, beams = 5, 3
    stop = run.generate(PROMPT, tokens=tokens, beams=beams)[1]

    @functools.cache
    def logp(ids):
        padded = jnp.asarray(ids + (0,) * (tokens + len(PROMPT) - len(ids)))[None]
        logits = run.model.logits(run.parameters, padded, Context())[0, len(ids) - 1]
        return np.asarray(jax.nn.log_softmax(logits), np.float64)

    start = tuple(run.tokenizer.encode(PROMPT).tolist())
    end = int(run.tokenizer.encode(stop)[0])
    alive = [(0.0, start, False)]
    for _ in range(tokens):
        following = [one for one in alive if one[2]]
        for score, ids, done in alive:
            if not done:
                each = enumerate(logp(ids)[: run.tokenizer.entries])
                following += [(score + p, (*ids, token), token == end) for token, p in each]
        alive = sorted(following, key=lambda h: -h[0])[:beams]
    score = {ids: p / ((5 + len(ids) - len(start)) / 6) ** alpha for p, ids, _ in alive}
    wanted = run.tokenizer.decode(np.array(max(score, key=lambda ids: score[ids])[len(start) :]))
    options: dict[str, Any] = {"tokens": tokens, "beams": beams, "length_penalty": alpha}
    assert run.generate(PROMPT, stop=stop, **options) == cut(wanted, [stop])


# What cannot be


@pytest.mark.parametrize(
    "options, message",
    [
        ({"min_p": -0.1}, r"min_p=-0.1: allowed is 0 \(all\) to 1"),
        ({"min_p": 1.5}, "min_p=1.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty=0.0: allowed is above 0"),
        ({"repetition_penalty": float("nan")}, "repetition_penalty=nan"),
        ({"beams": -1}, "beams=-1: allowed is 0 or more"),
        ({"beams": 300}, r"beams=300: allowed is 0 \(no search\) to \d+, the tokenizer's entries"),
        ({"beams": 2, "length_penalty": float("inf")}, "length_penalty=inf: allowed is a number"),
        ({"length_penalty": 1.0}, "of a search, which beams=4 asks for; leave out length_penalty"),
        ({"stop": ""}, "stop='': allowed is texts of a character or more"),
        ({"stop": ["a", ""]}, "a character or more"),
        ({"draws": 0}, "draws=0: allowed is 1 or more"),
        ({"seed": -1}, "seed=-1: allowed is 0 to 2147483647"),
        ({"seed": 2**31}, "seed=2147483648: allowed is 0 to 2147483647"),
        ({"seed": 2**31 - 2, "draws": 3}, "draws=3: allowed is 1 to 2"),
        ({"beams": 2, "temperature": 0.5}, "beams=2 searches .*; leave out temperature=0.5"),
        ({"beams": 2, "top_k": 4}, "leave out top_k=4"),
        ({"beams": 2, "min_p": 0.1}, "leave out min_p=0.1"),
        ({"beams": 2, "repetition_penalty": 2.0}, "leave out repetition_penalty=2.0"),
        ({"beams": 2, "draws": 2}, "leave out draws=2"),
        ({"beams": 2, "seed": 1}, "leave out seed=1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_compiled(run, options, message, monkeypatch):
    def compiled(*given):
        raise AssertionError("something was traced")

    for name in ("continuation", "searched", "filled"):
        monkeypatch.setattr(texts, name, compiled)
    with pytest.raises(ConfigurationError, match=message) as caught:
        run.generate("abc", **options)
    assert "\n" not in str(caught.value)


def test_a_translation_is_searched_for_and_refuses_what_is_of_drawing():
    task = SimpleNamespace(decodes=True, kind="translation", search=Search(4, 0.6))
    speaker: Any = SimpleNamespace(task=task, model=None, parameters=None)
    with pytest.raises(ConfigurationError, match="'translation' is searched for.* top_p=0.5"):
        list(texts.stream(speaker, "a", TextOptions(top_p=0.5)))
    search: Any = texts.search_of
    assert search(task, TextOptions()) == (4, 0.6)
    assert search(task, TextOptions(beams=2)) == (2, 0.6)
    assert search(task, TextOptions(beams=2, length_penalty=1.0)) == (2, 1.0)
    assert search(task, TextOptions(length_penalty=0.0)) == (4, 0.0)


@pytest.mark.parametrize(
    "positions, allowed", always([("learned", 8), ("axial", 9)], [("learned", 8)])
)
def test_what_learned_positions_have_no_place_for_is_refused(positions, allowed, tiny_config):
    made = tiny_config(model={"order": "s", "embedding": {"positions": positions}})
    task, model = build(made)
    loaded = Loaded(made, task, model, jax.jit(model.init)(jax.random.key(0)))
    needed = f"positions; the model has learned {allowed}"
    with pytest.raises(ConfigurationError, match=f"{needed}: say tokens={allowed - 4}$"):
        loaded.generate("read", tokens=allowed - 3)
    with pytest.raises(ConfigurationError, match=f"{needed}: say tokens=1 and a shorter prompt"):
        loaded.generate("read twice", tokens=1)
    for options in ({}, {"beams": 2}):
        assert len(loaded.generate("read", tokens=allowed - 4, **options)) == allowed - 4


def test_bad_values_of_the_command_are_one_line(trained):
    for word, says in (
        ("--min-p=2", "generate.min_p=2.0: allowed is 0 (all) to 1"),
        ("--draw=2147483648", "generate.seed=2147483648: allowed is 0 to 2147483647"),
        ("--stop=", "generate.stop=('',): allowed is texts"),
        ("--length-penalty=1", "leave out length_penalty=1.0"),
        ("--length-penalty=x", "invalid float value: 'x'"),
    ):
        told = cli.run("generate", f"--run={trained}", "--prompt=abc", word)
        assert told.code == 2 and told.out == "" and says in told.err, told.err
        assert told.err.count("\n") == 1
