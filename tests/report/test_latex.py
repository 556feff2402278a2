"""Tables for a paper: they compile, fit a column, and say as much as is asked for."""

import re
import shutil
import subprocess

import pytest

from arch.report.folder import write_report
from arch.report.lines import write_experiment
from tests.report.test_report import ARMS, folder, line  # noqa: F401  folder is a fixture

DOCUMENT = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs,array,graphicx}
\begin{document}
\input{table}
Table~\ref{tab:tiny}
\end{document}
"""
LONG = "A claim of so many words that it would not stand in one line of a column"
SECTION = {"title": "Claims", "columns": ["claim", "n"], "rows": [[LONG, 3]], "note": "A note."}


@pytest.fixture
def path(folder):  # noqa: F811
    lines = [*ARMS, line("東京 ≈ 10⁻³ [x] & _", 0, 4.0)]
    return folder(lines, {"baseline": "k0", "paper": {"k0": 18.65}, "sections": [SECTION]})


def test_the_paper_s_columns_a_label_each_and_notes_where_asked_for(path):
    write_report(path, ["latex"])
    short = (path / "table.tex").read_text()
    assert re.findall(r"\\label{(.*)}", short) == ["tab:tiny", "tab:tiny-2"]
    head = short[short.index(r"\toprule") : short.index(r"\midrule")]
    assert "perplexity" in head and "difference to k0" in head and "(Holm)" not in head
    assert r"\footnotesize" not in short
    assert "\\caption{tiny. Perplexity (valid, byte" in short
    write_report(path, ["latex"], notes=True)
    noted = (path / "table.tex").read_text()
    assert "paired by seed" in noted and r"\par\footnotesize A note." in noted


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no pdflatex")
@pytest.mark.parametrize("notes", [False, True])
def test_it_compiles_in_two_columns_and_nothing_is_wider_than_one(path, tmp_path, notes):
    write_experiment(path, {"table": {"baseline": "k0", "sections": [SECTION]}})
    write_report(path, ["latex"], notes=notes)
    shutil.copy(path / "table.tex", tmp_path)
    (tmp_path / "paper.tex").write_text(DOCUMENT)
    for _ in range(2):  # the second run knows the labels
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
            cwd=tmp_path, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout and "undefined" not in done.stdout
