"""Trackers are told what is logged, once, whatever happens in between, and change nothing."""

import struct

import pytest

from arch.registry import ConfigurationError
from arch.report import trackers
from arch.report.lines import read_lines
from tests import cli

PLUGIN = """
import json
from pathlib import Path
from arch.report.trackers import TRACKERS, Tracker

@TRACKERS.register("kept")
class Kept(Tracker):
    def log(self, step, figures):
        with Path("kept.jsonl").open("a") as file:
            file.write(json.dumps([self.run.cell, self.run.seed, step, dict(figures)]) + chr(10))
"""


def scalars(folder) -> list[tuple[int, str, float]]:
    """(step, name, value) of the event files of a folder, in the order they were written."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    found = []
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):  # a record: its length, 4 bytes of checksum, itself, 4 more
            (size,) = struct.unpack_from("<Q", data, at)
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size
            values = event.summary.value
            found += [(event.step, v.tag, v.simple_value) for v in values if v.tag.count("/") == 1]
    return [one for one in found if not one[1].startswith("configuration")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = cli.write_small(tmp_path_factory.mktemp("tracked"))
    (folder / "mine.py").write_text(PLUGIN)
    command = ("sweep", "--config=small.py", "--cells=sf", "--config.plugins=mine.py")
    for name, track in (("plain", ""), ("tracked", "tensorboard,kept")):
        done = cli.run(*command, f"--name={name}", "--fresh", f"--track={track}", cwd=folder)
        assert done.code == 0, done.err
    return folder


def test_every_line_that_was_logged_is_told_once(folder):
    run = cli.folder_of(folder / "runs/tracked", "sf").seed(0)
    told = scalars(run.path / "tensorboard")
    logged = run.lines("metrics.jsonl")
    for split in ("train", "valid"):
        expected = [(x["step"], x["loss"]) for x in logged if x.get("split", "train") == split]
        ours = [(step, value) for step, name, value in told if name == f"{split}/loss"]
        ours = ours[: len(expected)]  # the whole split's comes after them
        assert [step for step, _ in ours] == [step for step, _ in expected]
        assert [x for _, x in ours] == pytest.approx([x for _, x in expected], rel=1e-6)
    assert {name for _, name, _ in told} >= {"test/loss", "train/learning_rate"}


def test_what_is_trained_is_the_same(folder):
    plain, tracked = (read_lines(folder / "results" / name) for name in ("plain", "tracked"))
    assert [x["evaluations"] for x in plain] == [x["evaluations"] for x in tracked]
    assert [x["hash"] for x in plain] == [x["hash"] for x in tracked]


def test_a_trackers_plugin_is_told_of_every_seed(folder):
    text = (folder / "kept.jsonl").read_text()
    assert '["sf", "0", 80, ' in text and '["sf", "1", 80, ' in text


@pytest.mark.parametrize(
    "text, message",
    [
        ("tensorbord", "--track='tensorbord': unknown tracker kind; .*did you mean 'tensorboard'"),
        ("wandb:onlin=true", "wandb has no option 'onlin'; it takes online, project"),
        ("wandb:online", "expected wandb:option=value"),
        ("tensorboard,tensorboard", "tensorboard stands twice"),
    ],
)
def test_trackers_that_cannot_be_are_refused(text, message):
    with pytest.raises(ConfigurationError, match=message):
        trackers.check(text)


def test_options_go_with_the_tracker_before_them():
    assert trackers.chosen("wandb:online=true,project=p,tensorboard") == {
        "wandb": {"online": True, "project": "p"}, "tensorboard": {},
    }  # fmt: skip


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ConfigurationError, match=r"package wandb: pip install '.\[wandb\]'"):
        trackers.check("wandb")
