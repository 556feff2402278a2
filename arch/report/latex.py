"""A table for a paper: one `table` environment a grid, as wide as a column of a two-column page.

It needs booktabs, array and graphicx. A grid that is wider than the column is made smaller. The
main one has the columns that a paper prints; the others, and every number's digits, are in
table.md and table.csv.
"""

from collections.abc import Sequence

from arch.report.tables import Grid, ResultTable

PREAMBLE = r"% needs \usepackage{booktabs,array,graphicx}"
LEFT_OUT = ("p (Holm)", "detectable", "failures")  # of the main grid
LONG = 28  # characters of a cell of text, beyond which its column is set in lines
LINES_WIDTH = r"0.3\columnwidth"

LAST_KNOWN = "\u017f"  # Latin letters, with which LaTeX reads UTF-8 without a package
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "—": "---",
    "–": "--",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "→": r"$\rightarrow$",
    "≥": r"$\ge$",
    "≤": r"$\le$",
    "≈": r"$\approx$",
    **{c: f"$^{{{plain}}}$" for c, plain in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", strict=True)},
    "…": r"\ldots{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after \\ it would be an option
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


def to_latex(table: ResultTable, notes: bool = False) -> str:
    """The main grid and the sections, with captions and labels `tab:NAME`, `tab:NAME-2`, …

    notes: whether what stands below a table follows it in small print.
    """
    blocks = [PREAMBLE]
    for number, grid in enumerate((table.main, *table.sections), 1):
        main = grid is table.main
        below = table.notes if main else [grid.note] * bool(grid.note)
        label = f"tab:{table.name}" + f"-{number}" * (not main)
        shown = _without(grid, LEFT_OUT) if main else grid
        caption = grid.title
        if main and table.notes:  # the first says what the figures are
            caption = f"{grid.title}. {table.notes[0][:1].upper()}{table.notes[0][1:]}"
        blocks.append(_environment(shown, caption, label, below if notes else ()))
    return "\n\n".join(blocks) + "\n"


def _without(grid: Grid, names: Sequence[str]) -> Grid:
    kept = [i for i, name in enumerate(grid.columns) if name not in names]
    rows = tuple(tuple(row[i] for i in kept) for row in grid.rows)
    return Grid(grid.title, tuple(grid.columns[i] for i in kept), rows, grid.note)


def _environment(grid: Grid, caption: str, label: str, notes: Sequence[str]) -> str:
    head, *body = (" & ".join(map(_tex, line)) + r" \\" for line in (grid.columns, *grid.rows))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(caption)}}}",
            rf"\label{{{label}}}",
            r"\small\setlength{\tabcolsep}{4pt}",
            r"\resizebox{\ifdim\width>\columnwidth\columnwidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{@{{}}{_alignment(grid)}@{{}}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            *(rf"\par\footnotesize {_tex(note)}" for note in notes),
            r"\end{table}",
        ]
    )


def _alignment(grid: Grid) -> str:
    """r for numbers, l for text, and lines of a fixed width for long text."""

    def of(column: int, number: bool) -> str:
        longest = max((len(row[column]) for row in grid.rows), default=0)
        if number:
            return "r"
        return rf">{{\raggedright\arraybackslash}}p{{{LINES_WIDTH}}}" if longest > LONG else "l"

    return "".join(of(column, number) for column, number in enumerate(grid.numeric))


def _tex(text: str) -> str:
    """Escaped; a character that LaTeX does not know by itself is written as its number."""
    return "".join(
        LATEX.get(c, c if c <= LAST_KNOWN else rf"\texttt{{U+{ord(c):04X}}}")
        for c in " ".join(text.split())
    )
