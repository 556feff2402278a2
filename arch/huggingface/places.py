"""Where in a checkpoint each parameter of a model stands: by the family's rules, its tensors."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax

from arch import config
from arch import order as orders
from arch.huggingface.attributes import FAMILIES
from arch.huggingface.family import Rule
from arch.huggingface.reformer import causally
from arch.models import families as models
from arch.models.parameters import flat
from arch.registry import ConfigurationError


class Shapes(NamedTuple):
    """A model's shapes.

    leaves: path of a parameter → its shape.
    layers: letter → the layer of each of its places in the order.
    inner: inner layers per group.
    """

    leaves: dict[str, tuple[int, ...]]
    layers: dict[str, list[int]]
    inner: int


class Place(NamedTuple):
    """The tensor, by name and shape, that holds one owner's parameter of a rule."""

    rule: Rule
    owner: int | None
    name: str
    shape: tuple[int, ...]


def shapes_of(model: Mapping, vocabulary: int, positions: int) -> Shapes:
    """The shapes of a model: of its causal form, where a decoder's letters must be so to build."""
    filled = config.make(model=causally(model)).model
    built = models.build(filled, vocabulary, positions)
    leaves = flat(jax.eval_shape(built.init, jax.random.key(0)))
    layers: dict[str, list[int]] = {}
    for position, letter in enumerate(orders.expand(filled.order)):
        layers.setdefault(letter, []).append(position // 2)
    leaves = {path: leaf.shape for path, leaf in leaves.items()}
    return Shapes(leaves, layers, filled.stack.inner_groups)


def places_of(name: str, base: str, shapes: Shapes) -> Iterator[Place]:
    """The places of every parameter, by the rules. Raises ConfigurationError for a parameter
    without a rule."""
    rules, leaves, inner = {r.path: r for r in FAMILIES[name].rules}, shapes.leaves, shapes.inner
    for path in (*(path for path in rules if path in leaves), *(leaves.keys() - rules.keys())):
        if path not in rules:
            raise ConfigurationError(f"parameters: {path}: no tensor of {name} is that")
        rule, shape = rules[path], leaves[path]
        stacked = "{layer}" in rule.name or "{group}" in rule.name
        for owner in range(shape[0]) if stacked else (None,):
            own = shape[1:] if stacked else shape
            own = (*own[:-1], own[-1] * rule.parts)
            own = own[::-1] if rule.transposed else own
            if rule.unit is not None:
                own = (*own[: rule.unit], 1, *own[rule.unit :])
            index = {}
            if owner is not None:
                index = {"group": owner // inner, "turn": owner % inner}
                index["layer"] = shapes.layers[path.split(".")[1]][owner]
            yield Place(rule, owner, rule.name.format(base=base, **index), own)
