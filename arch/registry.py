"""The three plug points: sublayers, stacks and tasks are looked up here by the name of their kind.

A kind is a class registered under a name. The keyword-only arguments of its constructor are its
options, and thereby its schema: a configuration that names an option which is not there fails
before anything compiles, and the message lists those that are.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

Config = Any  # a filled ml_collections.ConfigDict, or its plain form; its own types are unions


class ConfigurationError(ValueError):
    """A configuration that cannot be run: the message names field, value and what is allowed."""


def suggestion(name: str, allowed) -> str:
    """`; did you mean 'x'?` where one of the allowed names is close, else nothing."""
    close = difflib.get_close_matches(name, list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def join(section: str, name: str) -> str:
    """A dotted name; the outermost section has none."""
    return f"{section}.{name}" if section else name


class Registry:
    """Names of kinds → their classes. `given`: arguments of the constructor that no user types."""

    def __init__(self, noun: str, given: tuple[str, ...] = ("rngs",)):
        self.noun = noun
        self._given = given
        self._kinds: dict[str, type] = {}

    def register(self, kind: str) -> Callable[[type], type]:
        """Class decorator. A second class of the same kind is refused, unless it comes from the
        same file: a plugin that was edited."""

        def decorate(cls: type) -> type:
            known = self._kinds.get(kind)
            if known is not None and _file(known) != _file(cls):
                raise ConfigurationError(
                    f"{self.noun} {kind!r} is registered already, by {_file(known)}; "
                    "choose another name"
                )
            self._kinds[kind] = cls
            cls.kind = kind
            return cls

        return decorate

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._kinds))

    def get(self, kind: str, field: str = "kind") -> type:
        if kind not in self._kinds:
            raise ConfigurationError(
                f"{field}={kind!r}: unknown {self.noun} kind; known are "
                f"{', '.join(self.names())}{suggestion(kind, self._kinds)}"
            )
        return self._kinds[kind]

    def options(self, kind: str, field: str = "kind") -> dict[str, object]:
        """Option → default, in the constructor's order. A constructor that takes `**options` hands
        them to its base class, whose options then follow."""
        found: dict[str, object] = {}
        for cls in self.get(kind, field).__mro__:
            parameters = inspect.signature(cls.__init__).parameters.values()
            for p in parameters:
                if p.kind is p.KEYWORD_ONLY and p.name not in self._given:
                    found.setdefault(p.name, p.default)
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
        return found

    def fill(self, kind: str, options: Mapping[str, object], field: str) -> dict[str, object]:
        """All of the kind's options, those given over the defaults.

        Raises ConfigurationError for an unknown option, a missing one, or one of another type.
        """
        defaults = self.options(kind, f"{field}.kind")
        return fill(defaults, options, field, f"{self.noun} {kind!r}")


def _file(cls: type) -> str:
    """Where a class was written."""
    try:
        return inspect.getsourcefile(cls) or "a built-in"
    except TypeError:
        return "a notebook's cell"


def fill(defaults: Mapping, options: Mapping, field: str, owner: str) -> dict[str, object]:
    """`options` over `defaults`, each checked by name and type."""
    for name in options:
        if name not in defaults:
            allowed = ", ".join(defaults) or "no options"
            raise ConfigurationError(
                f"{join(field, name)}: unknown option of {owner}; it takes {allowed}"
                f"{suggestion(name, defaults)}"
            )
    filled = {}
    for name, default in defaults.items():
        path, required = join(field, name), default is inspect.Parameter.empty
        if name not in options and required:
            raise ConfigurationError(f"{path}: {owner} needs this option and has no default")
        value = options.get(name, default)
        filled[name] = value if required else typed(value, default, path)
    return filled


WANTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list",
}


def typed(value: object, like: object, field: str) -> Any:
    """`value` as the type of `like`: 2e4 is a good int, 1 a good float, 'true' no bool."""
    if isinstance(like, bool) or isinstance(value, bool):
        if isinstance(value, bool) and isinstance(like, bool):
            return value
    elif isinstance(like, int) and isinstance(value, int | float):
        if float(value).is_integer():
            return int(value)
    elif isinstance(like, float) and isinstance(value, int | float):
        return float(value)
    elif isinstance(like, str) and isinstance(value, str):
        return value
    elif isinstance(like, tuple) and isinstance(value, tuple | list):
        return tuple(typed(v, like[0], field) for v in value) if like else tuple(value)
    elif isinstance(like, Mapping) and isinstance(value, Mapping):
        return value
    raise ConfigurationError(f"{field}={value!r}: wanted is {wanted(like)}")


def wanted(like: object) -> str:
    """What may stand in the place of a default, in words."""
    if isinstance(like, Mapping):
        return f"a section with the fields {', '.join(like)}"
    return f"{next(text for kind, text in WANTED.items() if isinstance(like, kind))}, like {like!r}"


sublayers = Registry("sublayer")
stacks = Registry("stack")
tasks = Registry("task")
