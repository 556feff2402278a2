import csv
import io
import math
import re

import pytest
from rich.console import Console

from arch.report import figures, renderers, tables
from arch.report.folder import FORMATS, write_report
from arch.report.lines import write_experiment, write_lines
from arch.report.panels import plan_figure

pytestmark = pytest.mark.usefixtures("pictures")

PRESS = "Press et al. 2020, Figure 6"


def line(cell="k0", seed=0, value=4.5, window=128, **fields):
    evaluation = {"perplexity": value, "unit": "byte", "window": window, "stride": 128}
    return {
        "name": "tiny",
        "cell": cell,
        "hash": f"hash-{cell}",
        "seed": seed,
        "device": "cpu",
        "device_name": "a processor",
        "cores": 2,
        "status": "finished",
        "order": "(sf)2",
        "parameters": {"unique": 1234567, "applied": 7},
        "steps": 600,
        "tokens": 1228800,
        "evaluations": {"valid": evaluation},
        "replicas": {"mode": "map", "width": 3},
        "versions": {"jax": "0.10.2"},
        "git": {"revision": "deadbeefcafe", "dirty": False},
        "corpus": {"name": "stdlib", "sha256": "ab12" * 16},
        **fields,
    }


def lost(cell, seed, status="nan", **fields):
    return line(cell, seed, status=status, **{"evaluations": {}, **fields})


ARMS = [line("k0", s, v) for s, v in enumerate([4.0, 5.0, 6.0])] + [
    line("k6", s, v) for s, v in enumerate([3.0, 4.1, 4.9])
]


@pytest.fixture
def folder(tmp_path):
    def write(lines, table=None, name="tiny", **experiment):
        path = tmp_path / name
        cells = list(dict.fromkeys(line["cell"] for line in lines))
        write_experiment(path, {"cells": cells, "table": table or {}, **experiment})
        write_lines(path, lines)
        return path

    return write


def columns(table):
    """{cell: {header: text}} of the main grid."""
    return {row[0]: dict(zip(table.main.columns, row, strict=True)) for row in table.main.rows}


def test_a_row_has_mean_sd_and_the_paired_interval_worked_out_by_hand(folder):
    # differences -1, -0.9, -1.1: mean -1, SD 0.1, half width 4.30265 · 0.1 / √3 = 0.2484
    k6 = columns(tables.tabulate(folder(ARMS, {"baseline": "k0"})))["k6"]
    assert k6["n"] == "3"
    assert k6["perplexity"] == "4.000 ± 0.954"
    assert k6["difference to k0"] == "−1.000 [−1.248, −0.752] *"


def test_rows_of_before_a_change_of_numbers_that_touches_them_are_marked(folder):
    arms = [{**one, "numerics": 2} for one in ARMS] + [line("k9", 0, 2.0)]
    table = tables.tabulate(folder(arms, numerics={"k0": 2, "k6": 3, "k9": 1}))
    assert list(columns(table)) == ["k0", "k6 ‡", "k9"]
    assert [note for note in table.notes if note.startswith("‡")][0].endswith("(k6)")
    table = tables.tabulate(folder([line("k9", 0, 2.0)], numerics={"k9": 2}, name="unknown"))
    assert list(columns(table)) == ["k9 ‡"]  # a line that does not say is of the first number


def test_cpu_seconds_are_counted_by_the_million_tokens(folder):
    arms = [{**one, "cpu_seconds": 1.2288 * (1 + one["seed"])} for one in ARMS]
    arms += [line("k9", 0, 2.0)]  # of before they were counted
    spec = {"columns": ["cpu_seconds_per_million_tokens"]}
    found = columns(tables.tabulate(folder(arms, spec)))
    header = "CPU seconds / M tokens"
    assert found["k0"][header] == "2.000 ± 1.000" and found["k9"][header] == "—"


def test_an_interval_that_holds_zero_bears_no_star(folder):
    lines = [*ARMS[:3], line("b", 0, 4.1), line("b", 1, 4.9)]
    # differences 0.1, -0.1: mean 0, SD / √2 = 0.1, half width 1.2706
    table = columns(tables.tabulate(folder(lines, {"baseline": "k0"})))
    assert table["b"]["difference to k0"] in ("+0.000 [−1.271, +1.271]", "−0.000 [−1.271, +1.271]")


def test_one_pair_is_no_difference_and_one_seed_is_a_single_run(folder):
    table = tables.tabulate(folder([ARMS[0], ARMS[3]], {"baseline": "k0"}))
    assert columns(table)["k6"]["perplexity"] == "3.000 (single run)"
    assert "difference to k0" not in table.main.columns
    assert any("two seeds in common" in note for note in table.notes)


def test_a_nan_is_counted_with_its_step_and_a_crash_with_its_error(folder):
    table = tables.tabulate(
        folder(
            [
                *ARMS,
                lost("k6", 3, stopped_step=420),
                line("k6", 4, math.inf),
                lost("k6", 5, "failed", error="Traceback\nout of memory"),
            ],
            {"baseline": "k0"},
        )
    )
    k6 = columns(table)["k6"]
    assert k6["failures"] == "1 NaN of 6 (step 420), 1 infinite of 6, 1 failed of 6"
    assert (k6["n"], k6["perplexity"]) == ("3", "4.000 ± 0.954")
    assert columns(table)["k0"]["failures"] == "0"
    assert "failed: out of memory (k6 seed 5)" in table.notes


def test_settings_never_share_a_column_nor_a_difference(folder):
    lines = [*ARMS[:3], *(line("wide", seed, 3.0 + seed, window=256) for seed in range(3))]
    table = tables.tabulate(folder(lines, {"baseline": "k0"}))
    narrow, wide = (f"perplexity (valid, byte, window {w}, stride 128)" for w in (128, 256))
    assert columns(table)["k0"][narrow] == "5.000 ± 1.000"
    assert columns(table)["k0"][wide] == "—"
    assert columns(table)["wide"][narrow] == "—"
    assert "difference to k0" not in table.main.columns


def test_devices_are_not_averaged_and_each_has_its_own_baseline(folder):
    gpu = [
        line(cell, seed, 10.0 + seed + shift * (seed + 1), device="gpu")
        for cell, shift in (("k0", 0), ("k6", 1))
        for seed in range(2)
    ]
    table = tables.tabulate(folder([*ARMS, *gpu], {"baseline": "k0"}))
    rows = {
        (row[0], row[1]): dict(zip(table.main.columns, row, strict=True)) for row in table.main.rows
    }
    assert [rows["k6", device]["n"] for device in ("cpu", "gpu")] == ["3", "2"]
    assert rows["k6", "cpu"]["difference to k0"].startswith("−1.00")
    assert rows["k6", "gpu"]["difference to k0"].startswith("+1.50")


def test_two_configurations_of_a_cell_are_two_rows(folder):
    table = tables.tabulate(folder([*ARMS, line("k6", 0, 1.0, hash="changed!")], {}))
    found = [(row[0], row[1], row[3]) for row in table.main.rows]
    assert found == [("k0", "hash-k0", "3"), ("k6", "changed!", "1"), ("k6", "hash-k6", "3")]


def test_the_paper_stands_beside_and_is_subtracted_only_if_comparable(folder):
    spec = {
        "paper": {"k0": {"value": 18.65, "sd": 0.34, "n": 5}, "k6": 17.84},
        "paper_label": PRESS,
        "paper_unit": "word",
    }
    table = tables.tabulate(folder(ARMS, spec))
    assert columns(table)["k0"]["paper (word)"] == "18.65 ± 0.34 (n = 5)"
    assert columns(table)["k6"]["paper (word)"] == "17.84"
    assert "ours − paper" not in table.main.columns
    assert any(PRESS in note and "not subtracted" in note for note in table.notes)

    table = tables.tabulate(folder(ARMS, {**spec, "paper_comparable": True}))
    assert columns(table)["k6"]["ours − paper"] == "−13.84"


def test_other_code_bears_a_dagger_and_a_footnote(folder):
    lines = [
        *ARMS,
        line("old", git={"revision": "0123456789", "dirty": False}),
        line("dirty", git={"revision": "deadbeefcafe", "dirty": True}),
    ]
    table = tables.tabulate(folder(lines))
    assert [row[0] for row in table.main.rows] == ["k0", "k6", "old †", "dirty †"]
    (note,) = (note for note in table.notes if note.startswith("†"))
    assert note.endswith("old (01234567), dirty (deadbeef + changes)")


def test_provenance_and_the_command_are_told(folder):
    table = tables.tabulate(
        folder(
            [*ARMS, line(seed=100)],
            config="experiments/sandwich.py",
            argument="scale=tiny",
            overrides={"train.steps": 600, "model.order": "s6 (sf)10 f6"},
        )
    )
    for note in (
        "Seeds: 0–2, 100",
        "Corpus: stdlib, sha256 ab12ab12ab12…",
        "Versions: jax 0.10.2",
        "Device: cpu (a processor, 2 cores)",
        "Replicas: map, 3 wide",
        "Code: git deadbeef",
        "Trained for: 600 steps, 1,228,800 tokens",
    ):
        assert note in table.notes
    assert table.command == (
        "python launch.py sweep --config=experiments/sandwich.py:scale=tiny "
        "--config.train.steps=600 '--config.model.order=s6 (sf)10 f6'"
    )


def test_another_folder_is_subtracted_only_where_it_was_measured_alike(folder):
    ours = folder([*ARMS, line("w"), line("c"), line("new")])
    theirs = folder(
        [
            *(line("k6", s, v) for s, v in enumerate([4.0, 5.0, 6.0])),
            line("w", window=256),
            line("c", corpus={"sha256": "other"}),
            line("gone"),
        ],
        name="before",
    )
    table = tables.tabulate(ours, theirs)
    found = {cell: row["difference to before"] for cell, row in columns(table).items()}
    assert found == {
        "k0": "—",
        "k6": "−1.000 [−1.248, −0.752] *",
        "w": "other setting",
        "c": "other corpus",
        "new": "—",
    }
    assert "window 256" in columns(table)["w"]["before: perplexity"]
    assert "Only in before: gone" in table.notes


def test_extra_columns_and_another_metric(folder):
    lines = [
        line("a", s, evaluations={"test": {"accuracy": v, "bits_per_byte": 1.5}})
        for s, v in enumerate([0.25, 0.75])
    ]
    table = tables.tabulate(
        folder(
            lines,
            {
                "metric": "accuracy",
                "split": "test",
                "lower_is_better": False,
                "columns": [
                    "order",
                    "parameters.unique",
                    "test",
                    "bits_per_byte",
                    "flops_per_token",
                ],
            },
        )
    )
    assert columns(table)["a"] == {
        "cell": "a",
        "order": "(sf)2",
        "n": "2",
        "accuracy": "0.5000 ± 0.3536",
        "parameters: unique": "1,234,567",
        "test": "0.5000 ± 0.3536",
        "bits per byte": "1.500 ± 0.000",
        "flops per token": "—",
    }
    assert table.notes[0] == "accuracy (test): mean ± SD with n − 1; higher is better."


@pytest.mark.parametrize(
    "lines, table",
    [
        ([], {}),
        ([lost("k0", 0), lost("k1", 0, "failed")], {"baseline": "k0"}),
        ([line()], {"baseline": "missing"}),
        ([line()], {"x": {"k0": 0}, "paper": {"k9": 1.0}}),
        ([line("a"), line("b", value=1e9), line("c")], {"x": {"a": 0, "b": 1}}),
        ([line(value=math.inf)], {"baseline": "k0"}),
        ([line(f"r{n:02d}", value=4 + n) for n in range(40)], {}),
    ],
)
def test_edge_cases_build_in_every_format_with_every_cell(folder, lines, table):
    path = folder(lines, table)
    built = write_report(path, FORMATS)
    renderers.print_table(built, Console(file=io.StringIO(), width=60))
    assert [row[0] for row in built.main.rows] == list(dict.fromkeys(r["cell"] for r in lines))
    figure = any(math.isfinite(value) for row in built.rows for value in row.values.values())
    assert (path / "perplexity.svg").exists() == (path / "perplexity.png").exists() == figure
    for name in ("table.md", "table.csv", "table.tex", "report.html"):
        text = (path / name).read_text()
        assert all(line["cell"] in text for line in lines)


def test_cells_not_yet_run_have_a_row(folder):
    path = folder([line()])
    write_experiment(path, {"cells": ["k0", "k1"]})
    assert columns(tables.tabulate(path))["k1"]["n"] == "0"


CURVE = {"baseline": "k0", "x": {"k0": 0, "k6": 6}, "paper": {"k0": 18.65, "k6": 17.84}}


@pytest.mark.parametrize("spec", [CURVE, {**CURVE, "x": {}}, {"baseline": "k0"}])
def test_rebuilding_gives_the_same_bytes(folder, spec):
    path = folder([*ARMS, lost("k6", 3), line("no_x")], spec)
    write_report(path, FORMATS)
    first = {file.name: file.read_bytes() for file in path.iterdir()}
    write_report(path, FORMATS)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == first
    assert not re.search(rb"<dc:date>|20\d\d-\d\d-\d\dT", first["perplexity.svg"])


def test_a_paper_of_another_metric_is_called_by_it(folder):
    spec = {"paper": {"k0": 82.3}, "paper_label": "ALBERT", "paper_metric": "downstream average"}
    table = tables.tabulate(folder(ARMS, spec))
    assert columns(table)["k0"]["paper (downstream average)"] == "82.30"
    labels = [panel.label for panel in plan_figure(table.rows, table.spec).panels]
    assert labels == ["perplexity", "downstream average"]


def test_a_legend_too_wide_for_two_columns_stands_in_one(folder):
    def legend_columns(suffix):
        lines = [{**line, "cell": line["cell"] + suffix} for line in ARMS]
        table = tables.tabulate(folder(lines, {"baseline": f"k0{suffix}"}, name=f"x{suffix}"))
        (axis,) = figures.draw(plan_figure(table.rows, table.spec)).axes
        return axis.get_legend()._ncols

    assert legend_columns("") == 2
    assert legend_columns("-attention-wide") == 1


def test_exact_figures_are_no_single_runs(folder):
    spec = {"exact": True, "baseline": "k0", "paper": {"k0": 108}}
    path = folder([line("k0", value=109.0), line("k6", value=11.0)], spec)
    table = tables.tabulate(path, path)
    assert columns(table)["k6"]["tiny: perplexity"] == "11.00"
    ours, paper = plan_figure(table.rows, table.spec).panels
    assert (ours.legend, ours.band.label) == ("exact", "k0")
    assert paper.label == "perplexity"
    write_report(path, ["md", "html"], against=path)
    for file in ("table.md", "report.html"):
        assert "single run" not in (path / file).read_text()


def test_the_paper_never_shares_an_axis_with_us(folder):
    table = tables.tabulate(folder([*ARMS, line("k6", 0, 9.0, device="gpu")], CURVE))
    plan = plan_figure(table.rows, table.spec)
    assert [panel.title[:5] for panel in plan.panels] == ["Ours:", "Ours:", "Paper"]
    cpu, gpu, paper = ({m.cell: m.mean for m in panel.marks} for panel in plan.panels)
    assert (cpu, gpu, paper) == ({"k0": 5.0, "k6": 4.0}, {"k6": 9.0}, CURVE["paper"])
    assert cpu.keys() <= plan.places.keys() and plan.places["k6"] == 6.0
    assert len(figures.draw(plan).axes) == len(plan.panels)


def test_a_cell_without_x_stands_beyond_the_curve_and_a_lost_one_is_marked(folder):
    table = tables.tabulate(folder([*ARMS, line("other"), lost("dead", 0)], CURVE))
    plan = plan_figure(table.rows, table.spec)
    assert plan.places["dead"] > plan.places["other"] > 6
    assert {m.cell: m.lost for m in plan.panels[0].marks}["dead"] == "1/1"
    axis = figures.draw(plan).axes[0]
    assert "×1/1" in [text.get_text() for text in axis.texts]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["0", "6", "other", "dead"]


def test_markdown_escapes_names_and_pads_columns(folder):
    path = folder([line("a|b"), line("_x_ <i>*c*"), line("k_6 & co")], {"title": "One | two"})
    write_report(path, ["md"])
    text = (path / "table.md").read_text()
    rows = [row for row in text.split("\n") if row.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert r"a\|b" in text and r"\_x\_ \<i\>\*c\*" in text and "| k_6 & co" in text
    assert text.startswith("# One \\| two\n")


def test_html_and_latex_escape_names(folder):
    path = folder([line("<script>&"), line("a_b & 5 % {x} \\y"), line("b", 1)])
    write_report(path, ["html", "latex"], html_path=path / "elsewhere" / "page.html")
    page, tex = (path / "elsewhere" / "page.html").read_text(), (path / "table.tex").read_text()
    assert ">&lt;script&gt;&amp;</button>" in page and "<script>" not in page
    assert r"a\_b \& 5 \% \{x\} \textbackslash{}y &" in tex
    assert not (path / "report.html").exists()


def test_csv_keeps_every_digit_and_is_empty_without_a_number(folder):
    path = folder([line(value=1 / 3), lost("dead", 0)], {"baseline": "k0"})
    write_report(path, ["csv"])
    alive, dead = csv.DictReader(io.StringIO((path / "table.csv").read_text()))
    assert float(alive["mean"]) == 1 / 3
    assert (alive["sd"], alive["unit"], alive["window"]) == ("", "byte", "128")
    assert (dead["n"], dead["mean"], dead["lost"]) == ("0", "", "1 NaN of 1")


def test_sections_follow_the_table(folder):
    section = {
        "title": "Halves",
        "columns": ["half", "s"],
        "rows": [["bottom", 8.07], ["top", 9]],
        "note": "Straddling layers count by half.",
    }
    path = folder(ARMS, {"sections": [section]})
    write_report(path, ["md", "html", "latex"], notes=True)
    for name in ("table.md", "report.html", "table.tex"):
        text = (path / name).read_text()
        assert text.index("4.000") < text.index("Halves") < text.index("8.070")
        assert section["note"] in text
    with pytest.raises(ValueError, match="'Halves': a row has 1 entries, there are 2"):
        tables.tabulate(folder(ARMS, {"sections": [{**section, "rows": [[1]]}]}))


def test_the_console_keeps_figures_and_says_what_it_leaves_out(folder):
    spec = {
        "baseline": "k0",
        "columns": ["parameters.unique", "tokens_per_second"],
        "paper": {"k0": 18.65},
    }
    table = tables.tabulate(folder(ARMS, spec))
    wide, narrow = io.StringIO(), io.StringIO()
    renderers.print_table(table, Console(file=wide, width=200))
    renderers.print_table(table, Console(file=narrow, width=70))
    assert "1,234,567" in wide.getvalue() and "Left out" not in wide.getvalue()
    assert "−1.000" in narrow.getvalue() and "1,234,567" not in narrow.getvalue()
    assert "Left out" in narrow.getvalue()


def test_an_unknown_format_lists_the_allowed_ones(folder):
    with pytest.raises(ValueError, match="'pdf' is not known; allowed: md, csv, svg, html, latex"):
        write_report(folder([]), ["pdf"])


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such results folder"):
        write_report(tmp_path / "nowhere")


def test_configurations_of_a_cell_are_told_apart_by_their_fields_and_paired_alike(tmp_path):
    def rate(value):
        return {"train.optimizer.learning_rate": value}

    cells = [("k0", "h0", 0.0), ("k6", "h6", -1.0), ("k0", "H0", 5.0), ("k6", "H6", 7.0)]
    found = [
        line(cell, seed, 10.0 + shift + seed * (1 + shift / 100), hash=identity)
        for cell, identity, shift in cells
        for seed in range(3)
    ]
    write_lines(tmp_path, found)
    varied = {"h0": rate(0.001), "h6": rate(0.001), "H0": rate(0.01), "H6": rate(0.01)}
    spec = {"metric": "perplexity", "baseline": "k0"}
    held = {"cells": ["k0", "k6"], "table": spec, "varied": varied}
    write_experiment(tmp_path, held)
    table = tables.tabulate(tmp_path)
    assert "configuration" not in table.main.columns
    rows = [dict(zip(table.main.columns, row, strict=True)) for row in table.main.rows]
    difference = {
        row["learning_rate"]: row["difference to k0"] for row in rows if row["cell"] == "k6"
    }
    assert difference["0.001"].startswith("−1.0") and difference["0.01"].startswith("+2.0")
    panels = plan_figure(table.rows, table.spec).panels
    assert {panel.title.rpartition("; ")[2] for panel in panels} == {
        "learning_rate 0.001", "learning_rate 0.01",
    }  # fmt: skip
