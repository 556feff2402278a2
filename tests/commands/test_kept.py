"""Kept answers: what they are made from, and what asks anew."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arch.commands.kept import kept
from arch.data.cache import cache_directory
from tests import cli


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A process that has imported nothing heavy, a file, and a cache of its own."""
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setenv("ARCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    return tmp_path


def asking(say=""):
    """(a function that asks about the files of data/, the times that it was made)."""
    made = []

    def make():
        made.append(1)
        text = Path("data/a.txt").read_text()
        with contextlib.suppress(FileNotFoundError):
            text += Path("data/maybe.txt").read_text()
        print(say, end="", file=sys.stderr)
        return {"text": text, "files": sorted(os.listdir("data")), "pair": (1, 2)}

    return (lambda asked="x": kept("test", asked, make)), made


def test_an_answer_is_kept_as_json_has_it(here):
    ask, made = asking()
    assert ask() == ask() == {"text": "a", "files": ["a.txt"], "pair": [1, 2]}
    assert len(made) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda here, patch: (here / "data" / "a.txt").write_text("longer"),
        lambda here, patch: os.utime(here / "data" / "a.txt", ns=(1, 1)),
        lambda here, patch: (here / "data" / "b.txt").write_text("new"),
        lambda here, patch: (here / "data" / "maybe.txt").write_text("there now"),
        lambda here, patch: patch.setenv("ARCH_DATA_DIR", "elsewhere"),
        lambda here, patch: patch.setattr(sys, "version", "another"),
    ],
)
def test_what_changed_is_asked_anew(change, here, monkeypatch):
    ask, made = asking()
    ask()
    change(here, monkeypatch)
    new = ask()
    assert len(made) == 2
    assert new["files"] == sorted(os.listdir("data")) and ask() == new and len(made) == 2


def test_a_module_that_changed_is_asked_anew(here, monkeypatch):
    monkeypatch.syspath_prepend(here)
    for number in (1, 22):
        (here / "own_numbers.py").write_text(f"NUMBER = {number}")

        def make():
            monkeypatch.delitem(sys.modules, "own_numbers", raising=False)
            return __import__("own_numbers").NUMBER

        assert [kept("test", "", make) for _ in range(2)] == [number] * 2


def test_another_question_and_a_damaged_answer_are_asked_anew(here):
    ask, made = asking()
    ask()
    ask("y")
    assert len(made) == 2
    (first, second) = (cache_directory() / "answers").iterdir()
    first.write_bytes(first.read_bytes()[:-9])
    second.write_text("[]")
    assert ask() == ask("y") and len(made) == 4


def test_what_was_said_is_said_again(here, capsys):
    ask, made = asking("heads is dropped")
    ask()
    ask()
    assert len(made) == 2 and capsys.readouterr().err == "heads is dropped" * 2


def test_an_answer_whose_file_was_written_meanwhile_is_not_kept(here):
    """It may be of the file as it was before."""
    made = []

    def make():
        made.append(Path("data/a.txt").read_text())
        now = time.time_ns()
        os.utime("data/a.txt", ns=(now, now))
        return made[-1]

    assert kept("test", "", make) == kept("test", "", make) == "a"
    assert len(made) == 2 and not (here / "cache").exists()


def test_a_cache_that_cannot_be_written_costs_time_alone(here):
    (here / "cache").write_text("a file")
    ask, made = asking()
    assert ask() == ask() and len(made) == 2


def test_a_process_that_computes_keeps_nothing(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    ask, made = asking()
    assert ask() == ask() and len(made) == 2 and not (here / "cache").exists()


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_a_second_description_imports_nothing_heavy_and_is_the_same(json, tmp_path):
    """Until a file that the experiment imports has changed."""
    (tmp_path / "own_width.py").write_text("WIDTH = 8")
    (tmp_path / "e.py").write_text(
        "from arch import config\nimport own_width\n"
        "def get_config(arg):\n"
        "    task = {'kind': 'algorithmic', 'format': 'decoder', 'length': 4, 'base': 5}\n"
        "    return config.make(model={'order': 'f', 'width': own_width.WIDTH}, task=task)\n"
    )
    words = ["describe", "--config=e.py", *json]
    code = f"import sys, launch; launch.main({words}); print('jax' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": f"{cli.REPOSITORY}:{tmp_path}"}

    def asked():
        told = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=env
        )
        assert told.returncode == 0, told.stderr
        *said, imported = told.stdout.splitlines()
        return said, imported

    first, second = asked(), asked()
    assert first[0] == second[0] and (first[1], second[1]) == ("True", "False")
    (tmp_path / "own_width.py").write_text("WIDTH = 16")
    third = asked()
    assert third[1] == "True" and third[0] != first[0]
