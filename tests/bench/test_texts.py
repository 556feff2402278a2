"""Text token by token is measured in turn: by cached steps, computed anew, and by a peer."""

import importlib.util
import json
from typing import Any

import pytest

from arch.bench import against, table, texts
from arch.bench.others import Meter
from arch.bench.our_texts import OurTexts
from arch.bench.protocol import Side
from arch.commands import bench, beside, flags
from arch.registry import ConfigurationError
from tests.families import always

OURS, PEER = against.OURS, "hf-gpt2"
SMALL = {"model.width": "16"}


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(against, "PAUSE", 0.0)
    monkeypatch.setattr(Meter, "others", lambda self, own: 0.0)


class ScriptedSide:
    """Makes text at one speed."""

    def __init__(self, speed):
        self.speed = speed
        self.about = {"parameters": 1000, "versions": {"a": "1"}}

    def do(self, action, **arguments):
        assert action == "text"
        return {"tokens": self.speed * arguments["seconds"], "cpu_seconds": 0.0, **arguments}

    def close(self):
        self.speed = 0


def line_of(speeds, **more):
    sides: Any = {name: ScriptedSide(speed) for name, speed in speeds.items()}
    turns = against.alternate(sides, action="text", products=0)
    where = {
        "experiment": "e.py", "overrides": {}, "cell": "k0", "tokens": 512, "cores": 2,
        "device_name": "a processor", "load": [0.1, 2.0], "command": "python launch.py bench",
    }  # fmt: skip
    return texts.line(turns, {n: s.about for n, s in sides.items()}, {**where, **more})


def test_a_line_has_our_speed_over_that_of_every_side():
    line = line_of({OURS: 300, texts.ANEW: 20, PEER: 200})
    assert line["ratios"][texts.ANEW] == pytest.approx([15.0] * against.ROUNDS)
    assert line["ratios"][PEER] == pytest.approx([1.5] * against.ROUNDS)
    assert line["sides"][OURS]["tokens_per_second"] == 300 and not line["disturbed"]
    assert OURS not in line["ratios"]


def test_the_page_has_the_last_line_of_a_text_and_what_is_trained_stays(tmp_path):
    for speed in (100, 300):
        paths = table.add_texts(tmp_path, "e", [line_of({OURS: speed, texts.ANEW: 20, PEER: 200})])
    table.add_texts(tmp_path, "e", [line_of({OURS: 7, texts.ANEW: 1}, tokens=64)])
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "generation/e.jsonl", table.PAGE,
    ]  # fmt: skip
    assert len(paths[0].read_text().splitlines()) == 3 and table.latest(tmp_path) == []
    page = paths[1].read_text()
    rows = [row for row in page.splitlines() if row.startswith("| a processor")]
    assert len(rows) == 5 and "| 300 |" in " ".join(rows[2].split()) + " "
    assert "15.00" in rows[3] and "1.50 to 1.50" in rows[4]
    assert "Tokens a second in training" not in page


@pytest.mark.parametrize("cached", always([True, False], (True,)))
def test_our_side_makes_text(cached):
    side = OurTexts("experiments/sandwich.py", SMALL, "k0", 24, cached)
    made = side.text(seconds=1e-6)
    # a whole text, or the first whole dispatch after the prompt's
    assert made["tokens"] == (24 if cached else 8) and made["seconds"] > 0
    assert side.about["parameters"] > 4096


def test_the_command_measures_all_sides_and_writes_with_a_peer_alone(
    tmp_path, monkeypatch, everything_installed, capsys
):
    made = []

    def side(module, opening):
        made.append((module, opening))
        return ScriptedSide(300 if opening.get("cached") else 100)

    monkeypatch.setattr(beside, "Side", side)
    monkeypatch.setattr(beside, "FOLDER", tmp_path)
    asked = {"config": "experiments/sandwich.py", "cells": "k0", "generate": 100}
    assert bench.run(flags.Bench(**asked)) == 0
    assert not list(tmp_path.iterdir()) and "computed anew" in capsys.readouterr().out
    assert bench.run(flags.Bench(**asked, against=PEER)) == 0
    (line,) = map(json.loads, (tmp_path / "generation/sandwich.jsonl").read_text().splitlines())
    assert list(line["sides"]) == [OURS, texts.ANEW, PEER] and line["tokens"] == 100
    assert line["command"].endswith("--cells=k0 --generate=100 --against=hf-gpt2")
    opened = [(module.rpartition(".")[2], told.get("cached")) for module, told in made]
    assert opened[2:] == [("our_texts", True), ("our_texts", False), ("generating", None)]
    assert made[-1][1]["sizes"]["length"] == made[-1][1]["prompt"] + 100


@pytest.mark.parametrize(
    "options, overrides, said",
    [
        ({"generate": -1}, {}, "--generate=-1: allowed is 1 or more"),
        ({"against": "torch"}, {}, "--generate: --against='torch': allowed are hf-gpt2"),
        (
            {"generate": 64},
            {"model.embedding.positions": "learned"},
            "needs 80 positions, and cell 'k0' learns 64; say --config.task.length=80",
        ),
        (
            {"config": "experiments/universal_translation.py", "cells": "*"},
            {},
            "task.kind='translation' goes on with no text",
        ),
    ],
)
def test_what_makes_no_such_text_is_refused(options, overrides, said, everything_installed):
    asked = {"config": "experiments/sandwich.py", "cells": "k0", "generate": 8, **options}
    with pytest.raises(ConfigurationError) as refused:
        bench.run(flags.Bench(**asked, overrides=overrides))
    assert said in str(refused.value)


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None,
    reason="PyTorch or transformers is not installed",
)
def test_a_peer_makes_text():
    sizes = {
        "layers": 1, "width": 16, "heads": 2, "inner": 32, "length": 12, "batch": 1,
        "vocabulary": 30, "activation": "relu", "bias": True, "rounds": 0, "chunk": 0, "slice": 0,
        "learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.9, "epsilon": 1e-8, "weight_decay": 0.0,
        "clip": 0.0, "dtype": "float32", "shared": False,
    }  # fmt: skip
    opening = {"peer": PEER, "path": "", "sizes": sizes, "prompt": 4, "tokens": 8}
    side = Side("arch.bench.peers.generating", opening)
    assert side.do("text", seconds=1e-6)["tokens"] == 8
    side.close()
