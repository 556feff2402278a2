"""Configurations: defaults, filling, overriding, checking, identity.

`make(model=…, task=…, train=…)` returns a locked ConfigDict in which every option of every chosen
kind stands with a value, so that anything can be overridden by its dotted name. Everything wrong
with a configuration is found here or in the constructors it calls, before anything compiles.
"""

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ml_collections import ConfigDict

import arch.stacks
import arch.sublayers
import arch.tasks  # noqa: F401  the built-in kinds register themselves
from arch import embeddings, heads, optimizers
from arch.registry import (
    ConfigurationError,
    Registry,
    fill,
    stacks,
    sublayers,
    suggestion,
    tasks,
    typed,
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
    },
    "save": {"every": 200, "keep": 2},
    "log": {"every": 20},
}
BINDINGS = {"s": {"kind": "attention"}, "f": {"kind": "feed_forward"}}
# Sections whose options depend on a kind: registry, default kind, options beside the kind's own.
KINDS: dict[str, tuple[Registry, str, Mapping]] = {
    "model.stack": (stacks, "sequential", {}),
    "model.embedding": (embeddings.embeddings, "plain", embeddings.SURROUNDINGS),
    "model.head": (heads.heads, "softmax", {}),
    "task": (tasks, "language_model", {}),
    "train.optimizer": (optimizers.optimizers, "adamw", optimizers.SURROUNDINGS),
}
# What a run does not depend on: names, and how many replicas of it there are.
OUTSIDE_IDENTITY = ("name", "seeds", "plugins")


def selector(section: str) -> str:
    """The field that names a section's kind."""
    return "name" if section == "train.optimizer" else "kind"


def kind_of(section: str) -> tuple[Registry, str, Mapping] | None:
    """The kinds that may stand in a section, if its options depend on one."""
    if section.startswith("model.sublayers."):
        return sublayers, "", residual.SURROUNDINGS
    return KINDS.get(section)


def make(**parts) -> ConfigDict:
    """A filled, checked and locked configuration from the parts given, over the defaults.

    Raises ConfigurationError, naming the field, for an unknown name or a value of a wrong type.
    """
    load_plugins(parts.get("plugins", ()))
    config = ConfigDict(complete(parts), convert_dict=True)
    config.lock()
    check(config)
    return config


def complete(parts: Mapping) -> dict:
    """Every field of a configuration, `parts` over the defaults."""
    model = dict(parts.get("model", {}))
    model["sublayers"] = {**BINDINGS, **model.get("sublayers", {})}
    order = model.get("order", DEFAULTS["model"]["order"])
    used = {letter for letter in str(order) if letter.isalpha()}
    model["sublayers"] = {k: v for k, v in model["sublayers"].items() if k in used}
    return _complete("", DEFAULTS, {**parts, "model": model})


def _complete(section: str, defaults: Mapping, given: Mapping) -> dict:
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{section}={given!r}: a section with fields is wanted")
    if section == "model.sublayers":
        return {k: _complete_kind(f"{section}.{k}", v) for k, v in given.items()}
    if kind_of(section):
        return _complete_kind(section, given)
    flat = {k: v for k, v in defaults.items() if not isinstance(v, Mapping)}
    here = {k: v for k, v in given.items() if k not in defaults or k in flat}
    result = fill(flat, here, section or "config", "the configuration")
    for name, inner in defaults.items():
        if isinstance(inner, Mapping):
            result[name] = _complete(join(section, name), inner, given.get(name, {}))
    return {name: result[name] for name in defaults}


def _complete_kind(section: str, given: Mapping) -> dict:
    registry, default, beside = kind_of(section)
    chooses = selector(section)
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


def join(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


def override(config: ConfigDict, changes: Mapping[str, object]) -> ConfigDict:
    """A copy with dotted fields changed; strings are read as the field's type.

    Changing a kind drops the options of the old one, so kinds are changed first.
    """
    tree = config.to_dict()
    first = sorted(changes, key=lambda path: path.split(".")[-1] not in ("kind", "name", "order"))
    for path in first:
        tree = _set(tree, path, changes[path])
    made = ConfigDict(complete(tree), convert_dict=True)
    made.lock()
    check(made)
    return made


def _set(tree: dict, path: str, value: object) -> dict:
    *sections, name = path.split(".")
    node = tree
    for depth, part in enumerate(sections):
        if not isinstance(node.get(part), Mapping):
            where = ".".join(sections[: depth + 1])
            if where.startswith("model.sublayers."):
                raise ConfigurationError(
                    f"--config.{path}: letter {part!r} is not in the order {tree['model']['order']!r}; "
                    f"bind one with FILE:{part}=kind"
                )
            raise ConfigurationError(
                f"--config.{path}: no section {where!r}{suggestion(part, node)}"
            )
        node = node[part]
    if name not in node:
        raise ConfigurationError(
            f"--config.{path}: no such field; {'.'.join(sections) or 'the configuration'} has "
            f"{', '.join(node)}{suggestion(name, node)}"
        )
    if isinstance(node[name], Mapping):
        raise ConfigurationError(
            f"--config.{path}: a section, not a field; it has {', '.join(node[name])}"
        )
    value = read(value, node[name], path)
    section = ".".join(sections)
    if kind_of(section) and name == selector(section) and value != node[name]:
        kept = {k: node[k] for k in kind_of(section)[2]}
        node.clear()
        node.update(kept)
    if path == "model.order":
        for letter in value:
            if letter.isalpha() and letter in BINDINGS:
                tree["model"]["sublayers"].setdefault(letter, BINDINGS[letter])
    node[name] = value
    return tree


def read(value: object, like: object, field: str) -> object:
    """A command line's text as a value of the type of `like`; other values are checked alone."""
    if isinstance(value, str) and not isinstance(like, str):
        text = {"true": "True", "false": "False"}.get(value.lower(), value)
        if isinstance(like, tuple) and not text.startswith(("(", "[")):
            text = f"({text},)"
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise ConfigurationError(
                f"{field}={value!r}: a {type(like).__name__} is wanted, like {like!r}"
            ) from None
    return typed(value, like, field)


def bind(config: ConfigDict, letter: str, kind: str) -> ConfigDict:
    """A copy with the letter bound to a kind, at that kind's defaults."""
    tree = config.to_dict()
    tree["model"]["sublayers"][letter] = {"kind": kind}
    made = ConfigDict(complete(tree), convert_dict=True)
    made.lock()
    return made


AT_LEAST_ONE = (
    "model.width", "train.steps", "train.batch", "train.accumulate", "save.every", "save.keep",
    "log.every", "evaluate.every",
)  # fmt: skip
AT_LEAST_ZERO = ("train.clip", "evaluate.tokens", "evaluate.window", "evaluate.stride")
ONE_OF = {
    "train.replicas": ("auto", "map", "vmap"),
    "evaluate.weights": ("best", "last"),
}


def get(config: Mapping, path: str) -> object:
    for part in path.split("."):
        config = config[part]
    return config


def check(config: ConfigDict) -> None:
    """Ranges that the constructors of kinds do not see."""
    for paths, least in ((AT_LEAST_ONE, 1), (AT_LEAST_ZERO, 0)):
        for path in paths:
            if get(config, path) < least:
                raise ConfigurationError(f"{path}={get(config, path)}: allowed is {least} or more")
    for path, allowed in ONE_OF.items():
        if get(config, path) not in allowed:
            raise ConfigurationError(
                f"{path}={get(config, path)!r}: allowed are {', '.join(allowed)}"
            )
    if config.train.batch % config.train.accumulate:
        raise ConfigurationError(
            f"train.accumulate={config.train.accumulate} does not divide train.batch={config.train.batch}"
        )
    if not config.seeds or any(type(s) is not int or s < 0 for s in config.seeds):
        raise ConfigurationError(
            f"seeds={config.seeds}: whole numbers from 0 on are wanted, one at least"
        )
    if len(set(config.seeds)) < len(config.seeds):
        raise ConfigurationError(f"seeds={config.seeds}: a seed stands twice")
    window, stride = config.evaluate.window, config.evaluate.stride
    if window and stride > window:
        raise ConfigurationError(
            f"evaluate.stride={stride}: allowed is up to evaluate.window={window}"
        )
    if config.save.keep < 2:
        raise ConfigurationError("save.keep=1: allowed is 2 or more; `verify` replays between two")
    missing = {x for x in config.model.order if x.isalpha()} - set(config.model.sublayers)
    if missing:
        letter = min(missing)
        raise ConfigurationError(
            f"model.order={config.model.order!r}: letter {letter!r} has no binding; bind it with "
            f"FILE:{letter}=kind, a kind of {', '.join(sublayers.names())}"
        )
    optimizers.check(config.train.optimizer, config.train.steps)


def load_plugins(paths: Iterable[str]) -> dict[str, str]:
    """Import the files, which register their kinds; path → sha256."""
    shas = {}
    for path in paths:
        file = Path(path)
        if not file.is_file():
            raise ConfigurationError(f"plugins={path!r}: no such file")
        shas[path] = hashlib.sha256(file.read_bytes()).hexdigest()
        spec = importlib.util.spec_from_file_location(f"plugin_{file.stem}", file)
        if spec is None or spec.loader is None:
            raise ConfigurationError(f"plugins={path!r}: a Python file (.py) is wanted")
        try:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"plugins={path!r}: {type(error).__name__}: {error}"
            ) from error
    return shas


def flat(config: Mapping, prefix: str = "") -> dict[str, object]:
    """Dotted name → value."""
    result = {}
    for name, value in config.items():
        path = join(prefix, name)
        result.update(flat(value, path) if isinstance(value, Mapping) else {path: value})
    return result


def identity(config: ConfigDict, corpus_sha256: str) -> str:
    """sha256 of what a result depends on: the fields that differ from their defaults, so that an
    option added later does not orphan finished runs, the corpus and the plugins."""
    tree = config.to_dict()
    chosen = {
        "model": {
            "order": tree["model"]["order"],
            "sublayers": {k: {"kind": v["kind"]} for k, v in tree["model"]["sublayers"].items()},
        }
    }
    for section in KINDS:
        *path, last = section.split(".")
        node = chosen
        for part in path:
            node = node.setdefault(part, {})
        node.setdefault(last, {})[selector(section)] = get(tree, join(section, selector(section)))
    defaults = flat(complete(chosen))
    kinds = {path: value for path, value in flat(chosen).items()}
    own = {
        path: value
        for path, value in flat(tree).items()
        if path.split(".")[0] not in OUTSIDE_IDENTITY and (path in kinds or value != defaults[path])
    }
    plugins = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in config.plugins]
    text = json.dumps({"fields": own, "corpus": corpus_sha256, "plugins": plugins}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(value: object) -> object:
    """Tuples as lists, all the way down: a configuration as JSON has it."""
    return json.loads(json.dumps(value))
