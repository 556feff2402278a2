"""Command line: parse and dispatch. `python launch.py COMMAND --help` for a command's options."""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from typing import NoReturn

from arch.devices import compilation_cache
from arch.registry import ConfigurationError, suggestion


class Parser(argparse.ArgumentParser):
    def error(self, message) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="launch.py", description="Architecture variants: train, compare, report.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    def command(name, text, *options, config=False):
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        if config:
            sub.add_argument("--config", required=True, metavar="FILE[:name=value,…]")
        for flag, settings in options:
            sub.add_argument(flag, **settings)

    cells = ("--cells", {"default": "*", "metavar": "GLOB"})
    seeds = ("--seeds", {"default": "", "metavar": "5|100-104"})
    name = ("--name", {"default": ""})
    replicas = ("--replicas", {"default": "auto", "metavar": "auto|N"})
    run = ("--run", {"required": True, "metavar": "DIR"})
    required_name = ("--name", {"required": True})
    dry_run = ("--dry-run", {"action": "store_true"})
    rerun = ("--rerun", {"default": "", "metavar": "GLOB"})
    executor = ("--executor", {"default": "local", "choices": ("local", "processes")})

    command("list", "kinds, stacks, tasks, variants, experiments, corpora")
    command("describe", "order, parameters, FLOPs and memory of every cell", cells,
            ("--json", {"action": "store_true"}), config=True)  # fmt: skip
    command("run", "train one cell", ("--cell", {"default": "", "metavar": "NAME"}), seeds, name,
            replicas, rerun, config=True)  # fmt: skip
    command("sweep", "train cells × seeds", cells, seeds, name, replicas, rerun, dry_run, executor,
            config=True)  # fmt: skip
    command("prepare", "fetch, check and tokenise the corpus", config=True)
    command("status", "how each cell of a run stands", required_name)
    command("report", "tables and figures from results/", required_name,
            ("--format", {"default": "md,csv,svg", "metavar": "md,csv,svg,html,latex"}),
            ("--against", {"default": "", "metavar": "NAME"}))  # fmt: skip
    command("evaluate", "what a run, or a model in Hugging Face's format, achieves on the splits "
            "of its own corpus (of such a model, stdlib) or another", run,
            ("--corpus", {"default": "", "metavar": "NAME"}),
            ("--stride", {"type": int, "default": 0}),
            ("--window", {"type": int, "default": 0}))  # fmt: skip
    command("generate", "text that a run, or a model in Hugging Face's format, makes of a prompt: "
            "goes on with it, translates it, or fills in its [MASK]s", run,
            ("--prompt", {"required": True}),
            ("--tokens", {"type": int, "default": 100}),
            ("--temperature", {"type": float, "default": 0.8}),
            ("--top_k", {"type": int, "default": 0}), ("--seed", {"type": int, "default": 0}),
            ("--draw", {"type": int, "default": 0}))  # fmt: skip
    command("bench", "tokens/s, utilisation, compile seconds, peak memory", cells, config=True)
    command("verify", "replay a run between its two kept checkpoints", run)

    check_names(parser, commands.choices, argv)
    overrides = [a for a in argv if a.startswith("--config.")]
    arguments = parser.parse_args([a for a in argv if a not in overrides])
    sub = commands.choices[arguments.command]
    arguments.overrides = {}
    for text in overrides:
        field, _, value = text.removeprefix("--config.").partition("=")
        if "config" not in arguments:
            sub.error(f"{text}: {arguments.command} takes no configuration")
        arguments.overrides[field] = value
    arguments.command_line = command_line(argv)
    return arguments


def check_names(parser: Parser, commands: Mapping[str, Parser], argv: list[str]) -> None:
    """Of a misspelt flag argparse says that another one is missing; this says how it is spelt."""
    name, *words = argv or [""]
    if name in ("-h", "--help"):
        return
    if name not in commands:
        said = f"{name!r} is no command" if name else "a command is wanted"
        parser.error(f"{said}; there are {', '.join(commands)}{suggestion(name, commands)}")
    flags = [f for action in commands[name]._actions for f in action.option_strings]
    known = ", ".join(flag for flag in flags if flag.startswith("--"))
    for word in words:
        flag, equals, _ = word.partition("=")
        if flag.startswith("--config."):
            if not equals:
                commands[name].error(f"{flag}: a value is wanted, {flag}=value")
        elif flag.startswith("--") and flag not in flags:
            hint = suggestion(flag, flags)
            commands[name].error(f"{flag}: no such flag; there are {known}{hint}")


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
    arguments = parse(argv)
    compilation_cache.enable()
    try:
        from arch.commands import COMMANDS  # here, since jax reads the environment on import

        return COMMANDS[arguments.command](arguments)
    except (ConfigurationError, ValueError, OSError) as error:
        if os.environ.get("ARCH_TRACEBACK"):
            raise
        print(f"launch.py {arguments.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; again: {arguments.command_line}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
