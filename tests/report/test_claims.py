"""Claims in an experiment's table, and the page of all of them."""

import csv
import dataclasses
import io
import json

import pytest

from arch.report import claims, folder, front_page, verdicts
from arch.report.claims import Untested, as_json, claims_of, judge_all, judge_folder
from arch.report.front_page import count_verdicts, to_summary, write_claims, write_summary
from arch.report.inference import Interval
from arch.report.lines import read_experiment, read_lines, write_experiment, write_lines
from arch.report.verdicts import Claim
from arch.sweeps.cells import Results

BASE = {0: 10.0, 1: 11.0, 2: 12.0}
BETTER = Claim(
    "better", "a beats b", "Smith 2020, Table 1", "lower", {"a": 1, "b": -1}, effect=-0.1
)
EQUAL = Claim("equal", "c is b", "Smith 2020", "equal", {"c": 1, "b": -1}, margin=0.01)
TOLD = Claim("told", "r is negative", "Smith 2020", "lower", values={0: -0.5, 1: -0.6, 2: -0.55})


def lines():
    shifts = {"a": (0.90, 0.91, 0.89), "b": (1.0, 1.0, 1.0), "c": (1.001, 0.999, 1.0005)}
    return [
        {
            "cell": cell,
            "hash": cell,
            "seed": seed,
            "device": "cpu",
            "status": "finished",
            "evaluations": {"valid": {"perplexity": BASE[seed] * factor}},
        }
        for cell, factors in shifts.items()
        for seed, factor in enumerate(factors)
    ]


@pytest.fixture
def results(tmp_path):
    """Two folders, one of them with claims."""
    told = as_json([BETTER, EQUAL, TOLD])
    table = {"title": "T", "baseline": "b"}
    write_experiment(
        tmp_path / "x", {"cells": ["a", "b", "c"], "table": table, "claims": told, "scale": "tiny"}
    )
    write_lines(tmp_path / "x", lines())
    write_experiment(tmp_path / "y", {"cells": ["a"], "table": table})
    return tmp_path


def test_claims_survive_json():
    told = json.loads(json.dumps(as_json([BETTER, EQUAL, TOLD])))
    assert claims_of({"claims": told}) == [BETTER, EQUAL, TOLD]
    assert claims_of({}) == []


def test_an_interval_beyond_the_figures_is_said_to_be(results):
    (better, *_) = (j.verdict for j in judge_folder(results / "x"))
    ours, *_ = claims.verdict_texts(better)
    assert ours.endswith("]") and "±" not in ours
    for low, high, said in ((-8.4, 8.3, "[beyond ±100 %]"), (5.1, 7.8, "[+510.00 %, +780.00 %]")):
        wide = dataclasses.replace(better, interval=Interval(low, high, 0.05))
        assert claims.verdict_texts(wide)[0].endswith(said)


def test_a_folder_is_judged_from_its_lines_alone(results):
    found = {j.verdict.claim.id: j.verdict.verdict for j in judge_folder(results / "x")}
    assert found == {"better": "confirmed", "equal": "confirmed", "told": "confirmed"}
    assert judge_folder(results / "y") == []


def test_no_difference_is_between_two_kinds_of_devices(results):
    """The GPU finished most: its seeds decide, also where its line of the other cell is missing."""
    held = [x | {"device": "gpu"} for x in lines()[:-1]]
    worse = [
        x
        | {"seed": seed, "evaluations": {"valid": {"perplexity": 1e6 if x["cell"] == "a" else 1.0}}}
        for x in lines()
        for seed in (0, 7)
        if x["seed"] == 0
    ]
    write_lines(results / "x", [*held, *worse])
    found = {j.verdict.claim.id: j for j in judge_folder(results / "x")}
    assert found["better"].verdict.difference.mean == pytest.approx(-0.1)
    assert found["equal"].verdict.difference.n == 2 and found["equal"].device == "gpu"
    table = folder.write_report(results / "x", ("md",))
    (section,) = (grid for grid in table.sections if grid.title == "Claims")
    assert section.note.endswith("one counts: of x those on gpu.")
    known = Results(read_lines(results / "x"), "perplexity", "valid")
    assert known.mean("a") == pytest.approx((9.0 + 11 * 0.91 + 12 * 0.89) / 3)


def test_the_table_and_its_csv_have_the_verdicts(results):
    table = folder.write_report(results / "x", ("md", "csv", "html"))
    (section,) = (grid for grid in table.sections if grid.title == "Claims")
    row = dict(zip(section.columns, section.rows[0], strict=True))
    assert row["claim"] == "a beats b (< 0)" and row["verdict"] == "confirmed"
    assert row["ours, corrected interval"].startswith("−10.00 % [−1")
    assert row["paper"] == "−10.00 %"
    for file in ("table.md", "report.html"):
        assert "a beats b" in (results / "x" / file).read_text()
    (first, *_) = csv.DictReader(io.StringIO((results / "x" / "claims.csv").read_text()))
    assert first["verdict"] == "confirmed" and float(first["difference"]) == pytest.approx(-0.1)
    folder.write_report(results / "y", ("md", "csv"))
    assert not (results / "y" / "claims.csv").exists()


def test_the_page_has_every_claim_and_those_that_nothing_tests(results):
    untested = [Untested("agreement", "agrees | or not", "Jones 2018, Table 2", "no data at hand")]
    text = write_claims(results, judge_all(results), untested)
    assert text == (results / "claims.md").read_text()
    assert "| paper | confirmed | no experiment | seeds or orders to decide those |" in text
    assert "| **all** | **3** | **1** | |" in text
    assert "## Jones 2018" in text and "| Table 2 |" in text
    assert "[a beats b (< 0)](x/table.md)" in text and r"agrees \| or not" in text
    assert "no data at hand" in text
    assert count_verdicts(judge_all(results), untested)[claims.NO_EXPERIMENT] == 1


def test_a_readme_with_marks_gets_the_summary_and_nothing_else_is_touched(results, tmp_path):
    readme = tmp_path / "README.md"
    judged = judge_all(results)
    assert not write_summary(readme, judged, [])  # none there
    readme.write_text("a README without marks\n")
    assert not write_summary(readme, judged, [])
    assert readme.read_text() == "a README without marks\n"
    readme.write_text(f"before\n{front_page.BEGIN}\nold\n{front_page.END}\nafter\n")
    assert write_summary(readme, judged, []) and write_summary(readme, judged, [])
    summary = "\n".join(to_summary(judged, []))
    assert readme.read_text() == (
        f"before\n{front_page.BEGIN}\n{summary}\n{front_page.END}\nafter\n"
    )


def test_what_is_open_says_what_would_decide_it(results):
    one = [line for line in lines() if line["seed"] == 0]
    write_lines(results / "x", one)
    rows = folder.write_report(results / "x", ("md",)).sections[-1].rows
    assert rows[0][-2:] == ("inconclusive", "two seeds at least")
    write_lines(results / "x", [])
    rows = folder.write_report(results / "x", ("md",)).sections[-1].rows
    assert rows[0][-2:] == (verdicts.UNTESTED, "—")


def test_values_of_orders_are_counted_as_orders_and_equal_ones_decide_nothing(results):
    apart = {0: 1.0, 1: -1.0, 2: 0.5}
    claims = [
        Claim(name, name, "s", "higher", values=values, each="order", effect=0.3, scale="absolute")
        for name, values in (("apart", apart), ("equal", dict.fromkeys(range(20), 0.0)))
    ]
    described = {"cells": ["a", "b"], "table": {}, "claims": as_json(claims)}
    write_experiment(results / "x", described)
    found = folder.write_report(results / "x", ("md",)).sections[-1].rows
    assert [row[-3:-1] for row in found] == [("3", "inconclusive"), ("20", "inconclusive")]
    assert found[0][-1].endswith(" orders") and found[1][-1] == "orders that differ"


def test_claims_of_exact_figures_have_no_interval(results):
    write_lines(results / "x", [line for line in lines() if line["seed"] == 0])
    described = {"cells": ["a", "b"], "table": {"exact": True}, "claims": as_json([BETTER])}
    write_experiment(results / "x", described)
    (row,) = folder.write_report(results / "x", ("md",)).sections[-1].rows
    assert row[2:] == ("−10.00 %", "−10.00 %", "1", "confirmed", "—")


def test_a_table_says_where_weights_were_chosen_on_the_split_that_it_shows(results):
    table = {"title": "T", "baseline": "b"}
    for selected, split, said in (("valid", "valid", 1), ("valid", "test", 0), ("", "valid", 0)):
        described = {"cells": ["a", "b"], "table": table | {"split": split}, "selected": selected}
        write_experiment(results / "x", described)
        notes = folder.write_report(results / "x", ("md",)).notes
        assert sum("lowest loss on valid, the split shown" in note for note in notes) == said


def test_a_claim_about_an_untrained_cell_is_not_judged(results):
    found = [{**line} for line in lines()]
    for line in found:
        line["evaluations"] = {"valid": {"perplexity": 9.0, "loss": 2.0 + (line["cell"] == "a")}}
    write_lines(results / "x", found)
    described = {"cells": ["a", "b"], "claims": as_json([BETTER]), "trivial": {"a": {"valid": 3.0}}}
    write_experiment(results / "x", described)
    (judged,) = judge_folder(results / "x")
    assert (judged.verdict.verdict, judged.verdict.difference.n) == (verdicts.UNTRAINED, 0)
    assert count_verdicts([judged], [])[verdicts.UNTRAINED] == 1


@pytest.mark.parametrize(
    ("below", "verdict"), [({"a", "b"}, None), ({"b"}, None), (set(), verdicts.UNTRAINED)]
)
def test_a_claim_about_learning_is_judged_where_one_cell_has_learned_something(
    results, below, verdict
):
    """Within a hundredth of the trivial loss is nothing."""
    found = [{**line, "evaluations": {"valid": {**line["evaluations"]["valid"]}}}
             for line in lines()]  # fmt: skip
    for line in found:
        line["evaluations"]["valid"]["loss"] = 2.9 if line["cell"] in below else 2.98
    write_lines(results / "x", found)
    claims = [dataclasses.replace(BETTER, of_learning=True)]
    trivial = {cell: {"valid": 3.0} for cell in "ab"}
    described = {"cells": ["a", "b"], "claims": as_json(claims), "trivial": trivial}
    plain = {**described, "trivial": {}}
    write_experiment(results / "x", plain)
    (before,) = judge_folder(results / "x")
    write_experiment(results / "x", described)
    (judged,) = judge_folder(results / "x")
    assert judged.verdict.verdict == (verdict or before.verdict.verdict)
    assert judged.verdict.difference.n == (0 if verdict else before.verdict.difference.n) != 1


def test_a_report_reads_its_folder_once_and_so_names_a_damaged_line_once(results, caplog):
    path = results / "x" / "runs.jsonl"
    path.write_text(path.read_text() + "<<<\n")
    folder.write_report(results / "x", ("md", "csv"))
    assert caplog.text.count("is left out: not JSON") == 1


def test_of_several_folders_of_one_experiment_one_counts(results):
    """Neither one that a user named, nor one with overrides, makes a claim twice."""
    held = {"cells": ["a", "b"], "claims": as_json([BETTER]), "config": "e.py", "argument": ""}
    for name, more in {
        "e": {},
        "a_demo": {"name": "a_demo"},
        "e-steps=5": {"overrides": {"train.steps": 5}},
        "e-form=b": {"argument": "form=b"},
    }.items():
        write_experiment(results / name, {**held, **more})
        write_lines(results / name, lines())
    folders, left_out = claims.counted(results)
    assert [folder.name for folder in folders] == ["e", "e-form=b", "x"]
    assert left_out == {"a_demo": "e", "e-steps=5": "e"}
    assert [judged.folder for judged in judge_all(results)] == ["e", "e-form=b", "x", "x", "x"]


def test_a_claim_is_judged_by_the_present_configuration_of_a_cell(results):
    worse = [{**line, "hash": "old a"} for line in lines() if line["cell"] == "a"]
    for line in worse:
        line["evaluations"] = {"valid": {"perplexity": 20.0 + line["seed"] / 10}}
    write_lines(results / "x", [*worse, *lines()])
    held = read_experiment(results / "x")
    for present, verdict in (("a", "confirmed"), ("old a", "refuted")):
        write_experiment(results / "x", {**held, "present": {"a": present}})
        assert judge_folder(results / "x")[0].verdict.verdict == verdict
    write_experiment(results / "x", held)  # which one is meant is not known
    assert judge_folder(results / "x")[0].verdict.verdict == verdicts.UNTESTED


def test_an_exact_figure_is_refuted_at_any_scale(results):
    wrong = as_json(
        [Claim("wrong", "a is b", "Smith 2020", "equal", {"a": 1, "b": -1}, margin=0.01)]
    )
    for exact, said in ((True, "refuted"), (False, "refuted at this scale")):
        table = {"title": "T", "exact": exact}
        write_experiment(results / "x", {"cells": ["a", "b"], "table": table, "claims": wrong})
        (row,) = claims.verdict_section(judge_folder(results / "x"))["rows"]
        assert row[-2] == said
