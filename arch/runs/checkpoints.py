"""Checkpoints of one replica: {state, meta} as one unit, saved in the background, whole or not at
all.

The only file that imports orbax.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from arch.registry import ConfigurationError

for logger in ("absl", "asyncio"):  # where orbax prints what it raises as well
    logging.getLogger(logger).setLevel(logging.CRITICAL)


class Checkpoints:
    """The `keep` newest checkpoints in a folder, each named by its step."""

    def __init__(self, folder: Path, keep: int = 2):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self.folder = folder.absolute()
        # named, since a manager that has neither saved nor restored knows no metadata otherwise
        handlers = {"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    def save(self, step: int, state: Any, meta: Mapping) -> None:
        """Write a host copy of the state; returns while the files are still being written."""
        # a copy: the device may reuse the buffer while the writing goes on
        state = jax.tree.map(np.array, state)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(dict(meta))
            ),
        )

    def steps(self) -> list[int]:
        """Steps of the checkpoints here, oldest first."""
        # as the manager counts them: a look at the disk would forget one still being written
        return sorted(self._manager.all_steps())

    def restore(self, step: int, shapes: Any = None) -> tuple[Any, dict]:
        """(state, meta) of one step; the state in the form of `shapes`, else plain dictionaries."""
        like = jax.tree.map(lambda s: np.empty(s.shape, s.dtype), shapes)
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(like), meta=ocp.args.JsonRestore()
            ),
        )
        return restored["state"], restored["meta"]

    def newest(self, shapes: Any) -> tuple[int, Any, dict] | None:
        """(step, state, meta) of the newest whole checkpoint; one that cannot be read, half a save
        of a machine that died, is passed over. None where there is none.

        Raises ConfigurationError where the newest readable one is of other shapes.
        """
        for step in reversed(self.steps()):
            try:
                self._check_shapes(step, shapes)
                state, meta = self.restore(step, shapes)
            except ConfigurationError:
                raise
            except Exception as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
                logging.warning("checkpoint %s/%d is not whole: %s", self.folder, step, reason)
                continue
            return step, state, meta
        return None

    def _check_shapes(self, step: int, shapes: Any) -> None:
        saved = self._manager.item_metadata(step)["state"]
        if saved is None:
            raise ValueError("it has no metadata")
        saved = {_path(p): tuple(m.shape) for p, m in _leaves(getattr(saved, "tree", saved))}
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


def _leaves(tree: Any) -> list:
    return jax.tree_util.tree_leaves_with_path(tree)


def _path(path: tuple) -> str:
    """Dotted path; a field of a named tuple and a key of a dictionary look alike."""
    names = [getattr(p, "key", getattr(p, "name", getattr(p, "idx", None))) for p in path]
    return ".".join(map(str, names))
