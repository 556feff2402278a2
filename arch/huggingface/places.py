"""Where in a checkpoint each parameter of a model stands: by the family's rules, its tensors."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

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
    """The tensor that holds a rule's parameter of one owner, or of one owner's expert.

    index: of it along the parameter's first axes. own: its shape there. part: that of the part of
    the tensor that holds it.
    """

    rule: Rule
    index: tuple[int, ...]
    name: str
    own: tuple[int, ...]
    part: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's."""
        return (*self.part[:-1], self.part[-1] * self.rule.parts) if self.part else ()

    def stored(self, leaf: np.ndarray) -> np.ndarray:
        """Its part of the tensor, of the whole parameter."""
        one = leaf[self.index]
        return (one.T if self.rule.transposed else one).reshape(self.part)

    def taken(self, tensor: np.ndarray) -> np.ndarray:
        """The inverse: what the tensor holds, in the shape of the parameter."""
        part = np.split(tensor, self.rule.parts, -1)[self.rule.part] if tensor.ndim else tensor
        if self.rule.transposed:
            return part.reshape(self.own[::-1]).T
        return part.reshape(self.own)


def shapes_of(name: str, model: Mapping, vocabulary: int, positions: int) -> Shapes:
    """The shapes of a model: of its causal form, where a decoder's letters must be so to build."""
    filled = config.make(model=causally(model)).model
    built = models.build(filled, vocabulary, positions)
    leaves = flat(built.shapes)
    layers: dict[str, list[int]] = {}
    each = len(FAMILIES[name].letters) or 2
    for position, letter in enumerate(orders.expand(filled.order)):
        layers.setdefault(letter, []).append(position // each)
    leaves = {path: leaf.shape for path, leaf in leaves.items()}
    return Shapes(leaves, layers, filled.stack.inner_groups)


def places_of(name: str, base: str, shapes: Shapes) -> Iterator[Place]:
    """The places of every parameter, by the rules. Raises ConfigurationError for a parameter
    without a rule."""
    rules, leaves = {rule.path: rule for rule in FAMILIES[name].rules}, shapes.leaves
    for path in (*(path for path in rules if path in leaves), *(leaves.keys() - rules.keys())):
        if path not in rules:
            raise ConfigurationError(f"parameters: {path}: no tensor of {name} is that")
        rule, shape = rules[path], leaves[path]
        owned = "{layer}" in rule.name or "{group}" in rule.name
        axes = owned + ("{expert}" in rule.name)
        own = shape[axes:]
        part = rule.shape(own, leaves[rule.rows][-1] if rule.rows else 0)
        for index in np.ndindex(shape[:axes]):
            names = {"base": base, "expert": index[-1]} if index else {"base": base}
            if owned:
                owner, inner = index[0], shapes.inner
                layer = shapes.layers[path.split(".")[1]][owner]
                names |= {"layer": layer, "group": owner // inner, "turn": owner % inner}
            yield Place(rule, index, rule.name.format(**names), own, part)
