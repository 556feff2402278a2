"""Where sentences in two languages are found, and what is said when they are no pairs."""

import gzip
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from arch.data import dataset, parallel
from arch.data.corpora import downloads
from arch.data.corpora.reading import CorpusError
from arch.data.tokenizers import kinds as tokenizers

DATA = os.environ.get("ARCH_DATA_DIR")
multi30k = pytest.mark.skipif(
    not DATA or not Path(DATA, "multi30k").is_dir(), reason="no multi30k in ARCH_DATA_DIR"
)

GERMAN = ["ein hund läuft .", "zwei männer", "", "ein haus"]
ENGLISH = ["a dog runs .", "two men", "nothing", "a house"]


@pytest.fixture(autouse=True)
def own_directories(monkeypatch, tmp_path):
    monkeypatch.setenv("ARCH_CACHE_DIR", str(tmp_path / "cache"))
    parallel.load.cache_clear()
    yield
    parallel.load.cache_clear()


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "pairs"
    place.mkdir()
    for split in ("train", "val"):
        (place / f"{split}.de").write_text("\n".join(GERMAN) + "\n")
        (place / f"{split}.en").write_text("\n".join(ENGLISH) + "\n")
    return place


def test_lines_of_one_number_are_a_pair_and_empty_ones_count(folder):
    text = parallel.load(f"file:{folder}", "de", "en")
    assert {split: dict(sides) for split, sides in text.splits.items()} == {
        split: {"de": tuple(GERMAN), "en": tuple(ENGLISH)} for split in ("train", "valid")
    }


def test_line_ends_are_newlines_alone_and_a_carriage_return_before_them_goes(folder):
    (folder / "val.de").write_bytes("a\u2028b\x85c\r\nd\r\n".encode())
    (folder / "val.en").write_bytes(b"a\nb")
    splits = parallel.load(f"file:{folder}", "de", "en").splits
    assert splits["valid"] == {"de": ("a\u2028b\x85c", "d"), "en": ("a", "b")}


@pytest.mark.parametrize("name", ["test", "test_2016_flickr", "test.lc", "test2016"])
def test_whatever_begins_with_test_is_the_test_split_packed_or_not(folder, name):
    (folder / f"{name}.de.gz").write_bytes(gzip.compress(b"eins\n"))
    (folder / f"{name}.en").write_text("one\n")
    splits = parallel.load(f"file:{folder}", "de", "en").splits
    assert splits["test"] == {"de": ("eins",), "en": ("one",)}


def test_the_digest_is_the_same_in_either_direction_and_changes_with_a_sentence(folder):
    first = parallel.load(f"file:{folder}", "de", "en").sha256
    assert parallel.load(f"file:{folder}", "en", "de").sha256 == first
    parallel.load.cache_clear()
    (folder / "val.en").write_text("\n".join(["A dog", *ENGLISH[1:]]))
    assert parallel.load(f"file:{folder}", "de", "en").sha256 != first


def test_tokens_round_trip_sentence_by_sentence(folder):
    text = parallel.load(f"file:{folder}", "de", "en")
    tokenizer, splits = parallel.tokenise(text, "bpe:280")
    for split, sides in splits.items():
        for language, tokens in sides.items():
            ends = [*tokens.documents[1:], len(tokens.ids)]
            decoded = [
                tokenizer.decode(tokens.ids[a:b])
                for a, b in zip(tokens.documents, ends, strict=True)
            ]
            assert tuple(decoded) == text.splits[split][language]


def test_the_tokenizer_learns_from_both_languages(folder):
    (folder / "train.de").write_text("zz zz zz\n" * 50)
    (folder / "train.en").write_text("qq qq qq\n" * 50)
    tokenizer, _ = parallel.tokenise(parallel.load(f"file:{folder}", "de", "en"), "bpe:260")
    assert len(tokenizer.encode("zz")) == len(tokenizer.encode("qq")) == 1


def test_tokens_come_from_the_cache_unless_it_is_damaged(folder, monkeypatch, caplog):
    text, built, build = parallel.load(f"file:{folder}", "de", "en"), [], tokenizers.build
    monkeypatch.setattr(tokenizers, "build", lambda *a: (built.append(a), build(*a))[1])
    _, first = parallel.tokenise(text, "bpe:280")
    _, second = parallel.tokenise(text, "bpe:280")
    assert len(built) == 1
    assert np.array_equal(first["train"]["de"].ids, second["train"]["de"].ids)
    (entry,) = (dataset.cache_directory() / "tokens").glob("*/train.de.ids.npy")
    entry.unlink()  # the map of the first load keeps the old bytes
    entry.write_bytes(b"damaged")
    _, third = parallel.tokenise(text, "bpe:280")
    assert len(built) == 2 and str(entry) in caplog.text
    assert np.array_equal(first["train"]["de"].ids, third["train"]["de"].ids)


def test_encoding_texts_together_is_encoding_each():
    tokenizer = tokenizers.BPE.train(["ein hund und ein haus"], 270)
    texts = ["ein hund", "", "a\udc80b", "ünd", " ein  ", "x" * 300]
    together = tokenizer.encode_all(texts)
    assert [ids.tolist() for ids in together] == [tokenizer.encode(t).tolist() for t in texts]


def replaced(name: str, content: bytes | None):
    def change(folder: Path):
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(content)

    return change


@pytest.mark.parametrize(
    "change, said",
    [
        (replaced("train.en", b"a\nb\n"), r"the train split has 4 lines in de and 2 lines in en"),
        (replaced("train.en", None), r"no train file in en, such as train\.en"),
        (replaced("val.de", None), r"no valid file in de, such as valid\.de"),
        (replaced("test.de", b"a\n"), r"no test file in en"),
        (replaced("train.de", b""), r"train\.de: the file is empty"),
        (replaced("train.de", b"\n\n\n\n"), r"train\.de: the file is empty"),
        (replaced("train.de", b"a\nb\n\xff\nd\n"), r"train\.de: line 3 is not UTF-8 text"),
        (replaced("dev.de", b"a\n"), r"two valid files in de: dev\.de and val\.de; keep one"),
    ],
)
def test_what_is_wrong_with_files_is_said_with_their_names(folder, change, said):
    change(folder)
    with pytest.raises(CorpusError, match=said):
        parallel.load(f"file:{folder}", "de", "en")


@pytest.mark.parametrize(
    "name, languages, said",
    [
        ("file:", ("de", "en"), "expected file:DIR"),
        ("file:/nowhere/at/all", ("de", "en"), "no such directory"),
        ("multi30", ("de", "en"), r"did you mean 'multi30k'\? \(known: multi30k, wmt14, file:DIR"),
        ("multi30k", ("fr", "en"), "multi30k: no language 'fr'; allowed are de, en"),
        ("wmt14", ("en", "cs"), "wmt14: no language 'cs'; allowed are de, en"),
    ],
)
def test_an_unknown_name_or_language_is_said(name, languages, said):
    with pytest.raises(CorpusError, match=said):
        parallel.load(name, *languages)


def test_every_known_corpus_has_a_line_about_it():
    lines = {parallel.describe(name) for name in (*parallel.names(), "file:x")}
    assert len(lines) == 3


def test_wmt14_comes_through_datasets_in_either_direction(monkeypatch):
    def load_dataset(name, configuration):
        assert (name, configuration) == ("wmt/wmt14", "de-en")
        pair = {"translation": {"de": "hallo", "en": "hello"}}
        return {"train": [pair, pair], "validation": [pair], "test": [pair]}

    fake = types.ModuleType("datasets")
    monkeypatch.setattr(fake, "load_dataset", load_dataset, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    text = parallel.load("wmt14", "en", "de")
    assert text.splits["train"] == {"en": ("hello", "hello"), "de": ("hallo", "hallo")}
    assert list(text.splits) == ["train", "valid", "test"]


def test_wmt14_without_datasets_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match=r"pip install 'arch-variants\[data\]'"):
        parallel.load("wmt14", "de", "en")


def test_wmt14_that_cannot_be_loaded_says_why_in_one_line(monkeypatch):
    def load_dataset(name, configuration):
        raise ConnectionError("no route\nto the hub")

    fake = types.ModuleType("datasets")
    monkeypatch.setattr(fake, "load_dataset", load_dataset, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    with pytest.raises(CorpusError, match="wmt14: datasets cannot load it: no route to the hub"):
        parallel.load("wmt14", "de", "en")


def test_multi30k_without_files_or_network_says_where_to_put_them(monkeypatch, tmp_path):
    def fetch(url, path, *, sha256):
        raise downloads.DownloadError(f"{url}: nobody answers")

    monkeypatch.setenv("ARCH_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(downloads, "fetch", fetch)
    with pytest.raises(CorpusError, match=r"put train\.de, .* into ARCH_DATA_DIR/multi30k"):
        parallel.load("multi30k", "de", "en")


def test_multi30k_that_is_not_the_published_one_is_refused(monkeypatch, tmp_path):
    (tmp_path / "multi30k").mkdir()
    (tmp_path / "multi30k" / "train.de").write_text("Ein Hund\n")
    monkeypatch.setenv("ARCH_DATA_DIR", str(tmp_path))
    with pytest.raises(CorpusError, match=r"train\.de: not the published multi30k .* file:"):
        parallel.load("multi30k", "de", "en")
    (tmp_path / "multi30k" / "train.de").unlink()
    with pytest.raises(CorpusError, match=r"multi30k: no train\.de in"):
        parallel.load("multi30k", "de", "en")


@multi30k
def test_multi30k_has_the_published_number_of_pairs():
    text = parallel.load("multi30k", "de", "en")
    assert {split: len(sides["de"]) for split, sides in text.splits.items()} == {
        "train": 29000,
        "valid": 1014,
        "test": 1000,
    }
    assert text.splits["train"]["de"][1].startswith("mehrere männer mit schutzhelmen")
    assert text.splits["train"]["en"][1].startswith("several men in hard hats")
