"""What the registries of this package hold, for `list`. Importing this imports all of them."""

import inspect

from arch.data import parallel
from arch.data.corpora import named as corpora
from arch.data.tokenizers.kinds import SPECS
from arch.registry import Registry
from arch.sweeps.registries import REGISTRIES
from arch.variants import VARIANTS

FILES = (
    "a text, .jsonl, .json, .gz or .zst file, or a directory of them; for translation, a "
    "directory with train.SRC and train.TGT"
)


def groups() -> dict[str, list[dict]]:
    """Group → its names, each with `what` it is, or with a kind's `options`, name → default, and
    those that have none, `required`."""
    sources = [(name, s.describe(name)) for s in (corpora, parallel) for name in s.names()]
    return {
        **{f"{registry.noun}s": _kinds(registry) for registry in REGISTRIES},
        "variants": _said(*((name, _summary(made)) for name, made in VARIANTS.items())),
        "corpora": _said(*sources, ("file:PATH", FILES)),
        "tokenizers": _said(*SPECS.items()),
    }


def _said(*pairs: tuple[str, str]) -> list[dict]:
    return [{"name": name, "what": what} for name, what in pairs]


def _kinds(registry: Registry) -> list[dict]:
    found = []
    for kind in registry.names():
        options = registry.options(kind)
        needed = [name for name, default in options.items() if default is inspect.Parameter.empty]
        given = {name: default for name, default in options.items() if name not in needed}
        found.append({"name": kind, "options": given, "required": needed})
    return found


def _summary(made: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(made) or "").partition("\n")[0]
