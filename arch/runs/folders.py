"""The folder of a run, runs/<name>/<cell>-<hash8>/, which holds a folder for each seed.

    config.json  state.json  lock.json  log.txt  plugins/
    seed<k>/metrics.jsonl  timing.jsonl  summary.json  checkpoints/

seed<k>x<l> is of initialisation k and data l.

What is written is replaced whole or appended a line at a time, so that a kill at any moment leaves
something to go on from.
"""

import contextlib
import datetime
import functools
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arch.config import canonical
from arch.registry import Config, ConfigurationError
from arch.report.files import put_aside, replace_file
from arch.report.seals import is_broken, sealed
from arch.report.seeds import Seed, both, read_seed
from arch.runs import locks, provenance


def write_json(path: Path, value: object) -> None:
    """Replace a file by JSON, whole or not at all. Raises OSError where the disk refuses."""
    replace_file(path, (json.dumps(value, indent=1, allow_nan=True) + "\n").encode())


def read_json(path: Path) -> dict | None:
    """The JSON in a file; None where it is missing or not whole."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


@functools.cache  # it is read often, and said once
def say_changed(path: Path) -> None:
    """Warn that a file is not what was written."""
    logging.warning("%s was changed after it was written, and is not used", path)


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class SeedFolder:
    """What one replica has written."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def checkpoints(self) -> Path:
        """The folder of the replica's checkpoints; it may not be there yet."""
        return self.path / "checkpoints"

    @property
    def loadable(self) -> bool:
        """Whether the replica has ended here, so that `arch.load` finds its weights: neither is so
        of a line that came from results/."""
        return self.summary is not None and self.checkpoints.is_dir()

    def append(self, file: str, line: Mapping) -> None:
        """Write a line at the end of a .jsonl file, which is made where it is missing; returns when
        it is on disk, so that no checkpoint saved later outlives it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / file, "a") as stream:
            stream.write(json.dumps(line) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def lines(self, file: str) -> list[dict]:
        """The whole lines of a .jsonl file; a last line cut short by a kill is left out.

        Raises ConfigurationError for another line that is no JSON: a disk has changed it.
        """
        path, found = self.path / file, []
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return []
        for number, line in enumerate(content.split(b"\n")[:-1], 1):
            try:
                found.append(json.loads(line))
            except ValueError:
                raise ConfigurationError(
                    f"{path}:{number}: not what was written; restore the file, or --rerun its cell"
                ) from None
        return found

    def cut(self, step: int) -> None:
        """Drop the metrics after a step: the resumed run will write them again."""
        for file in ("metrics.jsonl", "timing.jsonl"):
            kept = [line for line in self.lines(file) if line["step"] <= step]
            if (self.path / file).exists():
                text = "".join(json.dumps(line) + "\n" for line in kept)
                replace_file(self.path / file, text.encode())

    @property
    def summary(self) -> dict | None:
        """summary.json, once the replica has ended; one that was changed since is named, and counts
        for nothing: the replica goes on from its newest checkpoint."""
        path = self.path / "summary.json"
        found = read_json(path)
        if path.exists() and (not isinstance(found, dict) or is_broken(found)):
            say_changed(path)
            return None
        return found

    def finish(self, summary: Mapping) -> None:
        """Write summary.json, sealed: the replica has ended."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "summary.json", sealed(summary))

    @contextlib.contextmanager
    def anew(self) -> Iterator["SeedFolder"]:
        """An empty folder, which then takes this one's place, whole or not at all; the old files
        are kept beside."""
        partial = SeedFolder(self.path.with_name(f".{self.path.name}"))
        shutil.rmtree(partial.path, ignore_errors=True)
        partial.path.mkdir(parents=True)
        yield partial
        self.forget()
        partial.path.rename(self.path)

    def forget(self) -> None:
        """Start over: `--rerun`. The old files are kept beside, under a numbered name."""
        if self.path.exists():
            put_aside(self.path)


class RunFolder:
    """A cell's folder; its name carries the hash, so that a changed configuration gets another.

    Args:
        path: the folder.
        among: the folder that lies with it, whose plugins are not the user's own; None: of all
            runs, two above.
    """

    PLUGINS = "plugins"  # the folder of their copies

    def __init__(self, path: Path, among: Path | None = None):
        self.path, self.among = path, among

    @classmethod
    def of(cls, root: Path, name: str, cell: str, identity: str) -> "RunFolder":
        """The folder of a cell of the sweep `name`, under `root`."""
        return cls(root / name / f"{cell}-{identity[:8]}")

    def create(self, config: Config, identity: str, cell: str) -> None:
        """Make the folder, write config.json and copy the plugins.

        Raises ConfigurationError where it cannot be written or holds another configuration.
        """
        held = read_json(self.path / "config.json")
        if held is not None and held["hash"] != identity:
            raise ConfigurationError(
                f"{self.path}: holds another configuration, {held['hash'][:8]}"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            content = canonical(config.to_dict())
            if held is None:
                write_json(
                    self.path / "config.json", {"hash": identity, "cell": cell, "config": content}
                )
            for plugin in config.plugins:
                (self.path / self.PLUGINS).mkdir(exist_ok=True)
                replace_file(self._copy_of(plugin), Path(plugin).read_bytes())
        except OSError as error:
            raise ConfigurationError(f"{self.path}: cannot be written: {error.strerror}") from None

    def seed(self, seed: Seed) -> SeedFolder:
        """The folder of a seed; it may not be there yet."""
        return SeedFolder(self.path / f"seed{seed}")

    def seeds(self) -> list[Seed]:
        """The seeds that have a folder, in order."""
        found = []
        for path in self.path.glob("seed*"):
            with contextlib.suppress(ValueError):  # what --rerun put aside: seed0.old1
                found.append(read_seed(path.name.removeprefix("seed")))
        return sorted(found, key=both)

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to evaluate, to generate with, to load."""
        return any(self.seed(seed).checkpoints.is_dir() for seed in self.seeds())

    def own_plugins(self) -> list[Path]:
        """The plugin files that the run's configuration names on this machine.

        Raises ConfigurationError for one that lies among runs: it came with one, and is not the
        user's.
        """
        among = self.path.resolve().parents[1] if self.among is None else self.among.resolve()
        named = [Path(name) for name in self.config["config"]["plugins"]]
        for file in named:
            if file.resolve().is_relative_to(among):
                raise ConfigurationError(f"{self.path}: its plugin {file} came with a run")
        return named

    def plugins(self, trust: bool = False) -> list[str]:
        """The run's copies of its plugins: Python that loading the run will execute.

        Raises ConfigurationError, unless they are to be trusted, for a copy that is not, byte for
        byte, the file of the user's own that the configuration names.
        """
        copies = [self._copy_of(name) for name in self.config["config"]["plugins"]]
        if not trust:
            try:
                for file, copy in zip(self.own_plugins(), copies, strict=True):
                    if not file.is_file():
                        raise ConfigurationError(
                            f"{self.path}: its plugin {file} is not on this machine"
                        )
                    if not copy.is_file() or copy.read_bytes() != file.read_bytes():
                        raise ConfigurationError(
                            f"{self.path}: its copy of {file} differs from yours"
                        )
            except ConfigurationError as error:
                raise ConfigurationError(
                    f"{error}; the run brings Python along: read {self.path / self.PLUGINS}, then "
                    "say --trust, or trust=True in a notebook"
                ) from None
        return [str(copy) for copy in copies]

    def _copy_of(self, plugin: str) -> Path:
        return self.path / self.PLUGINS / Path(plugin).name

    @property
    def config(self) -> dict:
        """{'hash', 'cell', 'config'} as written; ConfigurationError where this is no run."""
        held = read_json(self.path / "config.json")
        if isinstance(held, dict) and "hash" not in held:
            raise ConfigurationError(
                f"{self.path}: config.json is neither a run's, which has a hash, nor a model's in "
                "Hugging Face's format, which has a model_type"
            )
        if held is None:
            inside = sorted(p.parent.name for p in self.path.glob("*/config.json"))
            hint = f"; it has {', '.join(inside)}" if inside else ""
            raise ConfigurationError(
                f"{self.path}: no run is here, nor a model in Hugging Face's format (no whole "
                f"config.json){hint}"
            )
        return held

    @property
    def state(self) -> dict:
        """state.json as it stands; empty before the run has begun."""
        return read_json(self.path / "state.json") or {}

    def update_state(self, **changes: Any) -> None:
        """Change fields of state.json and renew its sign of life.

        Raises ConfigurationError where another process is at work in the folder.
        """
        locks.check_own(self.path)
        state = {**self.state, **changes, **provenance.host(), "heartbeat": now()}
        write_json(self.path / "state.json", state)

    def fail(self, error: str) -> None:
        """Record what ended the run; half-written checkpoints are deleted first, to make space."""
        for partial in self.path.glob("seed*/checkpoints/*tmp*"):
            shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):  # the disk is full: the next start tries again
            self.update_state(state="failed", error=error)
            self.log(error)

    def log(self, text: str) -> None:
        """Add a line with the time to log.txt."""
        with open(self.path / "log.txt", "a") as file:
            file.write(f"{now()} {text}\n")
