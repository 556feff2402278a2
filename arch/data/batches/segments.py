"""Pairs of segments, [CLS] A [SEP] B [SEP], drawn from a corpus on the device.

    in order    B follows A in its document
    swapped     the same two, B first (Lan et al. 2019, §3.1: sentence order)
    random      B is from another document (Devlin et al. 2018, §3.1: next sentence)

A pair fills at most a target length: all there is room for or, in a share `short` of the pairs, a
uniform length from 2 on. It starts at a uniform token, moved back to where its sentence begins; A
and B are whole sentences, the border between them uniform among those that there are. Where the
target holds fewer than two sentences, all of it is cut at any token, A's start and B's end too, so
that no cut tells the order. A document counts by its length; one of a single token is left out, and
one that is shorter than the target makes a shorter pair.

Both papers' code walks through the documents once instead, and cuts what is too long at either end.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from arch.data.tokenizers.kinds import Tokenizer
from arch.data.tokens import Tokens

SPECIAL = 4
PAD, CLS, SEP, MASK = range(SPECIAL)  # above the last entry of a tokenizer without its own
NAMES = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
RELATIONS = ("none", "next", "order")
AROUND = 3  # [CLS], [SEP], [SEP]
TRIES = 8  # places looked at for a random B that is of whole sentences, as a following one is


class Special(NamedTuple):
    """The ids of [PAD], [CLS], [SEP] and [MASK]."""

    pad: int
    cls: int
    sep: int
    mask: int


class PairSource(NamedTuple):
    """A split on the device, from which pairs are drawn.

    Attributes:
        ids: its tokens.
        starts, lengths: of the documents of two tokens or more.
        ends: the running sum of the lengths.
        sentences: where sentences begin; see `borders.sentences`.
    """

    ids: Int[Array, " n"]
    starts: Int[Array, " documents"]
    lengths: Int[Array, " documents"]
    ends: Int[Array, " documents"]
    sentences: Int[Array, " m"]


class PairRows(NamedTuple):
    """Pairs as sequences of one length, filled up with [PAD].

    Attributes:
        segments: 1 in B and its [SEP], else 0.
        mask: False at [PAD].
        label: 0 where B follows A; 1 where the two are swapped, or B is random.
    """

    ids: Int[Array, "*batch length"]
    segments: Int[Array, "*batch length"]
    mask: Bool[Array, "*batch length"]
    label: Int[Array, "*batch"]


class Span(NamedTuple):
    """Tokens start … end - 1 of the split."""

    start: Int[Array, ""]
    end: Int[Array, ""]


def above(entries: int) -> Special:
    """The four ids that follow a tokenizer's entries."""
    return Special(*range(entries, entries + SPECIAL))


def special(tokenizer: Tokenizer) -> Special:
    """The tokenizer's own special tokens; if it knows of none, the ids after its entries.

    Raises:
      ValueError: it has some, but not all of them.
    """
    if tokenizer.special is None:
        return above(tokenizer.size)
    if missing := [name for name in NAMES if name not in tokenizer.special]:
        raise ValueError(
            f"its vocabulary has no {', '.join(missing)}; expected are {', '.join(NAMES)}"
        )
    return Special(*(tokenizer.special[name] for name in NAMES))


def lengths(tokens: Tokens) -> Int[np.ndarray, " documents"]:
    """Tokens of each document."""
    return np.diff(np.append(tokens.documents, len(tokens.ids)))


def text(tokens: Tokens, sentences: Int[np.ndarray, " m"]) -> PairSource:
    """A split and its `borders.sentences`, on the device."""
    sizes = lengths(tokens)
    used = sizes > 1
    arrays = np.asarray(tokens.documents)[used], sizes[used], np.cumsum(sizes[used]), sentences
    return PairSource(jnp.asarray(tokens.ids), *(jnp.asarray(a.astype(np.int32)) for a in arrays))


def draw(
    key: Key[Array, ""],
    text: PairSource,
    special: Special,
    length: int,
    relation: str,
    short: Float[Array, ""] | float,
) -> PairRows:
    """One pair: a pure function of the key.

    Args:
        special: the tokens around the segments.
        length: of the row, [CLS] and both [SEP] included.
        short: the share of pairs with a target length drawn from 2 on.
        relation: none: B always follows A. order, next: half of the pairs have label 1.
    """
    target_key, pair_key, label_key, other_key = jax.random.split(key, 4)
    target = _target(target_key, length - AROUND, short)
    first, second, whole, document = _following(pair_key, text, target)
    label = jnp.zeros((), jnp.int32)
    if relation != "none":
        label = jax.random.bernoulli(label_key).astype(jnp.int32)
    if relation == "order":
        changed = second, first
    elif relation == "next":
        room = target - (first.end - first.start)
        size = second.end - second.start
        changed = first, _elsewhere(other_key, text, document, room, size, whole)
    else:
        changed = first, second
    first, second = jax.tree.map(lambda a, b: jnp.where(label, a, b), changed, (first, second))
    return _row(text.ids, first, second, special, length, label)


def _target(key, most: int, short) -> Int[Array, ""]:
    """Tokens that the two segments may have together."""
    is_short, size = jax.random.split(key)
    drawn = jax.random.randint(size, (), 2, most + 1)
    return jnp.where(jax.random.bernoulli(is_short, short), drawn, most)


def _place(text: PairSource, index) -> tuple[Array, Array]:
    """(token, document) of the index-th token of the documents that are used."""
    document = jnp.searchsorted(text.ends, index, side="right")
    within = index - text.ends[document] + text.lengths[document]
    return text.starts[document] + within, document


def _last(text: PairSource, token) -> Int[Array, ""]:
    """Which is the last border of sentences that is not after a token."""
    return jnp.searchsorted(text.sentences, token, side="right") - 1


def _following(key, text: PairSource, target) -> tuple[Span, Span, Array, Array]:
    """(A, B, whether they are whole sentences, their document)."""
    where, between, anywhere = jax.random.split(key, 3)
    token, document = _place(text, jax.random.randint(where, (), 0, text.ends[-1]))
    size = jnp.minimum(target, text.lengths[document])
    start = jnp.minimum(token, text.starts[document] + text.lengths[document] - size)
    first = _last(text, start)
    last = _last(text, text.sentences[first] + size)
    whole = last - first >= 2
    border = jax.random.randint(between, (), first + 1, jnp.maximum(last, first + 2))
    cut = start + jax.random.randint(anywhere, (), 1, size)
    left = jnp.where(whole, text.sentences[first], start)
    middle = jnp.where(whole, text.sentences[border], cut)
    right = jnp.where(whole, text.sentences[last], start + size)
    return Span(left, middle), Span(middle, right), whole, document


def _elsewhere(key, text: PairSource, document, room, size, whole) -> Span:
    """A B of another document: whole sentences that `room` holds if A is, else `size` tokens."""
    others = text.ends[-1] - text.lengths[document]
    index = jax.random.randint(key, (TRIES,), 0, others)
    size_here = text.lengths[document]
    index = jnp.where(index >= text.ends[document] - size_here, index + size_here, index)
    token, other = _place(text, index)
    end = text.starts[other] + text.lengths[other]
    begin = _last(text, token)
    start = text.sentences[begin]
    stop = text.sentences[_last(text, jnp.minimum(start + room, end))]
    fits = stop > start
    chosen = jnp.argmax(fits)  # the first, or 0
    by_token = jnp.minimum(size, text.lengths[other][0])
    raw = jnp.minimum(token[0], end[0] - by_token)
    sentences = whole & fits[chosen]
    return Span(
        jnp.where(sentences, start[chosen], raw),
        jnp.where(sentences, stop[chosen], raw + by_token),
    )


def _row(ids, first: Span, second: Span, special: Special, length: int, label) -> PairRows:
    """[CLS] A [SEP] B [SEP] [PAD] …"""
    place = jnp.arange(length)
    border = 1 + first.end - first.start
    end = border + 1 + second.end - second.start
    in_first, in_second = (place > 0) & (place < border), (place > border) & (place < end)
    source = jnp.where(in_first, first.start + place - 1, second.start + place - border - 1)
    there = in_first | in_second
    tokens = ids[jnp.where(there, source, 0)].astype(jnp.int32)
    at_end = (place == border) | (place == end)
    around = jnp.where(place == 0, special.cls, jnp.where(at_end, special.sep, special.pad))
    return PairRows(
        ids=jnp.where(there, tokens, around),
        segments=((place > border) & (place <= end)).astype(jnp.int32),
        mask=place <= end,
        label=label,
    )
