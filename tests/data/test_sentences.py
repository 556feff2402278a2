"""Sentences read back by the words of the grammar: their subjects, their verbs, what is drawn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch.data.generated import sentences
from arch.data.generated.sentences import ARE, DETERMINERS, IS, PREPOSITIONS, THAT

MOST, NOUNS, EXAMPLES = 3, 12, 1024


@functools.cache
def drawn(between, attract=False, seed=0):
    keys = jax.random.split(jax.random.key(seed), EXAMPLES)
    make = functools.partial(
        sentences.sentence, most=MOST, between=jnp.int32(between), attract=attract, nouns=NOUNS
    )
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(make))(keys))


def kind(word):
    if word in PREPOSITIONS:
        return "P"
    if word in DETERMINERS:
        return "D"
    return "t" if word == THAT else "N" if word >= sentences.FIRST_NOUN else "V"


def number(word):
    """0: singular, 1: plural."""
    first = sentences.FIRST_NOUN if kind(word) == "N" else sentences.FIRST_VERB
    return (word - first) % 2


def parsed(words):
    """(kinds as a text, place of the subject, (verb, the noun it agrees with) of each clause)."""
    text, at, clauses = "".join(map(kind, words)), 0, []
    at = 3 if text.startswith("PDN") else 0
    assert text[at : at + 2] == "DN"
    subject = noun = at + 1
    at += 2
    while at < len(text):
        if text.startswith("PDN", at):
            noun, at = at + 2, at + 3
        elif text.startswith("tVDN", at):
            clauses.append((at + 1, noun))
            noun, at = at + 3, at + 4
        else:
            assert text.startswith("tDNV", at), text
            clauses.append((at + 3, at + 2))
            noun, at = at + 2, at + 4
    return text, subject, clauses


@pytest.mark.parametrize("between", range(MOST + 1))
@pytest.mark.parametrize("attract", [False, True])
def test_every_sentence_is_of_the_grammar_and_its_verbs_agree(between, attract):
    made, seen, mixed = drawn(between, attract), set(), False
    for row, size, verb in zip(*made, strict=True):
        assert row[size - 1] and not row[size:].any()
        words = row[:size].tolist()
        text, subject, clauses = parsed(words)
        assert verb == (ARE if number(words[subject]) else IS)
        for clause, noun in clauses:
            assert number(words[clause]) == number(words[noun])
        others = [number(w) for w in words[subject + 1 :] if kind(w) == "N"]
        assert len(others) == between
        same = [n == number(words[subject]) for n in others]
        assert not (attract and any(same))
        mixed |= any(same)
        seen.add(text)
    # with a place before or not, a place or one of two clauses for each noun between
    assert len(seen) == 2 * 3**between
    assert mixed == (between > 0 and not attract)


def test_numbers_are_even_and_words_are_drawn_by_their_ranks():
    made = drawn(MOST)
    assert (made.verb == IS).mean() == pytest.approx(0.5, abs=0.1)
    ids = made.words[made.words >= sentences.FIRST_NOUN] - sentences.FIRST_NOUN
    counts = np.bincount(ids // 2, minlength=NOUNS) / len(ids)
    expected = 1 / np.arange(1, NOUNS + 1)
    np.testing.assert_allclose(counts, expected / expected.sum(), atol=0.04)
    assert (ids % 2).mean() == pytest.approx(0.5, abs=0.05)
    assert made.words.max() < sentences.vocabulary(NOUNS)
    assert made.size.max() <= sentences.longest(MOST) == made.words.shape[1]


def test_a_sentence_is_a_function_of_its_key():
    again = jax.tree.map(np.array_equal, drawn(2), drawn.__wrapped__(2))
    assert all(again)
    assert not np.array_equal(drawn(2).words, drawn(2, seed=1).words)
