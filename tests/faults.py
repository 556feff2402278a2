"""A finished sweep that a fault is tried on, and what brings faults about."""

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from arch.runs.checkpoints import Checkpoints
from arch.runs.folders import RunFolder
from tests import cli

SWEEP = ("sweep", "--config=small.py", "--cells=sf")
SAVES = 2 * cli.STEPS // cli.SAVE  # of both seeds


class Try(NamedTuple):
    """One fault in one copy of a sweep."""

    folder: Path
    source: random.Random
    patch: pytest.MonkeyPatch
    log: pytest.LogCaptureFixture

    def sweep(self, *more: str) -> cli.Outcome:
        """The sweep in this process; warnings are part of what it says."""
        self.log.clear()
        done = cli.run(*SWEEP, *more, cwd=self.folder)
        return done._replace(err=done.err + self.log.text)

    @property
    def run(self) -> RunFolder:
        return cli.folder_of(self.folder / "runs/small", "sf")

    def stop_before_end(self, whole_checkpoints: bool = True) -> None:
        """As if the second seed had been killed before its summary, or before its last save."""
        seed = self.run.seed(1)
        (seed.path / "summary.json").unlink()
        if not whole_checkpoints:
            cli.forget_checkpoint(seed, cli.STEPS)

    def harm(self, files: list[Path], cut: bool = False) -> None:
        """Flip a bit somewhere in the files, or cut one short."""
        files = [file for file in sorted(files) if file.is_file() and file.stat().st_size]
        (file,) = self.source.choices(files, weights=[file.stat().st_size for file in files])
        content = bytearray(file.read_bytes())
        at = self.source.randrange(len(content))
        content[at] ^= 1 << self.source.randrange(8)
        file.unlink()  # a map of it keeps the old bytes
        file.write_bytes(content[:at] if cut else content)

    def before_a_save(self, do: Callable[[], object]) -> None:
        """Have something happen before one of the sweep's saves."""
        save, left = Checkpoints.save, [self.source.randrange(SAVES)]

        def disturbed(checkpoints, step, state, meta):
            left[0] -= 1
            if left[0] == -1:
                do()
            save(checkpoints, step, state, meta)

        self.patch.setattr(Checkpoints, "save", disturbed)


def can_mount(folder: Path) -> bool:
    if shutil.which("mount") is None or os.getuid() != 0:
        return False
    words = ["mount", "-t", "tmpfs", "none", str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        return False
    unmount(folder)
    return True


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


def unmount(path: Path) -> None:
    subprocess.run(["umount", "--lazy", str(path)], check=True, capture_output=True)
