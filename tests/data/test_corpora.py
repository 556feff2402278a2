"""Where text is found, how it is split, and what is said when it cannot be had."""

import gzip
import hashlib
import json
import os
import platform
import random
from pathlib import Path

import pytest
import zstandard

from arch.data.corpora import downloads
from arch.data.corpora import named as corpora
from arch.data.corpora.outlines import outline
from arch.data.corpora.reading import CorpusError

DATA = os.environ.get("ARCH_DATA_DIR")
real_data = pytest.mark.skipif(not DATA, reason="ARCH_DATA_DIR is not set")

PARAGRAPHS = tuple(f"Paragraph {i}\nhas two lines, ünï.\n\n" for i in range(200))


@pytest.fixture(autouse=True)
def own_directories(monkeypatch, tmp_path):
    """No corpus of this machine is seen unless a test says so; nothing stays loaded."""
    monkeypatch.setenv("ARCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("ARCH_DATA_DIR", raising=False)
    corpora.load.cache_clear()
    yield
    corpora.load.cache_clear()


def load_file(path, content: bytes | str) -> corpora.Corpus:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return corpora.load(f"file:{path}")


def joined(corpus: corpora.Corpus) -> str:
    return "".join(document for documents in corpus.splits.values() for document in documents)


def shares(corpus: corpora.Corpus) -> list[float]:
    sizes = [sum(map(len, map(corpora.encode, d))) for d in corpus.splits.values()]
    return [size / sum(sizes) for size in sizes]


def test_stdlib_is_several_megabytes_split_by_file():
    corpus = corpora.load("stdlib")
    assert corpus.details == {"python": platform.python_version()}
    assert sum(map(len, corpus.splits["train"])) > 3e6
    assert not set(corpus.splits["train"]) & {d for d in corpus.splits["valid"] if len(d) > 1000}
    train, valid, test = shares(corpus)
    assert train > 0.9 and valid > 0.01 and test > 0.01


def test_stdlib_holds_no_tests_and_nothing_of_this_machines_build():
    import unittest.mock

    kept = corpora.load("stdlib").splits
    for module, expected in ((unittest.mock, True), (pytest, False)):
        text = Path(module.__file__).read_text(encoding="utf-8")
        assert any(text in documents for documents in kept.values()) == expected
    for name in (
        "test",
        "tests",
        "site-packages",
        "config-3.13-x86_64-linux-gnu",
        "__pycache__",
        "_sysconfigdata__linux_x86_64-linux-gnu.py",
        "sitecustomize.py",
    ):
        assert corpora.SKIPPED.search(name), name
    for name in ("ast.py", "unittest", "doctest.py", "site.py", "latest", "configparser.py"):
        assert not corpora.SKIPPED.search(name), name


def test_loading_twice_gives_the_same_object_and_an_equal_digest(tmp_path):
    first = load_file(tmp_path / "a.txt", "".join(PARAGRAPHS))
    assert corpora.load(f"file:{tmp_path}/a.txt") is first
    assert load_file(tmp_path / "b.txt", "".join(PARAGRAPHS)).sha256 == first.sha256


def test_the_digest_depends_on_text_splits_and_document_borders():
    digests = {
        corpora._digest(splits)
        for splits in (
            {"train": ("ab",), "valid": ("c",)},
            {"train": ("a", "b"), "valid": ("c",)},
            {"train": ("a",), "valid": ("bc",)},
            {"train": ("ab",), "test": ("c",)},
            {"train": ("ab",), "valid": ("d",)},
        )
    }
    assert len(digests) == 5


def test_a_text_file_is_split_at_blank_lines(tmp_path):
    corpus = load_file(tmp_path / "a.txt", "".join(PARAGRAPHS))
    assert list(corpus.splits) == ["train", "valid", "test"]
    assert tuple(d for documents in corpus.splits.values() for d in documents) == PARAGRAPHS
    assert shares(corpus) == pytest.approx([0.9, 0.05, 0.05], abs=0.01)
    assert corpus.details == {"split": "documents"}
    assert corpus.name == f"file:{tmp_path}/a.txt"


def test_too_few_documents_are_split_at_line_ends(tmp_path):
    text = "one\n\n" + "".join(f"line {i}\n" for i in range(300))
    corpus = load_file(tmp_path / "a.txt", text)
    assert joined(corpus) == text
    assert corpus.details == {"split": "lines"}
    assert corpus.splits["train"][0] == "one\n\n" and len(corpus.splits["train"]) == 2
    assert all(documents[-1].endswith("\n") for documents in corpus.splits.values())
    assert shares(corpus) == pytest.approx([0.9, 0.05, 0.05], abs=0.01)


@pytest.mark.parametrize("text", ["é" * 1000, "abc", "a\nb", "日本語" * 33])
def test_too_few_lines_are_split_between_characters(tmp_path, text):
    corpus = load_file(tmp_path / "a.txt", text)
    assert joined(corpus) == text
    assert corpus.details == {"split": "characters"}
    assert all(map(any, corpus.splits.values()))


def test_line_ends_of_other_systems_are_kept(tmp_path):
    text = "a line\r\n\r\n" * 100
    corpus = load_file(tmp_path / "a.txt", text)
    assert joined(corpus) == text
    assert set(corpus.splits["train"]) == {"a line\r\n\r\n"}


@pytest.mark.parametrize(
    "extension, pack",
    [
        (".gz", gzip.compress),
        (".zst", zstandard.compress),
        (".GZ", gzip.compress),
        (".Zst", zstandard.compress),
        ("", gzip.compress),
        (".zst", lambda data: zstandard.compress(data[:50]) + zstandard.compress(data[50:])),
    ],
)
def test_packed_files_are_as_the_files(tmp_path, extension, pack):
    text = "".join(PARAGRAPHS)
    plain = load_file(tmp_path / "a.txt", text)
    assert load_file(tmp_path / f"a.txt{extension}", pack(text.encode())).sha256 == plain.sha256


def test_a_record_of_jsonl_is_a_document(tmp_path):
    lines = "\n".join(json.dumps({"text": text, "id": 1}) for text in PARAGRAPHS)
    corpus = load_file(tmp_path / "a.jsonl.gz", gzip.compress(lines.encode()))
    assert tuple(d for documents in corpus.splits.values() for d in documents) == PARAGRAPHS


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "A.JSONL"])
def test_documents_without_line_ends_do_not_run_into_each_other(tmp_path, name):
    lines = "".join(json.dumps({"text": f"document {i} ends."}) + "\n" for i in range(90))
    corpus = load_file(tmp_path / name, lines)
    assert joined(corpus) == "".join(f"document {i} ends.\n" for i in range(90))


@pytest.mark.parametrize("entry", [lambda text: text, lambda text: {"text": text, "n": 1}])
def test_an_array_of_json_has_a_document_an_entry(tmp_path, entry):
    corpus = load_file(tmp_path / "a.json", json.dumps([entry(text) for text in PARAGRAPHS]))
    assert tuple(d for documents in corpus.splits.values() for d in documents) == PARAGRAPHS


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_byte_order_mark_is_no_text(tmp_path, name):
    text = "".join(PARAGRAPHS)
    content = json.dumps({"text": text}) if "jsonl" in name else text
    assert joined(load_file(tmp_path / name, "\ufeff" + content)) == text


@pytest.mark.parametrize(
    "names",
    [
        ("train.txt", "valid.txt", "test.txt"),
        ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),
        ("wiki.train.tokens", "wiki.val.tokens", "wiki.test.tokens"),
        ("train", "validation.txt"),
        ("train.jsonl", "dev.jsonl"),
        ("Train.txt", "VALID.txt", "Test.TXT"),
        ("corpus_train.txt", "corpus_valid.txt", "corpus_test.txt"),
        ("train-1.txt", "valid-1.txt", "test-1.txt"),
        ("my-Train", "my val.text"),
        ("train/a.txt", "dev_1/b.txt", "Test/c.txt"),
    ],
)
def test_a_directory_of_splits_is_taken_as_it_is(tmp_path, names):
    for i, name in enumerate(names):
        text = json.dumps({"text": f"text {i}"}) if "jsonl" in name else f"text {i}\n"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "README.md").write_text("not of the corpus")
    corpus = corpora.load(f"file:{tmp_path}")
    expected = {"train": ("text 0\n",), "valid": ("text 1\n",), "test": ("text 2\n",)}
    assert corpus.splits == dict(list(expected.items())[: len(names)])


def test_a_directory_of_other_files_has_a_document_a_file(tmp_path):
    for i in range(100):
        folder = tmp_path / "texts" / f"{i // 10}"
        folder.mkdir(exist_ok=True, parents=True)
        (folder / f"{i % 10}.txt").write_text(f"A file\n\nwith a blank line {i:02}\n")
    (tmp_path / "texts" / ".hidden").write_bytes(b"\xff")
    corpus = corpora.load(f"file:{tmp_path}/texts")
    assert {split: len(documents) for split, documents in corpus.splits.items()} == {
        "train": 90,
        "valid": 5,
        "test": 5,
    }
    assert corpus.splits["test"][-1].endswith("line 99\n")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.txt", b"", "the file is empty"),
        ("a.txt", b"ab", "2 bytes are too few"),
        ("a.png", b"\x89PNG\r\n", r"not UTF-8 text \(byte 0x89 at 0\); expected text, .jsonl"),
        ("a.tar", b"name\0\0\0", r"not text \(a zero byte at 4\)"),
        ("a.jsonl", b'{"text": "a"}\n{"body": "b"}', 'line 2 is not a JSON record with a "text"'),
        ("a.jsonl", b'["text"]', "line 1 is not a JSON record"),
        ("a.jsonl", b'{"text": "\\ud800"}', "line 1 is not a JSON record"),
        ("a.jsonl", b'{"text": 3}', "line 1 is not a JSON record"),
        ("a.jsonl", b'{"text": ""}', "no text in it"),
        ("a.json", b'{"a": 1}', "JSON without texts: expected an array of"),
        ("a.json", b'[{"text": "a"}, {"b": 2}]', 'entry 2 is not a JSON record with a "text"'),
        ("a.json", b"{", "line 1 is not a JSON record"),
        ("a.txt", "the cat\n".encode("utf-16"), "UTF-16; convert it: iconv -f UTF-16 -t UTF-8 "),
        ("a.txt", "the cat\n".encode("utf-16-le"), "iconv -f UTF-16LE -t UTF-8 "),
        ("a.txt", "the cat\n".encode("utf-16-be"), "iconv -f UTF-16BE -t UTF-8 "),
        ("a.txt", "the cat\n".encode("utf-32"), "iconv -f UTF-32 -t UTF-8 "),
        ("a.txt", "gr\xfcn und blau\n".encode("latin-1"), "like ISO-8859-1; convert it: iconv"),
        ("a.txt", "a “quote” of it\n".encode("cp1252"), "looks like WINDOWS-1252"),
        ("a.txt", "снег и лес дом\n".encode("cp1251"), "looks like WINDOWS-1251"),
        ("a.txt", "日本語の文です。\n".encode("shift_jis"), "looks like SHIFT_JIS"),
        ("a.txt.gz", b"not gzip", "cannot be read: Not a gzipped file"),
        ("a.txt.gz", gzip.compress(b"text" * 100, mtime=0)[:-9], "cannot be read"),
        ("a.txt.zst", zstandard.compress(random.Random(0).randbytes(1000))[:-9], "cannot be read"),
        ("a.txt.zst", b"not zstandard", "cannot be read"),
    ],
)
def test_what_is_no_text_is_refused_in_one_line(tmp_path, name, content, message):
    with pytest.raises(CorpusError, match=message) as caught:
        load_file(tmp_path / name, content)
    assert "\n" not in str(caught.value) and str(tmp_path / name) in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(CorpusError, match="/no/such.txt: no such file or directory"):
        corpora.load("file:/no/such.txt")
    with pytest.raises(CorpusError, match="'file:' names no file"):
        corpora.load("file:")


def test_a_directory_that_is_ambiguous_or_lacks_a_split_says_which(tmp_path):
    (tmp_path / "train.de").write_text("text")
    with pytest.raises(CorpusError, match=r"no valid file \(such as valid.txt\) beside train.de"):
        corpora.load(f"file:{tmp_path}")
    (tmp_path / "train.en").write_text("text")
    with pytest.raises(CorpusError, match="two files for train: train.de and train.en"):
        corpora.load(f"file:{tmp_path}")


@pytest.mark.parametrize(
    "names, message",
    [
        (("test.txt", "a.txt"), r"no train file \(such as train.txt\) beside test.txt; name all"),
        (("train.txt", "a.txt"), "no valid file"),
        (("train.txt", "valid.txt", "more.txt"), "named after splits and more.txt not; move"),
        (("train_test.txt",), "speaks of train and test"),
    ],
)
def test_a_directory_in_which_some_names_are_splits_is_refused(tmp_path, names, message):
    for name in names:
        (tmp_path / name).write_text("text\n")
    with pytest.raises(CorpusError, match=message):
        corpora.load(f"file:{tmp_path}")


def test_a_program_is_read_as_it_is_without_what_is_no_text(tmp_path):
    for name in ("train.py", "test/test_it.py", "model.py", "__init__.py", "data/a.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("" if "init" in name else '{"the": "text and more of it"}')
    for name in ("__pycache__/a.pyc", "it.so", "data/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x89PNG\0\0\xff")
    corpus = corpora.load(f"file:{tmp_path}")
    assert joined(corpus) == '{"the": "text and more of it"}\n' * 3
    assert corpus.details["left_out"] == ["data/a.json", "data/a.png", "it.so"]
    assert "left out, no text: data/a.json, data/a.png, it.so" in outline(corpus)[0]
    (tmp_path / "latin.txt").write_bytes("gr\xfcn".encode("latin-1"))
    corpora.load.cache_clear()
    with pytest.raises(CorpusError, match="latin.txt: .*ISO-8859-1"):
        corpora.load(f"file:{tmp_path}")


def test_the_outline_says_how_a_text_was_split_and_how_each_split_begins(tmp_path):
    corpus = load_file(tmp_path / "a.txt", "a line\r\n\r\n" * 100)
    first, *splits = outline(corpus)
    assert first.startswith("split at 90 and 95 % of the bytes, between documents")
    assert first.endswith("200 line ends are \\r\\n, and are kept")
    assert [line.partition(":")[0] for line in splits] == ["train", "valid", "test"]
    assert all("begins with “a line a line" in line for line in splits)


@pytest.mark.parametrize(
    "name, hint",
    [
        ("wikitext2", "did you mean 'wikitext-2'"),
        ("PTB", r"known: stdlib, tinyshakespeare, ptb"),
        ("", "known: stdlib"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(name, hint):
    with pytest.raises(CorpusError, match=hint):
        corpora.load(name)
    with pytest.raises(CorpusError, match=hint):
        corpora.describe(name)


def test_a_path_without_file_is_told_to_say_so(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(CorpusError, match=f"did you mean 'file:{tmp_path}/a.txt'"):
        corpora.load(f"{tmp_path}/a.txt")


def test_every_name_has_a_description_of_one_line():
    for name in (*corpora.names(), "file:x"):
        assert corpora.describe(name) and "\n" not in corpora.describe(name)


# --- published corpora ---


def pretend(monkeypatch, *, content: bytes, cuts=(), url="http://127.0.0.1:1/x.txt"):
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setitem(
        corpora.PUBLISHED,
        "pretended",
        corpora.Published(
            "about", {"all": ("x.txt", "other.txt")}, {url: digest}, {"all": digest}, cuts
        ),
    )


def test_bytes_cut_within_a_character_come_back_exactly(monkeypatch, tmp_path):
    content = "aéb".encode() * 2
    pretend(monkeypatch, content=content, cuts=(2, 6))
    monkeypatch.setenv("ARCH_DATA_DIR", str(tmp_path))
    (tmp_path / "pretended").mkdir()
    (tmp_path / "pretended" / "other.txt.gz").write_bytes(gzip.compress(content))
    corpus = corpora.load("pretended")
    assert [corpora.encode(d) for (d,) in corpus.splits.values()] == [
        content[:2],
        content[2:6],
        content[6:],
    ]


def test_a_file_that_is_not_the_published_one_is_refused(monkeypatch, tmp_path):
    pretend(monkeypatch, content=b"published")
    monkeypatch.setenv("ARCH_DATA_DIR", str(tmp_path))
    (tmp_path / "pretended").mkdir()
    (tmp_path / "pretended" / "x.txt").write_bytes(b"publish")
    with pytest.raises(CorpusError, match="x.txt: not the published pretended .* replace it"):
        corpora.load("pretended")


def test_without_network_the_error_says_what_to_put_where(monkeypatch):
    pretend(monkeypatch, content=b"published")
    with pytest.raises(
        CorpusError, match="x.txt from http://127.0.0.1:1/x.txt into ARCH_DATA_DIR/pretended"
    ) as caught:
        corpora.load("pretended")
    assert "\n" not in str(caught.value)


def test_a_fetched_archive_is_unpacked_once_and_removed(monkeypatch, tmp_path):
    import zipfile

    def fetch(url, path, *, sha256):
        calls.append(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("folder/x.txt", "published")
        return path

    calls: list[str] = []
    monkeypatch.setattr(downloads, "fetch", fetch)
    pretend(monkeypatch, content=b"published", cuts=(5,), url="http://host/x.zip")
    for _ in range(2):
        corpora.load.cache_clear()
        corpus = corpora.load("pretended")
        assert corpus.splits == {"train": ("publi",), "valid": ("shed",)}
    assert calls == ["http://host/x.zip"]
    folder = tmp_path / "cache" / "corpora" / "pretended"
    assert [path.name for path in folder.iterdir()] == ["x.txt"]


@real_data
def test_tinyshakespeare_is_split_as_nanogpt_does(monkeypatch):
    monkeypatch.setenv("ARCH_DATA_DIR", DATA)
    corpus = corpora.load("tinyshakespeare")
    assert {split: len(d[0]) for split, d in corpus.splits.items()} == {
        "train": 1_003_854,
        "valid": 111_540,
    }


@real_data
def test_wikitext_2_without_its_training_text_names_the_missing_file(monkeypatch):
    monkeypatch.setenv("ARCH_DATA_DIR", DATA)
    if any(Path(DATA, "wikitext-2").glob("*train*")):
        pytest.skip("wikitext-2 is complete in ARCH_DATA_DIR")
    with pytest.raises(CorpusError, match="no train file in .*: put wiki.train.tokens or train.tx"):
        corpora.load("wikitext-2")
