"""How the replicas of a group run, one after the other or side by side, and on which devices."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from arch.devices import hosts, sharding
from arch.devices.mesh import REPLICA, ROWS
from arch.devices.sharding import Rules


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a group's arrays lie.

    Args:
        mode: map | vmap.
        mesh: the devices that it is spread over; None: one device, where everything lies anyway.
        rules: how parameters are divided.
    """

    mode: str
    mesh: Mesh | None
    rules: Rules

    def over_replicas(self, function: Callable, own: int) -> Callable:
        """The function of one replica as one of all that run together, whose first `own` inputs
        have the axis of replicas: under `map` a single one."""

        def replicas(*inputs):
            each, shared = inputs[:own], inputs[own:]
            if self.mode == "vmap":
                name = None if self.mesh is None else REPLICA
                return jax.vmap(lambda each: function(*each, *shared), spmd_axis_name=name)(each)
            assert {len(leaf) for leaf in jax.tree.leaves(each)} == {1}
            found = function(*jax.tree.map(lambda a: a[0], each), *shared)
            return jax.tree.map(lambda a: a[None], found)

        return replicas

    def of_state(self, tree: Any) -> Any:
        """The shardings of a tree of states or parameters; None on one device."""
        return None if self.mesh is None else self.rules.shardings(tree, self.mesh)

    def of_member(self, shapes: Any) -> Any:
        """The shardings of one replica's tree, without their axis; None on one device."""
        return None if self.mesh is None else self.rules.shardings(shapes, self.mesh, False)

    def everywhere(self) -> Any:
        """The sharding of what all devices have; None on one device."""
        return None if self.mesh is None else sharding.everywhere(self.mesh)

    def place(self, tree: Any) -> Any:
        """A tree of states or parameters, on the devices that it belongs to."""
        return tree if self.mesh is None else hosts.put(tree, self.of_state(tree))

    def place_everywhere(self, tree: Any) -> Any:
        """What all replicas share, whole on every device."""
        return tree if self.mesh is None else hosts.put(tree, self.everywhere())

    def of_batch(self) -> Any:
        """The sharding of one gathered batch (R, batch, …); None on one device."""
        return None if self.mesh is None else sharding.along_replicas(self.mesh, ROWS)

    def place_batches(self, batches: Any) -> Any:
        """Streamed batches (R, steps, batch, …), each row on the devices that train on it."""
        return batches if self.mesh is None else hosts.put(batches, self.of_batches())

    def of_batches(self) -> Any:
        """The sharding of streamed batches (R, steps, batch, …); None on one device."""
        return None if self.mesh is None else sharding.along_replicas(self.mesh, None, ROWS)

    def gather(
        self, indices: np.ndarray, gather: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray | jax.Array:
        """gather(indices), of indices (R, steps, batch); of several hosts each gathers the rows
        that its devices train on."""
        if self.mesh is None or hosts.count() == 1:
            return gather(indices)
        place = self.of_batches()
        shape = indices.shape + gather(indices[:1, :1, :1]).shape[3:]

        def rows(at: tuple[slice, ...] | None) -> np.ndarray:
            return gather(indices if at is None else indices[at[:3]])

        return jax.make_array_from_callback(shape, place, rows)
