"""Weights from and to Hugging Face: the families of attributes.py in a local directory.

`read` takes a directory of config.json and safetensors, `write` makes one that `transformers`
loads. The rules are strict both ways: every tensor of the file is used, or is a known duplicate or
buffer with the right content; every parameter is filled; an attribute that changes the computation
is supported, or refused by name. All errors are ConfigurationErrors of one line.

Two differences in training alone: Hugging Face's ALBERT has no dropout after its feed-forward
layers, and has dropout of `classifier_dropout_prob` before its sentence head. For other
differences see the families' files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from arch.huggingface import attributes, files
from arch.huggingface import configurations as configs
from arch.huggingface.attributes import FAMILIES
from arch.huggingface.held import Imported
from arch.huggingface.places import Place, places_of, shapes_of
from arch.huggingface.rules import PARTS
from arch.models.parameters import flat
from arch.registry import Config, ConfigurationError
from arch.runs import model_cards
from arch.stacks.parameters import Parameters

# Content of a buffer → whether an array has it.
BUFFERS = {
    "positions": lambda a: a == np.arange(a.shape[-1]),
    "zeros": lambda a: a == 0,
    "causal": lambda a: a.astype(bool) == np.tri(a.shape[-1], dtype=bool),
    "never": lambda a: a <= -1e4,
    "hardly": lambda a: np.isin(a, (-1e3, -1e5)),
}


def is_checkpoint(folder: str | Path) -> bool:
    """Whether the directory's config.json names a `model_type`, which a run's does not, or has a
    family's attributes without it."""
    try:
        written = files.read_json(Path(folder) / "config.json")
    except ConfigurationError:
        return False
    return "model_type" in written or ("hash" not in written and attributes.like(written) != "")


def read(folder: str | Path) -> Imported:
    """The model in a directory, with parameters in float32.

    Raises ConfigurationError for an unreadable file, a tensor or an attribute that is missing,
    unknown, or of another shape or value than supported.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: not a directory")
    file = folder / "config.json"
    name, values, architecture = attributes.load(file)
    tensors = _renamed(FAMILIES[name].older, files.read(folder))
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
        shapes = shapes_of(name, model, vocabulary, positions)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    places = list(places_of(name, base, shapes))
    leaves = _filled(places, shapes.leaves, tensors)
    _check_rest(name, base, places, tensors)
    return Imported(model, vocabulary, positions, _tree(leaves))


def write(
    folder: str | Path,
    model: Config,
    parameters: Parameters,
    vocabulary: int,
    max_length: int,
    texts: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> None:
    """A directory that `transformers` loads, and `read` reads back to the bit, with a card.

    Args:
        model: the `model` part of a configuration, filled or not.
        texts: more files by name, such as a README.md in place of the card.
        overwrite: replace files of the same names.

    Raises ConfigurationError for a model that no family can express, and where a file of the same
    name is there, unless it may be overwritten.
    """
    name, values, parts = configs.values_of(model, vocabulary, max_length)
    architecture = configs.class_for(name, parts)
    written = as_tensors(model, parameters, vocabulary, max_length)
    older = FAMILIES[name].older
    written |= {old: written[new] for new, old in older.items() if new in written}
    document = configs.document(name, values, architecture)
    texts = dict(texts or {})
    if files.CARD not in texts:
        data = [("vocabulary", f"{vocabulary:,}"), ("longest sequence", str(max_length))]
        title, how = Path(folder).absolute().name, usage(folder, architecture)
        about = model_cards.card(title, configs.filled_model(model), parameters, how, data)
        texts[files.CARD] = about.encode()
    files.write(Path(folder), written, document, texts, overwrite)


def usage(folder: str | Path, architecture: str) -> str:
    """Python that loads a directory into transformers."""
    return (
        f"from transformers import {architecture}\n"
        f'model = {architecture}.from_pretrained("{folder}")'
    )


def class_of(model: Config, vocabulary: int, max_length: int) -> str:
    """The class of transformers' that a model is written as; ConfigurationError for none."""
    name, _, parts = configs.values_of(model, vocabulary, max_length)
    return configs.class_for(name, parts)


def as_tensors(
    model: Config, parameters: Parameters, vocabulary: int, max_length: int
) -> dict[str, np.ndarray]:
    """A tree of parameters, or of their gradients, under Hugging Face's names."""
    name, values, parts = configs.values_of(model, vocabulary, max_length)
    bare = configs.class_for(name, parts).lower() == f"{name}model"
    shapes = shapes_of(name, configs.model_of(name, values, parts), vocabulary, max_length)
    leaves = {path: np.asarray(leaf, np.float32) for path, leaf in flat(parameters).items()}
    for path in shapes.leaves | leaves:
        found = leaves[path].shape if path in leaves else "nothing"
        wanted = shapes.leaves.get(path, "nothing")
        if wanted != found:
            raise ConfigurationError(
                f"parameters: {path}: the configuration has {wanted}, found {found}"
            )
    pieces: dict[str, list[np.ndarray]] = {}
    for place in places_of(name, "" if bare else FAMILIES[name].base, shapes):
        pieces.setdefault(place.name, []).append(place.stored(leaves[place.rule.path]))
    # the parts of a fused tensor come in their order
    return {k: np.ascontiguousarray(np.concatenate(v, -1)) for k, v in pieces.items()}


def _renamed(older: Mapping[str, str], tensors: files.Tensors) -> files.Tensors:
    """Tensors that stand there under an older name alone are given the present one; where both
    stand there, the older one is dropped."""
    for new, old in older.items():
        if old in tensors.arrays:
            array, file = tensors.arrays.pop(old), tensors.files.pop(old)
            tensors.arrays.setdefault(new, array)
            tensors.files.setdefault(new, file)
    return tensors


def _tree(leaves: Mapping[str, np.ndarray]) -> Parameters:
    tree: Parameters = {"embedding": {}, "stack": {}, "head": {}}  # a tied head has none
    for path, leaf in leaves.items():
        *sections, last = path.split(".")
        node: Any = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[int(last) if last.isdigit() else last] = jnp.asarray(leaf)
    return tree


def _filled(places: list[Place], shapes: Mapping[str, tuple], tensors: files.Tensors) -> dict:
    """path of a parameter → array, from the tensors."""
    leaves: dict[str, list[np.ndarray]] = {}
    for place in places:
        name, shape = place.name, place.shape
        if name not in tensors.arrays:
            raise ConfigurationError(
                f"{tensors.source}: tensor {name!r} is missing; expected shape {shape}"
            )
        array = tensors.arrays[name]
        if array.shape != shape:
            raise ConfigurationError(
                f"{tensors.files[name]}: tensor {name!r}: expected shape {shape}, found "
                f"{array.shape}"
            )
        if array.dtype.kind not in "fV":  # V: bfloat16
            raise ConfigurationError(
                f"{tensors.files[name]}: tensor {name!r}: expected floats, found {array.dtype}"
            )
        leaves.setdefault(place.rule.path, []).append(place.taken(array).astype(np.float32))
    return {path: np.stack(v).reshape(shapes[path]) for path, v in leaves.items()}


def _check_rest(name: str, base: str, places: list[Place], tensors: files.Tensors) -> None:
    """Refuses tensors that are neither a parameter nor a known duplicate or buffer with the right
    content."""
    family, used = FAMILIES[name], {place.name for place in places}
    layers = {place.index[0] for place in places if place.index}
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


def _base(name: str, tensors: files.Tensors) -> str:
    """The prefix of the tensors' names, '' in a model without heads."""
    held = {
        kind: sum(map(bool, map(family.pattern().fullmatch, tensors.arrays)))
        for kind, family in FAMILIES.items()
    }
    looks, family = max(held, key=lambda kind: (held[kind], kind == name)), FAMILIES[name]
    bases = (base for base in (family.base, "") if family.table(base) in tensors.arrays)
    base = next(bases, None)
    if looks == name and base is not None:
        return base
    missing = "" if base is not None else f", tensor {family.table('')!r} is missing"
    also = f"; it looks like one of {looks}" if looks != name else ""
    raise ConfigurationError(f"{tensors.source}: not a checkpoint of {name}{missing}{also}")
