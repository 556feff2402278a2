"""One mesh of devices with the axes replica, data, fsdp and tensor, any of size 1.

replica  replicas of a group, which train side by side and share nothing
data     parts of a batch; parameters are whole on each
fsdp     parts of a batch, and of every parameter, which is gathered where it is used
tensor   parts of the columns or rows of a matrix, by the rules of `sharding`
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from arch.checks import at_least
from arch.registry import ConfigurationError

REPLICA, DATA, FSDP, TENSOR = AXES = ("replica", "data", "fsdp", "tensor")
ROWS = (DATA, FSDP)  # the axes that a batch is divided over


class Sizes(NamedTuple):
    """The axes that `train.mesh` sets; the one of replicas takes what devices are left."""

    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    @classmethod
    def of(cls, section: Mapping[str, int]) -> "Sizes":
        """Of the section `train.mesh` of a configuration."""
        return cls(*(section[name] for name in cls._fields))

    @property
    def devices(self) -> int:
        """Devices that one replica is spread over."""
        return self.data * self.fsdp * self.tensor

    @property
    def rows(self) -> int:
        """Parts that a batch is divided into."""
        return self.data * self.fsdp

    @property
    def divided(self) -> dict[str, int]:
        """axis → size, of the axes above 1."""
        return above_one(self._asdict())


ONE_DEVICE = Sizes()


def check_batch(section: Mapping[str, int], batch: int, accumulate: int) -> None:
    """Refuses a section `train.mesh` that is no mesh, or does not divide a microbatch.

    Raises ConfigurationError, naming the field.
    """
    sizes = Sizes.of(section)
    at_least(1, of="train.mesh", **sizes._asdict())
    if batch // accumulate % sizes.rows:
        cut = f" / train.accumulate={accumulate}" if accumulate > 1 else ""
        raise ConfigurationError(
            f"train.mesh.data={sizes.data}, fsdp={sizes.fsdp}: {sizes.rows} parts do not divide "
            f"train.batch={batch}{cut}; allowed is a multiple of {sizes.rows * accumulate}"
        )


def check_devices(sizes: Sizes, devices: int) -> None:
    """Raises ConfigurationError where the mesh has more devices than there are."""
    if sizes.devices > devices:
        fields = said({f"train.mesh.{axis}": size for axis, size in sizes.divided.items()})
        there = "1 device is" if devices == 1 else f"{devices} devices are"
        raise ConfigurationError(
            f"{fields}: {sizes.devices} devices are asked for, {there} here; allowed are meshes of "
            f"up to {devices}"
        )


def make(sizes: Sizes, replicas: int, side_by_side: bool, devices: Sequence[Any]) -> Mesh | None:
    """The mesh of a group; None where everything is on one device.

    Args:
        replicas: how many the group has.
        side_by_side: whether they are computed at the same time: then the devices that are left
            take some replicas each, as many devices as divide their number.
        devices: those that there are, of which the first are taken.

    Raises ConfigurationError where there are too few.
    """
    check_devices(sizes, len(devices))
    free = len(devices) // sizes.devices if side_by_side else 1
    along = max(n for n in range(1, min(free, replicas) + 1) if replicas % n == 0)
    if along * sizes.devices == 1 and _hosts(devices) == 1:
        return None
    shape, taken = (along, *sizes), list(devices)[: along * sizes.devices]
    _check_hosts(taken, devices, side_by_side)
    if taken[0].platform == "cpu":  # in their order: none is nearer to another
        return Mesh(np.array(taken).reshape(shape), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=taken)


def check_hosts(sizes: Sizes, devices: Sequence[Any], side_by_side: bool) -> None:
    """Raises ConfigurationError where the replicas run one after the other, on devices of some of
    the hosts alone: those without would wait for ever. Side by side, their number settles it."""
    if not side_by_side:
        _check_hosts(list(devices)[: sizes.devices], devices, side_by_side)


def _check_hosts(taken: Sequence[Any], devices: Sequence[Any], side_by_side: bool) -> None:
    if _hosts(taken) < _hosts(devices):
        more = "a multiple of" if side_by_side else "train.replicas=vmap with"
        raise ConfigurationError(
            f"train.mesh: its {len(taken)} of {len(devices)} devices leave "
            f"{_hosts(devices) - _hosts(taken)} of {_hosts(devices)} hosts without work; allowed "
            f"are meshes of all {len(devices)}, as train.mesh.data={len(devices)}, or {more} "
            "so many replicas that they fill the devices"
        )


def _hosts(devices: Sequence[Any]) -> int:
    return len({device.process_index for device in devices})


def above_one(axes: Mapping[str, int]) -> dict[str, int]:
    """axis → size, of those above 1."""
    return {axis: size for axis, size in axes.items() if size > 1}


def said(axes: Mapping[str, int]) -> str:
    """'data=2 × fsdp=4'."""
    return " × ".join(f"{axis}={size}" for axis, size in axes.items())
