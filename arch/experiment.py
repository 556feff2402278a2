"""An experiment file: `get_config(arg)`, `cells(arg, results)`, `ARGUMENTS`, `TABLE`.

ARGUMENTS  name → default, or a tuple of what is allowed, the default first
get_config(arg)      the configuration that all cells start from; arg.scale, arg.corpus, …
cells(arg, results)  the cells; called again until it names nothing new. results.values(cell)
                     is {seed: metric} of what has finished
TABLE      the table the cells fill: a dictionary, or a function of (arg, cells, results)
"""

import copy
import dataclasses
import fnmatch
import importlib.util
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

from ml_collections import ConfigDict

from arch import config as configuration
from arch.registry import ConfigurationError, suggestion

CELL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+()-]*")


@dataclasses.dataclass(frozen=True)
class Cell:
    """A name and overrides on `get_config`; own seeds where it has more or other ones than the rest."""

    name: str
    overrides: Mapping[str, object] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    variant: str = ""


class Results:
    """What a file's `cells` may ask of the results so far."""

    def __init__(self, lines: list[dict], metric: str, split: str):
        self._lines, self._metric, self._split = lines, metric, split

    def values(self, cell: str) -> dict[int, float]:
        """seed → metric, of the finished seeds of a cell."""
        return {
            line["seed"]: line["evaluations"][self._split][self._metric]
            for line in self._lines
            if line["cell"] == cell and line["status"] == "finished"
        }

    def mean(self, cell: str, seeds: tuple[int, ...] = ()) -> float | None:
        """The mean over these seeds (none named: over all that finished); None if one is missing."""
        values = self.values(cell)
        wanted = seeds or tuple(values)
        if not wanted or any(seed not in values for seed in wanted):
            return None
        return sum(values[seed] for seed in wanted) / len(wanted)

    def lines(self) -> list[dict]:
        return self._lines


class Experiment:
    """A loaded file with its arguments and overrides.

    Args:
        reference: FILE or FILE:name=value,…; a single letter as a name binds it to a kind.
        overrides: dotted field → text, applied last and to every cell.
    """

    def __init__(self, reference: str, overrides: Mapping[str, str] | None = None):
        file, _, text = reference.partition(":")
        self.reference, self.file = reference, file
        self.overrides = dict(overrides or {})
        if "plugins" in self.overrides:
            paths = configuration.read(self.overrides["plugins"], (), "plugins")
            configuration.load_plugins(paths)
        self.module = _load(file)
        self.arguments, self.letters, self.given = _arguments(self.module, file, text)

    @property
    def default_name(self) -> str:
        """The file's name, and what was said beside it."""
        said = [f"{k}={v}" for k, v in {**self.given, **self.overrides}.items()]
        text = "-".join([Path(self.file).stem, *said])
        return re.sub(r"[^A-Za-z0-9._=+-]+", "_", text)[:120]

    def config(self, cell: Cell | None = None) -> ConfigDict:
        """The filled configuration of a cell, or of `get_config` alone."""
        try:
            base = self.module.get_config(self.arguments)
        except ConfigurationError:
            raise
        except ValueError as error:
            raise ConfigurationError(f"{self.file}: {error}") from None
        if not isinstance(base, ConfigDict):
            raise ConfigurationError(
                f"{self.file}: get_config returns no ConfigDict; use config.make"
            )
        for letter, kind in self.letters.items():
            base = configuration.bind(base, letter, kind)
        if cell is not None:
            clash = sorted(set(self.overrides) & set(cell.overrides))
            if clash:
                raise ConfigurationError(
                    f"--config.{clash[0]}={self.overrides[clash[0]]}: the cells of {self.file} vary this field"
                )
            base = configuration.override(base, cell.overrides)
        return configuration.override(base, self.overrides)

    def cells(self, results: Results) -> list[Cell]:
        """The cells that the results so far call for; one named after the file where it has none."""
        if not hasattr(self.module, "cells"):
            return [Cell(Path(self.file).stem)]
        cells = self.module.cells(self.arguments, results)
        for cell in cells:
            if not CELL_NAME.fullmatch(cell.name):
                raise ConfigurationError(
                    f"{self.file}: cell {cell.name!r}: letters, digits and . _ = + ( ) - are allowed"
                )
        names = [cell.name for cell in cells]
        if len(set(names)) < len(names):
            raise ConfigurationError(f"{self.file}: a cell's name stands twice in {names}")
        return cells

    def alone(self) -> "Experiment":
        """The same, with `get_config` itself as its only cell."""
        twin = copy.copy(self)
        twin.cells = lambda results: [Cell(Path(self.file).stem)]
        return twin

    def table(self, cells: list[Cell], results: Results) -> dict:
        """The specification of the table."""
        table = getattr(self.module, "TABLE", {"title": Path(self.file).stem})
        return table(self.arguments, cells, results) if isinstance(table, Callable) else dict(table)

    @property
    def metric(self) -> tuple[str, str]:
        """(metric, split) that results are compared by."""
        table = getattr(self.module, "TABLE", {})
        table = {} if isinstance(table, Callable) else table
        return table.get("metric", "perplexity"), table.get("split", "valid")


def matching(cells: list[Cell], glob: str) -> list[Cell]:
    """The cells whose name matches; ConfigurationError where none does."""
    found = [cell for cell in cells if fnmatch.fnmatchcase(cell.name, glob)]
    if not found:
        names = [cell.name for cell in cells]
        raise ConfigurationError(f"no cell matches {glob!r}; there are {', '.join(names)}")
    return found


def _load(file: str) -> ModuleType:
    path = Path(file)
    if not path.is_file():
        near = suggestion(path.name, [p.name for p in path.parent.glob("*.py")])
        raise ConfigurationError(f"--config={file}: no such file{near}")
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"--config={file}: a Python file (.py) is wanted")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(f"--config={file}: {type(error).__name__}: {error}") from error
    if not hasattr(module, "get_config"):
        raise ConfigurationError(f"--config={file}: it has no get_config(arg)")
    return module


def _arguments(module, file: str, text: str) -> tuple[SimpleNamespace, dict, dict]:
    """(all arguments, letters → kinds, what was given beyond the defaults)."""
    declared = getattr(module, "ARGUMENTS", {})
    values = {k: v[0] if isinstance(v, tuple) else v for k, v in declared.items()}
    letters, given = {}, {}
    for item in filter(None, text.split(",")):
        name, equals, value = item.partition("=")
        if not equals:
            raise ConfigurationError(f"--config={file}:{text}: {item!r} is no name=value")
        if len(name) == 1 and name.isalpha():
            letters[name] = value
        elif name not in declared:
            raise ConfigurationError(
                f"--config={file}:{item}: unknown argument; {file} takes "
                f"{', '.join(declared) or 'none'}{suggestion(name, declared)}"
            )
        elif isinstance(declared[name], tuple) and value not in declared[name]:
            raise ConfigurationError(
                f"--config={file}:{item}: allowed are {', '.join(declared[name])}"
            )
        else:
            like = values[name]
            values[name] = configuration.read(value, like, name)
        if values.get(name) != _default(declared, name):
            given[name] = value
    return SimpleNamespace(**values), letters, given


def _default(declared: Mapping, name: str) -> object:
    value = declared.get(name)
    return value[0] if isinstance(value, tuple) else value
