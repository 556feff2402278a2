"""`list`: everything that a configuration or a flag may name."""

from collections.abc import Iterable
from pathlib import Path

from rich.markup import escape

from arch.commands import flags, terminal
from arch.data import parallel
from arch.data.corpora import named as corpora
from arch.registry import Registry
from arch.sweeps.registries import REGISTRIES
from arch.variants import VARIANTS


def run(command: flags.List) -> int:
    """Print a table of each: kinds with their options, variants, corpora, experiments."""
    for registry in REGISTRIES:
        _print(f"{registry.noun}s", "kind", "options", _kinds(registry))
    variants = ((name, _first_line(variant.__doc__)) for name, variant in VARIANTS.items())
    _print("variants", "name", "what it is", variants)
    sources = ((name, s.describe(name)) for s in (corpora, parallel) for name in s.names())
    files = ("file:PATH", "a text, .jsonl, .gz or .zst file, or a directory of them")
    _print("corpora", "name", "what it is", (*sources, files))
    _print("experiments", "file", "what it shows", _experiments())
    return 0


def _print(title: str, first: str, second: str, rows: Iterable[tuple[str, str]]) -> None:
    table = terminal.table(title, first, second)
    for name, text in rows:
        table.add_row(escape(name), escape(text))
    terminal.console().print(table)


def _kinds(registry: Registry) -> Iterable[tuple[str, str]]:
    """(kind, its options with their defaults)."""
    for kind in registry.names():
        options = registry.options(kind)
        yield kind, ", ".join(f"{name}={value!r}" for name, value in options.items())


def _experiments() -> Iterable[tuple[str, str]]:
    """(file, the first line of its docstring) of experiments/ here."""
    for file in sorted(Path("experiments").glob("*.py")):
        if "def get_config" in (text := file.read_text()):
            yield str(file), _first_line(text.split('"""')[1])


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]
