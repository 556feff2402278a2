"""The contract of an experiment file: the names it may define, and what each is.

get_config(arg)      required: the configuration that all cells start from; arg.scale, arg.corpus, …
cells(arg, results)  the cells; asked again until it names nothing new. results.values(cell) is
                     {seed: metric} of what has finished. Without it, `get_config` is the only cell
ARGUMENTS  name → default, or a tuple of what is allowed, the default first
VARIES     globs over the dotted fields in which the cells differ from the baseline (the table's,
           else the first cell): ("model.order", "model.stack.*"). A test holds the cells to it
TABLE      the table the cells fill: a dictionary, or a function of (arg, cells, results)
CLAIMS     what papers claim of the cells: a list of `arch.report.verdicts.Claim`, or a function of
           (arg, cells, results)
LOOKS      rising numbers of seeds, or a function of arg that returns them: (3, 5, 8). Cells without
           seeds of their own get three, then five, then eight, until the claims about them are
           decided; the error is spent over the looks (arch/report/looks.py)
measure(config, task, model, seed)   in a file that measures something instead of training: its
                     figures, name → number, which TABLE finds under the split 'measured'
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from arch import plugins
from arch.registry import ConfigurationError, read, suggestion
from arch.report.verdicts import Claim


@dataclasses.dataclass(frozen=True)
class ExperimentFile:
    """What a file defines, each name with its default."""

    file: str
    get_config: Callable[..., Any]
    cells: Callable[..., Any] | None = None
    measure: Callable[..., Mapping[str, float]] | None = None
    ARGUMENTS: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    VARIES: Sequence[str] = ()
    TABLE: Mapping[str, Any] | Callable[..., Any] | None = None
    CLAIMS: Sequence[Claim] | Callable[..., Sequence[Claim]] = ()
    LOOKS: Sequence[int] | Callable[..., Sequence[int]] = ()

    @classmethod
    def load(cls, file: str) -> "ExperimentFile":
        """Run the file and take the names of the contract from it.

        Raises ConfigurationError for a file that is not there or fails, for one without
        get_config, and for a name that is not what the contract says.
        """
        field = f"--config={file}"
        module = vars(plugins.import_file(Path(file), field))
        if "get_config" not in module:
            raise ConfigurationError(f"{field}: it has no get_config(arg)")
        names = [f.name for f in dataclasses.fields(cls) if f.name != "file"]
        found = cls(file, **{name: module[name] for name in names if name in module})
        for name in ("get_config", "cells", "measure"):
            found._check(name, Callable, "a function", optional=name != "get_config")
        found._check("ARGUMENTS", Mapping, "a dictionary, name → default")
        found._check("VARIES", list | tuple, "a tuple of globs over fields")
        found._check("TABLE", Mapping | Callable, "a dictionary or a function", optional=True)
        found._check("CLAIMS", Sequence | Callable, "a list of Claim or a function")
        found._check("LOOKS", list | tuple | Callable, "numbers of seeds or a function")
        return found

    def _check(self, name: str, kind, text: str, optional: bool = False) -> None:
        value = vars(self)[name]
        if not isinstance(value, kind) and not (optional and value is None):
            raise ConfigurationError(f"--config={self.file}: {name}={value!r}: expected {text}")

    def without_cells(self) -> "ExperimentFile":
        """The same, whose only cell is `get_config` itself."""
        return dataclasses.replace(self, cells=None)

    def read_arguments(self, text: str) -> tuple[SimpleNamespace, dict, dict]:
        """(all arguments, letters → kinds, what was given beyond the defaults), of the text behind
        FILE: as it is typed. Raises ConfigurationError for what the file does not take."""
        declared, file = self.ARGUMENTS, self.file
        values = {k: v[0] if isinstance(v, tuple) else v for k, v in declared.items()}
        letters, given = {}, {}
        for item in _items(text):
            name, equals, value = item.partition("=")
            if not equals:
                raise ConfigurationError(f"--config={file}:{text}: {item!r} is no name=value")
            if len(name) == 1 and name.isalpha() and name not in declared:
                letters[name] = value
                continue
            field = f"--config={file}:{name}"
            if name not in declared:
                raise ConfigurationError(
                    f"{field}={value}: unknown argument; {file} takes "
                    f"{', '.join(declared) or 'none'}{suggestion(name, declared)}"
                )
            if isinstance(declared[name], tuple):
                choices = {str(choice): choice for choice in declared[name]}
                if value not in choices:
                    raise ConfigurationError(f"{field}={value}: allowed are {', '.join(choices)}")
                meant = choices[value]
            else:
                meant = read(value, values[name], field)
            if meant != values[name]:
                given[name] = value
            values[name] = meant
        return SimpleNamespace(**values, letters=letters), letters, given


def _items(text: str) -> Iterator[str]:
    """The name=value pairs of a text. A path after `file:` may have any characters but for a comma
    that is followed by a name and =, without a space."""
    items: list[str] = []
    for item in text.split(","):
        path = items and items[-1].partition("=")[2].startswith("file:")
        if path and not re.match(r"[A-Za-z]\w*=", item):
            items[-1] += f",{item}"
        else:
            items.append(item)
    yield from filter(None, items)
