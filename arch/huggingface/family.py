"""A family's tables: which tensor is which parameter, which attribute is which field.

In names, {base} is the prefix that a model without heads lacks, {layer} the layer of an owner of a
letter, {group} and {turn} an owner of ALBERT's: the group, and which of its inner layers; {expert}
one of a mixture.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Values = dict[str, Any]  # attribute → value, for every attribute in a family's `defaults`
Parts = Mapping[str, bool]  # part of the head → whether it is there
Start = Callable[[Values, Parts], tuple[dict[str, Any], Values]]


@dataclasses.dataclass(frozen=True)
class Rule:
    """The parameter `path` is the tensor `name`, or one part of it.

    Args:
        path: dotted path in the tree of parameters.
        name: name of the tensor, with placeholders in braces.
        transposed: whether the tensor is the parameter's transpose.
        part, parts: which of how many equal parts of the tensor's last axis.
        units: the axes of length 1 that only the tensor has.
        rows: of a parameter that lies flat, the path of one as long as the tensor has rows.
    """

    path: str
    name: str
    transposed: bool = False
    part: int = 0
    parts: int = 1
    units: tuple[int, ...] = ()
    rows: str = ""

    def shape(self, own: tuple[int, ...], rows: int) -> tuple[int, ...]:
        """The shape that one owner's parameter of shape `own` has in the tensor."""
        shape = (rows, math.prod(own) // rows) if self.rows else own
        shape = shape[::-1] if self.transposed else shape
        for axis in self.units:
            shape = (*shape[:axis], 1, *shape[axis:])
        return shape


def same(path: str, name: str) -> tuple[Rule, ...]:
    """A parameter that is stored as it is."""
    return (Rule(path, name),)


def norm(path: str, name: str) -> tuple[Rule, ...]:
    """A norm's scale and bias."""
    return Rule(f"{path}.scale", f"{name}.weight"), Rule(f"{path}.bias", f"{name}.bias")


def linear(path: str, name: str) -> tuple[Rule, ...]:
    """PyTorch's linear layer, whose weight is (outputs, inputs), and its bias."""
    kernel = Rule(f"{path}.kernel", f"{name}.weight", transposed=True)
    return kernel, Rule(f"{path}.bias", f"{name}.bias")


def matrix(path: str, name: str) -> tuple[Rule, ...]:
    """PyTorch's linear layer without a bias."""
    return linear(path, name)[:1]


def conv1d(path: str, name: str, part: int = 0, parts: int = 1) -> tuple[Rule, ...]:
    """GPT-2's linear layer, whose weight is (inputs, outputs).

    part, parts: which of several projections that stand side by side in one tensor.
    """
    kernel = Rule(f"{path}.kernel", f"{name}.weight", part=part, parts=parts)
    return kernel, Rule(f"{path}.bias", f"{name}.bias", part=part, parts=parts)


@dataclasses.dataclass(frozen=True)
class Family:
    """The tables of one `model_type`.

    Args:
        base: prefix of the names of tensors, which a model without heads lacks.
        rules: every parameter that may occur.
        tied: optional tensor → the tensor that it must equal.
        older: tensor → the name that earlier versions gave it: written beside it, read where the
            tensor is missing, else not looked at.
        buffers: optional tensor → what it must hold: a key of `weights.BUFFERS`.
        layers, positions, activation: the attributes that give these; '' where none gives the
            activation.
        start: (values, parts of the head) → (the part of `model` that no field sets, the values
            with automatic ones filled in).
        fields: attribute → the fields of `model` that it sets.
        defaults: every attribute with a meaning → its value where config.json has none.
        fixed: attribute → the only supported value.
        architectures: class → the parts of the head that it must have.
        aliases: transformers' common name of an attribute → the family's own.
        automatic: attributes for which null means the default.
        zero: whole numbers that may be 0.
        unread: attributes that change nothing in this family, beside `harmless.HARMLESS`.
        letters: of a layer, in their order; '' where `example` says which two a layer has.
        kinds: of sublayers, all that a decoder of this family may have.
        explicit: (filled model, longest sequence) → it with automatic choices written out.
        example: filled model → values with the same order, to compare kinds with.
        own: flat explicit model → the values that no field sets.
        said: attributes that are written with one value, where transformers' default is another.
    """

    base: str
    rules: tuple[Rule, ...]
    tied: Mapping[str, str]
    buffers: Mapping[str, str]
    layers: str
    positions: str
    start: Start
    fields: Mapping[str, tuple[str, ...]]
    defaults: Mapping[str, object]
    fixed: Mapping[str, object]
    architectures: dict[str, tuple[str, ...]]
    older: Mapping[str, str] = dataclasses.field(default_factory=dict)
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    automatic: frozenset[str] = frozenset()
    zero: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()
    activation: str = ""
    letters: str = "sf"
    kinds: frozenset[str] = frozenset()
    explicit: Callable[[dict, int], dict] | None = None
    example: Callable[[Mapping], Values] | None = None
    own: Callable[[Mapping[str, Any]], Values] | None = None
    said: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def table(self, base: str) -> str:
        """The name of the table of tokens, whose rule is the first."""
        return self.rules[0].name.format(base=base)

    def pattern(self) -> re.Pattern:
        """What the names of the family's tensors match, with the base or without it."""
        placeholders = {"base": f"(?:{re.escape(self.base)})?"}
        names = (
            re.sub(r"\\{(\w+)\\}", lambda of: placeholders.get(of[1], r"\d+"), re.escape(rule.name))
            for rule in self.rules
        )
        return re.compile("|".join(names))
