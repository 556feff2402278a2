"""Lines of results as flat rows: plain dictionaries of scalars, all with the same keys."""

from collections.abc import Iterable, Mapping
from typing import Any

EVALUATIONS = "evaluations."  # of no use in a column's name: valid.loss


def flat_rows(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each line, for `pandas.DataFrame(rows)` or `csv.DictWriter`.

    What is inside another field is named by both: `valid.loss`, `parameters.unique`,
    `git.revision`. Every row has every key; None where its line lacks it. Lists are texts.
    """
    rows = [dict(_scalars(line)) for line in lines]
    keys = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in keys} for row in rows]


def _scalars(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, inner in value.items():
        key = f"{prefix}{name}"
        if isinstance(inner, Mapping):
            yield from _scalars(inner, f"{key}.")
        else:
            plain = inner is None or isinstance(inner, str | int | float)
            yield key.removeprefix(EVALUATIONS), inner if plain else str(inner)
