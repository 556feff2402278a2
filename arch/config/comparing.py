"""What a configuration is known by: its hash, and the fields in which two of them differ."""

import hashlib
import json
from collections.abc import Container, Mapping
from pathlib import Path

from arch import plugins
from arch.checks import ORDERS
from arch.config.fields import KINDS, MODELS, OUTSIDE_IDENTITY, complete, selector
from arch.registry import Config, flat, get, join

ABSENT = "—"  # stands where only the other configuration has a field


def identity(config: Config, corpus_sha256: str) -> str:
    """sha256 of what a result depends on: the fields that differ from their defaults, so that an
    option added later does not orphan finished runs, the corpus and the plugins."""
    own = _own_fields(config)
    if models := config["evaluate"]["models"].to_dict():
        own[MODELS] = [
            f"{name}: {' '.join(f'{field}={value}' for field, value in flat(fields).items())}"
            for name, fields in models.items()
        ]
    files = [plugins.digest(Path(path)) for path in config.plugins]
    text = json.dumps({"fields": own, "corpus": corpus_sha256, "plugins": files}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(config: Config, other: Config) -> dict[str, tuple[object, object]]:
    """Dotted field → (its value in `config`, in `other`), of the fields in which they differ.

    An option that only one of two kinds has counts where it is set away from its default, with
    ABSENT for the other; one at its default follows from the kind. What no result depends on is
    left out, and so are letters that do not stand in the orders of both: they follow from these.
    """
    both = _used(config)["model"]["sublayers"].keys() & _used(other)["model"]["sublayers"].keys()
    here, there = _fields(config, both), _fields(other, both)
    own = _own_fields(config), _own_fields(other)
    found = {}
    for field in dict.fromkeys([*here, *there]):
        one, two = here.get(field, ABSENT), there.get(field, ABSENT)
        one_has_it = (field in here) != (field in there) and not field.startswith(f"{MODELS}.")
        follows = one_has_it and field not in own[field in there]
        if one != two and not follows:
            found[field] = one, two
    return found


def said_differences(found: Mapping[str, tuple[object, object]]) -> str:
    """'train.steps 5 → 7, model.order sf → fs', of what `differences` found."""
    return ", ".join(f"{field} {one} → {two}" for field, (one, two) in found.items())


def _used(config: Config) -> dict:
    """A configuration as a tree, without the letters that no order has, and without `evaluate.
    models`."""
    tree = config.to_dict()
    del tree["evaluate"]["models"]
    written = "".join(tree["model"][name] for name in ORDERS)
    bound = tree["model"]["sublayers"]
    tree["model"]["sublayers"] = {k: v for k, v in bound.items() if k in written}
    return tree


def _counts(field: str) -> bool:
    return field not in OUTSIDE_IDENTITY


def _fields(config: Config, letters: Container[str]) -> dict[str, object]:
    """Every field that a result may depend on, with its value, of these letters alone."""
    models = flat({"evaluate": {"models": config["evaluate"]["models"].to_dict()}})
    tree = _used(config)
    bound = tree["model"]["sublayers"]
    tree["model"]["sublayers"] = {k: v for k, v in bound.items() if k in letters}
    return {k: v for k, v in flat(tree).items() if _counts(k)} | models


def _own_fields(config: Config) -> dict[str, object]:
    """The fields that differ from their defaults, and every kind."""
    tree = _used(config)
    bindings = {k: {"kind": v["kind"]} for k, v in tree["model"]["sublayers"].items()}
    chosen: dict = {"model": {"order": tree["model"]["order"], "sublayers": bindings}}
    for section in KINDS:
        *path, last = section.split(".")
        node = chosen
        for part in path:
            node = node.setdefault(part, {})
        node.setdefault(last, {})[selector(section)] = get(tree, join(section, selector(section)))
    defaults, kinds = flat(complete(chosen)), flat(chosen)
    return {
        path: value
        for path, value in flat(tree).items()
        if _counts(path) and (path in kinds or value != defaults[path])
    }


def canonical(value: object) -> object:
    """A configuration as JSON has it: tuples become lists."""
    return json.loads(json.dumps(value))
