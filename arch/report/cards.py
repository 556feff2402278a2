"""A short card of an object for a prompt and a notebook: a title, its order, a few facts."""

import abc
import html
from collections.abc import Mapping
from typing import Any, NamedTuple

from arch.order import compress_parts

# Okabe and Ito's palette, dark enough for white letters, by which colour-blind readers tell kinds
LETTER_COLOURS = (
    "#0072B2", "#B35900", "#00795C", "#A34A83", "#5C5C5C", "#8A6D00", "#1F7A9E", "#9E2A2B",
)  # fmt: skip
LONGEST = 120  # letters of a strip; of more the first and the last


class Card(NamedTuple):
    """What a card says.

    order: expanded, stacks apart by |; '' where there is none. facts: label → text.
    """

    title: str
    facts: Mapping[str, str]
    order: str = ""

    def text(self) -> str:
        """The card as lines of text."""
        order = {"order": compress_parts(self.order)} if self.order else {}
        facts = {**order, **self.facts}
        width = max(map(len, facts), default=0)
        return "\n".join([self.title, *(f"  {k:<{width}}  {v}" for k, v in facts.items())])

    def html(self) -> str:
        """The card as a fragment of HTML, the order as a strip of coloured letters."""
        cell = "padding:.1em .8em .1em 0;text-align:left;vertical-align:top"
        rows = {k: html.escape(v) for k, v in self.facts.items()}
        if self.order:
            compressed = html.escape(compress_parts(self.order))
            rows = {"order": f"{strip(self.order)} <code>{compressed}</code>", **rows}
        body = "".join(
            f'<tr><th style="{cell}">{html.escape(k)}</th><td style="{cell}">{v}</td></tr>'
            for k, v in rows.items()
        )
        return f"<b>{html.escape(self.title)}</b><table>{body}</table>"


class Shown(abc.ABC):
    """What shows itself as a card, in a prompt and in a notebook."""

    @abc.abstractmethod
    def card(self) -> Card:
        """The card."""

    def __repr__(self) -> str:
        return self.card().text()

    def _repr_html_(self) -> str:
        return self.card().html()


def colour_of(letter: str, letters: str) -> str:
    """The colour of a letter, by its place among the sorted letters of its order."""
    place = sorted(set(letters) - {"|"}).index(letter)
    return LETTER_COLOURS[place % len(LETTER_COLOURS)]


def strip(order: str) -> str:
    """The order as HTML: a coloured box for each letter, a gap between stacks."""
    shown = order
    if len(order) > LONGEST:
        shown = f"{order[: LONGEST // 2]}…{order[-LONGEST // 2 :]}"
    box = "display:inline-block;min-width:1.15em;text-align:center;color:#fff;border-radius:2px"
    return '<span class="order" style="font:12px/1.5 ui-monospace,monospace">{}</span>'.format(
        "".join(
            f'<span style="{box};background:{colour_of(x, order)};margin:0 1px 1px 0">'
            f"{html.escape(x)}</span>"
            if x not in "|…"
            else f"<span> {x} </span>"
            for x in shown
        )
    )


def said_parameters(counts: Mapping[str, Any]) -> str:
    """'316,288 (s 100,608, f 199,296; embedding and head 16,384)' of a model's
    `parameter_counts`."""
    letters = ", ".join(f"{letter} {n:,}" for letter, n in counts["by_letter"].items())
    applied = counts["applied"]
    shared = f"; applied {applied:,}" if applied != counts["unique"] else ""
    inner = f"{letters}; embedding and head {counts['embedding']:,}{shared}".removeprefix("; ")
    return f"{counts['unique']:,} ({inner})"


def said_figures(figures: Mapping[str, Any]) -> str:
    """'loss 1.831, perplexity 6.243' of an evaluation; texts and groups of figures are left
    out."""
    numbers = {k: v for k, v in figures.items() if isinstance(v, float)}
    return ", ".join(f"{k} {v:,.4g}" for k, v in numbers.items())
