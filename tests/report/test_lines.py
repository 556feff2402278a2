import json
import math
import os
import random
import re

import pytest

from arch.report.lines import (
    merge_lines,
    read_experiment,
    read_lines,
    write_experiment,
    write_lines,
)
from arch.report.rows import group_rows
from arch.report.seals import is_broken, sealed
from arch.report.specification import TableSpec


def line(cell="k0", seed=0, value=4.5, **fields):
    evaluation = {"perplexity": value, "unit": "byte", "window": 128, "stride": 128}
    return {
        "cell": cell,
        "hash": f"hash-{cell}",
        "seed": seed,
        "device": "cpu",
        "status": "finished",
        "evaluations": {"valid": evaluation},
        **fields,
    }


def test_what_is_written_is_read_and_floats_round_trip(tmp_path):
    values = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, math.inf]
    lines = [line(seed=seed, value=value) for seed, value in enumerate(values)]
    write_lines(tmp_path, lines)
    assert read_lines(tmp_path) == lines


def test_nan_survives_the_file(tmp_path):
    write_lines(tmp_path, [line(value=math.nan)])
    assert math.isnan(read_lines(tmp_path)[0]["evaluations"]["valid"]["perplexity"])


def test_any_error_text_survives_the_file(tmp_path):
    error = 'one\u2028two\x85three \ud800 "é'
    write_lines(tmp_path, [line(status="failed", error=error)])
    assert read_lines(tmp_path)[0]["error"] == error


def test_no_file_is_no_lines(tmp_path):
    assert read_lines(tmp_path) == []
    assert read_experiment(tmp_path) == {}


def test_lines_follow_the_experiments_cells_then_seeds(tmp_path):
    write_experiment(tmp_path, {"cells": ["k10", "k2"]})
    write_lines(
        tmp_path,
        [
            line("new"),
            line("k2", 1),
            line("k10", 10),
            line("k10", 9),
            line("k2", 0),
            line("other"),
            line("k2", 0, device="gpu"),
        ],
    )
    assert [(r["cell"], r["seed"], r["device"]) for r in read_lines(tmp_path)] == [
        ("k10", 9, "cpu"),
        ("k10", 10, "cpu"),
        ("k2", 0, "cpu"),
        ("k2", 0, "gpu"),
        ("k2", 1, "cpu"),
        ("new", 0, "cpu"),
        ("other", 0, "cpu"),
    ]


def test_a_new_seed_is_a_diff_of_one_line(tmp_path):
    lines = [line(cell, seed) for cell in ("a", "b") for seed in range(3)]
    write_lines(tmp_path, lines)
    before = (tmp_path / "runs.jsonl").read_text().splitlines()
    write_lines(tmp_path, merge_lines(read_lines(tmp_path), [line("a", 3)]))
    after = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert [text for text in after if text not in before] == [json.dumps(line("a", 3))]
    assert [text for text in after if text in before] == before


def test_merge_keeps_one_line_a_key_and_the_new_one():
    old, new = line(value=5.0), line(value=4.0)
    assert merge_lines([old, line(seed=1)], [new]) == [new, line(seed=1)]


@pytest.mark.parametrize("other", [{"hash": "x"}, {"seed": 1}, {"device": "tpu"}])
def test_hash_seed_and_device_are_the_key(other):
    assert len(merge_lines([line()], [line(**other)])) == 2


def test_a_crash_does_not_replace_a_result_but_a_nan_does():
    finished, nan, failed = line(), line(status="nan"), line(status="failed")
    assert merge_lines([finished], [failed]) == [finished]
    assert merge_lines([nan], [failed]) == [nan]
    assert merge_lines([finished], [nan]) == [nan]
    assert merge_lines([failed], [finished]) == [finished]
    assert merge_lines([failed], [line(status="failed", error="later")])[0]["error"] == "later"


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, where):
    write_lines(tmp_path, [line()])

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, where, fail)
    with pytest.raises(OSError, match="disk full"):
        write_lines(tmp_path, [line(value=9.0)])
    assert read_lines(tmp_path) == [line()]
    assert [path.name for path in tmp_path.iterdir()] == ["runs.jsonl"]


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"cell": "k0", "ha', r"runs\.jsonl:2 is left out: not JSON"),
        ("<<<<<<< HEAD", r"runs\.jsonl:2 is left out: not JSON"),
        ("[1]", r"runs\.jsonl:2 is left out: a list"),
        (
            '{"cell": "k0", "hash": "a", "seed": "0"}',
            r"runs\.jsonl:2 is left out: seed is '0', expected int",
        ),
    ],
)
def test_a_damaged_line_is_named_and_the_others_stand(tmp_path, caplog, text, message):
    whole = [line(), sealed(line("b"))]
    texts = [json.dumps(whole[0]), text, json.dumps(whole[1])]
    (tmp_path / "runs.jsonl").write_text("".join(f"{t}\n" for t in texts))
    assert read_lines(tmp_path) == whole
    assert re.search(message, caplog.text)
    write_lines(tmp_path, [*read_lines(tmp_path), line("c")])
    write_lines(tmp_path, read_lines(tmp_path))
    assert (tmp_path / "damaged.txt").read_text() == f"{text}\n"
    assert len(read_lines(tmp_path)) == 3


def test_an_edited_line_is_named_and_left_out(tmp_path, caplog):
    write_lines(tmp_path, [sealed(line(seed=0)), sealed(line(seed=1)), line(seed=2)])
    path = tmp_path / "runs.jsonl"
    edited = json.loads(path.read_text().splitlines()[1])
    edited["evaluations"]["valid"]["perplexity"] -= 1
    rows = path.read_text().splitlines()
    path.write_text("\n".join([rows[0], json.dumps(edited), rows[2]]) + "\n")
    assert [found["seed"] for found in read_lines(tmp_path)] == [0, 2]
    assert re.search(r"runs\.jsonl:2 is left out: cell \w+, seed 1: it was changed", caplog.text)


@pytest.mark.parametrize("seed", range(20))
def test_no_flipped_bit_of_a_sealed_line_is_taken_for_a_result(tmp_path, seed):
    source = random.Random(seed)
    first, second = sealed(line(seed=0)), sealed(line(seed=1))
    write_lines(tmp_path, [first, second])
    path = tmp_path / "runs.jsonl"
    content = bytearray(path.read_bytes())
    content[source.randrange(len(content))] ^= 1 << source.randrange(8)
    path.write_bytes(bytes(content))
    assert all(found in (first, second) for found in read_lines(tmp_path))


def test_a_seal_is_the_same_after_json(tmp_path):
    content = sealed({"a": (1, 2), "b": float("nan"), "c": {"d": 0.1}, "digest": "of before"})
    assert not is_broken(json.loads(json.dumps(content)))
    assert is_broken({**content, "a": [1, 3]})
    assert not is_broken({"a": 1})


def test_a_line_whose_seal_is_gone_is_damaged_where_its_code_sealed_all(tmp_path):
    for numerics, damaged in ((1, False), (2, False), (3, True), (4, True)):
        content = sealed({"a": 1, "numerics": numerics})
        assert not is_broken(content)
        del content["digest"]
        assert is_broken(content) == damaged


def test_a_damaged_experiment_is_named(tmp_path):
    (tmp_path / "experiment.json").write_text('{"cells": [\n')
    with pytest.raises(ValueError, match=r"experiment\.json:2: not JSON"):
        read_experiment(tmp_path)


def test_experiments_round_trip(tmp_path):
    experiment = {"config": "experiments/x.py", "cells": ["a|b"], "table": {"x": {"a|b": 0}}}
    write_experiment(tmp_path / "new" / "folder", experiment)
    assert read_experiment(tmp_path / "new" / "folder") == experiment


def test_every_line_is_in_one_row_and_every_cell_in_a_row():
    lines = [
        line("a", 0),
        line("a", 1, status="nan", evaluations={}),
        line("a", 2, math.inf),
        line("a", 0, device="gpu"),
        line("a", 0, hash="new"),
        line("extra"),
    ]
    rows = group_rows(lines, ["a", "pending"], "valid", "perplexity")
    assert [(r.cell, r.device, r.hash, len(r.lines)) for r in rows] == [
        ("a", "cpu", "hash-a", 3),
        ("a", "cpu", "new", 1),
        ("a", "gpu", "hash-a", 1),
        ("pending", "", "", 0),
        ("extra", "cpu", "hash-extra", 1),
    ]
    assert rows[0].values == {0: 4.5}
    assert [word for word, _ in rows[0].losses] == ["NaN", "infinite"]


def test_seeds_measured_otherwise_are_another_row():
    wide = line(seed=1)
    wide["evaluations"]["valid"]["window"] = 256
    rows = group_rows(
        [line(), wide, line(seed=2, status="failed", evaluations=None)], [], "valid", "perplexity"
    )
    assert [(r.setting.window, len(r.values), len(r.losses)) for r in rows] == [
        (128, 1, 1),
        (256, 1, 0),
    ]


def test_a_finished_line_without_the_metric_is_counted():
    (row,) = group_rows([line()], [], "test", "perplexity")
    assert (row.setting, row.values) == (None, {})
    assert row.losses[0][0] == "without test perplexity"


@pytest.mark.parametrize(
    "table, message",
    [
        ({"baselin": "k0"}, "table: 'baselin' is not known; allowed: title, metric"),
        ({"columns": ["flops"]}, "table.columns: 'flops'.*flops_per_token"),
        ({"paper": {"k0": {"mean": 1}}}, "'mean' is not known; allowed: value, sd, n"),
    ],
)
def test_a_typo_in_a_table_is_an_error_that_lists_what_is_allowed(table, message):
    with pytest.raises(ValueError, match=message):
        TableSpec.of(table)
