"""`list`: everything that may be named, whole, wherever and however wide."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from arch.data.tokenizers import kinds
from arch.registry import stacks, sublayers, tasks
from arch.sweeps.registries import REGISTRIES
from arch.variants import VARIANTS
from tests import cli

EXPERIMENT = "experiments/sandwich.py"


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> dict:
    """What --json prints in a process of its own, after which it is in the cache."""
    told = cli.spawn("list", "--json", cwd=linked(tmp_path_factory.mktemp("first")))
    assert (told.code, told.err) == (0, "")
    return json.loads(told.out)


def linked(folder: Path) -> Path:
    """A folder that is not the repository's, with launch.py."""
    (folder / "launch.py").symlink_to(cli.REPOSITORY / "launch.py")
    return folder


def test_everything_that_may_be_named_is_there(asked):
    assert len(REGISTRIES) == 8
    for registry in REGISTRIES:
        found = {row["name"]: row for row in asked[f"{registry.noun}s"]}
        assert set(registry.names()) <= set(found)
    for name, rows in (
        *(("variants", name) for name in VARIANTS),
        *(("tokenizers", name) for name in kinds.SPECS),
        ("corpora", "stdlib"), ("corpora", "tinyshakespeare"), ("corpora", "file:PATH"),
    ):  # fmt: skip
        assert any(row["name"] == rows and row["what"] for row in asked[name]), rows


def test_a_second_answer_imports_nothing_heavy(asked, tmp_path):
    code = (
        "import sys, launch; launch.main(['list', '--json']);"
        "print([m for m in ('jax', 'numpy', 'flax', 'rich') if m in sys.modules])"
    )
    for _ in range(2):
        told = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(cli.REPOSITORY)},
        )  # fmt: skip
    again, imported = told.stdout.splitlines()
    assert (json.loads(again), imported) == (asked, "[]")


@pytest.mark.parametrize("columns", [0, 12, 80])
def test_nothing_is_cut_at_any_width_nor_in_a_pipe(asked, tmp_path, columns):
    """0: no terminal. Each option stands whole, on one line."""
    if columns:
        text = in_a_terminal(columns, linked(tmp_path))
    else:
        text = cli.spawn("list", cwd=linked(tmp_path)).out
    for registry in (sublayers, stacks, tasks):
        for row in asked[f"{registry.noun}s"]:
            assert re.search(rf"^  {row['name']}\b", text, re.MULTILINE)
            for option in row["options"]:
                assert re.search(rf"(^| ){option}=\S+", text, re.MULTILINE)
    said = " ".join(text.split())
    for group in ("variants", "corpora", "tokenizers", "experiments"):
        for row in asked[group]:
            assert " ".join(row["what"].split()) in said
    assert columns or max(map(len, text.splitlines())) > 200, "a line each, for grep"


def in_a_terminal(columns: int, folder: Path) -> str:
    """What `list` prints in a terminal of this width."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "launch.py", "list"], cwd=folder, stdout=slave, stderr=slave,
        env={**cli.environment(), "COLUMNS": str(columns)},
    )  # fmt: skip
    os.close(slave)
    found = b""
    try:
        while part := os.read(master, 1 << 16):
            found += part
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(master)
    assert process.wait() == 0
    return found.decode().replace("\r\n", "\n")


def test_experiments_are_those_here_and_those_of_the_checkout(asked, tmp_path):
    """A path that can be typed: relative in the repository, and else absolute."""
    (here,) = [r for r in cli.run("list", cwd=cli.REPOSITORY).out.split("\n\n") if "experim" in r]
    assert re.search(rf"^  {EXPERIMENT} +Sandwich coeff", here, re.MULTILINE)
    assert str(cli.REPOSITORY / EXPERIMENT) in {row["name"] for row in asked["experiments"]}
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/mine.py").write_text("def get_config(arg):\n    return None\n")
    both = json.loads(cli.run("list", "--json", cwd=tmp_path).out)["experiments"]
    assert both[0] == {"name": "experiments/mine.py", "what": ""}
    assert both[1:] == asked["experiments"]


def test_a_reader_that_has_enough_is_no_error(asked, tmp_path):
    done = subprocess.run(
        f"{sys.executable} launch.py list | head -1", shell=True, cwd=linked(tmp_path),
        env=cli.environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("sublayers:\n", "")
