"""Command line: parse and dispatch. `python launch.py COMMAND --help` for each command's options."""

import argparse
import os
import shlex
import sys


class Parser(argparse.ArgumentParser):
    def error(self, message):
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
    command("evaluate", "perplexity of a run", run,
            ("--stride", {"type": int, "default": 0}), ("--window", {"type": int, "default": 0}))  # fmt: skip
    command("verify", "replay a run between its two kept checkpoints", run)

    overrides = [a for a in argv if a.startswith("--config.")]
    arguments = parser.parse_args([a for a in argv if not a.startswith("--config.")])
    arguments.overrides = {}
    for text in overrides:
        field, equals, value = text.removeprefix("--config.").partition("=")
        if not equals:
            parser.error(f"{text}: a value is wanted, --config.{field}=value")
        if "config" not in arguments:
            parser.error(f"{text}: {arguments.command} takes no configuration")
        arguments.overrides[field] = value
    arguments.command_line = shlex.join(["python", "launch.py", *argv])
    return arguments


def main(argv: list[str]) -> int:
    arguments = parse(argv)
    if arguments.overrides.get("train.deterministic", "").lower() == "true":
        os.environ["XLA_FLAGS"] = (
            os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"
        )
    from arch import commands
    from arch.registry import ConfigurationError

    dispatch = {
        "list": commands.catalogue,
        "describe": commands.describe_cells,
        "run": commands.run,
        "sweep": commands.sweep,
        "prepare": commands.prepare,
        "status": commands.status,
        "report": commands.show_report,
        "evaluate": commands.evaluate,
        "verify": commands.verify,
    }
    try:
        return dispatch[arguments.command](arguments)
    except (ConfigurationError, ValueError, OSError) as error:
        if os.environ.get("ARCH_TRACEBACK"):
            raise
        print(f"launch.py {arguments.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
