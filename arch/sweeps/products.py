"""Several values on the command line for a field that takes one: a product of cells.

`--config.train.optimizer.learning_rate=5e-4,1e-3` makes of the cell k0 the cells
k0-learning_rate=5e-4 and k0-learning_rate=1e-3; several such fields are crossed.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

from arch import config as configuration
from arch.checks import ORDERS
from arch.registry import Config, ConfigurationError, flat
from arch.sweeps.cells import Cell


def products_of(
    overrides: Mapping[str, str], base: Config, cells: Sequence[Cell]
) -> dict[str, tuple[str, ...]]:
    """Field → its values, of the overrides that are a product.

    A field takes one value where it is a number, true or false, a kind or an order; a list takes
    several, and another text may have a comma in it.
    """
    found = {}
    for field, text in overrides.items():
        values = tuple(part.strip() for part in text.split(",") if part.strip())
        if len(values) > 1 and takes_one(field, overrides, base, cells):
            found[field] = values
    return found


def multiplied(cells: Sequence[Cell], products: Mapping[str, tuple[str, ...]]) -> list[Cell]:
    """Each cell once for every combination of values, which its name says."""
    last = [field.rpartition(".")[2] for field in products]
    said = [n if last.count(n) == 1 else field for n, field in zip(last, products, strict=True)]
    made = []
    for values in itertools.product(*products.values()):
        more = "".join(f"-{n}={v.replace(' ', '')}" for n, v in zip(said, values, strict=True))
        typed = dict(zip(products, values, strict=True))
        made += [
            dataclasses.replace(c, name=c.name + more, typed={**c.typed, **typed}) for c in cells
        ]
    return made


def takes_one(
    field: str, overrides: Mapping[str, str], base: Config, cells: Sequence[Cell]
) -> bool:
    """Whether one value stands in the field, in the first configuration that has it: some fields
    are there after a change of kind alone."""
    for config in _configurations(overrides, base, cells):
        known = flat(config.to_dict())
        if field in known:
            if not isinstance(known[field], str):
                return not isinstance(known[field], tuple)
            section, _, name = field.rpartition(".")
            chooses = configuration.has_kind(section) and name == configuration.selector(section)
            return chooses or (section == "model" and name in ORDERS)
    return False


def _configurations(
    overrides: Mapping[str, str], base: Config, cells: Sequence[Cell]
) -> Iterator[Config]:
    yield base
    alone = {field: text for field, text in overrides.items() if "," not in text}
    for changes in (alone, *(cell.overrides for cell in cells)):
        try:
            yield configuration.override(base, changes, on_drop=lambda dropped: None)
        except ConfigurationError:  # said where the cells' own configurations are made
            continue
