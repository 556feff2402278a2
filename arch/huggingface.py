"""Weights from and to Hugging Face: BERT, ALBERT and GPT-2 in a local directory.

`read` takes a directory of config.json and safetensors, `write` makes one that `transformers`
loads. The rules are strict both ways: every tensor of the file is used, or is named as a duplicate
or a buffer and holds what it must; every parameter is filled; attributes that would change what is
computed are supported, or refused by name. All errors are ConfigurationErrors of one line.

What differs only in training: Hugging Face's ALBERT drops nothing after its feed-forward layers
and drops `classifier_dropout_prob` before its sentence head; neither is so here.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from arch import config, models
from arch import huggingface_config as configs
from arch.huggingface_rules import FAMILIES, PARTS, Rule
from arch.registry import Config, ConfigurationError
from arch.stacks.parameters import Parameters

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
# What a buffer must hold, of its shape.
BUFFERS = {
    "positions": lambda a: a == np.arange(a.shape[-1]),
    "zeros": lambda a: a == 0,
    "causal": lambda a: a.astype(bool) == np.tri(a.shape[-1], dtype=bool),
    "never": lambda a: a <= -1e4,
}


class Imported(NamedTuple):
    """`model` is what `config.make` takes under that name."""

    model: dict[str, Any]
    vocabulary: int
    max_length: int
    parameters: Parameters


class Tensors(NamedTuple):
    """name → array, name → the file that has it, and the file that says which there are."""

    arrays: dict[str, np.ndarray]
    files: dict[str, Path]
    source: Path


class Place(NamedTuple):
    """Where one owner's parameter stands: of which rule, in which tensor of which shape."""

    rule: Rule
    owner: int | None
    name: str
    shape: tuple[int, ...]


def is_checkpoint(folder: str | Path) -> bool:
    """Whether the directory's config.json names a `model_type`, which a run's does not."""
    try:
        written = configs.read_json(Path(folder) / "config.json")
    except ConfigurationError:
        return False
    return "model_type" in written


def read(folder: str | Path) -> Imported:
    """The model in a directory: configuration, vocabulary, positions, and float32 parameters."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: not a directory")
    file = folder / "config.json"
    name, values, architecture = configs.load(file)
    tensors = _tensors(folder)
    base = _base(name, tensors)
    parts = configs.required(name, architecture)
    for rule in FAMILIES[name].rules:
        for part, path in PARTS.items():
            if rule.path == path:
                parts[part] |= rule.name.format(base=base) in tensors.arrays
    parts["pooler"] |= parts["sentence"]
    vocabulary, positions = values["vocab_size"], values[FAMILIES[name].positions]
    try:
        model = configs.model_of(name, values, parts)
        shapes, inner = _shapes(model, vocabulary, positions)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    places = list(_places(name, base, shapes, inner))
    leaves = _filled(places, shapes, tensors)
    _check_rest(name, base, places, tensors)
    return Imported(model, vocabulary, positions, _tree(leaves))


def write(
    folder: str | Path,
    model: Config,
    parameters: Parameters,
    vocabulary: int,
    max_length: int,
) -> None:
    """A directory that `transformers` loads, and `read` reads back to the bit.

    `model` is a configuration's, filled or not. Files of the same names are overwritten.
    """
    name, values, parts = configs.values_of(model, vocabulary, max_length)
    architecture = configs.class_for(name, parts)
    written = as_tensors(model, parameters, vocabulary, max_length)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.numpy.save_file(written, folder / WEIGHTS, metadata={"format": "pt"})
        text = json.dumps(configs.document(name, values, architecture), indent=2)
        (folder / "config.json").write_text(f"{text}\n", "utf-8")
    except (safetensors.SafetensorError, OSError) as error:
        raise ConfigurationError(f"{folder}: cannot be written: {error}") from None


def as_tensors(
    model: Config, parameters: Parameters, vocabulary: int, max_length: int
) -> dict[str, np.ndarray]:
    """A tree of parameters, or of their gradients, under Hugging Face's names."""
    name, values, parts = configs.values_of(model, vocabulary, max_length)
    bare = configs.class_for(name, parts).lower() == f"{name}model"
    shapes, inner = _shapes(configs.model_of(name, values, parts), vocabulary, max_length)
    leaves = {path: np.asarray(leaf, np.float32) for path, leaf in _flat(parameters).items()}
    for path in shapes | leaves:
        found = leaves[path].shape if path in leaves else "nothing"
        if shapes.get(path, "nothing") != found:
            raise ConfigurationError(
                f"parameters: {path}: the configuration has {shapes.get(path, 'nothing')}, "
                f"given is {found}"
            )
    pieces: dict[str, list[np.ndarray]] = {}
    for place in _places(name, "" if bare else FAMILIES[name].base, shapes, inner):
        leaf = leaves[place.rule.path]
        leaf = leaf if place.owner is None else leaf[place.owner]
        pieces.setdefault(place.name, []).append(leaf.T if place.rule.transposed else leaf)
    # the parts of a fused tensor come in their order
    return {k: np.ascontiguousarray(np.concatenate(v, -1)) for k, v in pieces.items()}


def _flat(tree: Parameters) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _tree(leaves: Mapping[str, np.ndarray]) -> Parameters:
    tree: Parameters = {"embedding": {}, "stack": {}, "head": {}}  # a tied head has none
    for path, leaf in leaves.items():
        *sections, last = path.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = jnp.asarray(leaf)
    return tree


def _shapes(model: Mapping, vocabulary: int, positions: int) -> tuple[dict[str, tuple], int]:
    """(parameter → shape, inner groups) of a model."""
    filled = config.make(model=model).model
    built = models.build(filled, vocabulary, positions)
    shapes = _flat(jax.eval_shape(built.init, jax.random.key(0)))
    return {path: leaf.shape for path, leaf in shapes.items()}, filled.stack.inner_groups


def _places(name: str, base: str, shapes: Mapping[str, tuple], inner: int) -> Iterator[Place]:
    """Every parameter's places, by the rules; a parameter without a rule is a fault of theirs."""
    rules = {rule.path: rule for rule in FAMILIES[name].rules}
    for path in (*(path for path in rules if path in shapes), *(shapes.keys() - rules.keys())):
        if path not in rules:
            raise ConfigurationError(f"parameters: {path}: no tensor of {name} is that")
        rule, shape = rules[path], shapes[path]
        stacked = "{layer}" in rule.name or "{group}" in rule.name
        for owner in range(shape[0]) if stacked else (None,):
            own = shape[1:] if stacked else shape
            own = (*own[:-1], own[-1] * rule.parts)
            index = {"layer": owner, "group": (owner or 0) // inner, "turn": (owner or 0) % inner}
            tensor = rule.name.format(base=base, **index)
            yield Place(rule, owner, tensor, own[::-1] if rule.transposed else own)


def _filled(places: list[Place], shapes: Mapping[str, tuple], tensors: Tensors) -> dict:
    """parameter → array, out of the tensors."""
    leaves: dict[str, list[np.ndarray]] = {}
    for rule, _, name, shape in places:
        if name not in tensors.arrays:
            raise ConfigurationError(
                f"{tensors.source}: tensor {name!r} is missing; expected is shape {shape}"
            )
        array = tensors.arrays[name]
        if array.shape != shape:
            raise ConfigurationError(
                f"{tensors.files[name]}: tensor {name!r}: expected is shape {shape}, found "
                f"{array.shape}"
            )
        if array.dtype.kind not in "fV":  # V: bfloat16
            raise ConfigurationError(
                f"{tensors.files[name]}: tensor {name!r}: expected are floats, found {array.dtype}"
            )
        part = np.split(array, rule.parts, -1)[rule.part].astype(np.float32)
        leaves.setdefault(rule.path, []).append(part.T if rule.transposed else part)
    return {path: np.stack(v).reshape(shapes[path]) for path, v in leaves.items()}


def _check_rest(name: str, base: str, places: list[Place], tensors: Tensors) -> None:
    """What no parameter is must be a known duplicate or buffer, and hold what it must."""
    family, used = FAMILIES[name], {place.name for place in places}
    layers = {place.owner for place in places if place.owner is not None}
    tied = {copy.format(base=base): of.format(base=base) for copy, of in family.tied.items()}
    buffers = {
        buffer.format(base=base, layer=layer): BUFFERS[holds]
        for buffer, holds in family.buffers.items()
        for layer in layers
    }
    for tensor in sorted(tensors.arrays.keys() - used):
        where, array = f"{tensors.files[tensor]}: tensor {tensor!r}", tensors.arrays[tensor]
        if tied.get(tensor) in used:
            if not np.array_equal(array, tensors.arrays[tied[tensor]]):
                raise ConfigurationError(
                    f"{where} of shape {array.shape} differs from {tied[tensor]!r}, of shape "
                    f"{tensors.arrays[tied[tensor]].shape}, which it is tied to"
                )
        elif tensor in buffers:
            if not np.all(buffers[tensor](array)):
                raise ConfigurationError(f"{where} is a buffer, but does not hold what {name}'s do")
        else:
            raise ConfigurationError(
                f"{where} of shape {array.shape} is extra: no parameter of this {name} is that"
            )


def _base(name: str, tensors: Tensors) -> str:
    """The prefix that names have, '' in a model without heads."""
    tables = {
        (kind, base): family.rules[0].name.format(base=base)
        for kind, family in FAMILIES.items()
        for base in (family.base, "")
    }
    for base in (FAMILIES[name].base, ""):
        if tables[name, base] in tensors.arrays:
            return base
    others = [kind for (kind, _), table in tables.items() if table in tensors.arrays]
    looks = f"; it looks like one of {others[0]}" if others else ""
    raise ConfigurationError(
        f"{tensors.source}: not a checkpoint of {name}, tensor {tables[name, '']!r} is missing"
        f"{looks}"
    )


def _tensors(folder: Path) -> Tensors:
    whole, index = folder / WEIGHTS, folder / INDEX
    if whole.is_file():
        arrays = _load(whole)
        return Tensors(arrays, dict.fromkeys(arrays, whole), whole)
    if not index.is_file():
        raise ConfigurationError(f"{folder}: has no {WEIGHTS} and no {INDEX}")
    shards = configs.read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(v, str) for v in shards.values()):
        raise ConfigurationError(f"{index}: weight_map: wanted is an object, tensor → file")
    tensors = Tensors({}, {}, index)
    for shard in sorted(set(shards.values())):
        if not (folder / shard).is_file() or Path(shard).name != shard:
            raise ConfigurationError(f"{folder / shard}: missing; {INDEX} names this shard")
        arrays = _load(folder / shard)
        listed = {_modern(name) for name, file in shards.items() if file == shard}
        for name in sorted(listed ^ arrays.keys()):
            has = "has no" if name in listed else "has an unlisted"
            raise ConfigurationError(f"{folder / shard}: {has} tensor {name!r}; see {INDEX}")
        tensors.arrays.update(arrays)
        tensors.files.update({name: folder / shard for name in arrays})
    return tensors


def _load(file: Path) -> dict[str, np.ndarray]:
    """Modern name → array, of one file."""
    try:
        arrays = safetensors.numpy.load_file(file)
    except (safetensors.SafetensorError, OSError, KeyError) as error:
        raise ConfigurationError(f"{file}: not readable as safetensors: {error}") from None
    modern = {_modern(name): array for name, array in arrays.items()}
    if len(modern) < len(arrays):
        raise ConfigurationError(f"{file}: a tensor stands there under an old and a new name")
    return modern


def _modern(name: str) -> str:
    """The first conversions from TensorFlow kept its names of a norm's parameters."""
    for old, new in OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
