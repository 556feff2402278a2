"""Plug points: kinds of sublayers, stacks and tasks are registered and looked up here by name.

A kind is a class registered under a name. The keyword-only arguments of its constructor are its
options and their schema: a configuration that names an unknown option fails before anything
compiles, and the message lists the known ones. A plug point's contract is an abstract class, see
`Registry`.
"""

import ast
import difflib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)
Contract = TypeVar("Contract", bound=type)
Config = Any  # a filled ml_collections.ConfigDict, or its plain form; its own types are unions


class ConfigurationError(ValueError):
    """A configuration that cannot be run: the message names field, value and what is allowed."""


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'?` where one of the allowed names is close, else nothing."""
    close = difflib.get_close_matches(name, list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def join(section: str, name: str) -> str:
    """A dotted name; the outermost section has none."""
    return f"{section}.{name}" if section else name


_FOREIGN: set[str] = set()  # files outside of this package that registered a kind


def extended() -> bool:
    """Whether this process has kinds that are not of this package: a plugin's, an experiment's."""
    return bool(_FOREIGN)


def is_foreign(cls: type) -> bool:
    """Whether a class is not of this package."""
    return cls.__module__.partition(".")[0] != __name__.partition(".")[0]


class Registry:
    """Names of kinds and their classes.

    Args:
        noun: what a kind is called in messages.
        given: arguments of the constructor that no user types.
        contract: the abstract class that every kind must match. A room that lies above this file
            declares its contract with `require` instead.

    A kind may subclass the contract or only match it. One that does not subclass it is given the
    contract's defaults when it is registered, so that the rest of the code never asks whether a
    member is there. A missing abstract member is refused in one line that names it.
    """

    def __init__(self, noun: str, given: tuple[str, ...] = ("rngs",), contract: type | None = None):
        self.noun = noun
        self.contract = contract
        self._given = given
        self._kinds: dict[str, type] = {}

    def require(self, contract: Contract) -> Contract:
        """Class decorator of the contract itself; kinds registered before are checked too."""
        self.contract = contract
        for kind, cls in self._kinds.items():
            adopt(contract, cls, f"{self.noun} {kind!r}")
        return contract

    def register(self, kind: str) -> Callable[[Kind], Kind]:
        """Class decorator. Raises ConfigurationError for a second class of the same kind, unless it
        comes from the same file (a plugin that was edited), and for one that breaks the contract.
        """

        def decorate(cls: Kind) -> Kind:
            known = self._kinds.get(kind)
            if known is not None and file_of(known) != file_of(cls):
                raise ConfigurationError(
                    f"{self.noun} {kind!r} is registered already, by {file_of(known)}; "
                    "choose another name"
                )
            if self.contract is not None:
                adopt(self.contract, cls, f"{self.noun} {kind!r}")
            self._kinds[kind] = cls
            if is_foreign(cls):
                _FOREIGN.add(file_of(cls))
            cls.kind = kind  # pyright: ignore[reportAttributeAccessIssue]
            return cls

        return decorate

    def names(self) -> tuple[str, ...]:
        """The registered kinds, sorted."""
        return tuple(sorted(self._kinds))

    def get(self, kind: str, field: str = "kind") -> Any:
        """The class of a kind. Raises ConfigurationError for an unknown one, naming `field`."""
        if kind not in self._kinds:
            raise ConfigurationError(
                f"{field}={kind!r}: unknown {self.noun} kind; known are "
                f"{', '.join(self.names())}{suggestion(kind, self._kinds)}"
            )
        return self._kinds[kind]

    def named(self, text: str, flag: str) -> tuple[str, dict[str, object]]:
        """The kind and all its options of a flag's NAME or NAME:option=value,…

        Raises ConfigurationError for a name or an option that there is not.
        """
        name, _, rest = text.partition(":")
        options = self.options(name, flag)
        for part in filter(None, rest.split(",")):
            option, equals, value = part.partition("=")
            if not equals:
                raise ConfigurationError(f"{flag}={text}: expected {name}:option=value,…")
            if option not in options:
                raise ConfigurationError(
                    f"{flag}={text}: {name} has no option {option!r}; it takes "
                    f"{', '.join(options) or 'none'}{suggestion(option, options)}"
                )
            options[option] = read(value, options[option], f"{flag}={name}:{option}")
        return name, options

    def build(self, kind: str, *arguments: Any, field: str = "kind", **options: Any) -> Any:
        """An instance of a kind. Raises ConfigurationError where its constructor leaves out an
        attribute that the contract annotates without a value, such as `vocabulary: int`."""
        made = self.get(kind, field)(*arguments, **options)
        for base in self.contract.__mro__ if self.contract else ():
            for name, annotation in inspect.get_annotations(base).items():
                # by dir, not hasattr: a property may read data that is not there
                if not name.startswith("_") and name not in dir(made):
                    raise ConfigurationError(
                        f"{file_of(type(made))}: class {type(made).__name__}, {self.noun} "
                        f"{kind!r}: {name} is missing; set `self.{name}` ({_word(annotation)}) in "
                        "its constructor"
                    )
        return made

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


def adopt(contract: type, cls: type, owner: str) -> None:
    """Checks a class against a contract, and gives one that only matches it the defaults.

    Raises ConfigurationError that names the file, the class, the member and what to write.
    """
    left = getattr(cls, "__abstractmethods__", frozenset())  # of a contract derived from this one
    for name in sorted(contract.__abstractmethods__ | left):
        own = _member(cls, name)
        promised = own if name in left else _member(contract, name)
        if own is None or getattr(own, "__isabstractmethod__", False):
            problem = "is missing"
        elif inspect.isfunction(promised) and not callable(getattr(cls, name)):
            problem = f"is {own!r}, expected a method"
        else:
            continue
        raise ConfigurationError(
            f"{file_of(cls)}: class {cls.__name__}, {owner}: {name} {problem}; "
            f"write {_head(name, promised)}"
        )
    if issubclass(cls, contract):
        return
    for base in contract.__mro__:
        if not getattr(base, "__abstractmethods__", None):
            continue  # a base that is no contract, such as nnx.Module
        for name, member in vars(base).items():
            if not name.startswith("_") and _member(cls, name) is None:
                setattr(cls, name, member)


def _word(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _member(cls: type, name: str) -> Any:
    """The unbound member of a class or of one of its bases; None where there is none."""
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def _head(name: str, member: Any) -> str:
    """What to write for a member of a contract: its head and its docstring's first line."""
    said = (inspect.getdoc(member) or "").partition("\n")[0]
    if inspect.isfunction(member):
        arguments = ", ".join(inspect.signature(member).parameters)
        return f"`def {name}({arguments})`: {said}"
    return f"`{name} = …`: {said}"


def file_of(cls: type) -> str:
    """The file that a class is written in."""
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


EXPECTED = {
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
        if isinstance(value, int) or value.is_integer():
            return int(value)
    elif isinstance(like, float) and isinstance(value, int | float):
        if abs(value) <= sys.float_info.max:  # neither infinite nor NaN
            return float(value)
    elif isinstance(like, str) and isinstance(value, str):
        return value
    elif isinstance(like, tuple) and isinstance(value, tuple | list):
        return tuple(typed(v, like[0], field) for v in value) if like else tuple(value)
    elif isinstance(like, Mapping) and isinstance(value, Mapping):
        return value
    raise ConfigurationError(f"{field}={value!r}: expected {expected(like)}")


def expected(like: object) -> str:
    """What may take the place of a default, in words."""
    if isinstance(like, Mapping):
        return f"a section with the fields {', '.join(like)}"
    words = next(text for kind, text in EXPECTED.items() if isinstance(like, kind))
    return f"{words}, for example {like!r}"


def read(value: object, like: object, field: str) -> Any:
    """A command line's text as a value of the type of `like`; other values are checked alone."""
    if isinstance(value, str) and isinstance(like, tuple):
        value = _literal(value, tuple(_literal(part, part) for part in value.split(",") if part))
        value = value if isinstance(value, tuple | list) else (value,)
    elif isinstance(value, str) and not isinstance(like, str):
        value = _literal({"true": "True", "false": "False"}.get(value.lower(), value), value)
    return typed(value, like, field)


def _literal(text: str, otherwise: object) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError):
        return otherwise


def get(config: Config, path: str) -> Any:
    """The value of a dotted name."""
    for part in path.split("."):
        config = config[part]
    return config


def flat(config: Mapping, prefix: str = "") -> dict[str, object]:
    """Dotted name → value."""
    result = {}
    for name, value in config.items():
        path = join(prefix, name)
        result.update(flat(value, path) if isinstance(value, Mapping) else {path: value})
    return result


sublayers = Registry("sublayer")
stacks = Registry("stack")
tasks = Registry("task")
