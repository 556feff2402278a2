"""What each tokenizer promises about its entries, its ids and its text."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch.data.corpora import named as corpora
from arch.data.tokenizers import bpe
from arch.data.tokenizers import kinds as tokenizers

TRAIN = "the cat sat on the mat\nthe dog sat\n"


def corpus(train: str = TRAIN, valid: str = "the cat\n") -> corpora.Corpus:
    return corpora.Corpus("made up", {"train": (train,), "valid": (valid,)}, "digest", {})


BUILT = {
    spec: tokenizers.build(spec, corpus())
    for spec in ("bytes", "characters", "words", "words:5", "bpe:262")
}


@pytest.mark.parametrize("spec", BUILT)
def test_json_gives_an_equal_tokenizer(spec):
    saved = json.loads(json.dumps(BUILT[spec].to_json()))
    again = tokenizers.from_json(saved)
    assert again.to_json() == saved
    assert (again.size, again.unit, again.lossless) == (
        BUILT[spec].size,
        BUILT[spec].unit,
        BUILT[spec].lossless,
    )
    np.testing.assert_array_equal(again.encode(TRAIN), BUILT[spec].encode(TRAIN))


@pytest.mark.parametrize("spec", BUILT)
def test_ids_are_int32_below_the_size(spec):
    ids = BUILT[spec].encode(TRAIN + "a nod on the hog")
    assert ids.dtype == np.int32 and ids.ndim == 1
    assert 0 <= ids.min() and ids.max() < BUILT[spec].size
    assert len(BUILT[spec].encode("")) == 0


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_bytes_and_bpe_give_any_text_back(text):
    for spec in ("bytes", "bpe:262"):
        assert BUILT[spec].decode(BUILT[spec].encode(text)) == text


@settings(max_examples=50, deadline=None)
@given(st.binary())
def test_bytes_and_bpe_give_bytes_back_that_are_no_text(data):
    text = data.decode("utf-8", "surrogateescape")
    assert BUILT["bytes"].encode(text).tolist() == list(data)
    for spec in ("bytes", "bpe:262"):
        assert corpora.encode(BUILT[spec].decode(BUILT[spec].encode(text))) == data


def test_characters_are_those_of_train_in_order():
    tokenizer = tokenizers.build("characters", corpus("banana", "nab"))
    assert (tokenizer.size, tokenizer.unit, tokenizer.lossless) == (3, "character", True)
    assert tokenizer.encode("ban").tolist() == [1, 0, 2]
    assert tokenizer.decode([1, 0, 2]) == "ban"


def test_characters_have_an_unknown_entry_only_where_another_split_needs_it():
    tokenizer = tokenizers.build("characters", corpus("banana", "nabob"))
    assert (tokenizer.size, tokenizer.lossless) == (4, False)
    assert tokenizer.encode("bob").tolist() == [1, 3, 1]
    with pytest.raises(ValueError, match="character 'o' is not one of the corpus’s 3"):
        tokenizers.build("characters", corpus("banana", "nab")).encode("bob")


def test_words_are_ranked_by_frequency_then_alphabet():
    words = BUILT["words"]
    assert words.words == ["<unk>", "<eos>", "the", "sat", "cat", "dog", "mat", "on"]
    assert words.encode("the cat\n").tolist() == [2, 4, 1]
    assert words.decode([2, 4, 1, 3, 1, 1]) == "the cat\nsat\n\n"


def test_words_tokenizer_cuts_rare_words_to_unk():
    words = BUILT["words:5"]
    assert words.size == 5 and not words.lossless
    assert words.encode("the cat sat on\n").tolist() == [2, 4, 3, 0, 1]


def test_unk_in_the_text_is_the_entry_unk():
    words = tokenizers.build("words", corpus("a <unk> <unk> b\n"))
    assert words.words == ["<unk>", "<eos>", "a", "b"]
    assert words.encode("<unk> a").tolist() == [0, 2, 1]


def test_every_line_ends_in_eos_the_last_one_too():
    words = BUILT["words"]
    assert words.encode("the").tolist() == words.encode("the\n").tolist() == [2, 1]
    assert words.encode("\n\nthe").tolist() == [1, 1, 2, 1]
    assert tokenizers.lines("a\nb") == tokenizers.lines("a\nb\n") == 2
    assert tokenizers.lines("") == 0


def test_a_small_corpus_leaves_the_last_entries_unused():
    for spec in ("words:1000", "bpe:1000"):
        tokenizer = tokenizers.build(spec, corpus())
        assert tokenizer.size == 1000 == tokenizers.fixed_size(spec)
        assert tokenizer.encode(TRAIN).max() < 300
        tokenizer.decode([999])


def test_bpe_merges_the_commonest_bytes_and_is_deterministic():
    first, second = (tokenizers.build("bpe:300", corpus(TRAIN * 10)) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert len(first.encode(TRAIN)) < len(TRAIN) / 2


def test_bpe_of_chunks_is_bpe_of_the_text(monkeypatch):
    text = "  the  cat\n\n\tsat on  \n the mat,  and   \n\n\n dog" * 5
    whole = BUILT["bpe:262"].encode(text)
    monkeypatch.setattr(bpe, "CHUNK", 16)
    np.testing.assert_array_equal(BUILT["bpe:262"].encode(text), whole)


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="ab \n\t"), st.integers(1, 5))
def test_chunks_join_to_the_text_and_cut_no_word(text, characters):
    pieces = list(tokenizers.chunks(text, characters))
    assert "".join(pieces) == text
    assert [word for piece in pieces for word in piece.split()] == text.split()


def test_the_size_is_fixed_by_the_spec_or_by_the_corpus():
    sizes = {"bytes": 256, "characters": 0, "words": 0, "words:10000": 10000, "bpe:8192": 8192}
    assert {spec: tokenizers.fixed_size(spec) for spec in sizes} == sizes


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "byte",
        "bytes:256",
        "characters:65",
        "words:",
        "words:2",
        "words:1e4",
        "words:-5",
        "bpe",
        "bpe:255",
        "bpe:8k",
        "bpe: 300",
    ],
)
def test_a_malformed_spec_is_told_what_is_allowed(spec):
    with pytest.raises(ValueError, match=r"expected bytes, characters, words, words:N .* bpe:N"):
        tokenizers.fixed_size(spec)
    with pytest.raises(ValueError, match="expected bytes"):
        tokenizers.build(spec, corpus())


def test_an_unknown_kind_cannot_be_restored():
    with pytest.raises(ValueError, match="kind 'wordpiece': expected one of"):
        tokenizers.from_json({"kind": "wordpiece"})


@pytest.mark.skipif("ARCH_DATA_DIR" not in os.environ, reason="ARCH_DATA_DIR is not set")
def test_tinyshakespeare_has_65_characters():
    tokenizer = tokenizers.build("characters", corpora.load("tinyshakespeare"))
    assert (tokenizer.size, tokenizer.lossless) == (65, True)
