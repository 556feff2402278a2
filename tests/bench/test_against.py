"""Sides take turns, answer in lines of JSON, and what comes of it is a line and a page."""

import json
from unittest import mock

import pytest

from arch.bench import against, shares, table
from arch.bench.others import Meter
from arch.bench.protocol import Side, SideFailed
from arch.commands import bench, beside, flags
from arch.training.program import Program, build

QUIET = "tests.bench.quiet_side"
OURS, PEER = against.OURS, "torch"
SHARES = {"way": "by script", "step_seconds": 0.5, "seconds": {"data": 0.1, "s": 0.3}}


class ScriptedSide:
    """Trains at the speeds of a script, one a turn, and writes down who was asked."""

    def __init__(self, name, speeds, parameters=1000, asked=None):
        self.name, self.speeds, self.asked = name, list(speeds), asked if asked is not None else []
        self.about = {"parameters": parameters, "versions": {name: "1"}, "flops_per_token": 50.0}

    def do(self, action, **arguments):
        self.asked.append((self.name, action))
        if action == "train":
            tokens = self.speeds.pop(0) * arguments["seconds"]
            return {"tokens": tokens, "cpu_seconds": 0.0, **arguments}
        if action == "product":
            return {"flops": 1e5}
        return {**SHARES, "cpu_seconds": 0.0}

    def close(self):
        self.asked.append((self.name, "close"))


@pytest.fixture(autouse=True)
def others(monkeypatch):
    """What other processes take of the cores, a share for each turn to come; then nothing."""
    shares: list[float | None] = []
    monkeypatch.setattr(against, "PAUSE", 0.0)
    monkeypatch.setattr(Meter, "others", lambda self, own: shares.pop(0) if shares else 0.0)
    return shares


def turns_of(ours, theirs, asked=None):
    sides = {
        OURS: ScriptedSide(OURS, ours, asked=asked),
        PEER: ScriptedSide(PEER, theirs, 1100, asked),
    }
    about = {name: side.about for name, side in sides.items()}
    with mock.patch.object(against, "ROUNDS", len(ours)):
        return against.alternate(sides), about


def line_of(ours=(900, 1000, 1300), theirs=(1000, 1000, 1000), **more):
    turns, about = turns_of(ours, theirs)
    where = {
        "experiment": "e.py", "cell": "k0", "seed": 0, "device_name": "a processor", "cores": 2,
        "load": [0.1, 2.0], "command": "python launch.py bench --config=e.py --against=torch",
        "shares": {**SHARES, "others": 0.02}, "sizes": {"dtype": "bfloat16"}, "overrides": {},
    }  # fmt: skip
    return against.line(PEER, turns, about, {**where, **more})


def test_sides_take_turns_and_every_other_round_goes_backwards():
    asked = []
    turns_of((1, 1, 1), (1, 1, 1), asked)
    trained = [name for name, action in asked if action == "train"]
    assert trained == [OURS, PEER, PEER, OURS, OURS, PEER]


def test_the_ratio_is_the_median_of_the_rounds_own_ratios():
    line = line_of(ours=(900, 4000, 1300), theirs=(1000, 2000, 1000))
    assert line["ratios"] == pytest.approx([0.9, 2.0, 1.3])
    assert (line["ratio"], line["ratio_low"], line["ratio_high"]) == pytest.approx((1.3, 0.9, 2.0))
    assert line["ours"]["tokens_per_second"] == 1300
    assert line["theirs"]["ceiling_share"] == pytest.approx(50 * 1000 / 1e5)


def test_a_round_that_others_disturb_is_not_counted_and_made_up_for(others, monkeypatch):
    others[:] = [0.0, 0.5]  # the peer's first turn
    monkeypatch.setattr(against, "ROUNDS", 3)
    sides = {OURS: ScriptedSide(OURS, [1] * 4), PEER: ScriptedSide(PEER, [9, 2, 2, 2])}
    turns = against.alternate(sides)
    line = against.line(PEER, turns, {name: side.about for name, side in sides.items()}, {})
    assert len(turns[OURS]) == line["rounds"] == 4
    assert line["ratios"] == [0.5, 0.5, 0.5]


def test_figures_of_too_few_quiet_rounds_are_said_to_be_disturbed(others):
    others[:] = [0.5] * 2 * against.MOST_ROUNDS
    turns, about = turns_of([1.0] * against.MOST_ROUNDS, [2.0] * against.MOST_ROUNDS)
    line = against.line(PEER, turns, about, {})
    assert line["disturbed"] and len(line["ratios"]) == line["rounds"] == against.MOST_ROUNDS
    assert not line_of()["disturbed"]


def test_a_machine_that_does_not_say_who_is_at_work_is_taken_to_be_quiet(others):
    others[:] = [None] * 6
    assert against.quiet_rounds(turns_of((1, 1, 1), (1, 1, 1))[0]) == [0, 1, 2]


def test_unequal_parameters_are_said_and_nearly_equal_ones_are_not():
    line = line_of()
    assert "1,100 parameters, +10.0% of our 1,000" in against.unequal(line)
    line["theirs"]["parameters"] = 1020
    assert against.unequal(line) == ""


def test_what_a_library_prints_is_between_no_answers():
    side = Side(QUIET, {"parameters": 7})
    assert side.about == {"parameters": 7}
    answer = side.do("train", seconds=2)
    assert answer.pop("cpu_seconds") >= 0 and answer == {"tokens": 200, "seconds": 2}
    side.close()


def test_a_side_that_cannot_open_or_dies_is_told_in_one_line():
    with pytest.raises(SideFailed, match="ValueError: fewer than none"):
        Side(QUIET, {"parameters": -1})
    side = Side(QUIET, {"parameters": 7})
    with pytest.raises(SideFailed, match="out of memory"):
        side.do("die")
    side.close()


def test_the_page_has_the_last_line_of_each_comparison(tmp_path):
    folder = tmp_path / "benchmarks"
    table.add(folder, "e", [line_of(ours=(500, 500, 500)), line_of(cell="k1")])
    table.add(folder, "e", [line_of()])
    assert len((folder / "e.jsonl").read_text().splitlines()) == 3
    page = (folder / table.PAGE).read_text()
    rows = [row for row in page.splitlines() if "| torch" in row]
    assert len(rows) == 2 and all("1.00" in row and "0.90 to 1.30" in row for row in rows)
    assert "0.1 → 2.0" in rows[0] and "1,000 +10.0%" in rows[0] and "50% / 50%" in rows[0]
    assert page.count("--against=torch") == 1 and "3 of 3 " in rows[0]


def test_an_edited_line_is_left_out(tmp_path, caplog):
    table.add(tmp_path, "e", [line_of()])
    path = tmp_path / "e.jsonl"
    path.write_text(path.read_text().replace('"ratio_high": 1.3', '"ratio_high": 2.3'))
    assert table.latest(tmp_path) == [] and "changed after it was written" in caplog.text


def test_shares_and_the_rest_are_of_the_whole_step():
    (row,) = table.shares_grid([line_of()]).rows
    assert row[-4:] == ("20%", "60%", "20%", "2%")


def test_every_part_of_a_step_is_timed(monkeypatch, tiny_config):
    monkeypatch.setattr(shares, "TURN", 0.0)
    made = tiny_config(model={"order": "sf"})
    task, model = build(made)
    found = shares.of_step(Program(made, task, model), task.source())
    assert list(found["seconds"]) == ["data", "embedding", "s", "f", "head and loss", "optimiser"]
    assert all(seconds > 0 for seconds in found["seconds"].values())


def test_the_command_writes_lines_and_page_and_closes_both_sides(
    tmp_path, monkeypatch, everything_installed, capsys
):
    asked, made = [], []

    def side(module, opening):
        made.append((module, opening))
        name = opening.get("peer", OURS)
        return ScriptedSide(name, [10.0] * against.ROUNDS, asked=asked)

    monkeypatch.setattr(beside, "Side", side)
    monkeypatch.setattr(beside, "FOLDER", tmp_path)
    command = flags.Bench(config="experiments/sandwich.py", cells="k0", against="torch,hf-gpt2")
    assert bench.run(command) == 0
    lines = [json.loads(text) for text in (tmp_path / "sandwich.jsonl").read_text().splitlines()]
    assert [(line["cell"], line["peer"]) for line in lines] == [("k0", "torch"), ("k0", "hf-gpt2")]
    assert made[1][1]["sizes"]["layers"] == 6 and lines[0]["cores"] > 0
    assert [name for name, action in asked if action == "close"] == ["hf-gpt2", "torch", OURS]
    assert "step, ms" in capsys.readouterr().out
