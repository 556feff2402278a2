"""Files of one JSON object a line, each line checked for itself: a damaged one spoils no other."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arch.report.files import replace_file
from arch.report.seals import is_broken

DAMAGED = "damaged.txt"


def read_objects(path: Path, required: Mapping[str, type]) -> list[dict[str, Any]]:
    """The whole lines of a file; an empty list where it is missing.

    A line that is no JSON object, lacks a required field or has one of another type, or differs
    from what was sealed is left out, with a warning that names the file, the line and what is wrong
    with it.
    """

    def warn(number: int, error: ValueError, text: str) -> None:
        logging.warning("%s:%d is left out: %s", path, number, error)

    return _read(path, required, warn)


def write_objects(
    path: Path, objects: Iterable[Mapping[str, Any]], required: Mapping[str, type]
) -> None:
    """Replaces a file, making its folder; after a failure the old file is as it was.

    The texts of damaged lines are kept in damaged.txt beside it. Raises OSError where the disk
    refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    damaged: list[str] = []
    _read(path, required, lambda number, error, text: damaged.append(text))
    _set_aside(path.with_name(DAMAGED), damaged)
    replace_file(path, "".join(json.dumps(one) + "\n" for one in objects).encode())


def _read(
    path: Path, required: Mapping[str, type], on_damage: Callable[[int, ValueError, str], None]
) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    found = []
    # what is no UTF-8 spoils its own line alone
    texts = path.read_text(encoding="utf-8", errors="backslashreplace").split("\n")
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            found.append(_parse(text, required))
        except ValueError as error:
            on_damage(number, error, text)
    return found


def _parse(text: str, required: Mapping[str, type]) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, column {error.colno})") from None
    if not isinstance(line, dict):
        raise ValueError(f"a {type(line).__name__} where a JSON object is expected")
    for name, kind in required.items():
        if not isinstance(line.get(name), kind):
            raise ValueError(f"{name} is {line.get(name)!r}, expected {kind.__name__}")
    if is_broken(line):
        raise ValueError(
            f"cell {line['cell']}, seed {line['seed']}: it was changed after it was written; "
            "restore it from version control, or delete it and train again"
        )
    return line


def _set_aside(path: Path, damaged: Sequence[str]) -> None:
    """Keeps the texts of damaged lines, each once."""
    kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if more := [text for text in damaged if text not in kept]:
        replace_file(path, "".join(f"{text}\n" for text in (*kept, *more)).encode())
