"""Several processes that train together, one a host: who they are, and what they agree on.

Every one runs the same command with --distributed and `jax.distributed` joins them, from the
variables of SLURM, Open MPI, Cloud TPU and GKE, or from JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES
and JAX_PROCESS_ID. The first of them leads: it alone reads and writes run folders and results.
Where there is one process, nothing here does anything.
"""

import json
import os
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from arch.registry import ConfigurationError

HEARTBEAT = 30  # seconds without a word after which a host is lost, and the others end
FEWEST_BYTES = 1024  # of a message: lengths are rounded up to powers of two, few are compiled


class Place(NamedTuple):
    """One of several processes that train together. coordinator: HOST:PORT of the first, '' for the
    environment's; index: its own number, from 0; None: as the environment says."""

    coordinator: str
    processes: int | None
    index: int | None


def join(place: Place | None = None) -> None:
    """Become one of the processes that train together, before any device is asked for: in a place,
    else in that which the environment names.

    Raises ConfigurationError where it names none.
    """
    place = place or Place("", _number("JAX_NUM_PROCESSES"), _number("JAX_PROCESS_ID"))
    try:
        jax.distributed.initialize(
            coordinator_address=place.coordinator or None,
            num_processes=place.processes,
            process_id=place.index,
            heartbeat_timeout_seconds=HEARTBEAT,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"--distributed: {str(error).splitlines()[0]} Start it by srun, mpirun, on a Cloud TPU "
            "or GKE, or set JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        ) from None


def _number(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else None


def count() -> int:
    """How many processes train together."""
    return jax.process_count()


def follows() -> bool:
    """Whether another process than this one leads."""
    return jax.process_index() > 0


def agreed(asked: bool) -> bool:
    """Whether any host asks; all of them must call it together."""
    if count() == 1:
        return asked
    return bool(np.any(multihost_utils.process_allgather(np.array(asked))))


def told(value: Any = None) -> Any:
    """The leader's value, which JSON can hold, on every host; all of them must call it together."""
    if count() == 1:
        return value
    text = json.dumps(value).encode()
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    sent = np.zeros(_room(length), np.uint8)
    if not follows():
        sent[:length] = np.frombuffer(text, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(sent))[:length].tobytes())


def gathered(value: Any) -> list[Any]:
    """The values of all hosts, which JSON can hold, on every host; all of them must call it
    together."""
    if count() == 1:
        return [value]
    text = json.dumps(value).encode()
    lengths = multihost_utils.process_allgather(np.int32(len(text))).tolist()
    sent = np.zeros(_room(max(lengths)), np.uint8)
    sent[: len(text)] = np.frombuffer(text, np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(sent))
    return [json.loads(row[:n].tobytes()) for row, n in zip(rows, lengths, strict=True)]


def _room(length: int) -> int:
    return max(FEWEST_BYTES, 1 << (length - 1).bit_length())


def told_arrays(tree: Any) -> Any:
    """The leader's arrays on every host, to the bit, in the shapes of each host's own."""
    if count() == 1:
        return tree

    def of(array: np.ndarray) -> np.ndarray:
        # as bytes: a sum would lose the sign of a zero
        sent = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        sent = np.asarray(multihost_utils.broadcast_one_to_all(sent))
        return sent.view(array.dtype).reshape(array.shape)

    return jax.tree.map(of, tree)


def is_apart(array: Any) -> bool:
    """Whether it lies on several hosts, divided or whole on each."""
    return isinstance(array, jax.Array) and not array.is_fully_addressable


def fetch(tree: Any) -> Any:
    """A tree of arrays, whole, on the host; where several hosts share them, all must call it."""

    def whole(array: Any) -> Any:
        if not is_apart(array) or array.is_fully_replicated:
            return array
        return multihost_utils.process_allgather(array, tiled=True)

    return jax.device_get(jax.tree.map(whole, tree))


def put(tree: Any, places: Any) -> Any:
    """A tree of arrays that every host has whole, or that lie on all of them already, where
    `places`, one sharding or a tree of them, says."""

    def of(array: Any, place: jax.sharding.Sharding) -> jax.Array:
        if place.is_fully_addressable or is_apart(array):
            return jax.device_put(array, place)
        whole = np.asarray(array)
        return jax.make_array_from_callback(whole.shape, place, lambda at: whole[at])

    if isinstance(places, jax.sharding.Sharding):
        return jax.tree.map(lambda array: of(array, places), tree)
    return jax.tree.map(of, tree, places)


def abandon(code: int) -> None:
    """End this process at once, so that the others end as well: a scheduler starts them again."""
    os._exit(code)
