"""What a run writes is there as it was or as it is to be, wherever the process dies."""

import errno
import json
import os

import pytest

from arch.data import dataset
from arch.data.tokenizers.kinds import Bytes
from arch.registry import ConfigurationError
from arch.runs.folders import SeedFolder, read_json, write_json
from tests.deaths import at_every_step

SUMMARY = {"hash": "a", "numerics": 3, "status": "finished"}


def test_a_dying_write_leaves_the_old_file_or_the_new(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"at": 0})

    def check():
        assert read_json(path) in ({"at": 0}, {"at": 1})

    assert at_every_step(lambda: write_json(path, {"at": 1}), check) == 4
    assert read_json(path) == {"at": 1}


def test_cutting_metrics_loses_no_line_up_to_the_step(tmp_path):
    seed = SeedFolder(tmp_path)
    for step in (1, 2, 3):
        seed.append("metrics.jsonl", {"step": step})
        seed.append("timing.jsonl", {"step": step})

    def check():
        for file in ("metrics.jsonl", "timing.jsonl"):
            assert [line["step"] for line in seed.lines(file)] in ([1, 2, 3], [1, 2])

    assert at_every_step(lambda: seed.cut(2), check) == 8
    assert len(seed.lines("metrics.jsonl")) == len(seed.lines("timing.jsonl")) == 2


def test_a_folder_that_takes_anothers_place_is_whole_or_not_there(tmp_path):
    seed = SeedFolder(tmp_path / "seed0")

    def do():
        with seed.anew() as partial:
            (partial.path / "checkpoint").write_text("whole")
            partial.finish(SUMMARY)
            os.link(partial.path / "checkpoint", partial.path / "again")

    def check():
        if seed.summary is not None:
            assert (seed.path / "again").read_text() == "whole"

    assert at_every_step(do, check) > 6
    assert seed.summary is not None
    again = len(list(tmp_path.glob("seed0.old*")))
    do()
    assert len(list(tmp_path.glob("seed0.old*"))) == again + 1  # nothing is thrown away


def test_an_entry_of_the_cache_is_whole_or_made_again(tmp_path):
    place, text = tmp_path / "entry", "a text of some words\n"
    tokenizer = Bytes()

    def make():
        return tokenizer, {"train": dataset.tokenise((text,), tokenizer)}

    def do():
        (place / "entry.json").unlink(missing_ok=True)  # damaged: it is in the way
        dataset.kept(place, make)

    def check():
        assert tokenizer.decode(dataset.kept(place, make)[1]["train"].ids) == text

    dataset.kept(place, make)
    assert at_every_step(do, check) == 6  # three renames, of which the first is refused


@pytest.mark.parametrize("harm", [b'{"step": 1', b"\xff\xfe"], ids=["cut", "no text"])
def test_a_line_of_metrics_that_a_disk_has_changed_is_named(tmp_path, harm):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + harm + b'\n{"step": 3}\n')
    with pytest.raises(ConfigurationError, match=r"metrics.jsonl:2: not what was written"):
        SeedFolder(tmp_path).lines("metrics.jsonl")


def test_metrics_that_cannot_be_read_are_not_taken_for_none(tmp_path, monkeypatch):
    seed = SeedFolder(tmp_path)
    seed.append("metrics.jsonl", {"step": 1})

    def fail(self):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(type(tmp_path), "read_bytes", fail)
        with pytest.raises(OSError, match="Input/output error"):
            seed.cut(1)
    assert seed.lines("metrics.jsonl") == [{"step": 1}]


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({**SUMMARY, "digest": "0" * 16})])
def test_a_summary_that_was_changed_is_named_once_and_not_used(tmp_path, caplog, content):
    seed = SeedFolder(tmp_path)
    assert seed.summary is None and caplog.text == ""
    (tmp_path / "summary.json").write_text(content)
    assert seed.summary is None and seed.summary is None
    (said,) = caplog.messages
    assert "summary.json was changed" in said
