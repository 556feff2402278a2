"""The machine that this process runs on, as jax and the system know it.

Rooms below are told for which platform they build (`Context.platform`, `Program.platform`); this
file and the commands are the only ones that ask.
"""

import functools
import os
from typing import Any

import jax

from arch.runs import provenance


def platform() -> str:
    """cpu | gpu | tpu: the platform of jax's default device, as `Context.platform` names it."""
    return jax.default_backend()


def kind() -> str:
    """What jax calls the default device, like 'cpu' or 'NVIDIA H100 80GB HBM3'."""
    return jax.devices()[0].device_kind


@functools.cache
def device() -> dict[str, object]:
    """device: the platform; device_name: its kind, of a CPU the processor's name; cores: the CPU
    cores that this process may use, since bytes of results differ between one and two."""
    first = jax.devices()[0]
    name = kind()
    if first.platform == "cpu":
        name = provenance.processor() or name
    return {"device": first.platform, "device_name": name, "cores": provenance.cores()}


def devices() -> int:
    """How many devices of the default platform this process has."""
    return jax.local_device_count()


def all_devices() -> list[Any]:
    """The devices that one program may be spread over."""
    return jax.devices()


def memory_limit() -> int | None:
    """Bytes that the default device may hold; None on CPU and where the device does not say."""
    stats = jax.devices()[0].memory_stats() if platform() != "cpu" else None
    return stats.get("bytes_limit") if stats else None


def memory_for_programs() -> int:
    """Bytes that one program may take here: four fifths of what an accelerator has, or nine tenths
    of the machine's memory."""
    limit = memory_limit()
    if limit is not None:
        return int(0.8 * limit)
    return int(0.9 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
