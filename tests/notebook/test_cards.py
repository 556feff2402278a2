"""What a notebook shows of runs, models and results, and what pandas is given."""

import json
import math

import jax
import numpy as np
import pytest

import arch
from arch import config, variants
from arch.huggingface.held import Imported
from arch.models import families
from arch.registry import ConfigurationError
from arch.report import inference, statistics
from arch.report.cards import LONGEST, Card, colour_of, strip
from arch.report.flat import flat_rows
from arch.report.seals import sealed
from tests import cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return cli.copy_swept(tmp_path_factory.mktemp("cards"))


@pytest.fixture(scope="module")
def runs(folder):
    return {
        cell: arch.load(cli.folder_of(folder / "runs/small", cell).path) for cell in ("sf", "fs")
    }


def test_a_run_is_a_short_card_with_its_order_parameters_and_metrics(runs):
    card = repr(runs["sf"])
    assert len(card) < 1000 and len(card.splitlines()) < 12
    loss = runs["sf"].lines()[0]["evaluations"]["valid"]["loss"]
    for told in ("sf, seed 0: finished at step 80", "order", "embedding and head", f"{loss:.4g}"):
        assert told in card
    page = runs["sf"]._repr_html_()
    assert len(page) < 5000 and ">s</span>" in page and "<table>" in page


def test_a_model_and_imported_weights_are_cards():
    made = config.make(model=variants.vanilla(2, width=8, heads=2))
    model = families.build(made.model, 50, 16)
    assert "none yet" in repr(model) and "s" in repr(model)
    weighted = model.with_weights(model.init(jax.random.key(0)))
    assert "its own" in repr(weighted) and len(repr(weighted)) < 600
    held = Imported({**variants.vanilla(2, width=8, heads=2)}, 50, 16, weighted.parameters)
    assert "(sf)2" in repr(held) and len(repr(held)) < 600 and ">f</span>" in held._repr_html_()


def test_texts_of_a_card_are_escaped():
    assert (
        "&lt;b&gt;" in Card("<b>", {"a": "<i>"}).html()
        and "<i>" not in Card("", {"a": "<i>"}).html()
    )


def test_a_strip_has_a_colour_a_letter_and_is_cut_where_it_is_long():
    assert colour_of("s", "sf|scf") == colour_of("s", "scf") != colour_of("f", "scf")
    assert strip("sf|sf").count("background") == 4
    assert strip("sf" * 1000).count("background") == LONGEST


def test_curves_are_rows_of_both_losses(runs):
    rows = runs["sf"].curves()
    assert {row["split"] for row in rows} == {"train", "valid"}
    assert set(rows[0]) == {"seed", "split", "step", "tokens", "flops", "loss"}
    last = rows[-1]
    assert last["tokens"] == last["step"] * 4 * 16
    assert last["flops"] == 3 * last["tokens"] * runs["sf"].lines()[0]["flops_per_token"]


def test_a_comparison_is_the_tables(runs):
    found = runs["sf"].compare(runs["fs"])
    sides = [{i: x["evaluations"]["valid"]["loss"] for i, x in enumerate(runs[c].lines())}
             for c in ("sf", "fs")]  # fmt: skip
    wanted = statistics.paired_difference(*sides)
    assert found.difference == wanted and found.seeds == (0, 1)
    assert found.p == inference.p_value(wanted)
    assert "difference" in repr(found) and "[" in repr(found)
    both = runs["sf"].compare(runs["fs"], "perplexity")
    assert both.ours.mean == pytest.approx(np.mean([math.exp(v) for v in sides[0].values()]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "bleu"}, "valid.bleu was not measured; there are valid.loss"),
        ({"split": "other"}, "other.loss was not measured"),
    ],
)
def test_a_comparison_of_nothing_is_refused(runs, options, message):
    with pytest.raises(ConfigurationError, match=message):
        runs["sf"].compare(runs["fs"], **options)
    with pytest.raises(ConfigurationError, match="str: expected a run"):
        runs["sf"].compare("runs/demo")


def test_runs_of_other_seeds_or_measures_are_not_compared(runs, tmp_path):
    def changed(seed, devices=("cpu", "cpu"), **figures):
        copied = cli.copy(runs["fs"].folder.path, tmp_path / f"{seed}{devices}{len(figures)}")
        for old, new, device in ((0, seed, devices[0]), (1, seed + 1, devices[1])):
            path = copied / f"seed{old}/summary.json"
            line = json.loads(path.read_text()) | {"device": device}
            line["seed"] = new
            line["evaluations"]["valid"] |= figures
            path.write_text(json.dumps(sealed(line)))
        return arch.load(copied)

    with pytest.raises(ConfigurationError, match="in both on cpu: there are 0, 1 and 7, 8"):
        runs["sf"].compare(changed(7))
    with pytest.raises(ConfigurationError, match="in both on cpu: there are 0, 1 and none"):
        runs["sf"].compare(changed(0, ("gpu", "gpu")))
    assert runs["sf"].compare(changed(0, ("cpu", "gpu"))).seeds == (0,)
    with pytest.raises(ConfigurationError, match="measured in two ways.*window 16.*window 8"):
        runs["sf"].compare(changed(0, window=8))


def test_results_are_flat_rows_with_equal_keys(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("small", "results/small", "runs/small"):
        rows = arch.results(name).rows()
        assert [(row["cell"], row["seed"]) for row in rows] == [
            ("sf", 0), ("sf", 1), ("fs", 0), ("fs", 1),
        ]  # fmt: skip
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert {type(v) for row in rows for v in row.values()} <= {str, int, float, bool, type(None)}
    assert rows[0]["valid.loss"] > 0 and rows[0]["parameters.unique"] > 0
    assert "perplexity (valid), 4 runs" in repr(arch.results("small"))
    with pytest.raises(ConfigurationError, match="smal: no runs.jsonl.*results/ has small"):
        arch.results("smal")


def test_a_row_lacks_no_key_of_another_line():
    rows = flat_rows([{"a": {"b": 1}, "x": [1]}, {"c": None}])
    assert rows == [{"a.b": 1, "x": "[1]", "c": None}, {"a.b": None, "x": None, "c": None}]
