"""The fields of a configuration, their defaults, and how the parts that are given are filled."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

import arch.stacks
import arch.sublayers
import arch.tasks  # noqa: F401  the built-in kinds register themselves
from arch import optimizers, plugins
from arch.checks import ORDERS, check
from arch.devices import mesh
from arch.models import heads
from arch.models.embeddings import embedding as embeddings
from arch.registry import (
    Config,
    ConfigurationError,
    Registry,
    fill,
    join,
    stacks,
    sublayers,
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
        "patience": 0,
        "optimizer": {},
        "replicas": "auto",
        "mesh": {"data": 1, "fsdp": 1, "tensor": 1},
        "data_seed": -1,
        "deterministic": False,
    },
    "evaluate": {
        "every": 100,
        "tokens": 65536,
        "window": 0,
        "stride": 0,
        "windows": (),
        "splits": ("valid", "test"),
        "weights": "best",
        "models": {},
    },
    "baseline": {"kind": "none", "n": 5},
    "save": {"every": 200, "keep": 2},
    "log": {"every": 20, "norms": False},
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
# The devices that a replica is spread over: its compiled program depends on them, a run by rounding
# alone, as on any machine. So it goes on, and is read, on another mesh than it was begun on.
MESH = tuple(f"train.mesh.{axis}" for axis in DEFAULTS["train"]["mesh"])
# What neither a replica nor its compiled program depends on: names, which seeds there are, and
# where plugins lie; what is in them counts. `train.data_seed` gives the data of every replica this
# seed, -1 the replica's own.
OUTSIDE_PROGRAM = ("name", "seeds", "plugins", "train.data_seed")
OUTSIDE_IDENTITY = (*OUTSIDE_PROGRAM, *MESH)
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


def make(**parts: Any) -> Config:
    """A filled, checked and locked configuration from the parts given, over the defaults.

    Raises ConfigurationError, naming the field, for an unknown name or a value of a wrong type.
    """
    plugins.load(parts.get("plugins", ()))
    return finished(parts)


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
        return {k: complete_kind(f"{section}.{k}", v) for k, v in given.items()}
    if section == MODELS:
        return _listed(given)
    if has_kind(section):
        return complete_kind(section, given)
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


def complete_kind(section: str, given: Mapping) -> dict:
    """A section's kind with all of its options, those given over the defaults.

    Raises ConfigurationError for an unknown kind or option, or a value of a wrong type.
    """
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


def finished(tree: Mapping) -> Config:
    """The parts of a tree over the defaults: filled, checked and locked."""
    filled = complete(tree)
    filled["evaluate"]["models"] = _unsorted(filled["evaluate"]["models"])
    config = ConfigDict(filled, convert_dict=True)
    config.lock()
    check(config)
    train = filled["train"]
    optimizers.check(train["optimizer"], train["steps"])
    mesh.check_batch(train["mesh"], train["batch"], train["accumulate"])
    return config


def _unsorted(section: Mapping) -> ConfigDict:
    """A section that keeps the order it was written in, which is part of its identity."""
    fields = {k: _unsorted(v) if isinstance(v, Mapping) else v for k, v in section.items()}
    return ConfigDict(fields, sort_keys=False)
