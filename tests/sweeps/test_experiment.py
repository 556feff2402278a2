"""Experiment files: what stands behind FILE:name=value, and cells that depend on results."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from arch.registry import ConfigurationError
from arch.report.lines import read_experiment, write_experiment, write_lines
from arch.sweeps.experiment import Experiment, Results
from arch.tasks import contract
from tests import cli

NONE = Results([], "perplexity", "valid")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with small.py, in which one is."""
    monkeypatch.chdir(cli.write_small(tmp_path))
    return tmp_path


def test_arguments_have_defaults_and_are_given_by_name(small):
    plain = Experiment("small.py")
    assert (plain.arguments.scale, plain.given) == ("tiny", {})
    other = Experiment("small.py:scale=small")
    assert (other.arguments.scale, other.given) == ("small", {"scale": "small"})
    assert Experiment("small.py:scale=tiny").given == {}


def test_a_value_may_hold_colons_and_equals_signs(small):
    found = Experiment("small.py:corpus=file:/a=b/c:d.txt,scale=small")
    assert found.arguments.corpus == "file:/a=b/c:d.txt"
    assert found.config().task.corpus == "file:/a=b/c:d.txt"


def test_arguments_are_read_as_the_type_of_their_default(tmp_path, monkeypatch):
    change = ('"scale": (', '"k": 3, "rates": (1, 2), "scale": (')
    monkeypatch.chdir(cli.write_small(tmp_path, change))
    found = Experiment("small.py:k=4,rates=2").arguments
    assert (found.k, found.rates) == (4, 2)
    with pytest.raises(ConfigurationError, match="small.py:k='four': expected a whole number"):
        Experiment("small.py:k=four")
    with pytest.raises(ConfigurationError, match="small.py:rates=3: allowed are 1, 2"):
        Experiment("small.py:rates=3")


def test_the_name_says_what_was_said(small):
    assert Experiment("small.py").default_name == "small"
    said = Experiment("small.py:scale=small,s=feed_forward", {"train.steps": "5"}).default_name
    assert said == "small-scale=small-s=feed_forward-train.steps=5"
    assert re.fullmatch(r"[\w.=+-]+", Experiment("small.py:corpus=file:/a b/ü").default_name)
    assert Experiment("small.py", {"name": "mine"}).default_name == "mine"


def test_long_names_are_cut_and_still_differ(small):
    one, two = (Experiment(f"small.py:corpus=file:/{'a' * 200}{k}").default_name for k in (1, 2))
    assert one != two and len(one) == len(two) == 120


def test_binding_a_letter_drops_the_old_kinds_options(small):
    experiment = Experiment("small.py:s=feed_forward")
    for cell in experiment.cells(NONE):
        bound = experiment.config(cell).model.sublayers.s
        assert bound.kind == "feed_forward" and "heads" not in bound


def test_a_letter_that_only_a_cell_uses_can_be_bound(tmp_path, monkeypatch):
    monkeypatch.chdir(cli.write_small(tmp_path, ('"model.order": "fs"', '"model.order": "fms"')))
    experiment = Experiment("small.py:m=feed_forward", {"model.sublayers.m.expand": "2"})
    first, second = experiment.cells(NONE)
    assert experiment.config(second).model.sublayers.m.expand == 2.0
    assert experiment.config(first).model.order == "sf"


def test_overrides_go_over_every_cell(small):
    experiment = Experiment("small.py", {"train.steps": "7"})
    assert [experiment.config(cell).train.steps for cell in experiment.cells(NONE)] == [7, 7]


def test_an_error_in_the_file_is_told_with_its_line(tmp_path, monkeypatch):
    monkeypatch.chdir(
        cli.write_small(tmp_path, ("return [Cell(", "results.vlaues\n    return [Cell("))
    )
    with pytest.raises(ConfigurationError) as raised:
        Experiment("small.py").cells(NONE)
    line = (tmp_path / "small.py").read_text().splitlines().index("    results.vlaues") + 1
    assert str(raised.value).startswith(f"small.py: cells, line {line}: AttributeError")


def test_results_answer_by_seed_and_mean():
    def line(seed, value, status="finished", cell="sf"):
        evaluations = {"valid": {"perplexity": value}} if status == "finished" else {}
        return {"cell": cell, "seed": seed, "status": status, "evaluations": evaluations}

    lines = [line(0, 2.0), line(1, 4.0), line(2, 0.0, "nan"), line(0, 9.0, cell="fs")]
    results = Results(lines, "perplexity", "valid")
    assert results.values("sf") == {0: 2.0, 1: 4.0}
    assert results.mean("sf") == 3.0
    assert results.mean("sf", (0,)) == 2.0
    assert results.mean("sf", (0, 2)) is None
    assert results.mean("unknown") is None


ROUNDS = """
def cells(arg, results):
    first = [Cell("sf", {"model.order": "sf"}), Cell("fs", {"model.order": "fs"})]
    means = {cell.name: results.mean(cell.name, (0,)) for cell in first}
    if None in means.values():
        return first
    best = min(means, key=means.get)
    return [*first, Cell(f"{best}-again", {"model.order": best}, seeds=(7,))]
"""


def test_cells_are_asked_for_again_until_they_name_nothing_new(tmp_path):
    """Fresh seeds for the best cell, once it is known which that is."""
    cli.write_small(tmp_path, ("seeds=(0, 1)", "seeds=(0,)"))
    code = (tmp_path / "small.py").read_text()
    start, end = code.index("def cells"), code.index("TABLE")
    (tmp_path / "small.py").write_text(code[:start] + ROUNDS.lstrip() + "\n\n" + code[end:])
    done = cli.run("sweep", "--config=small.py", cwd=tmp_path)
    assert done.code == 0, done.err
    texts = (tmp_path / "results/small/runs.jsonl").read_text().splitlines()
    lines = {line["cell"]: line for line in map(json.loads, texts)}
    perplexity = {c: lines[c]["evaluations"]["valid"]["perplexity"] for c in ("sf", "fs")}
    best = min(perplexity, key=perplexity.get)
    assert list(lines) == ["sf", "fs", f"{best}-again"]
    assert lines[f"{best}-again"]["seed"] == 7
    assert lines[f"{best}-again"]["order"] == best


CLAIMED = """
from arch.report.verdicts import Claim

CLAIMS = [Claim("c", "order matters", "nobody 2020", "lower", {"fs": 1, "%s": -1})]
"""


def test_claims_stand_in_what_a_sweep_writes_and_name_cells_that_there_are(small):
    file = small / "small.py"
    text = file.read_text()
    file.write_text(text + CLAIMED % "sf")
    experiment = Experiment("small.py")
    (claim,) = experiment.claims(experiment.first_cells(), NONE)
    assert claim.id == "c" and experiment.scale == "tiny"
    file.write_text(text + CLAIMED % "sff")
    experiment = Experiment("small.py")
    with pytest.raises(ConfigurationError, match="CLAIMS: claim 'c': no cell 'sff'; there are"):
        experiment.claims(experiment.first_cells(), NONE)
    file.write_text(text + "\nCLAIMS = 3\n")
    with pytest.raises(ConfigurationError, match="CLAIMS=3: expected a list of Claim or a fun"):
        Experiment("small.py")


def test_refresh_asks_the_file_again_and_touches_no_line(small):
    folder = Path("results/small")
    held = {"config": "small.py", "argument": "", "overrides": {}, "cells": [], "name": ""}
    write_experiment(folder, held)
    write_lines(folder, [])
    file = small / "small.py"
    file.write_text(file.read_text() + CLAIMED % "sf")
    assert cli.run("report", "--name=small", "--refresh", "--format=md", cwd=small).code == 0
    again = read_experiment(folder)
    assert again["cells"] == ["sf", "fs"] and again["claims"][0]["id"] == "c"
    assert "order matters" in (folder / "table.md").read_text()
    told = cli.run("claims", cwd=small)
    assert told.code == 0 and "1 not run" in told.out
    assert "order matters" in Path("results/claims.md").read_text()


def test_refresh_works_out_what_frequencies_alone_lose_where_the_corpus_is_that_of_the_lines(small):
    """Of another corpus, for example another Python's standard library, nothing is worked out."""
    experiment = Experiment("small.py")
    sha256 = contract.build(experiment.config().task).sha256
    common = {"hash": "0" * 64, "seed": 0, "device": "cpu", "status": "failed", "evaluations": {}}
    lines = [
        {"cell": cell, **common, "hash": cell, "corpus": {"sha256": digest}}
        for cell, digest in (("sf", sha256), ("fs", "of another text"))
    ]
    folder = Path("results/small")
    held = {"config": "small.py", "argument": "", "overrides": {}, "trivial": {"fs": {"valid": 9}}}
    write_experiment(folder, held)
    write_lines(folder, lines)
    told = cli.run("report", "--name=small", "--refresh", "--format=md", cwd=small)
    assert told.code == 0
    assert "results/small: what frequencies alone would lose is not known of fs: 'file:" in told.err
    found = read_experiment(folder)["trivial"]
    assert found["fs"] == {"valid": 9}
    ids = contract.build(experiment.config().task).dataset.splits["valid"].ids
    p = np.bincount(ids)[np.bincount(ids) > 0] / len(ids)
    assert found["sf"]["valid"] == pytest.approx(-(p * np.log(p)).sum())


def test_options_that_a_change_of_kind_drops_are_told_where_the_user_changes_it(small):
    """Once, however many cells there are; a letter's and a section's."""
    told = cli.run(
        "describe", "--config=small.py:s=feed_forward", "--config.model.stack.kind=reversible",
        "--config.model.sublayers.f.chunk=0", cwd=small,
    )  # fmt: skip
    assert told.code == 0
    assert told.err == (
        "model.sublayers.s.heads=2 is dropped: model.sublayers.s.kind=feed_forward has no such "
        "option\n"
    )


def test_a_cell_that_drops_an_option_must_say_so(tmp_path, monkeypatch):
    change = (
        '"model.order": "fs"',
        '"model.order": "fs", "model.sublayers.s.kind": "feed_forward"',
    )
    monkeypatch.chdir(cli.write_small(tmp_path, change))
    told = cli.run("describe", "--config=small.py")
    assert told.code == 2
    assert "small.py: cell fs: model.sublayers.s.kind=feed_forward: this kind has" in told.err
    assert "say {'model.sublayers.s.heads': None} beside it" in told.err


def test_describe_and_dry_run_name_the_fields_in_which_cells_differ(small):
    line = "fs differs from sf in: model.order sf → fs\n"
    assert line in cli.run("describe", "--config=small.py", cwd=small).out
    assert line in cli.run("sweep", "--config=small.py", "--dry-run", cwd=small).out
    told = cli.run("describe", "--config=small.py", "--json", "--cells=fs", cwd=small).out
    assert json.loads(told)["differs"] == {"model.order": ["sf", "fs"]}


def test_varies_is_a_tuple_of_globs(tmp_path, monkeypatch):
    monkeypatch.chdir(cli.write_small(tmp_path, ("TABLE = ", 'VARIES = "model.order"\nTABLE = ')))
    with pytest.raises(ConfigurationError, match="VARIES='model.order': expected a tuple of globs"):
        Experiment("small.py")
