"""Configurations: defaults, filling, overriding, checking, identity.

`make(model=…, task=…, train=…)` returns a locked ConfigDict in which every option of every chosen
kind stands with a value, so that anything can be overridden by its dotted name. Everything wrong
with a configuration is found here or in the constructors it calls, before anything compiles.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import arch.stacks
import arch.sublayers
import arch.tasks  # noqa: F401  the built-in kinds register themselves
from arch import optimizers, plugins
from arch.checks import ORDERS, check
from arch.models import heads
from arch.models.embeddings import embedding as embeddings
from arch.registry import (
    Config,
    ConfigurationError,
    Registry,
    fill,
    flat,
    get,
    join,
    read,
    stacks,
    sublayers,
    suggestion,
    tasks,
)
from arch.stacks import residual

DEFAULTS = {
    "name": "",
    "seeds": (0, 1, 2),
    "plugins": (),
    "model": {
        "family": "decoder",
        "width": 128,
        "order": "(sf)4",
        "encoder_order": "",
        "sublayers": {},
        "dropout": 0.0,
        "dtype": "float32",
        "stack": {},
        "embedding": {},
        "head": {},
    },
    "task": {},
    "train": {
        "steps": 1000,
        "batch": 16,
        "accumulate": 1,
        "clip": 1.0,
        "optimizer": {},
        "replicas": "auto",
        "deterministic": False,
    },
    "evaluate": {
        "every": 100,
        "tokens": 65536,
        "window": 0,
        "stride": 0,
        "splits": ("valid", "test"),
        "weights": "best",
        "models": {},
    },
    "save": {"every": 200, "keep": 2},
    "log": {"every": 20},
}
BINDINGS = {
    "s": {"kind": "attention"},
    "f": {"kind": "feed_forward"},
    "c": {"kind": "attention", "cross": True},
}
# Sections whose options depend on a kind: registry, default kind, options beside the kind's own.
KINDS: dict[str, tuple[Registry, str, Mapping]] = {
    "model.stack": (stacks, "sequential", {}),
    "model.embedding": (embeddings.embeddings, "plain", embeddings.SURROUNDINGS),
    "model.head": (heads.heads, "softmax", {}),
    "task": (tasks, "language_model", {}),
    "train.optimizer": (optimizers.optimizers, "adamw", optimizers.SURROUNDINGS),
}
# What neither a run nor its compiled program depends on: names, how many replicas there are, and
# where plugins lie; what is in them counts.
OUTSIDE_IDENTITY = ("name", "seeds", "plugins")
MODELS = "evaluate.models"  # name → {field of the model: value}, sections within sections


def selector(section: str) -> str:
    """The field that names a section's kind."""
    return "name" if section == "train.optimizer" else "kind"


def has_kind(section: str) -> bool:
    """Whether a section's options depend on a kind."""
    return section in KINDS or section.startswith("model.sublayers.")


def kind_of(section: str) -> tuple[Registry, str, Mapping]:
    """The kinds that may stand in a section whose options depend on one, as in KINDS."""
    return KINDS[section] if section in KINDS else (sublayers, "", residual.SURROUNDINGS)


def make(**parts) -> Config:
    """A filled, checked and locked configuration from the parts given, over the defaults.

    Raises ConfigurationError, naming the field, for an unknown name or a value of a wrong type.
    """
    plugins.load(parts.get("plugins", ()))
    return _finished(parts)


def complete(parts: Mapping) -> dict:
    """Every field of a configuration, `parts` over the defaults. The letters `s`, `f` and `c` are
    bound where an order has them; a binding that is not used stays, another order may use it."""
    model = parts.get("model", {})
    if isinstance(model, Mapping):
        written = "".join(str(model.get(name, DEFAULTS["model"][name])) for name in ORDERS)
        used = {k: v for k, v in BINDINGS.items() if k in written}
        bound = model.get("sublayers", {})
        if isinstance(bound, Mapping):
            parts = {**parts, "model": {**model, "sublayers": {**used, **bound}}}
    return _complete("", DEFAULTS, parts)


def _complete(section: str, defaults: Mapping, given: Mapping) -> dict:
    if section == "model.sublayers":
        return {k: _complete_kind(f"{section}.{k}", v) for k, v in given.items()}
    if section == MODELS:
        return _listed(given)
    if has_kind(section):
        return _complete_kind(section, given)
    result = fill(defaults, given, section, "the configuration")
    for name, inner in defaults.items():
        if isinstance(inner, Mapping):
            result[name] = _complete(join(section, name), inner, given.get(name, {}))
    return result


def _listed(models: Mapping) -> dict:
    """`evaluate.models` as it is given: fields that are not named are those of `model`."""
    result = {}
    for name, value in models.items():
        value = _listed(value) if isinstance(value, Mapping) else value
        result[name] = tuple(value) if isinstance(value, list) else value
    return result


def _complete_kind(section: str, given: Mapping) -> dict:
    registry, default, beside = kind_of(section)
    chooses = selector(section)
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"{section}={given!r}: expected a section, for example {chooses}=…"
        )
    kind = given.get(chooses, default)
    if not kind:
        raise ConfigurationError(
            f"{section}.{chooses}: missing; known are {', '.join(registry.names())}"
        )
    registry.get(kind, join(section, chooses))
    schema = {**beside, **registry.options(kind)}
    options = {k: v for k, v in given.items() if k != chooses}
    filled = fill(schema, options, section, f"{registry.noun} {kind!r}")
    return {chooses: kind, **filled}


def override(config: Config, changes: Mapping[str, object]) -> Config:
    """A copy with dotted fields changed; strings are read as the field's type.

    The order is changed first, then kinds, which drops the options of the old kind.
    """
    tree = config.to_dict()
    rank = {**dict.fromkeys(ORDERS, 0), "kind": 1, "name": 1}
    for path in sorted(changes, key=lambda path: rank.get(path.split(".")[-1], 2)):
        _set(tree, path, changes[path])
    return _finished(tree)


def bind(config: Config, letter: str, kind: str) -> Config:
    """A copy with the letter bound to a kind; the options of its old kind are dropped."""
    tree = config.to_dict()
    field = f"model.sublayers.{letter}"
    tree["model"]["sublayers"].setdefault(letter, _complete_kind(field, {"kind": kind}))
    _set(tree, f"{field}.kind", kind)
    return _finished(tree)


def _finished(tree: Mapping) -> Config:
    filled = complete(tree)
    filled["evaluate"]["models"] = _unsorted(filled["evaluate"]["models"])
    optimizers.check(filled["train"]["optimizer"], filled["train"]["steps"])
    config = ConfigDict(filled, convert_dict=True)
    config.lock()
    check(config)
    return config


def _unsorted(section: Mapping) -> ConfigDict:
    """A section that keeps the order it was written in, which is part of its identity."""
    fields = {k: _unsorted(v) if isinstance(v, Mapping) else v for k, v in section.items()}
    return ConfigDict(fields, sort_keys=False)


def _set_model(tree: dict, path: str, value: Any) -> None:
    """Sets a field of one of `evaluate.models`, of a new one where none has the name."""
    name, *sections = path.removeprefix(MODELS).lstrip(".").split(".")
    node = tree["evaluate"]["models"]
    for part in (name, *sections[:-1]):
        node = node.setdefault(part, {}) if isinstance(node, dict) and part else None
    if not sections or not isinstance(node, dict):
        raise ConfigurationError(
            f"{path}={value!r}: expected {MODELS}.NAME.FIELD with a field of the model, for "
            f"example {MODELS}.rounds8.sublayers.s.rounds=8"
        )
    node[sections[-1]] = value


def _set(tree: dict, path: str, value: Any) -> None:
    if path == MODELS or path.startswith(f"{MODELS}."):
        return _set_model(tree, path, value)
    *sections, name = path.split(".")
    node = tree
    for depth, part in enumerate(sections):
        if not isinstance(node.get(part), Mapping):
            where = ".".join(sections[: depth + 1])
            if where.startswith("model.sublayers."):
                raise ConfigurationError(
                    f"{path}: letter {part!r} is not in the order {tree['model']['order']!r}; "
                    f"FILE:{part}=kind binds a letter"
                )
            raise ConfigurationError(f"{path}: no section {where!r}{suggestion(part, node)}")
        node = node[part]
    section = ".".join(sections)
    if name not in node:
        raise ConfigurationError(
            f"{path}: no such field; {section or 'the configuration'} has "
            f"{', '.join(node)}{suggestion(name, node)}"
        )
    if isinstance(node[name], Mapping):
        raise ConfigurationError(f"{path}: a section, not a field; it has {', '.join(node[name])}")
    value = read(value, node[name], path)
    if has_kind(section) and name == selector(section) and value != node[name]:
        kept = {k: node[k] for k in kind_of(section)[2]}
        node.clear()
        node.update(_complete_kind(section, {name: value, **kept}))
    node[name] = value
    if section == "model" and name in ORDERS:
        for letter, binding in BINDINGS.items():
            if letter in value:
                field = f"model.sublayers.{letter}"
                tree["model"]["sublayers"].setdefault(letter, _complete_kind(field, binding))


def identity(config: Config, corpus_sha256: str) -> str:
    """sha256 of what a result depends on: the fields that differ from their defaults, so that an
    option added later does not orphan finished runs, the corpus and the plugins."""
    tree = config.to_dict()
    models = tree["evaluate"].pop("models")
    orders, bound = {name: tree["model"][name] for name in ORDERS}, tree["model"]["sublayers"]
    written = "".join(orders.values())
    tree["model"]["sublayers"] = used = {k: v for k, v in bound.items() if k in written}
    bindings = {k: {"kind": v["kind"]} for k, v in used.items()}
    chosen: dict = {"model": {"order": orders["order"], "sublayers": bindings}}
    for section in KINDS:
        *path, last = section.split(".")
        node = chosen
        for part in path:
            node = node.setdefault(part, {})
        node.setdefault(last, {})[selector(section)] = get(tree, join(section, selector(section)))
    defaults = flat(complete(chosen))
    kinds = flat(chosen)
    own = {
        path: value
        for path, value in flat(tree).items()
        if path.split(".")[0] not in OUTSIDE_IDENTITY and (path in kinds or value != defaults[path])
    }
    if models:
        own[MODELS] = [
            f"{name}: {' '.join(f'{field}={value}' for field, value in flat(fields).items())}"
            for name, fields in models.items()
        ]
    files = [plugins.digest(Path(path)) for path in config.plugins]
    text = json.dumps({"fields": own, "corpus": corpus_sha256, "plugins": files}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(value: object) -> object:
    """A configuration as JSON has it: tuples become lists."""
    return json.loads(json.dumps(value))
