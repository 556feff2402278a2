"""What lies on which device: batches by rows, parameters by rules on their paths.

A rule names a mesh axis for each dimension of a parameter, without the owners' axis in front, which
is never divided. `fsdp` takes the widest dimension that it divides and that no rule has taken. What
nothing divides is replicated. The optimiser's state follows its parameters.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from arch.devices.mesh import FSDP, REPLICA, ROWS, TENSOR


class Rule(NamedTuple):
    """Where the dimensions of some parameters lie.

    Args:
        path: a regular expression, searched in the dotted path, such as
            'stack.s.sublayer.query.kernel'.
        axes: a mesh axis for each dimension, '' for none; () keeps the parameter whole. One that
            does not divide its dimension is left out.
    """

    path: str
    axes: tuple[str, ...]


# Columns of what reads the stream, rows of what writes to it, words of a vocabulary (Shoeybi et al.
# 2019, Megatron-LM: one sum over the tensor axis a sublayer and pass).
RULES = (
    Rule(r"\.sublayer\.(query|key|value|input|gate)\.kernel$", ("", TENSOR)),
    Rule(r"\.sublayer\.(query|key|value|input|gate)\.bias$", (TENSOR,)),
    Rule(r"\.sublayer\.output\.kernel$", (TENSOR, "")),
    Rule(r"^embedding\.tokens\.table$", (TENSOR, "")),
    Rule(r"^head\.matrix\.kernel$", ("", TENSOR)),
)


class Rules(NamedTuple):
    """How the state of a model is divided.

    Args:
        letters: name of each stack in the parameters → its letters, whose leaves have an axis of
            owners in front.
        own: rules of the model's kinds, which come before the general ones.
    """

    letters: Mapping[str, Collection[str]]
    own: Sequence[Rule] = ()

    def spec(self, path: str, shape: Sequence[int], sizes: Mapping[str, int]) -> PartitionSpec:
        """The mesh axis of each dimension of an array.

        Args:
            path: dotted; what stands before the parameter's own path is left out, so that a moment
                of the optimiser lies where its parameter does.
            shape: without replicas.
            sizes: mesh axis → number of devices.
        """
        own, owned = self._own_path(path.split("."))
        dimensions = list(shape)[owned:]
        axes: list[str | None] = [None] * len(dimensions)
        rule = next((r for r in (*self.own, *RULES) if re.search(r.path, own)), None)
        if rule is not None and rule.axes == ():
            return PartitionSpec(*[None] * len(shape))
        if rule is not None and len(rule.axes) == len(dimensions):
            for at, (axis, size) in enumerate(zip(rule.axes, dimensions, strict=True)):
                if axis and _divides(sizes.get(axis, 1), size):
                    axes[at] = axis
        parts = sizes.get(FSDP, 1)
        fits = [a for a, n in enumerate(dimensions) if axes[a] is None and _divides(parts, n)]
        if fits and FSDP not in axes:
            axes[max(fits, key=lambda at: dimensions[at])] = FSDP
        return PartitionSpec(*[None] * owned, *axes)

    def _own_path(self, names: list[str]) -> tuple[str, int]:
        """(the path of the parameter, 1 where an axis of owners leads its array, else 0)."""
        roots = {"embedding", "head", *self.letters}
        for at, name in enumerate(names):
            if name in roots:
                letter = names[at + 1] if at + 1 < len(names) else ""
                return ".".join(names[at:]), int(letter in self.letters.get(name, ()))
        return ".".join(names), 0

    def specs(self, tree: Any, sizes: Mapping[str, int], replicas: bool = False) -> Any:
        """The specs of a tree of arrays or shapes; where `replicas`, each has their axis first."""

        def of(path: tuple, leaf: Any) -> PartitionSpec:
            if not replicas:
                return self.spec(dotted(path), leaf.shape, sizes)
            return PartitionSpec(REPLICA, *self.spec(dotted(path), leaf.shape[1:], sizes))

        return jax.tree_util.tree_map_with_path(of, tree)

    def shardings(self, tree: Any, mesh: Mesh, replicas: bool = True) -> Any:
        """Where a tree lies: a group's, every leaf of which has the axis of replicas first, or one
        replica's."""
        specs = self.specs(tree, mesh.shape, replicas)
        return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)

    def replicated(self, shapes: Any, sizes: Mapping[str, int]) -> list[str]:
        """The paths of what lies whole on every device of a replica."""
        specs = self.specs(shapes, sizes)
        return [dotted(path) for path, spec in _leaves(specs) if not any(spec)]

    def bytes_per_device(self, shapes: Any, sizes: Mapping[str, int]) -> int:
        """Bytes of one replica's tree on the device that holds most."""
        total = 0
        for (_, spec), leaf in zip(
            _leaves(self.specs(shapes, sizes)), jax.tree.leaves(shapes), strict=True
        ):
            size = leaf.size * leaf.dtype.itemsize
            for axis in filter(None, spec):
                size //= sizes.get(axis, 1)
            total += size
        return total


def _leaves(specs: Any) -> Iterator[tuple[tuple, PartitionSpec]]:
    yield from jax.tree_util.tree_leaves_with_path(
        specs, is_leaf=lambda x: isinstance(x, PartitionSpec)
    )


def dotted(path: tuple) -> str:
    """A path of jax as text; a field of a named tuple and a key of a dictionary look alike."""
    names = [getattr(p, "key", getattr(p, "name", getattr(p, "idx", None))) for p in path]
    return ".".join(map(str, names))


def rows(tree: Any, mesh: Mesh | None, axis: int = 0) -> Any:
    """The arrays of a tree, this axis of each divided over the devices that share a batch. One that
    they do not divide stays as it is, and all do where there is no mesh."""
    if mesh is None:
        return tree
    parts = mesh.shape[ROWS[0]] * mesh.shape[ROWS[1]]

    def divided(array: jax.Array) -> jax.Array:
        if parts == 1 or array.ndim <= axis or array.shape[axis] % parts:
            return array
        rest = [PartitionSpec.UNCONSTRAINED] * (array.ndim - axis - 1)
        spec = PartitionSpec(*[None] * axis, ROWS, *rest)
        return jax.lax.with_sharding_constraint(array, NamedSharding(mesh, spec))

    return jax.tree.map(divided, tree)


def everywhere(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def along_replicas(mesh: Mesh, *axes: Any) -> NamedSharding:
    """The first axis over replicas, those after it as named."""
    return NamedSharding(mesh, PartitionSpec(REPLICA, *axes))


def _divides(parts: int, size: int) -> bool:
    return parts > 1 and size % parts == 0
