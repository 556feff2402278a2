"""Token arrays: their types, their counts, and a cache that mends itself."""

import itertools
import os
import random

import numpy as np
import pytest

from arch.data import dataset
from arch.data.corpora import named as corpora
from arch.data.tokenizers import kinds as tokenizers

DATA = os.environ.get("ARCH_DATA_DIR")
real_data = pytest.mark.skipif(not DATA, reason="ARCH_DATA_DIR is not set")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ARCH_CACHE_DIR", str(tmp_path / "cache"))
    corpora.load.cache_clear()
    yield tmp_path / "cache"
    corpora.load.cache_clear()


@pytest.fixture
def corpus(tmp_path) -> str:
    (tmp_path / "text.txt").write_text("".join(f"Paragraph {i}\nof é\n\n" for i in range(300)))
    return f"file:{tmp_path}/text.txt"


@pytest.fixture
def builds(monkeypatch) -> list[str]:
    """The specs of the tokenizers built since."""
    specs, build = [], tokenizers.build
    monkeypatch.setattr(
        tokenizers, "build", lambda spec, corpus: (specs.append(spec), build(spec, corpus))[1]
    )
    return specs


def same(first: dataset.Dataset, second: dataset.Dataset) -> bool:
    return first.splits.keys() == second.splits.keys() and all(
        np.array_equal(a.ids, b.ids)
        and np.array_equal(a.documents, b.documents)
        and (a.bytes, a.words) == (b.bytes, b.words)
        for a, b in zip(first.splits.values(), second.splits.values(), strict=True)
    )


@pytest.mark.parametrize(
    "spec, kind",
    [
        ("bytes", np.uint8),
        ("characters", np.uint8),
        ("words:257", np.uint16),
        ("bpe:300", np.uint16),
        ("words:65536", np.uint16),
        ("words:65537", np.int32),
    ],
)
def test_ids_have_the_smallest_type_that_holds_the_vocabulary(corpus, spec, kind):
    for tokens in dataset.load(corpus, spec).splits.values():
        assert tokens.ids.dtype == kind


@pytest.mark.parametrize("spec", ["bytes", "characters", "bpe:300"])
def test_the_stream_is_the_documents_in_order(corpus, spec):
    data, text = dataset.load(corpus, spec), corpora.load(corpus)
    for split, tokens in data.splits.items():
        assert tokens.documents.dtype == np.int64 and tokens.documents[0] == 0
        borders = itertools.pairwise([*tokens.documents, len(tokens.ids)])
        assert (
            tuple(data.tokenizer.decode(tokens.ids[a:b]) for a, b in borders) == text.splits[split]
        )


def test_words_and_bytes_are_those_of_the_text_whatever_the_tokenizer(corpus):
    for spec in ("bytes", "words", "bpe:300"):
        tokens = dataset.load(corpus, spec).splits["train"]
        text = "".join(corpora.load(corpus).splits["train"])
        assert tokens.bytes == len(text.encode())
        assert tokens.words == len(text.split()) + text.count("\n")
    assert len(dataset.load(corpus, "words").splits["train"].ids) == tokens.words


def test_the_second_load_reads_a_memory_map_and_builds_nothing(corpus, builds):
    first, second = dataset.load(corpus, "bpe:300"), dataset.load(corpus, "bpe:300")
    assert builds == ["bpe:300"]
    assert same(first, second)
    assert second.tokenizer.to_json() == first.tokenizer.to_json()
    assert isinstance(second.splits["train"].ids, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        second.splits["train"].ids[0] = 1


def test_another_spec_or_another_text_is_another_entry(corpus, builds, tmp_path):
    dataset.load(corpus, "words:100")
    dataset.load(corpus, "words:101")
    (tmp_path / "text.txt").write_text("Another text\n" * 100)
    corpora.load.cache_clear()
    dataset.load(corpus, "words:100")
    assert builds == ["words:100", "words:101", "words:100"]


def truncate(content: bytes) -> bytes:
    return content[:-1]


def flip(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


@pytest.mark.parametrize(
    "damage", [truncate, flip, lambda content: b""], ids=["truncated", "flipped", "empty"]
)
@pytest.mark.parametrize("file", ["entry.json", "train.ids.npy", "valid.documents.npy"])
def test_a_damaged_entry_is_named_and_made_again(corpus, cache, builds, caplog, file, damage):
    whole = dataset.load(corpus, "bytes")
    expected = {split: np.array(tokens.ids) for split, tokens in whole.splits.items()}
    path = next((cache / "tokens").rglob(file))
    content = path.read_bytes()
    path.unlink()  # The map of the first load keeps the old bytes.
    path.write_bytes(damage(content))
    assert caplog.text == ""
    again = dataset.load(corpus, "bytes")
    assert builds == ["bytes", "bytes"]
    (said,) = caplog.messages
    assert "made again from the text" in said and str(path) in said
    for split, ids in expected.items():
        np.testing.assert_array_equal(again.splits[split].ids, ids)
    dataset.load(corpus, "bytes")
    assert len(builds) == 2
    assert len(list((cache / "tokens").iterdir())) == 1


@pytest.mark.parametrize("at", range(20))
def test_no_flipped_bit_of_the_cache_is_trained_on(corpus, cache, caplog, at):
    whole = dataset.load(corpus, "words:200")
    source = random.Random(at)
    files = sorted(path for path in (cache / "tokens").rglob("*") if path.is_file())
    (path,) = source.choices(files, weights=[file.stat().st_size for file in files])
    content = bytearray(path.read_bytes())
    content[source.randrange(len(content))] ^= 1 << source.randrange(8)
    expected = {split: np.array(tokens.ids) for split, tokens in whole.splits.items()}
    path.unlink()
    path.write_bytes(content)
    again = dataset.load(corpus, "words:200")
    assert str(path) in caplog.text
    assert same(again, whole) and again.tokenizer.to_json() == whole.tokenizer.to_json()
    assert all(np.array_equal(again.splits[split].ids, ids) for split, ids in expected.items())


def test_a_missing_file_of_an_entry_is_made_again(corpus, cache):
    whole = dataset.load(corpus, "bytes")
    next((cache / "tokens").rglob("test.ids.npy")).unlink()
    assert same(dataset.load(corpus, "bytes"), whole)


def test_without_a_cache_to_write_the_arrays_stay_in_memory(corpus, cache, caplog):
    cache.write_text("a file where the folder should be")
    data = dataset.load(corpus, "words")
    assert len(data.splits["train"].ids) == data.splits["train"].words
    assert "tokens are not cached" in caplog.text


def test_a_malformed_tokenizer_fails_before_any_text_is_read():
    with pytest.raises(ValueError, match="tokenizer 'wrods'"):
        dataset.load("file:/no/such", "wrods")


@real_data
def test_ptb_in_words_has_the_published_counts(monkeypatch):
    monkeypatch.setenv("ARCH_DATA_DIR", DATA)
    data = dataset.load("ptb", "words")
    assert data.tokenizer.size == 10_000
    assert {split: len(tokens.ids) for split, tokens in data.splits.items()} == {
        "train": 929_589,
        "valid": 73_760,
        "test": 82_430,
    }
    assert all(tokens.words == len(tokens.ids) for tokens in data.splits.values())


@real_data
@pytest.mark.parametrize("split, words", [("valid", 217_646), ("test", 245_569)])
def test_wikitext_2_in_words_has_the_published_counts(split, words):
    with open(f"{DATA}/wikitext-2/{split}.txt", encoding="utf-8", newline="") as file:
        text = file.read()
    corpus = corpora.Corpus("wikitext-2", {"train": (text,)}, "", {})
    assert len(tokenizers.build("words", corpus).encode(text)) == words
