"""Live progress: a table on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Mapping, Sequence
from statistics import fmean

from rich.console import Console
from rich.live import Live
from rich.table import Table

from arch.sweeps.plan import lasting, training_flops
from arch.sweeps.sweep import Job
from arch.tasks.objective import perplexity
from arch.training.group import Group
from arch.training.member import Member

SECONDS_BETWEEN_LINES = 5.0
MOST_LOSSES = 4  # that stand on a line one by one
COMPILING = "compiling, or loading what was compiled before …"
COLUMNS = (
    "cell", "seed", "step", "train loss", "perplexity", "valid loss", "perplexity", "tokens/s",
)  # fmt: skip


class Whole:
    """How far a sweep is: its cells by number, and the share of its training FLOPs that is done.

    The time left is that of the FLOPs left, at the rate of what was trained since the start; it has
    evaluating in it, and no compiling.
    """

    def __init__(self, jobs: Sequence[Job]):
        left = [(job, len(job.unfinished())) for job in jobs]
        names = dict.fromkeys(job.cell.name for job, seeds in left if seeds)
        self._number = {name: i for i, name in enumerate(names, 1)}
        self._flops = {job.cell.name: training_flops(job) for job, _ in left}
        self._total = sum(seeds * training_flops(job) for job, seeds in left)
        self._start = time.perf_counter()
        self._ended = self._found = 0.0
        self._compiling = self._before = 0.0  # seconds: of groups that ended; of a program before

    def begin(self, group: Group) -> None:
        """A group starts, perhaps amid its training: that part costs no time any more."""
        self._found += self._of(group) * group.step / group.steps
        self._before = group.program.compiled.seconds

    def end(self, group: Group) -> None:
        """A group has ended, trained to its last step or not."""
        self._ended += self._of(group)
        self._compiling += group.program.compiled.seconds - self._before

    def _of(self, group: Group) -> float:
        """FLOPs of the whole training of a group."""
        return sum(self._flops[m.cell] for m in group.members)

    def cells(self, group: Group) -> str:
        """'cell 2 of 4', 'cells 1-3 of 4'; '' where all there is trains in this group."""
        numbers = sorted({self._number[m.cell] for m in group.members})
        first, last = numbers[0], numbers[-1]
        if last - first + 1 == len(self._number):
            return ""
        which = f"cell {first}" if first == last else f"cells {first}-{last}"
        return f"{which} of {len(self._number)}"

    def said(self, group: Group) -> str:
        """'cell 2 of 4, 38 % of the sweep, 12 min left'; of a single group '38 %, 12 min left'."""
        done = self._ended + self._of(group) * group.step / group.steps
        compiling = self._compiling + group.program.compiled.seconds - self._before
        seconds = time.perf_counter() - self._start - compiling
        rate = (done - self._found) / seconds if seconds > 0 else 0.0
        left = f", {lasting((self._total - done) / rate)} left" if rate > 0 else ""
        share = 100 * done / self._total if self._total else 100.0
        if which := self.cells(group):
            return f"{which}, {share:.0f} % of the sweep{left}"
        return f"{share:.0f} %{left}"


class Progress:
    """Shows step, training and validation loss, both also as perplexity, and tokens/s of a group,
    one row per replica, and how far the whole sweep is.

    A group calls `update` whenever it has written something.
    """

    def __init__(self, whole: Whole, console: Console | None = None):
        self._whole, self.console = whole, console or Console()
        self._live: Live | None = None
        self._last = self._compiled = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end()

    def begin(self, group: Group) -> None:
        """A group starts; the first line comes before its compilation."""
        cells = ", ".join(dict.fromkeys(m.cell for m in group.members))
        seeds = ", ".join(str(m.seed) for m in group.members)
        at = f" from step {group.step}" if group.step else ""
        self._whole.begin(group)
        where = f" ({which})" if (which := self._whole.cells(group)) else ""
        self.console.print(f"[bold]{cells}[/bold] seeds {seeds}: {group.steps} steps{at}{where}")
        self._last, self._compiled = 0.0, group.program.compiled.seconds
        if self.console.is_terminal:
            self._live = Live(COMPILING, console=self.console, transient=True)
            self._live.start()
        else:
            self.console.print(f"  {COMPILING}")

    def update(self, group: Group) -> None:
        """The group has moved on."""
        if (seconds := group.program.compiled.seconds - self._compiled) >= 1:
            self.console.print(f"  compiled in {lasting(seconds)}", highlight=False)
        self._compiled = group.program.compiled.seconds
        now = time.perf_counter()
        done = group.step == group.steps
        if self._live is not None:
            self._live.update(self._table(group))
            if done:
                self._end()
        if done or (self._live is None and now - self._last >= SECONDS_BETWEEN_LINES):
            self._last = now
            losses = f"train {_several(group.losses)}  valid {_several(group.validation)}"
            self.console.print(
                f"  step {group.step}/{group.steps}  loss: {losses}  "
                f"{group.tokens_per_second:,.0f} tokens/s  {self._whole.said(group)}",
                highlight=False,
                soft_wrap=True,
            )

    def _table(self, group: Group) -> Table:
        table = Table(
            box=None, pad_edge=False, caption=self._whole.said(group), caption_justify="left"
        )
        for name in COLUMNS:
            table.add_column(name, justify="left" if name == "cell" else "right")
        share = group.tokens_per_second / len(group.members)
        for member, loss, valid in zip(group.members, group.losses, group.validation, strict=True):
            table.add_row(
                member.cell, str(member.seed), f"{group.step}/{group.steps}",
                *_both(loss), *_both(valid), f"{share:,.0f}",
            )  # fmt: skip
        return table

    def _end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def say_measured(member: Member, figures: Mapping[str, float]) -> None:
    """A replica was measured, or counted, instead of trained."""
    found = ", ".join(f"{name} {value:.6g}" for name, value in figures.items())
    text = f"[bold]{member.cell}[/bold] seed {member.seed}: {found}"
    Console().print(text, highlight=False, soft_wrap=True)


def _several(losses: Sequence[float]) -> str:
    """Each of a few replicas' losses in nats, a dash where there is none; of many the mean, the
    lowest and the highest, and how many have none."""
    if len(losses) <= MOST_LOSSES:
        return " ".join(f"{loss:.4f}" if math.isfinite(loss) else "–" for loss in losses)
    if not (finite := [loss for loss in losses if math.isfinite(loss)]):
        return "–"
    lost = f", {len(losses) - len(finite)} –" if len(finite) < len(losses) else ""
    return f"{fmean(finite):.4f} ({min(finite):.4f} to {max(finite):.4f}{lost})"


def _both(loss: float) -> tuple[str, str]:
    """A loss in nats, and as perplexity; dashes before the first."""
    return (f"{loss:.4f}", f"{perplexity(loss):.2f}") if math.isfinite(loss) else ("–", "–")
