"""`plan --all`: which cells are planned, in which processes, and what becomes a line."""

import json
import subprocess
from types import SimpleNamespace

import pytest

import launch
from arch.commands import plan_all
from arch.report import plans
from arch.sweeps.experiment import Experiment

FILE = '''
"""Orders of several sizes."""
from arch import config, variants
from arch.sweeps.experiment import Cell

ARGUMENTS = {"scale": ("tiny", "paper")}

def get_config(arg):
    layers = 2 if arg.scale == "paper" else 1
    model = variants.vanilla(layers=layers, width=16, heads=2)
    task = {"kind": "language_model", "corpus": "CORPUS", "length": 8}
    return config.make(model=model, task=task)

def cells(arg, results):
    return [Cell("small"), Cell("wide", {"model.width": 32}), Cell("wide2", {"model.width": 32})]
'''


@pytest.fixture
def here(tmp_path, monkeypatch, corpus):
    """A repository of two files of the same steps, and one without a paper scale."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "launch.py").touch()
    text = FILE.replace("CORPUS", str(corpus))
    for name in ("one", "two"):
        (tmp_path / "experiments" / f"{name}.py").write_text(text)
    (tmp_path / "experiments" / "three.py").write_text(
        text.replace('("tiny", "paper")', '("tiny",)')
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """Command lines of the processes that were started, each answered by a plan."""
    found = []

    def answered(command, **_):
        found.append(command[1:])
        plan = {"fits": True, "peak": 1, "memory": 2, "mesh": {}, "changes": {}, "weights": 3}
        rest = dict.fromkeys(
            ("flops", "devices", "step_seconds", "tokens_per_second", "tokens", "hours",
             "chip_hours"), 1.0,
        )  # fmt: skip
        plan |= {**rest, "attention": {"s": ["blocks"]}}
        said = {"cheapest": plan, "tried": [plan], "optimizer": "adamw"}
        return SimpleNamespace(stdout=json.dumps(said), stderr="", returncode=0)

    monkeypatch.setattr(subprocess, "run", answered)
    return found


def test_the_dearest_cell_of_each_paper_scale_is_planned_and_equal_steps_once(here, asked, capsys):
    assert launch.main(["plan", "--all", "--topology=v5e:2x2"]) == 0
    (command,) = asked
    assert command[:2] == ["launch.py", "plan"]
    assert "--config=experiments/one.py:scale=paper" in command and "--cell=wide" in command
    lines = plans.read(plan_all.FOLDER)
    named = [(line["experiment"], line["cell"]) for line in lines]
    assert named == [(f"experiments/{n}.py:scale=paper", "wide") for n in ("one", "two")]
    assert lines[0]["cheapest"] == lines[1]["cheapest"] and lines[0]["step"] == lines[1]["step"]
    assert "experiments/two.py" in (plan_all.FOLDER / "table.md").read_text()
    asked.clear()
    assert launch.main(["plan", "--all", "--topology=v5e:2x2"]) == 0 and not asked
    assert launch.main(["plan", "--all", "--topology=v5e:2x2", "--efficiency=0.4"]) == 0 and asked


def test_a_compiler_that_dies_or_takes_too_long_is_a_line(here, monkeypatch, capsys):
    died = SimpleNamespace(stdout="", stderr="a\nout of memory\n", returncode=-9)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: died)
    assert launch.main(["plan", "--all", "--topology=v5e:2x2"]) == 0
    assert plans.read(plan_all.FOLDER)[0]["error"] == "exit code -9: out of memory"

    def late(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", late)
    assert launch.main(["plan", "--all", "--topology=h100:1x1x8", "--minutes=2"]) == 0
    assert plans.read(plan_all.FOLDER)[0]["error"] == "not compiled in 2 minutes"


def test_a_missing_corpus_is_a_line(here, asked, capsys):
    path = here / "experiments" / "one.py"
    words = path.read_text().replace('"length": 8', '"length": 8, "tokenizer": "words"')
    path.write_text(words.replace('"corpus": "', '"corpus": "file:/nowhere/'))
    assert launch.main(["plan", "--all", "--topology=v5e:2x2"]) == 0
    assert "nowhere" in plans.read(plan_all.FOLDER)[0]["error"]


@pytest.mark.parametrize(
    "more", [["--config=experiments/one.py"], ["--cell=wide"], ["--minutes=0"]]
)
def test_what_does_not_go_with_all_is_refused(here, more, capsys):
    assert launch.main(["plan", "--all", "--topology=v5e:2x2", *more]) == 2


def test_without_a_file_and_without_all_it_says_what_is_expected(capsys):
    assert launch.main(["plan", "--topology=v5e:2x2"]) == 2
    assert "expected --config=FILE, or --all" in capsys.readouterr().err


def test_the_dearest_cell_is_the_first_of_those_with_most_flops(here):
    assert plan_all.dearest(Experiment("experiments/one.py:scale=paper")).name == "wide"
