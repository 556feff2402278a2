"""A copy of a configuration with fields changed. An override changes what it names, nothing else.

Changing a kind keeps the value of every option that both kinds have. An option that the new kind
lacks goes; where it was set away from its default, that is told to a function: the one for files
refuses, the one for a command line says it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from arch.checks import ORDERS
from arch.config.fields import (
    BINDINGS,
    MODELS,
    complete_kind,
    finished,
    has_kind,
    kind_of,
    selector,
)
from arch.registry import Config, ConfigurationError, join, read, suggestion, typed


class Dropped(NamedTuple):
    """An option that a change of kind takes away: its dotted name, its value, the change, for
    example 'model.stack.kind=reversible', and whether the value was another than the default."""

    field: str
    value: object
    change: str
    was_set: bool


OnDrop = Callable[[Sequence[Dropped]], object]


def refuse(dropped: Sequence[Dropped]) -> None:
    """Raises ConfigurationError that says how to give options up."""
    lost = ", ".join(f"{one.field}={one.value!r}" for one in dropped)
    given_up = ", ".join(f"{one.field!r}: None" for one in dropped)
    raise ConfigurationError(
        f"{dropped[0].change}: this kind has no option for {lost}; to give it up, say "
        f"{{{given_up}}} beside it"
    )


def override(config: Config, changes: Mapping[str, object], on_drop: OnDrop = refuse) -> Config:
    """A copy with dotted fields changed; strings are read as the field's type.

    The order is changed first, then kinds. Where a kind changes, `on_drop` is given the options
    that were set away from their defaults and that the new kind lacks, but for those that
    `changes` gives up by None.

    Raises ConfigurationError for an unknown field, a value of a wrong type, an option that is
    dropped and not given up, and for None where nothing is dropped.
    """
    tree = config.to_dict()
    given_up = {path for path, value in changes.items() if value is None}
    rank = {**dict.fromkeys(ORDERS, 0), "kind": 1, "name": 1}
    lost: set[str] = set()
    for path in sorted(changes, key=lambda path: rank.get(path.split(".")[-1], 2)):
        if path in given_up:
            continue
        dropped = _set(tree, path, changes[path])
        lost |= {one.field for one in dropped}
        if told := [one for one in dropped if one.was_set and one.field not in given_up]:
            on_drop(told)
    for path in sorted(given_up - lost):
        raise ConfigurationError(
            f"{path}=None: expected a value; None gives up an option that a change of kind beside "
            "it drops"
        )
    return finished(tree)


def bind(config: Config, letter: str, kind: str, on_drop: OnDrop = refuse) -> Config:
    """A copy with the letter bound to a kind, which keeps the options that its old kind has too.
    `on_drop` as in `override`."""
    tree = config.to_dict()
    field = f"model.sublayers.{letter}"
    tree["model"]["sublayers"].setdefault(letter, complete_kind(field, {"kind": kind}))
    if told := [one for one in _set(tree, f"{field}.kind", kind) if one.was_set]:
        on_drop(told)
    return finished(tree)


def _set_model(tree: dict, path: str, value: Any) -> None:
    """Sets a field of one of `evaluate.models`, of a new one where none has the name."""
    name, *sections = path.removeprefix(MODELS).lstrip(".").split(".")
    node = tree["evaluate"]["models"]
    for part in (name, *sections[:-1]):
        node = node.setdefault(part, {}) if isinstance(node, dict) and part else None
    if not sections or not isinstance(node, dict):
        raise ConfigurationError(
            f"{path}={value!r}: expected {MODELS}.NAME.FIELD with a field of the model, for "
            f"example {MODELS}.rounds8.sublayers.s.rounds=8"
        )
    node[sections[-1]] = value


def _set(tree: dict, path: str, value: Any) -> list[Dropped]:
    """Sets a field in place; the options that it takes away."""
    if path == MODELS or path.startswith(f"{MODELS}."):
        _set_model(tree, path, value)
        return []
    *sections, name = path.split(".")
    section = ".".join(sections)
    node = _section(tree, path, sections)
    if name not in node:
        raise ConfigurationError(
            f"{path}: no such field; {section or 'the configuration'} has "
            f"{', '.join(node)}{suggestion(name, node)}"
        )
    if isinstance(node[name], Mapping):
        raise ConfigurationError(f"{path}: a section, not a field; it has {', '.join(node[name])}")
    value = read(value, node[name], path)
    dropped = []
    if has_kind(section) and name == selector(section) and value != node[name]:
        dropped = _change_kind(node, section, value)
    node[name] = value
    if section == "model" and name in ORDERS:
        for letter, binding in BINDINGS.items():
            if letter in value:
                field = f"model.sublayers.{letter}"
                tree["model"]["sublayers"].setdefault(letter, complete_kind(field, binding))
    return dropped


def _section(tree: dict, path: str, sections: list[str]) -> dict:
    node = tree
    for depth, part in enumerate(sections):
        if not isinstance(node.get(part), Mapping):
            where = ".".join(sections[: depth + 1])
            if where.startswith("model.sublayers."):
                raise ConfigurationError(
                    f"{path}: letter {part!r} is not in the order {tree['model']['order']!r}; "
                    f"FILE:{part}=kind binds a letter"
                )
            raise ConfigurationError(f"{path}: no section {where!r}{suggestion(part, node)}")
        node = node[part]
    return node


def _change_kind(node: dict, section: str, kind: str) -> list[Dropped]:
    """Gives a section another kind in place; the options that it lacks."""
    registry, _, beside = kind_of(section)
    chooses = selector(section)
    registry.get(kind, join(section, chooses))
    defaults = {**beside, **registry.options(node[chooses])}
    allowed = {**beside, **registry.options(kind)}
    kept = {k: v for k, v in node.items() if k in allowed and _fits(v, allowed[k])}
    change = f"{join(section, chooses)}={kind}"
    dropped = [
        Dropped(join(section, name), value, change, value != defaults[name])
        for name, value in node.items()
        if name != chooses and name not in kept
    ]
    node.clear()
    node.update(complete_kind(section, {chooses: kind, **kept}))
    return dropped


def _fits(value: object, default: object) -> bool:
    """Whether a value can stand where the new kind has this default: two kinds may call options of
    different types by one name. A required option has no default and takes any value."""
    if isinstance(default, type):
        return True
    try:
        typed(value, default, "")
    except ConfigurationError:
        return False
    return True
