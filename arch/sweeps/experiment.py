"""An experiment: a file with its arguments and overrides, the cells it names and their results."""

import contextlib
import dataclasses
import functools
import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from arch import config as configuration
from arch import plugins
from arch.config.overriding import Dropped
from arch.models.families import Model
from arch.registry import Config, ConfigurationError, read
from arch.report.charts import Chart
from arch.report.looks import check as check_looks
from arch.report.seeds import Seed
from arch.report.specification import TableSpec
from arch.report.verdicts import Claim, judge, seeds_called_for
from arch.sweeps.cells import CELL_NAME, Cell, Results, matching
from arch.sweeps.experiment_file import ExperimentFile
from arch.sweeps.ladder import Ladder
from arch.sweeps.products import multiplied, products_of, takes_one
from arch.tasks.contract import Task

__all__ = ["Cell", "Experiment", "Results", "matching"]


class Experiment:
    """A loaded file with its arguments and overrides.

    Args:
        reference: FILE or FILE:name=value,…; a single letter as a name binds it to a kind.
        overrides: dotted field → text, applied last and to every cell. Several values of a field
            that takes one, as in 1e-3,2e-3, make a cell of each cell for each of them.
        alone: leave the file's cells aside, so that `get_config` itself is the only cell.
        ladder: of a field, whose best value is chosen for each arm on pilot seeds.

    Raises ConfigurationError for a file that breaks its contract, and for unknown arguments.
    """

    def __init__(
        self,
        reference: str,
        overrides: Mapping[str, str] | None = None,
        alone: bool = False,
        ladder: Ladder | None = None,
    ):
        file, _, text = reference.partition(":")
        self.reference, self.file = reference, file
        self.overrides = dict(overrides or {})
        if "plugins" in self.overrides:
            paths = read(self.overrides["plugins"], (), "plugins")
            plugins.load(paths)
        contents = ExperimentFile.load(file)
        self.contents = contents.without_cells() if alone else contents
        self.arguments, self.letters, self.given = contents.read_arguments(text)
        self.ladder = ladder
        self._told: set[str] = set()
        if ladder:
            self._check_ladder(ladder)

    @property
    def default_name(self) -> str:
        """The configuration's, else the file's name and what was said beside it."""
        if chosen := self.overrides.get("name") or self.base.name:
            return chosen
        said = [f"{k}={v}" for k, v in {**self.given, **self.letters, **self.overrides}.items()]
        said += [f"ladder-{self.ladder.field}"] if self.ladder else []
        text = "-".join([Path(self.file).stem, *said])
        name = re.sub(r"[^A-Za-z0-9._=+-]+", "_", text)
        if len(name) > 120:
            name = f"{name[:111]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        return name

    @functools.cached_property
    def base(self) -> Config:
        """What `get_config` gives for the arguments."""
        with self._blamed("get_config"):
            base = self.contents.get_config(self.arguments)
        if not isinstance(base, ConfigDict):
            raise ConfigurationError(
                f"{self.file}: get_config returns no ConfigDict; use config.make"
            )
        return base

    def _bound(self) -> Config:
        """`base` with the letters of the reference bound."""
        base = self.base
        for letter, kind in self.letters.items():
            base = configuration.bind(base, letter, kind, self._tell)
        return base

    def config(self, cell: Cell | None = None) -> Config:
        """The filled configuration of a cell, or of `get_config` alone."""
        base = self._bound()
        if cell is not None:
            varied = {*cell.overrides, *cell.typed} - self.products.keys()
            clash = sorted(self.overrides.keys() & varied)
            if clash:
                raise ConfigurationError(
                    f"--config.{clash[0]}={self.overrides[clash[0]]}: "
                    f"the cells of {self.file} vary this field"
                )
            with self._blamed(f"cell {cell.name}"):
                base = configuration.override(base, cell.overrides)
        typed = self.overrides | self.first_values | dict(cell.typed if cell else {})
        if not typed and cell is not None:
            return base  # finished by the cell's own overrides
        try:
            return configuration.override(base, typed, self._tell)
        except ConfigurationError as error:
            raise ConfigurationError(f"--config.{error}") from None

    def _tell(self, dropped: Sequence[Dropped]) -> None:
        """Say once on stderr that options are gone, since the user changed the kind."""
        for one in dropped:
            text = f"{one.field}={one.value!r} is dropped: {one.change} has no such option"
            if text not in self._told:
                self._told.add(text)
                print(text, file=sys.stderr)

    def baseline(self, cells: list[Cell], results: Results) -> Cell:
        """The cell that the others are compared with: the table's baseline, else the first."""
        named = self.table(cells, results).get("baseline")
        return next((cell for cell in cells if cell.name == named), cells[0])

    @functools.cached_property
    def products(self) -> dict[str, tuple[str, ...]]:
        """Field → its values, of the overrides that have several for a field that takes one."""
        if not any("," in text for text in self.overrides.values()):
            return {}
        return products_of(
            self.overrides, self._bound(), self._plain_cells(Results([], *self.metric))
        )

    @property
    def first_values(self) -> dict[str, str]:
        """Field → the first of its values, of the products."""
        return {field: values[0] for field, values in self.products.items()}

    def cells(self, results: Results, seeds: tuple[Seed, ...] = ()) -> list[Cell]:
        """The cells that the results so far call for: the arms, or the pilots of their ladder and
        the arms that these have chosen a value for. With looks, each has the seeds that the claims
        about it call for, or these `seeds` from the start."""
        arms = self._arms(results)
        if (looks := self.looks) and not seeds:
            arms = self._looked_at(arms, results, looks)
        if self.ladder:
            arms = self.ladder.cells(arms, results, self.table(arms, results))
        return self._checked(arms)

    def _arms(self, results: Results) -> list[Cell]:
        """The file's cells, times the products of the command line."""
        plain = self._plain_cells(results)
        if (self.products or self.ladder) and any(cell.rung for cell in plain):
            raise ConfigurationError(
                f"--config={self.file}: its cells are on a ladder, which is crossed with no other; "
                "expected one value for every --config field, and no --ladder"
            )
        return multiplied(plain, self.products)

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of seeds at which the claims are looked at; () where all are trained at once."""
        looks = self.contents.LOOKS
        with self._blamed("LOOKS"):
            found = looks(self.arguments) if isinstance(looks, Callable) else looks
            if found and (self.products or self.ladder):
                return ()  # other cells than the claims'
            return check_looks(found)

    def _looked_at(self, arms: list[Cell], results: Results, looks: tuple[int, ...]) -> list[Cell]:
        """The arms, those without seeds of their own with as many as their claims call for."""
        spec = TableSpec.of(self.table(arms, results))
        claims = self.claims(arms, results)
        verdicts = judge(claims, results.lines(), spec.metric, spec.split, spec.exact, looks)
        called = seeds_called_for(verdicts, looks)
        return [
            cell
            if cell.seeds
            else dataclasses.replace(cell, seeds=tuple(range(called.get(cell.name, looks[0]))))
            for cell in arms
        ]

    def _check_ladder(self, ladder: Ladder) -> None:
        known = self._plain_cells(Results([], *self.metric))
        if ladder.field in self.overrides or not takes_one(
            ladder.field, self.overrides, self._bound(), known
        ):
            raise ConfigurationError(
                f"--ladder={ladder.field}={','.join(ladder.values)}: expected a field of the "
                "configuration that takes one value and that no --config sets"
            )

    def _plain_cells(self, results: Results) -> list[Cell]:
        """The file's own cells; one named after a file that has none."""
        if self.contents.cells is None:
            return [Cell(Path(self.file).stem)]
        with self._blamed("cells"):
            cells = self.contents.cells(self.arguments, results)
        for cell in cells:
            if not CELL_NAME.fullmatch(cell.name):
                raise ConfigurationError(
                    f"{self.file}: cell {cell.name!r}: "
                    "letters, digits and . _ = + ( ) - are allowed"
                )
        names = [cell.name for cell in cells]
        if len(set(names)) < len(names):
            raise ConfigurationError(f"{self.file}: a cell's name stands twice in {names}")
        return cells

    def first_cells(self) -> list[Cell]:
        """The cells that are called for before there are any results."""
        return self.cells(Results([], *self.metric))

    def _checked(self, cells: list[Cell]) -> list[Cell]:
        """The cells, where each letter bound by an argument is in the order of one of them."""
        if self.letters:
            models = [self.config(cell).model for cell in cells]
            orders = {order for m in models for order in (m.order, m.encoder_order) if order}
            for letter, kind in self.letters.items():
                if not any(letter in order for order in orders):
                    raise ConfigurationError(
                        f"--config={self.file}:{letter}={kind}: no cell has {letter!r} "
                        f"in its order; there are {', '.join(sorted(orders))}"
                    )
        return cells

    @contextlib.contextmanager
    def _blamed(self, what: str) -> Iterator[None]:
        """Errors of what the file says, with the file and the place in it."""
        field = f"{self.file}: {what}"
        try:
            with plugins.blamed(Path(self.file), field):
                yield
        except ConfigurationError as error:
            text = str(error)
            raise ConfigurationError(text if field in text else f"{field}: {text}") from error

    @property
    def trains(self) -> bool:
        """Whether a result is of training, and not of the file's own `measure`."""
        return self.contents.measure is None

    def measure(self, config: Config, task: Task, model: Model, seed: int) -> Mapping[str, float]:
        """The figures of a file that measures, name → number."""
        if self.contents.measure is None:
            raise ConfigurationError(f"{self.file}: it has no measure(config, task, model, seed)")
        return self.contents.measure(config, task, model, seed)

    def table(self, cells: list[Cell], results: Results) -> dict:
        """The specification of the table, checked."""
        table = self.contents.TABLE
        with self._blamed("TABLE"):
            if table is None:
                table = {"title": Path(self.file).stem}
            if isinstance(table, Callable):
                table = table(self.arguments, self._reported(cells, results), results)
            if self.products and table.get("baseline"):
                table = {**table, "baseline": self._arms(results)[0].name}
            for chart in TableSpec.of(table).charts:
                Chart.of(chart)
        return dict(table)

    def _reported(self, cells: list[Cell], results: Results) -> list[Cell]:
        """The cells as TABLE and CLAIMS are given them: the file's own, without pilots as soon as
        an arm has its value."""
        if self.products or self.ladder:
            return self._plain_cells(results)
        return [cell for cell in cells if not (cell.rung and cell.rung.pilot)] or cells

    def claims(self, cells: list[Cell], results: Results) -> list[Claim]:
        """The claims of papers that the cells test; each names cells that there are."""
        claims = () if self.products else self.contents.CLAIMS  # they name the file's own cells
        with self._blamed("CLAIMS"):
            if isinstance(claims, Callable):
                claims = claims(self.arguments, self._reported(cells, results), results)
            names = [cell.rung.arm if cell.rung else cell.name for cell in cells]
            ids = [claim.id for claim in claims]
            for claim in claims:
                if unknown := sorted(set(claim.contrast) - set(names)):
                    raise ConfigurationError(
                        f"claim {claim.id!r}: no cell {unknown[0]!r}; there are {', '.join(names)}"
                    )
            if len(set(ids)) < len(ids):
                raise ConfigurationError(f"a claim's id stands twice in {ids}")
        return list(claims)

    @property
    def scale(self) -> str:
        """tiny, small, paper, …: the argument `scale`; '' for a file without one."""
        return str(vars(self.arguments).get("scale", ""))

    @property
    def metric(self) -> tuple[str, str]:
        """(metric, split) that results are compared by."""
        table = self.contents.TABLE
        if table is None or isinstance(table, Callable):
            table = {}
        return str(table.get("metric", "perplexity")), str(table.get("split", "valid"))
