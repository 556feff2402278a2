"""No text is lost in silence on its way to tokens: it comes back, is counted, or is refused."""

import json

import numpy as np
import pytest
import tokenizers as package
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers

from arch.data import dataset, tokens
from arch.data.corpora import named as corpora
from arch.data.tokenizers import bpe
from arch.data.tokenizers import kinds as tokenizers
from arch.data.tokenizers.contract import LostTextError, printable_bytes
from arch.data.tokenizers.imported import TokenizerFile
from arch.registry import ConfigurationError
from arch.tasks.language_model import LanguageModel

TRAIN = "the cat sat on the mat, Zoë!\nthe dog <unk> sat\n"
LETTERS = sorted(set(TRAIN) - {" ", "\n"})
BYTES = list(printable_bytes().values())


def made(model, before=None, normalizer=None, decoder=None) -> TokenizerFile:
    content = package.Tokenizer(model)
    content.pre_tokenizer = before or pre_tokenizers.Whitespace()
    if normalizer is not None:
        content.normalizer = normalizer
    if decoder is not None:
        content.decoder = decoder
    return TokenizerFile(content.to_str())


def numbered(*entries: str) -> dict[str, int]:
    return {entry: i for i, entry in enumerate(dict.fromkeys(entries))}


def byte_level(entries, **options) -> TokenizerFile:
    before = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model = models.BPE(vocab=numbered(*entries), merges=[], **options)
    return made(model, before, decoder=decoders.ByteLevel())


FALLBACK = [f"<0x{byte:02X}>" for byte in range(256)]
FILES = {
    "byte-level": byte_level(BYTES),
    "byte-level, no é": byte_level([c for b, c in printable_bytes().items() if b != 0xA9]),
    "byte-level, no é, unk": byte_level(["[UNK]", *BYTES[:60]], unk_token="[UNK]"),
    "bpe": made(models.BPE(vocab=numbered(*LETTERS), merges=[])),
    "bpe, unk": made(models.BPE(vocab=numbered("[UNK]", *LETTERS), merges=[], unk_token="[UNK]")),
    "bpe, fallback": made(
        models.BPE(vocab=numbered(*FALLBACK, *LETTERS), merges=[], byte_fallback=True)
    ),
    "bpe, lowercase": made(
        models.BPE(vocab=numbered(*"abcdefghijklmnopqrstuvwxyz"), merges=[]),
        normalizer=normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(),
                                         normalizers.Lowercase()]),
    ),
    "words": made(models.WordLevel(vocab=numbered("the", "cat"), unk_token="[UNK]")),
    "words, unk": made(models.WordLevel(vocab=numbered("[UNK]", "the"), unk_token="[UNK]")),
    "wordpiece": made(
        models.WordPiece(vocab=numbered("[UNK]", *LETTERS, "##a"), unk_token="[UNK]"),
        decoder=decoders.WordPiece(),
    ),
    "unigram": made(models.Unigram([(c, -1.0) for c in LETTERS])),
    "unigram, unk": made(models.Unigram([("<unk>", 0.0), *((c, -1.0) for c in LETTERS)], unk_id=0)),
}  # fmt: skip
OWN = {
    spec: tokenizers.build(
        spec, corpora.Corpus("made", {"train": (TRAIN,), "valid": ("the é",)}, "digest", {})
    )
    for spec in ("bytes", "characters", "words", "words:5", "bpe:262")
}
TEXT = st.one_of(
    st.text(),
    st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")),
    st.lists(st.sampled_from([*"the cat", "é", "e\u0301", "ß", "[UNK]", "<unk>", "<eos>", "东",
                              "\ufeff", "\r\n", "\t", "  ", "the", "cat", "Zürich"])).map("".join),
)  # fmt: skip


@pytest.mark.parametrize("name", [*FILES, *OWN])
@settings(max_examples=60, deadline=None)
@given(text=TEXT)
def test_any_text_comes_back_or_is_counted_or_refused(name, text):
    tokenizer = (FILES | OWN)[name]
    try:
        found = tokens.tokenise([text], tokenizer)
    except ValueError:
        assert not tokenizer.lossless
        return
    assert tokenizer.decode(found.ids) == text or any(found.losses)
    ids = tokenizer.encode(text)
    assert tokenizer.lossless <= (not any(found.losses))
    # nothing is dropped whole: what is no white space has tokens
    assert len(ids) or not text.strip() or found.losses.characters


@pytest.mark.parametrize("name", FILES)
def test_what_has_no_entry_is_refused_in_one_line_or_becomes_unknown_and_is_counted(name):
    tokenizer, text = FILES[name], "the é東 cat"
    if tokenizer.unknown < 0 and name not in ("byte-level", "bpe, fallback"):
        with pytest.raises(LostTextError, match="^it has no entry for .*; add an unknown token"):
            tokenizer.encode(text)
        return
    found = tokens.tokenise([text], tokenizer)
    assert (found.losses.unknown > 0) == (name not in ("byte-level", "bpe, fallback"))


def test_what_a_normaliser_takes_away_is_not_lost_and_its_letters_are_counted():
    tokenizer = FILES["bpe, lowercase"]
    assert tokens.tokenise(["The Café e\u0301"], tokenizer).losses.characters == 4
    with pytest.raises(LostTextError, match="no entry for '東'"):
        tokenizer.encode("The 東")


def test_an_unknown_token_that_the_text_has_is_none_of_ours():
    assert tokens.tokenise(["the <unk> sat\n"], OWN["words"]).losses.unknown == 0
    assert tokens.tokenise(["the zebra <unk>\n"], OWN["words"]).losses.unknown == 1


@pytest.fixture
def corpus(monkeypatch, tmp_path) -> str:
    monkeypatch.setenv("ARCH_CACHE_DIR", str(tmp_path / "cache"))
    for split, text in (("train", "the cat\n"), ("valid", "the cat sat\n")):
        (tmp_path / f"{split}.txt").write_text(text * 40)
    return f"file:{tmp_path}"


def test_unknown_tokens_stand_in_prepare_in_provenance_and_in_the_unit(corpus):
    task = LanguageModel(corpus=corpus, tokenizer="words", length=8)
    assert "valid 40 (25.00%) tokens become <unk>" in task.about
    assert task.details["unknown"] == {"valid": 0.25}
    assert dataset.load(corpus, "words").splits["valid"].losses.unknown == 40  # from the cache
    figures = task.figures("valid", {"loss": 1.0}, len(task.dataset.splits["valid"].ids) - 1)
    assert figures["unit"] == "word with 25% <unk>" and figures["unknown"] == 0.25
    assert "word_perplexity" not in figures


def test_lost_text_is_an_error_of_the_tokenizer(corpus, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.loads(json.dumps(FILES["unigram"].content)))
    (tmp_path / "train.txt").write_text("東京 the cat\n" * 40)
    with pytest.raises(ConfigurationError, match="^task.tokenizer='file:.*: of 'file:.*no entry"):
        _ = LanguageModel(
            corpus=corpus, tokenizer=f"file:{tmp_path}/tokenizer.json", length=8
        ).dataset


def test_learning_merges_of_text_without_spaces_ends(monkeypatch):
    monkeypatch.setattr(bpe, "LONGEST", 50)
    text = "".join(np.random.default_rng(0).choice(list("ACGT"), 20_000))
    learned = bpe.BPE.train([text, " " * 3000], 300)
    assert len(learned.merges) > 20 and learned.decode(learned.encode(text)) == text


def test_a_text_of_other_words_than_the_tokenizers_is_refused(tmp_path):
    """A model of it would have perplexity 1, of nothing."""
    (tmp_path / "train.txt").write_text("the cat sat on a mat\n" * 50)
    (tmp_path / "valid.txt").write_text("дом лес река\n" * 10)
    task = LanguageModel(corpus=f"file:{tmp_path}", tokenizer="words", length=4)
    with pytest.raises(ConfigurationError) as caught:
        _ = task.dataset
    said = str(caught.value)
    assert "75% of the valid tokens would be <unk>, allowed is at most 50%" in said
    assert "task.tokenizer='words'" in said and "\n" not in said
