"""What the tests of the command line share: a small experiment, and ways to start launch.py."""

import contextlib
import functools
import io
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import jax
import numpy as np

import launch
from arch import plugins, registry
from arch.data.corpora import downloads
from arch.data.corpora import named as corpora
from arch.models.heads import heads
from arch.optimizers.kinds import optimizers
from arch.runs import folders
from arch.runs.checkpoints import Checkpoints
from arch.runs.folders import RunFolder, SeedFolder
from arch.sweeps.executors import EXECUTORS, local
from arch.training.compiled import Compiled
from arch.training.program import Program, Programs, signature

REPOSITORY = Path(launch.__file__).parent

# Two cells of two seeds. Whatever may differ between tests is no part of the compiled programs, so
# that each is compiled once a session.
STEPS, SAVE, LOG = 80, 20, 10
SMALL = f'''\
"""Which comes first."""

from arch import config, variants
from arch.sweeps.experiment import Cell

ARGUMENTS = {{"scale": ("tiny", "small"), "corpus": "file:CORPUS"}}


def get_config(arg):
    return config.make(
        seeds=(0, 1),
        model=variants.vanilla(1, width=16, heads=2, dropout=0.1),
        task={{"corpus": arg.corpus, "length": 16}},
        train={{"steps": {STEPS}, "batch": 4}},
        evaluate={{"every": 20, "tokens": 256}},
        save={{"every": {SAVE}}},
        log={{"every": {LOG}}},
    )


def cells(arg, results):
    return [Cell("sf", {{"model.order": "sf"}}), Cell("fs", {{"model.order": "fs"}})]


TABLE = {{"title": "Small", "baseline": "sf"}}
'''


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


def write_small(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write small.py with texts replaced, its corpus and a link to launch.py into the folder."""
    corpus = folder / "corpus.txt"
    corpus.write_text(text())
    code = SMALL.replace("CORPUS", str(corpus))
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    (folder / "small.py").write_text(code)
    (folder / "launch.py").symlink_to(REPOSITORY / "launch.py")
    return folder


def copy_swept(to: Path) -> Path:
    """Copy into a folder one in which the small experiment was swept, which is done once a
    session; the corpus stays where it is."""
    return copy(swept(), to)


@functools.cache
def swept() -> Path:
    """The folder that `copy_swept` copies; nothing may be changed in it."""
    folder = downloads.cache_directory() / f"swept-{os.getpid()}"
    folder.mkdir(parents=True)
    done = run("sweep", "--config=small.py", cwd=write_small(folder))
    assert done.code == 0, done.err
    assert "written: results/small/table.md" in done.out
    return folder


def text(characters: int = 5000) -> str:
    """Paragraphs of made-up words."""
    source = random.Random(0)
    words = ["".join(source.choices("abcdefghij", k=source.randint(2, 7))) for _ in range(60)]
    paragraphs = []
    while sum(map(len, paragraphs)) < characters:
        paragraphs.append(" ".join(source.choices(words, k=12)) + "\n\n")
    return "".join(paragraphs)


class SessionPrograms(Programs):
    """Programs whose functions are traced and compiled once a session, not once a sweep; where a
    corpus lies is no part of them."""

    compiled: dict[str, Compiled] = {}

    def get(self, config, task, model) -> Program:
        neutral = config.copy_and_resolve_references()
        if "corpus" in neutral.task:
            neutral.task.corpus = ""
        key = signature(neutral, model, task.sha256)
        shared = self.compiled.setdefault(key, Compiled(self.platform))
        return Program(config, task, model, self.platform, shared)


def run(*argv: str, cwd: Path | None = None) -> Outcome:
    """launch.py in this process, in a folder; the exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(cwd or "."))
        stack.enter_context(forgetful())
        stack.enter_context(mock.patch.object(local, "Programs", SessionPrograms))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            code = launch.main(list(argv))
        except SystemExit as stopped:
            code = stopped.code
    return Outcome(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def forgetful() -> Iterator[None]:
    """As a process of its own: no corpus in memory, and what plugins register is forgotten."""
    corpora.load.cache_clear()
    folders.say_changed.cache_clear()
    registries = (
        registry.sublayers, registry.stacks, registry.tasks, heads, optimizers, EXECUTORS,
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        for holder, name in [(plugins, "_loaded"), *((r, "_kinds") for r in registries)]:
            stack.enter_context(mock.patch.object(holder, name, dict(getattr(holder, name))))
        yield


def environment() -> dict[str, str]:
    """That of a subprocess: `python` is this one."""
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def start(*argv: str, cwd: Path) -> subprocess.Popen:
    """launch.py in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "launch.py", *argv], cwd=cwd, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def spawn(*argv: str, cwd: Path) -> Outcome:
    """launch.py in a process of its own, to its end."""
    process = start(*argv, cwd=cwd)
    out, err = process.communicate(timeout=300)
    return Outcome(process.returncode, out, err)


def paste(command: str, cwd: Path) -> Outcome:
    """A command line as a user would paste it: a shell makes words of it, and finds the program;
    they are run here."""
    words = subprocess.run(
        f'printf "%s\\0" {command}', shell=True, cwd=cwd, text=True, capture_output=True, check=True
    ).stdout.split("\0")[:-1]
    python, script, *argv = words
    assert shutil.which(python, path=environment()["PATH"]) == sys.executable
    assert (cwd / script).resolve() == REPOSITORY / "launch.py"
    return run(*argv, cwd=cwd)


def until(condition: Callable[[], bool], process: subprocess.Popen, seconds: float = 120) -> None:
    """Wait for a condition while a process runs; its output where it ends before."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise AssertionError(f"ended before: {process.communicate()}")
        if time.monotonic() > end:
            process.kill()
            raise AssertionError("timed out")
        time.sleep(0.01)


def progress(runs: Path) -> int:
    """Steps logged so far, of all replicas."""
    total = 0
    for file in runs.glob("*/seed*/metrics.jsonl"):
        lines = file.read_text().splitlines()
        total += LOG * sum('"accuracy"' in line for line in lines)
    return total


def folder_of(runs: Path, cell: str) -> RunFolder:
    """The one run folder of a cell."""
    (path,) = runs.glob(f"{cell}-*")
    return RunFolder(path)


def everything(runs: Path) -> dict[str, object]:
    """What must not depend on interruptions: metrics, summaries without clocks, every bit of every
    kept checkpoint."""
    found: dict[str, object] = {}
    for metrics in sorted(runs.glob("*/seed*/metrics.jsonl")):
        where = str(metrics.parent.relative_to(runs))
        found[f"{where} metrics"] = metrics.read_bytes()
        found[f"{where} evaluations"] = SeedFolder(metrics.parent).summary["evaluations"]
        for step, leaves in kept(metrics.parent / "checkpoints").items():
            found |= {f"{where} checkpoint {step} {path}": leaf for path, leaf in leaves.items()}
    return found


def kept(folder: Path) -> dict[int, dict[str, bytes]]:
    """step → path of a leaf → its type and bytes, of the checkpoints in a folder."""
    checkpoints = Checkpoints(folder)
    states = {step: checkpoints.restore(step)[0] for step in checkpoints.steps()}
    checkpoints.close()
    return {
        step: {
            jax.tree_util.keystr(path): f"{leaf.dtype}".encode() + np.asarray(leaf).tobytes()
            for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        }
        for step, state in states.items()
    }


def files(*folders: Path) -> dict[str, bytes]:
    """Path → bytes of all files in folders."""
    return {str(p): p.read_bytes() for f in folders for p in sorted(f.rglob("*")) if p.is_file()}


def copy(folder: Path, to: Path) -> Path:
    """A folder with its runs and results, so that a test may harm them."""
    shutil.copytree(folder, to, symlinks=True, dirs_exist_ok=True)
    return to


def forget_checkpoint(seed: SeedFolder, step: int) -> None:
    """As if a seed had been killed before this checkpoint was whole."""
    checkpoints = Checkpoints(seed.checkpoints)
    checkpoints.discard_after(step - 1)
    checkpoints.close()
