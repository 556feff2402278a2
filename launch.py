#!/usr/bin/env python3
"""Command line: parse and dispatch. `python launch.py COMMAND --help` for a command's options."""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from typing import NoReturn

import shtab

import arch
from arch.commands.contract import Command
from arch.commands.flags import COMMANDS, Configured
from arch.devices import compilation_cache
from arch.registry import ConfigurationError, suggestion

EXIT_CODES = """\
exit codes:
  0    done
  1    something failed, or all seeds of a cell went NaN or diverged; the rest is reported
  2    bad usage or configuration: one line says what to type instead
  130  interrupted; what is printed goes on from there
"""
COMPLETION = "--print-completion"


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line; texts are printed as they are written."""

    def __init__(self, **settings):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def make_parser() -> tuple[Parser, Mapping[str, Parser]]:
    """The parser of the whole, and command → its own, with the flags and examples it declares."""
    example = f"python launch.py sweep {COMMANDS['sweep'].examples[0]}"
    parser = Parser(
        prog="launch.py",
        description="Architecture variants: train, compare, report.",
        epilog=f"examples:\n  {example}\n  python launch.py sweep --help\n\n{EXIT_CODES}",
    )
    parser.add_argument(
        "--version", action="version", version=f"arch-variants {arch.__version__}",
        help="print the version and exit",
    )  # fmt: skip
    shtab.add_argument_to(
        parser, COMPLETION, help="print what completes words of ./launch.py in this shell: "
        'eval "$(./launch.py --print-completion bash)"',
    )  # fmt: skip
    commands = parser.add_subparsers(
        dest="command", required=True, parser_class=Parser, metavar="COMMAND", title="commands"
    )
    for name, command in COMMANDS.items():
        examples = "\n".join(
            f"  python launch.py {name} {text}".rstrip() for text in command.examples
        )
        sub = commands.add_parser(
            name, help=command.summary, description=command.summary, allow_abbrev=False,
            epilog=f"examples:\n{examples}\n\n{EXIT_CODES}",
        )  # fmt: skip
        for spelling, settings in command.flags():
            action = sub.add_argument(spelling, **settings)
            if (settings.get("metavar") or "").startswith("FILE"):
                action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
    return parser, commands.choices


def parse(argv: list[str]) -> Command:
    """The command that was typed; exits with code 2 and one line for what cannot be one."""
    parser, commands = make_parser()
    check_names(parser, commands, argv)
    fields = [a for a in argv if a.startswith("--config.")]
    arguments = parser.parse_args([a for a in argv if a not in fields])
    command = COMMANDS[arguments.command]
    overrides = {}
    for text in fields:
        if not issubclass(command, Configured):
            commands[command.name].error(f"{text}: {command.name} takes no configuration")
        field, _, value = text.removeprefix("--config.").partition("=")
        overrides[field] = value
    more = {"overrides": overrides} if issubclass(command, Configured) else {}
    return command.of(arguments, command_line=command_line(argv), **more)


def check_names(parser: Parser, commands: Mapping[str, Parser], argv: list[str]) -> None:
    """Of a misspelt flag argparse says that another one is missing; this says how it is spelt."""
    name, *words = argv or [""]
    if name in ("-h", "--help", "--version", COMPLETION):
        return
    if name not in commands:
        said = f"{name!r} is no command" if name else "expected a command"
        hint = suggestion(name, [*commands, "--help", "--version", COMPLETION])
        parser.error(f"{said}; there are {', '.join(commands)}{hint}")
    flags = dict(COMMANDS[name].flags())
    own, before = [*flags, "--help"], ""
    for word in words:
        flag, equals, _ = word.partition("=")
        if flag.startswith("--config."):
            if not equals:
                commands[name].error(f"{flag}: expected a value, {flag}=value")
        elif flag.startswith("--") and flag not in own:
            there = f"there are {', '.join(flags)}" if flags else f"{name} takes none"
            commands[name].error(f"{flag}: no such flag; {there}{suggestion(flag, own)}")
        elif not flag.startswith("-") and "metavar" not in flags.get(before, {}):
            meant = next((spelling for spelling in flags if "required" in flags[spelling]), "")
            hint = f"; did you mean {meant}={word}?" if meant and meant not in typed(words) else ""
            commands[name].error(f"{word!r} belongs to no flag, which are --flag=value{hint}")
        before = word


def typed(words: list[str]) -> set[str]:
    """The flags in a command line, without their values."""
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def command_line(argv: list[str]) -> str:
    """What to type to come back here; not what was to be started over, that has begun."""
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    script = sys.argv[0] if sys.argv[0].endswith("launch.py") else "launch.py"
    kept = [
        word
        for before, word in zip(["", *argv], argv, strict=False)
        if not word.startswith("--rerun") and before != "--rerun"
    ]
    return shlex.join([python, script, *kept])


def main(argv: list[str]) -> int:
    """Run a command line. Returns the exit code."""
    command = parse(argv)
    compilation_cache.enable()  # before a command's body imports jax
    try:
        return command.run()
    except BrokenPipeError:  # whoever read this, `head` perhaps, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ConfigurationError, ValueError, OSError) as error:
        if os.environ.get("ARCH_TRACEBACK"):
            raise
        print(f"launch.py {command.name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; again: {command.command_line}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
