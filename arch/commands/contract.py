"""What a command is: flags with their types, examples, and a body in a file of its own.

A command is a dataclass whose fields made by `flag` are what a user types; `launch.py` makes its
parser from them. Nothing here imports jax, so that help is there at once and the environment can
be set before jax reads it; `Command.run` imports the body, `arch.commands.<name>`.
"""

import argparse
import dataclasses
import importlib
from collections.abc import Iterator
from typing import Any, ClassVar


def flag(
    spelling: str,
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    metavar: str = "",
    otherwise: str = "",
    allowed: tuple[str, ...] = (),
    type: type | None = None,
) -> Any:
    """A field that is typed as `spelling`; one without a default is required.

    The default's type is the flag's: text, a number, False for one that is only named, or () for
    texts, of which each has the flag before it.

    otherwise: what holds where the flag is not typed, if the default does not say it.
    allowed: the values that there are, where they are few; the body refuses others.
    type: of a flag whose default is None.
    """
    metadata = {
        "spelling": spelling, "help": help, "metavar": metavar, "otherwise": otherwise,
        "allowed": allowed, "type": type,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """One command of launch.py, as it was typed.

    name, summary, examples: what `launch.py --help` and `launch.py NAME --help` say; an example is
    what follows `python launch.py NAME`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    examples: ClassVar[tuple[str, ...]]

    command_line: str = ""  # how to come back here

    def run(self) -> int:
        """Import the body, and with it jax, and do it. Returns the exit code."""
        return importlib.import_module(f"arch.commands.{self.name}").run(self)

    @classmethod
    def flags(cls) -> Iterator[tuple[str, dict[str, Any]]]:
        """(spelling, the settings of argparse's `add_argument`) of every flag."""
        for field in dataclasses.fields(cls):
            if "spelling" not in field.metadata:
                continue
            settings: dict[str, Any] = {"dest": field.name, "help": _help(field)}
            if field.default is dataclasses.MISSING:
                settings["required"] = True
            else:
                settings["default"] = field.default
            if field.default is False:
                settings["action"] = "store_true"
            else:
                settings["metavar"] = field.metadata["metavar"] or None
                settings["type"] = _type(field)
            if field.default == ():
                settings |= {"action": "append", "default": []}
            yield field.metadata["spelling"], settings

    @classmethod
    def of(cls, parsed: argparse.Namespace, **more: Any) -> "Command":
        """The command with the values that were parsed."""
        named = (f.name for f in dataclasses.fields(cls) if "spelling" in f.metadata)
        typed = {name: vars(parsed)[name] for name in named}
        typed |= {name: tuple(found) for name, found in typed.items() if isinstance(found, list)}
        return cls(**typed, **more)


def _type(field: dataclasses.Field) -> type:
    """What the text behind a flag is read as."""
    if field.default is dataclasses.MISSING or field.default == ():
        return str
    return field.metadata["type"] or type(field.default)


def _help(field: dataclasses.Field) -> str:
    """What a flag is, the values that there are, and what holds where it is not typed."""
    said, allowed = field.metadata["help"], field.metadata["allowed"]
    if allowed:
        said += f"; one of {', '.join(allowed)}"
    if field.default is dataclasses.MISSING:
        return f"{said} (required)"
    default = "off" if field.default is False else field.default
    said += f" (default: {field.metadata['otherwise'] or default or 'none'})"
    return said.replace("%", "%%")  # argparse fills in what stands behind one
