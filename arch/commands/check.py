"""`check`: what the kinds of plugin files promise, tried at a small size."""

from pathlib import Path

from ml_collections import FrozenConfigDict

from arch import plugins
from arch.checks import at_least
from arch.commands import flags
from arch.commands.answers import answer
from arch.registry import ConfigurationError, Registry, file_of, sublayers
from arch.sweeps.registries import REGISTRIES
from arch.training import own_kinds


def run(command: flags.Check) -> int:
    """Print each kind of the files and what it was tried for. Raises ConfigurationError for the
    first that breaks its promise, and where the files register nothing."""
    at_least(1, "32", of="--width", width=command.width)
    files = [text for text in command.plugins.split(",") if text]
    plugins.load(files)
    known = {Path(text).resolve() for text in files}
    found = [
        (registry, kind)
        for registry in REGISTRIES
        for kind in registry.names()
        if Path(file_of(registry.get(kind))).resolve() in known
    ]
    if not found:
        raise ConfigurationError(
            f"--plugins={command.plugins}: no kind is registered there; expected a class under "
            '@sublayers.register("name"), or one of another plug point'
        )
    for registry, kind in found:
        tried = _tried(registry, kind, command.width)
        if command.json:
            answer({"noun": registry.noun, "kind": kind, "tried": tried})
        else:
            print(f"{registry.noun} {kind!r}: {', '.join(tried)}")
    return 0


def _tried(registry: Registry, kind: str, width: int) -> tuple[str, ...]:
    """What the kind was tried for, a sublayer with its default options."""
    if registry is not sublayers:
        return ("has the members of its contract",)
    options = FrozenConfigDict(dict(registry.options(kind)))
    return own_kinds.tried(registry.get(kind), options, width)
