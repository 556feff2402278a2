"""Live progress: a table on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live
from rich.table import Table

from arch.tasks.objective import perplexity
from arch.training.group import Group, Member

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Shows step, loss, validation loss, tokens/s and time left of a group, one row per replica.

    A group calls `update` whenever it has written something.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console()
        self._live: Live | None = None
        self._start = self._last = 0.0
        self._first = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end()

    def begin(self, group: Group) -> None:
        """A group starts; the first line comes before its compilation."""
        cells = ", ".join(dict.fromkeys(m.cell for m in group.members))
        seeds = ", ".join(str(m.seed) for m in group.members)
        at = f" from step {group.step}" if group.step else ""
        self.console.print(f"[bold]{cells}[/bold] seeds {seeds}: {group.steps} steps{at}")
        self._start, self._first, self._last = time.perf_counter(), group.step, 0.0
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()

    def update(self, group: Group) -> None:
        """The group has moved on."""
        now = time.perf_counter()
        done = group.step == group.steps
        if self._live is not None:
            self._live.update(self._table(group))
            if done:
                self._end()
        if done or (self._live is None and now - self._last >= SECONDS_BETWEEN_LINES):
            self._last = now
            losses = " ".join(f"{value:.4f}" for value in group.losses)
            best = " ".join(f"{v:.4f}" if math.isfinite(v) else "–" for v in group.validation)
            self.console.print(
                f"  step {group.step}/{group.steps}  loss {losses}  valid {best}  "
                f"{group.tokens_per_second:,.0f} tokens/s  {self._left(group)} left",
                highlight=False,
                soft_wrap=True,
            )

    def measured(self, member: Member, figures: Mapping[str, float]) -> None:
        """A replica was measured instead of trained."""
        found = ", ".join(f"{name} {value:.6g}" for name, value in figures.items())
        self.console.print(
            f"[bold]{member.cell}[/bold] seed {member.seed}: {found}",
            highlight=False,
            soft_wrap=True,
        )

    def _table(self, group: Group) -> Table:
        table = Table(box=None, pad_edge=False)
        for name in ("cell", "seed", "step", "loss", "perplexity", "valid", "tokens/s", "left"):
            table.add_column(name, justify="left" if name == "cell" else "right")
        share = group.tokens_per_second / len(group.members)
        for member, loss, valid in zip(group.members, group.losses, group.validation, strict=True):
            table.add_row(
                member.cell, str(member.seed), f"{group.step}/{group.steps}", f"{loss:.4f}",
                f"{perplexity(loss):.2f}", f"{valid:.4f}", f"{share:,.0f}", self._left(group),
            )  # fmt: skip
        return table

    def _left(self, group: Group) -> str:
        steps = group.step - self._first
        seconds = (time.perf_counter() - self._start) / max(steps, 1) * (group.steps - group.step)
        minutes, seconds = divmod(round(seconds), 60)
        return f"{minutes}:{seconds:02d}"

    def _end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
