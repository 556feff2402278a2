"""Checkpoints of one replica: {state, meta} as one unit, saved in the background, whole or not at
all.

The meta data hold a digest of every array and of themselves, which every restore compares: what was
trained is what is loaded, whatever a disk has done to it. An array that lies on several hosts has a
digest for each part, by the host that saved it. The only file that imports orbax.
"""

import functools
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arch.devices import hosts
from arch.registry import ConfigurationError
from arch.report.seals import digest_of_array

for logger in ("absl", "asyncio"):  # where orbax prints what it raises as well
    logging.getLogger(logger).setLevel(logging.CRITICAL)


# Seconds. Orbax measures a save by the clock, which may jump: none is given up for its time.
FOREVER = 10**9
DIGESTS, OWN_DIGEST = "array_digests", "digest"  # fields that `save` adds to the meta data


class DamagedCheckpoint(ValueError):
    """A checkpoint that cannot be read, or does not hold what was saved; the message says why."""


class Checkpoints:
    """The `keep` newest checkpoints in a folder, each named by its step.

    Args:
        together: all hosts save, each its parts of the arrays, in a folder that every one sees, and
            all make the same calls. Else this process has checkpoints, and waits for no other.
    """

    def __init__(self, folder: Path, keep: int = 2, together: bool = False):
        # a second, which a command that neither trains nor loads should not cost
        import orbax.checkpoint as ocp

        self._args = ocp.args
        folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=False,
            enable_async_checkpointing=True,
            async_options=ocp.AsyncOptions(FOREVER, create_directories_asynchronously=False),
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                **({} if together else _alone())
            ),
        )
        self.folder = folder.absolute()
        # named, since a manager that has neither saved nor restored knows no metadata otherwise
        handlers = {"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    def save(self, step: int, state: Any, meta: Mapping) -> None:
        """Write a copy of the state; returns while the files are still being written.

        Args:
            state: arrays of this host; of several that save together, nobody's to reuse.
            meta: what JSON can hold.
        """
        # a copy: the device may reuse the buffer while the writing goes on
        state = jax.tree.map(lambda a: a if hosts.is_apart(a) else np.array(a), state)
        meta = {k: v for k, v in meta.items() if k not in (DIGESTS, OWN_DIGEST)}
        meta[DIGESTS] = _digests(state)
        meta[OWN_DIGEST] = _digest_of_json(meta)
        self._manager.save(
            step,
            args=self._args.Composite(
                state=self._args.StandardSave(state), meta=self._args.JsonSave(meta)
            ),
        )

    def steps(self) -> list[int]:
        """Steps of the checkpoints here, oldest first."""
        # as the manager counts them: a look at the disk would forget one still being written
        return sorted(self._manager.all_steps())

    def restore(self, step: int, shapes: Any = None) -> tuple[Any, dict]:
        """(state, meta) of one step; the state in the form of `shapes`, else plain dictionaries.

        Raises DamagedCheckpoint where it cannot be read, or an array is not the one that was saved,
        and ConfigurationError where it is whole, but not of these shapes.
        """
        try:
            saved = self._saved(step)
            if shapes is not None:
                self._check_shapes(step, saved, shapes)
            # without arrays to restore into, orbax would want the devices that saved them
            like = saved if shapes is None else shapes
            like = jax.tree.map(lambda s: np.empty(s.shape, s.dtype), like)
            restored = self._manager.restore(
                step,
                args=self._args.Composite(
                    state=self._args.StandardRestore(like), meta=self._args.JsonRestore()
                ),
            )
            _check_digests(restored["state"], restored["meta"])
        except ConfigurationError:
            raise
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise DamagedCheckpoint(
                f"checkpoint {self.folder}/{step} is damaged: {reason}"
            ) from error
        return restored["state"], restored["meta"]

    def newest(self, shapes: Any) -> tuple[int, Any, dict] | None:
        """(step, state, meta) of the newest whole checkpoint; None where none was ever saved.

        A damaged one, or half a save of a machine that died, is named in a warning and passed over.
        Raises ConfigurationError where every one is damaged, or the newest whole one is of other
        shapes.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return step, *self.restore(step, shapes)
            except DamagedCheckpoint as error:
                logging.warning("%s; the one before it is used", error)
        if steps:
            raise ConfigurationError(
                f"{self.folder}: every checkpoint is damaged, those of the steps "
                f"{', '.join(map(str, steps))}"
            )
        return None

    def _saved(self, step: int) -> Any:
        """The shapes and types of what was saved, in plain dictionaries."""
        saved = self._manager.item_metadata(step)["state"]
        if saved is None:
            raise ValueError("it has no metadata")
        return getattr(saved, "tree", saved)

    def _check_shapes(self, step: int, saved: Any, shapes: Any) -> None:
        saved = {_path(p): tuple(m.shape) for p, m in _leaves(saved)}
        wanted = {_path(p): tuple(s.shape) for p, s in _leaves(shapes)}
        for path, shape in wanted.items():
            if path not in saved or saved[path] != shape:
                raise ConfigurationError(
                    f"checkpoint {self.folder}/{step}: {path} is {saved.get(path, 'not there')}, "
                    f"and the configuration wants {shape}"
                )

    def discard_after(self, step: int) -> None:
        """Delete checkpoints newer than `step`: those that could not be read."""
        for later in self.steps():
            if later > step:
                self._manager.delete(later)

    def wait(self) -> None:
        """Until all that was saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait for what is being written, and end."""
        self._manager.close()


def _alone() -> dict[str, Any]:
    """Options of a process that waits for no other of those that train together."""
    if jax.process_count() == 1:
        return {}
    own = jax.process_index()
    return {
        "primary_host": own,
        "active_processes": {own},
        "barrier_sync_key_prefix": f"host{own}",
    }


def _leaves(tree: Any) -> list:
    return jax.tree_util.tree_leaves_with_path(tree)


def _path(path: tuple) -> str:
    """Dotted path; a field of a named tuple and a key of a dictionary look alike."""
    names = [getattr(p, "key", getattr(p, "name", getattr(p, "idx", None))) for p in path]
    return ".".join(map(str, names))


def _digests(state: Any) -> dict[str, str | dict[str, str]]:
    """path → digest; of an array that lies on several hosts part → digest, of all hosts' parts."""

    def of(array: Any) -> str | dict[str, str]:
        if not hosts.is_apart(array):
            return digest_of_array(array)
        return {
            _part(shard.index, array.shape): digest_of_array(np.asarray(shard.data))
            for shard in array.addressable_shards
            if shard.replica_id == 0  # of several that hold the part, the one that saves it
        }

    own = {_path(path): of(array) for path, array in _leaves(state)}
    if not any(isinstance(digest, dict) for digest in own.values()):
        return own
    every = hosts.gathered(own)
    return {
        path: functools.reduce(dict.__or__, (each[path] for each in every))
        if isinstance(digest, dict)
        else digest
        for path, digest in own.items()
    }


def _part(index: tuple[slice, ...], shape: tuple[int, ...]) -> str:
    """'0:4,8:16': where a part of an array lies in it, from and to in every dimension."""
    spans = (at.indices(size) for at, size in zip(index, shape, strict=True))
    return ",".join(f"{start}:{stop}" for start, stop, _ in spans)


def _is_of(digest: str | Mapping[str, str], array: np.ndarray) -> bool:
    """Whether an array is the one of which that is the digest, or the digests of its parts."""
    if isinstance(digest, str):
        return digest_of_array(array) == digest
    parts = {
        part: array[tuple(slice(*map(int, span.split(":"))) for span in part.split(",") if span)]
        for part in digest
    }
    whole = sum(np.size(part) for part in parts.values()) == array.size
    return whole and all(digest_of_array(a) == digest[part] for part, a in parts.items())


def _digest_of_json(meta: Mapping) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _check_digests(state: Any, meta: Mapping) -> None:
    """Raises ValueError for what is not as it was saved; checkpoints of before have no digests."""
    if DIGESTS not in meta and OWN_DIGEST not in meta:
        return
    own = {k: v for k, v in meta.items() if k != OWN_DIGEST}
    if _digest_of_json(own) != meta.get(OWN_DIGEST):
        raise ValueError("its meta data are not those that were saved")
    found = {_path(path): np.asarray(array) for path, array in _leaves(state)}
    for name, digest in meta[DIGESTS].items():
        if name not in found or not _is_of(digest, found[name]):
            raise ValueError(f"the array {name} is not the one that was saved")
